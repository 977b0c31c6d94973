#include "corpus/text/text_digests.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

namespace concord::corpus {

namespace fs = std::filesystem;

namespace {

/// Digests of a rank's files, some bytes at a time.
class FileDigests {
public:
  FileDigests(const std::vector<TextFile>& files, std::size_t begin, std::size_t end) : files_(files), at_(begin), end_(end) {}
  bool done() const { return at_ == end_; }
  const std::string& digests() const { return digests_; }
  /// Goes on for about 256 MiB.
  void advance() {
    std::vector<char> block(1 << 22);
    for (int i = 0; i < 64 && !done(); ++i) {
      const auto& path = files_[at_].path;
      if (!digest_) {
        in_ = std::ifstream(path, std::ios::binary);
        require(in_.good(), ExitCode::input_missing, "cannot open the text {}: {}", path.string(), std::strerror(errno));
        digest_ = std::make_unique<Digest>();
      }
      in_.read(block.data(), static_cast<std::streamsize>(block.size()));
      require(!in_.bad(), ExitCode::io, "cannot read {}", path.string());
      digest_->add(block.data(), static_cast<std::size_t>(in_.gcount()));
      if (!in_.eof()) continue;
      digests_ += digest_->hex();
      digest_.reset();
      ++at_;
    }
  }

private:
  const std::vector<TextFile>& files_;
  std::size_t at_;
  std::size_t end_;
  std::ifstream in_;
  std::unique_ptr<Digest> digest_;
  std::string digests_;
};

} // namespace

std::string text_digest(const comm::Communicator& comm, const std::vector<TextFile>& files) {
  // A rank's files are those that begin in its share of all bytes.
  Index bytes = 0;
  std::vector<std::size_t> first(static_cast<std::size_t>(comm.size()) + 1, files.size());
  Index total = 0;
  for (const auto& file : files) total += file.size + 1;
  for (std::size_t f = files.size(); f-- > 0;) {
    bytes += files[f].size + 1;
    const auto owner = static_cast<std::size_t>((total - bytes) / (total / comm.size() + 1));
    for (std::size_t r = 0; r <= owner; ++r) first[r] = f;
  }
  const auto rank = static_cast<std::size_t>(comm.rank());
  FileDigests mine(files, first[rank], first[rank + 1]);
  while (comm::max_of(comm, Index{mine.done() ? 0 : 1}) > 0) {
    if (comm::stop_requested(comm)) comm::throw_stopped("tokenize");
    comm::agree(comm, [&] { mine.advance(); });
  }
  const auto all = comm::all_gather_bytes(comm, mine.digests().data(), static_cast<Index>(mine.digests().size()));
  return digest_of(std::string_view(all.data(), all.size()));
}

std::string digest_of_ids(const comm::Communicator& comm, const fs::path& path) {
  const std::vector<TextFile> files{{path, 0}};
  FileDigests of_root(files, 0, comm.rank() == 0 ? 1 : 0);
  const comm::StopWithin stop;
  while (comm::max_of(comm, Index{of_root.done() ? 0 : 1}) > 0) {
    stop.throw_if_wanted(comm, "tokenize");
    comm::agree(comm, [&] { of_root.advance(); });
  }
  return comm::decided(comm, [&] { return of_root.digests(); });
}

} // namespace concord::corpus
