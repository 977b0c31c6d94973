#include "concord/io/file_digest.hpp"

#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/text.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <sys/stat.h>

namespace concord::io {

namespace fs = std::filesystem;

namespace {

using comm::Communicator;

/// What changes when a file's bytes do: a write sets both times, and who sets back the first moves the second.
struct Identity {
  std::uint64_t size = 0;
  std::uint64_t inode = 0;
  std::int64_t modified = 0; ///< ns since 1970
  std::int64_t changed = 0;  ///< ns since 1970, of its inode
  bool operator==(const Identity&) const = default;
};

std::int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * std::int64_t{1'000'000'000} + time.tv_nsec;
}

Identity identity_of(const fs::path& path) {
  struct stat facts {};
  require(::stat(path.c_str(), &facts) == 0, ExitCode::input_missing, "cannot open {}: {}", path.string(), std::strerror(errno));
  require(S_ISREG(facts.st_mode), ExitCode::input_missing, "{} is no file", path.string());
  return {static_cast<std::uint64_t>(facts.st_size), static_cast<std::uint64_t>(facts.st_ino), nanoseconds(facts.st_mtim),
          nanoseconds(facts.st_ctim)};
}

/// Whether a later write must show in the times: file systems tell times apart by up to 2 s.
bool settled(const Identity& identity) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  constexpr std::int64_t granule = 2'000'000'000;
  return nanoseconds(now) - std::max(identity.modified, identity.changed) > granule;
}

/// Where the digest of `path` is remembered; "" where there is no place.
fs::path place_of(const fs::path& path) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  fs::path folder;
  if (cache != nullptr && *cache == '/')
    folder = cache;
  else if (home != nullptr && *home == '/')
    folder = fs::path(home) / ".cache";
  else
    return {};
  return folder / "concord" / "digests" / (digest_of(fs::absolute(path).string()) + ".json");
}

nlohmann::json record_of(const fs::path& path, const Identity& identity) {
  return {{"path", digest_of(fs::absolute(path).string())},
          {"size", identity.size},
          {"inode", identity.inode},
          {"modified", identity.modified},
          {"changed", identity.changed}};
}

/// "" when it is not known.
std::string remembered(const fs::path& path, const Identity& identity) {
  try {
    const auto place = place_of(path);
    std::error_code error;
    if (place.empty() || !settled(identity) || !fs::exists(place, error)) return "";
    auto record = nlohmann::json::parse(read_text(place, "digest"), nullptr, false);
    if (!record.is_object() || !record.contains("digest") || !record["digest"].is_string()) return "";
    const std::string digest = record["digest"];
    record.erase("digest");
    return record == record_of(path, identity) && digest.size() == 32 ? digest : "";
  } catch (const std::exception&) {
    return "";
  }
}

/// A cache that cannot be written is no error.
void remember(const fs::path& path, const Identity& identity, const std::string& digest) {
  try {
    const auto place = place_of(path);
    if (place.empty()) return;
    make_folder(place.parent_path());
    auto record = record_of(path, identity);
    record["digest"] = digest;
    write_text_shared(place, record.dump());
  } catch (const std::exception&) {
  }
}

std::map<std::string, std::string>& asked_before() {
  static std::map<std::string, std::string> digests;
  return digests;
}

Index pieces_of(std::uint64_t size) {
  return std::max<Index>(1, static_cast<Index>((size + digest_piece - 1) / digest_piece));
}

/// Rank r reads pieces r, r + ranks, ...; rank 0 gets them all.
std::vector<PieceDigest> read_pieces(const Communicator& comm, const fs::path& path, std::uint64_t size) {
  const Index pieces = pieces_of(size);
  std::vector<PieceDigest> all;
  for (Index first = 0; first < pieces; first += comm.size()) {
    if (first > 0 && comm::stop_requested(comm)) comm::throw_stopped(("reading " + path.string()).c_str());
    std::vector<PieceDigest> mine;
    comm::agree(comm, [&] {
      const Index piece = first + comm.rank();
      if (piece < pieces) mine.push_back(digest_of_piece(path, size, static_cast<std::uint64_t>(piece)));
    });
    const auto round = comm::gather(comm, mine);
    all.insert(all.end(), round.begin(), round.end());
  }
  return all;
}

} // namespace

std::string file_digest(const Communicator& comm, const fs::path& path) {
  Identity identity;
  bool trusted = false; // asked before the bytes are read
  std::string digest = comm::decided(comm, [&] {
    identity = identity_of(path);
    trusted = settled(identity);
    return remembered(path, identity);
  });
  if (digest.empty()) {
    comm::spread(comm, identity.size);
    const auto pieces = read_pieces(comm, path, identity.size);
    digest = comm::decided(comm, [&] {
      require(identity_of(path) == identity, ExitCode::bad_data, "{} was changed while it was read; run again when it is whole",
              path.string());
      const std::string whole = digest_of_pieces(identity.size, pieces);
      if (trusted) remember(path, identity, whole);
      return whole;
    });
  }
  asked_before()[path.string()] = digest;
  return digest;
}

std::string file_digest_alone(const fs::path& path) {
  const auto found = asked_before().find(path.string());
  if (found != asked_before().end()) return found->second;
  const std::uint64_t size = identity_of(path).size;
  std::vector<PieceDigest> pieces;
  for (Index piece = 0; piece < pieces_of(size); ++piece) pieces.push_back(digest_of_piece(path, size, static_cast<std::uint64_t>(piece)));
  return digest_of_pieces(size, pieces);
}

} // namespace concord::io
