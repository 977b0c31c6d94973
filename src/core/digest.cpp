#include "concord/core/digest.hpp"

#include "concord/core/error.hpp"

#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

namespace concord {

struct Digest::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
  State() { XXH3_128bits_reset(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Digest::Digest() : state_(std::make_unique<State>()) {}
Digest::~Digest() = default;
void Digest::add(const void* bytes, std::size_t size) {
  if (size > 0) XXH3_128bits_update(state_->xxh, bytes, size);
}
std::string Digest::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string digest_of(std::string_view text) {
  Digest digest;
  digest.add(text);
  return digest.hex();
}

namespace {

std::ifstream open_binary(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  require(in.good(), ExitCode::input_missing, "cannot open {}: {}", path.string(), std::strerror(errno));
  return in;
}

void add_window(Digest& digest, std::ifstream& in, std::uint64_t offset, std::uint64_t size, const std::string& name) {
  std::vector<char> buffer(size);
  in.seekg(static_cast<std::streamoff>(offset));
  in.read(buffer.data(), static_cast<std::streamsize>(size));
  require(in.gcount() == static_cast<std::streamsize>(size), ExitCode::io, "cannot read {} at byte {}", name, offset);
  digest.add(buffer.data(), buffer.size());
}

} // namespace

std::string digest_of_file(const std::filesystem::path& path) {
  auto in = open_binary(path);
  Digest digest;
  std::vector<char> buffer(1 << 20);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0)
    digest.add(buffer.data(), static_cast<std::size_t>(in.gcount()));
  require(in.eof(), ExitCode::io, "cannot read {}", path.string());
  return digest.hex();
}

std::string fingerprint_of_file(const std::filesystem::path& path) {
  constexpr std::uint64_t edge = 1 << 20;
  constexpr std::uint64_t window = 1 << 16;
  constexpr std::uint64_t windows = 62;
  auto in = open_binary(path);
  const std::uint64_t size = std::filesystem::file_size(path);
  if (size <= 2 * edge + windows * window) return digest_of_file(path);
  Digest digest;
  digest.add(&size, sizeof size);
  add_window(digest, in, 0, edge, path.string());
  for (std::uint64_t w = 0; w < windows; ++w)
    add_window(digest, in, edge + (size - 2 * edge - window) / windows * w, window, path.string());
  add_window(digest, in, size - edge, edge, path.string());
  return digest.hex();
}

} // namespace concord
