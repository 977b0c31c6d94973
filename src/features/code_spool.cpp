#include "concord/features/code_spool.hpp"

#include "concord/comm/await_file.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"
#include "concord/io/rows/row_writer.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <unistd.h>

namespace concord::features {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t magic = 0x32304C4F4F505343ULL; // "CSPOOL02"

struct Header {
  std::uint64_t mark = magic;
  std::int64_t layer = 0;
  Index first_row = 0;
  Index latents = 0;
  Index rows = 0;
  Index left_out = 0;
  Index values = 0;
  std::uint64_t checksum = 0; ///< of the payload: row ends, indices, values
  std::size_t payload() const { return static_cast<std::size_t>(8 * rows + 8 * values); }
};

std::vector<char> payload_of(const sae::SparseRows& codes) {
  std::vector<char> bytes(8 * codes.ends.size() + 8 * codes.value.size());
  char* to = bytes.data();
  const auto add = [&](const void* from, std::size_t size) {
    if (size > 0) std::memcpy(to, from, size);
    to += size;
  };
  add(codes.ends.data(), 8 * codes.ends.size());
  add(codes.index.data(), 4 * codes.index.size());
  add(codes.value.data(), 4 * codes.value.size());
  return bytes;
}

void write_all(int file, const void* bytes, std::size_t size, const fs::path& path) {
  const char* from = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(file, from, size);
    if (written < 0 && errno == EINTR) continue;
    require(written > 0, ExitCode::io, "cannot write {}: {}", path.string(), std::strerror(errno));
    from += written;
    size -= static_cast<std::size_t>(written);
  }
}

/// A spool file to read. A disk that fails is an error and no end of the file: records behind it would be made again or be called damaged.
struct SpoolFile {
  explicit SpoolFile(fs::path spool) : path(std::move(spool)) {
    comm::await_file_here(path);
    in.open(path, std::ios::binary);
    require(in.is_open(), ExitCode::io, "cannot open {}: {}", path.string(), std::strerror(errno));
  }
  void read(void* to, std::size_t size) {
    in.read(static_cast<char*>(to), static_cast<std::streamsize>(size));
    require(!in.bad(), ExitCode::io, "cannot read {}: {}", path.string(), std::strerror(errno));
  }
  fs::path path;
  std::ifstream in;
};

/// Reads the record at `offset`; false when there is no whole one. @throws Error io.
bool read_record(SpoolFile& file, Index offset, Header& header, std::vector<char>& payload) {
  std::ifstream& in = file.in;
  in.clear();
  in.seekg(offset);
  file.read(&header, sizeof header);
  if (in.gcount() != sizeof header || header.mark != magic || header.rows < 0 || header.values < 0) return false;
  if (header.rows > (Index{1} << 40) || header.values > (Index{1} << 40)) return false;
  const auto begin = in.tellg();
  in.seekg(0, std::ios::end);
  if (in.tellg() - begin < static_cast<std::streamoff>(header.payload())) return false;
  in.seekg(begin);
  payload.resize(header.payload());
  file.read(payload.data(), payload.size());
  return in.gcount() == static_cast<std::streamsize>(payload.size()) &&
         io::block_checksum(payload.data(), payload.size()) == header.checksum;
}

std::vector<std::string> spool_files(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".spool") names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

} // namespace

CodeSpool::CodeSpool(const comm::Communicator& comm, fs::path folder, const std::string& digest, bool force)
    : comm_(comm), folder_(std::move(folder)) {
  comm::agree(comm_, [&] {
    if (comm_.rank() != 0) return;
    const fs::path key = folder_ / "digest";
    if (fs::exists(key) && read_text(key, "spool digest") != digest) {
      require(force, ExitCode::config,
              "{} holds codes of other settings or inputs; choose another study.output, or give --force to drop them", folder_.string());
      fs::remove_all(folder_);
    }
    make_folder(folder_);
    if (!fs::exists(key)) write_text_atomic(key, digest);
  });
  scan();
  mine_ = folder_ / fmt::format("{:06d}.rank{:05d}.spool", files_.size(), comm_.rank());
}

CodeSpool::~CodeSpool() {
  if (out_ >= 0) ::close(out_);
}

