#include "concord/io/rows/segments.hpp"

#include "concord/comm/await_file.hpp"
#include "concord/core/error.hpp"
#include "concord/core/run/spent.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <system_error>
#include <zlib.h>

namespace concord::io {

namespace fs = std::filesystem;

namespace {

constexpr Index chunk_bytes = Index{256} << 10; // whoever wants one row unpacks a chunk

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// HDF5's shuffle filter: first bytes of all elements, then second bytes, ...; compresses far better.
void shuffle(const unsigned char* in, std::size_t elements, std::size_t size, unsigned char* out) {
  for (std::size_t byte = 0; byte < size; ++byte)
    for (std::size_t i = 0; i < elements; ++i) out[byte * elements + i] = in[i * size + byte];
}

} // namespace

SegmentWriter::SegmentWriter(SegmentSettings settings, BufferPool& pool)
    : settings_(std::move(settings)), pool_(pool),
      chunk_rows_(std::max<Index>(1, chunk_bytes / (settings_.row_size * static_cast<Index>(size_of(settings_.dtype))))) {
  std::error_code problem;
  fs::create_directories(settings_.folder, problem);
  require(!problem, ExitCode::io, "cannot make the folder {}: {}", settings_.folder.string(), problem.message());
  try {
    for (int t = 0; t < settings_.threads; ++t) threads_.emplace_back([this] { pack_blocks(); });
  } catch (const std::system_error& error) { // no more threads to be had (a process limit): those there are do the work
    require(!threads_.empty(), ExitCode::unavailable, "cannot start a thread that packs {}: {}; raise the limit of processes (ulimit -u)",
            settings_.folder.string(), error.what());
  }
}

SegmentWriter::~SegmentWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

fs::path SegmentWriter::segment_path() const {
  return settings_.folder / fmt::format("{}-{:06}.h5", settings_.name, segments_);
}

void SegmentWriter::write(const std::string& dataset, Index block, RowBuffer rows) {
  const Spend spend(Spending::files, "write a segment");
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !failure_.empty() || queued_bytes_ == 0 || queued_bytes_ + rows.size <= settings_.queue_bytes; });
    queued_bytes_ += rows.size;
    waiting_.push_back({dataset, block, std::move(rows)});
  }
  changed_.notify_all();
  put_packed();
  if (file_ && now() - opened_ >= settings_.commit_seconds) close_segment();
}

void SegmentWriter::commit() {
  const Spend spend(Spending::files, "commit segments");
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !failure_.empty() || (waiting_.empty() && packing_ == 0); });
  }
  put_packed();
  close_segment();
}

void SegmentWriter::pack_blocks() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    Waiting waiting = std::move(waiting_.front());
    waiting_.pop_front();
    ++packing_;
    lock.unlock();
    Packed packed;
    std::string problem;
    try {
      packed = pack(waiting);
    } catch (const std::exception& error) {
      problem = error.what();
    }
    const std::size_t bytes = waiting.rows.size;
    pool_.give_back(std::move(waiting.rows));
    lock.lock();
    --packing_;
    queued_bytes_ -= bytes;
    if (problem.empty())
      packed_.push_back(std::move(packed));
    else
      failure_ = "cannot pack rows for " + settings_.folder.string() + ": " + problem;
    changed_.notify_all();
  }
}

