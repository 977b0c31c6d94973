#include "concord/core/digest.hpp"

#include "concord/core/error.hpp"

#include <xxhash.h>

#include <algorithm>
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
PieceDigest Digest::value() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return {hash.high64, hash.low64};
}
std::string Digest::hex() const {
  const PieceDigest hash = value();
  return fmt::format("{:016x}{:016x}", hash.high, hash.low);
}

std::string digest_of(std::string_view text) {
  Digest digest;
  digest.add(text);
  return digest.hex();
}

namespace {

std::ifstream open_binary(const std::filesystem::path& path) {
  std::error_code unknown;
  require(!std::filesystem::is_character_file(path, unknown), ExitCode::input_missing, "cannot open {}: it is a device", path.string());
  std::ifstream in(path, std::ios::binary);
  require(in.good(), ExitCode::input_missing, "cannot open {}: {}", path.string(), std::strerror(errno));
  return in;
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

PieceDigest digest_of_piece(const std::filesystem::path& path, std::uint64_t size, std::uint64_t piece) {
  const std::uint64_t begin = piece * digest_piece;
  const std::uint64_t end = std::min(size, begin + digest_piece);
  auto in = open_binary(path);
  in.seekg(static_cast<std::streamoff>(begin));
  Digest digest;
  std::vector<char> buffer(1 << 20);
  for (std::uint64_t at = begin; at < end;) {
    const auto wanted = static_cast<std::streamsize>(std::min<std::uint64_t>(buffer.size(), end - at));
    in.read(buffer.data(), wanted);
    require(in.gcount() == wanted, ExitCode::io, "cannot read {} at byte {}", path.string(), at);
    digest.add(buffer.data(), static_cast<std::size_t>(wanted));
    at += static_cast<std::uint64_t>(wanted);
  }
  return digest.value();
}

std::string digest_of_pieces(std::uint64_t size, std::span<const PieceDigest> pieces) {
  if (pieces.size() == 1) return fmt::format("{:016x}{:016x}", pieces[0].high, pieces[0].low);
  Digest digest;
  digest.add(&size, sizeof size);
  digest.add(pieces);
  return digest.hex();
}

} // namespace concord