/// Each rank reads its share of the files; everyone then knows all whole records.
void CodeSpool::scan() {
  comm_.barrier();
  std::vector<Place> found;
  files_ = comm::decided(comm_, [&] { return spool_files(folder_); }); // a share is a share of the same list on every rank
  comm::agree(comm_, [&] {
    const dist::Partition share{static_cast<Index>(files_.size()), comm_.size()};
    Header header;
    std::vector<char> payload;
    for (Index f = share.begin(comm_.rank()); f < share.end(comm_.rank()); ++f) {
      SpoolFile file(folder_ / files_[static_cast<std::size_t>(f)]);
      Index offset = 0;
      while (read_record(file, offset, header, payload)) {
        found.push_back({static_cast<int>(header.layer), static_cast<int>(f), header.first_row, header.latents, header.left_out, offset});
        offset += static_cast<Index>(sizeof header + header.payload());
      }
    }
  });
  records_.clear();
  for (const Place& place : comm::all_gather(comm_, found)) records_.emplace(std::pair{place.layer, place.first_row}, place);
}

void CodeSpool::append(int layer, Index first_row, Index latents, Index left_out, const sae::SparseRows& codes) {
  if (out_ < 0) {
    out_ = ::open(mine_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0666);
    require(out_ >= 0, ExitCode::io, "cannot create {}: {}", mine_.string(), std::strerror(errno));
  }
  const auto payload = payload_of(codes);
  Header header;
  header.layer = layer;
  header.first_row = first_row;
  header.latents = latents;
  header.left_out = left_out;
  header.rows = static_cast<Index>(codes.ends.size());
  header.values = static_cast<Index>(codes.value.size());
  header.checksum = io::block_checksum(payload.data(), payload.size());
  write_all(out_, &header, sizeof header, mine_);
  write_all(out_, payload.data(), payload.size(), mine_);
}

void CodeSpool::sync() {
  require(out_ < 0 || ::fdatasync(out_) == 0, ExitCode::io, "cannot flush {}: {}", mine_.string(), std::strerror(errno));
}

void CodeSpool::share() {
  comm::agree(comm_, [&] { sync(); });
  scan();
}

Index CodeSpool::open(int layer) {
  layer_ = layer;
  read_first_ = -1;
  const auto first = records_.lower_bound({layer, 0});
  require(first != records_.end() && first->first.first == layer, ExitCode::bad_data, "{} holds no codes of {}", folder_.string(),
          layer_name(layer));
  return first->second.latents;
}

void CodeSpool::codes(Index begin, Index end, sae::SparseRows& out) {
  auto found = records_.upper_bound({layer_, begin});
  require(found != records_.begin(), ExitCode::internal, "no codes of row {}", begin);
  --found;
  const Place& place = found->second;
  if (place.first_row != read_first_) {
    SpoolFile file(folder_ / files_[static_cast<std::size_t>(place.file)]);
    Header header;
    std::vector<char> payload;
    require(read_record(file, place.offset, header, payload), ExitCode::bad_data, "{}: the record at byte {} is damaged; remove the folder",
            file.path.string(), place.offset);
    block_.ends.resize(static_cast<std::size_t>(header.rows));
    block_.index.resize(static_cast<std::size_t>(header.values));
    block_.value.resize(static_cast<std::size_t>(header.values));
    const char* from = payload.data();
    std::memcpy(block_.ends.data(), from, 8 * block_.ends.size());
    if (header.values > 0) { // memcpy takes no null pointer, which an empty array has
      std::memcpy(block_.index.data(), from + 8 * header.rows, 4 * block_.index.size());
      std::memcpy(block_.value.data(), from + 8 * header.rows + 4 * header.values, 4 * block_.value.size());
    }
    read_first_ = place.first_row;
  }
  const Index rows = static_cast<Index>(block_.ends.size());
  require(place.layer == layer_ && end - read_first_ <= rows, ExitCode::internal, "rows [{}, {}) span records", begin, end);
  for (Index r = begin - read_first_; r < end - read_first_; ++r) {
    const Index first = r == 0 ? 0 : block_.ends[static_cast<std::size_t>(r) - 1];
    const Index last = block_.ends[static_cast<std::size_t>(r)];
    out.index.insert(out.index.end(), block_.index.begin() + first, block_.index.begin() + last);
    out.value.insert(out.value.end(), block_.value.begin() + first, block_.value.begin() + last);
    out.ends.push_back(static_cast<Index>(out.index.size()));
  }
}

Index CodeSpool::left_out() const {
  Index rows = 0; // all ranks know all records: one of them tells
  for (const auto& [key, place] : records_)
    if (comm_.rank() == 0 && key.first == layer_) rows += place.left_out;
  return rows;
}

void CodeSpool::remove() {
  if (out_ >= 0) ::close(out_);
  out_ = -1;
  comm_.barrier();
  comm::agree(comm_, [&] {
    if (comm_.rank() == 0) fs::remove_all(folder_);
  });
}

} // namespace concord::features