SegmentWriter::Packed SegmentWriter::pack(const Waiting& waiting) const {
  const std::size_t element = size_of(settings_.dtype);
  const std::size_t row_bytes = element * static_cast<std::size_t>(settings_.row_size);
  const std::size_t whole = row_bytes * static_cast<std::size_t>(chunk_rows_);
  const auto* rows = reinterpret_cast<const unsigned char*>(waiting.rows.bytes.get());
  Packed packed{waiting.dataset, waiting.block, static_cast<std::int64_t>(block_checksum(rows, waiting.rows.size)), {}};
  std::vector<unsigned char> chunk(whole);
  std::vector<unsigned char> shuffled(whole);
  for (std::size_t begin = 0; begin < waiting.rows.size; begin += whole) {
    const std::size_t bytes = std::min(whole, waiting.rows.size - begin);
    std::memcpy(chunk.data(), rows + begin, bytes);
    std::fill(chunk.begin() + static_cast<std::ptrdiff_t>(bytes), chunk.end(), 0); // HDF5 keeps whole chunks alone
    shuffle(chunk.data(), whole / element, element, shuffled.data());
    std::vector<unsigned char> out(compressBound(whole));
    uLongf size = out.size();
    require(compress2(out.data(), &size, shuffled.data(), whole, settings_.level) == Z_OK, ExitCode::internal, "zlib refuses a chunk");
    out.resize(size);
    out.shrink_to_fit();
    packed.chunks.push_back(std::move(out));
  }
  return packed;
}

void SegmentWriter::put_packed() {
  while (true) {
    Packed packed;
    {
      const std::lock_guard lock(mutex_);
      if (!failure_.empty()) fail(ExitCode::io, "{}", failure_);
      if (packed_.empty()) return;
      packed = std::move(packed_.front());
      packed_.pop_front();
    }
    put(packed);
  }
}

void SegmentWriter::put(const Packed& packed) {
  if (!file_) {
    file_ = File::create(segment_path().string() + ".partial");
    opened_ = now();
  }
  Contents& contents = contents_[packed.dataset];
  if (!contents.rows)
    contents.rows = file_->create_packed_dataset(packed.dataset + "/x", settings_.row_size, chunk_rows_, settings_.dtype, settings_.level);
  contents.blocks.push_back(packed.block);
  contents.begins.push_back(contents.end);
  contents.checksums.push_back(packed.checksum);
  for (const auto& chunk : packed.chunks) {
    contents.rows->append_chunk(contents.end, chunk_rows_, chunk);
    contents.end += chunk_rows_;
  }
}

void SegmentWriter::close_segment() {
  if (!file_) return;
  for (auto& [dataset, contents] : contents_) {
    contents.rows.reset();
    file_->write(dataset + "/blocks", contents.blocks);
    file_->write(dataset + "/begins", contents.begins);
    file_->write(dataset + "/checksums", contents.checksums);
  }
  file_->write_strings("/datasets", [&] {
    std::vector<std::string> names;
    for (const auto& [dataset, contents] : contents_) names.push_back(dataset);
    return names;
  }());
  file_->close();
  file_.reset();
  contents_.clear();
  const fs::path partial = segment_path().string() + ".partial";
  sync_path(partial);
  fs::rename(partial, segment_path());
  sync_path(settings_.folder);
  ++segments_;
}

std::map<std::string, std::map<Index, SegmentPlace>> read_segments(const fs::path& folder) {
  std::map<std::string, std::map<Index, SegmentPlace>> places;
  if (!fs::exists(folder)) return places;
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    if (path.extension() == ".partial") fs::remove(path);
    if (path.extension() != ".h5") continue;
    comm::await_file_here(path);
    const auto file = File::open(path);
    for (const auto& dataset : file.read_strings("/datasets")) {
      const auto blocks = file.read<Index>(dataset + "/blocks", {-1});
      const auto count = static_cast<Index>(blocks.size());
      const auto begins = file.read<Index>(dataset + "/begins", {count});
      const auto checksums = file.read<std::int64_t>(dataset + "/checksums", {count});
      const Index rows = file.dataset(dataset + "/x", {-1, -1}).rows();
      for (std::size_t i = 0; i < blocks.size(); ++i) {
        require(begins[i] >= 0 && begins[i] <= rows, ExitCode::bad_data, "{}:{} begins a block at row {} of {}", path.string(), dataset,
                begins[i], rows);
        places[dataset].try_emplace(blocks[i], SegmentPlace{path.filename().string(), begins[i], rows, checksums[i]});
      }
    }
  }
  return places;
}

} // namespace concord::io
