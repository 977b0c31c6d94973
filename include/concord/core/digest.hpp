#pragma once
/// Content digests (XXH3, 128 bits, as 32 hex digits). Local.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace concord {

/// Incremental digest of bytes.
class Digest {
public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  void add(const void* bytes, std::size_t size);
  void add(std::string_view text) { add(text.data(), text.size()); }
  template <typename T>
  void add(std::span<const T> values) {
    add(values.data(), values.size_bytes());
  }
  std::string hex() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string digest_of(std::string_view text);
/// Digest of a whole file. @throws Error input_missing or io.
std::string digest_of_file(const std::filesystem::path& path);
/// Fingerprint of a large file: its size, first and last MiB and 62 windows of 64 KiB between; reads at most 6 MiB.
/// Used for model weights, where a full read would cost minutes before any work starts.
std::string fingerprint_of_file(const std::filesystem::path& path);

} // namespace concord
