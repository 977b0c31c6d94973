#pragma once
/// Compressed rows: segment files that one rank each writes beside the computation, and what is in them. Local.
///
/// A segment is an HDF5 file with the packed blocks of some datasets, one behind the other: `NAME/x` [rows, d] in chunks
/// under shuffle and deflate, every block beginning with a chunk of its own; `NAME/blocks`, `/begins`, `/checksums` [n] say
/// which blocks these are, at which row they begin and what their bytes add up to. It gets its name when it is whole and on
/// the disk, which commits its blocks. A virtual dataset in the main file then shows the rows in their order.

#include "concord/io/hdf5.hpp"
#include "concord/io/rows/row_writer.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

namespace concord::io {

struct SegmentSettings {
  std::filesystem::path folder; ///< of the segments; made when it is not there
  std::string name;             ///< segments are called NAME-000000.h5 and so on; no two writers may share it
  Dtype dtype = Dtype::bf16;
  Index row_size = 0;
  int level = 1;             ///< of deflate, 1 to 9
  double commit_seconds = 0; ///< a segment is closed when it is that old
  std::size_t queue_bytes = 0;
  int threads = 1; ///< that pack
};

class SegmentWriter {
public:
  /// Blocks are packed by threads of its own; HDF5 is called by write() and commit() alone. At most queue_bytes wait.
  SegmentWriter(SegmentSettings settings, BufferPool& pool);
  /// Drops what was not committed.
  ~SegmentWriter();
  SegmentWriter(const SegmentWriter&) = delete;
  SegmentWriter& operator=(const SegmentWriter&) = delete;
  /// Queues a block of whole rows of `dataset`. @throws Error io of this or an earlier block.
  void write(const std::string& dataset, Index block, RowBuffer rows);
  /// Packs what waits, closes the segment and names it. @throws Error io.
  void commit();

private:
  struct Waiting {
    std::string dataset;
    Index block = 0;
    RowBuffer rows;
  };
  struct Packed {
    std::string dataset;
    Index block = 0;
    std::int64_t checksum = 0;
    std::vector<std::vector<unsigned char>> chunks;
  };
  struct Contents {
    std::optional<Dataset> rows;
    std::vector<Index> blocks, begins;
    std::vector<std::int64_t> checksums;
    Index end = 0; ///< row behind the last chunk
  };
  void pack_blocks();
  Packed pack(const Waiting& waiting) const;
  void put_packed();
  void put(const Packed& packed);
  void close_segment();
  std::filesystem::path segment_path() const;

  SegmentSettings settings_;
  BufferPool& pool_;
  Index chunk_rows_;
  int segments_ = 0;
  std::optional<File> file_;
  std::map<std::string, Contents> contents_;
  double opened_ = 0; ///< when the first block came into the open segment
  std::mutex mutex_;  ///< guards what follows
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;
  std::deque<Packed> packed_;
  std::size_t queued_bytes_ = 0;
  int packing_ = 0;
  bool ending_ = false;
  std::string failure_;
  std::vector<std::thread> threads_;
};

/// Where a committed block lies.
struct SegmentPlace {
  std::string file; ///< name in the folder
  Index begin = 0;  ///< row of its dataset there
  Index rows = 0;   ///< of that dataset
  std::int64_t checksum = 0;
};

/// dataset -> block -> its place, from all whole segments of a folder; removes unfinished ones.
/// @throws Error io or bad_data.
std::map<std::string, std::map<Index, SegmentPlace>> read_segments(const std::filesystem::path& folder);

} // namespace concord::io
