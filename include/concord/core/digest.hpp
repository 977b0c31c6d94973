#pragma once
/// Content digests (XXH3, 128 bits, as 32 hex digits). Local.

#include <cstdint>
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
  /// The same as two numbers.
  struct PieceDigest value() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string digest_of(std::string_view text);
/// Digest of a whole file. @throws Error input_missing or io.
std::string digest_of_file(const std::filesystem::path& path);

/// Files are digested in pieces of so many bytes, which may be read by different ranks.
constexpr std::uint64_t digest_piece = std::uint64_t{64} << 20;
/// Digest of one piece. POD, so that ranks can send it.
struct PieceDigest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
};
/// Of bytes [piece * digest_piece, ...) of a file of `size` bytes. @throws Error input_missing or io.
PieceDigest digest_of_piece(const std::filesystem::path& path, std::uint64_t size, std::uint64_t piece);
/// Of a file of `size` bytes by its pieces: up to one piece it equals digest_of_file; else it is that of the size and the pieces' digests.
std::string digest_of_pieces(std::uint64_t size, std::span<const PieceDigest> pieces);

} // namespace concord
