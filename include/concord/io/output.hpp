#pragma once
/// The commit protocol of every HDF5 file that a stage writes.
///
/// A stage writes `NAME.partial` with all datasets allocated up front, and beside it a journal of how many units of work
/// are safely in it; finish() renames it to `NAME`. A file under its final name is therefore whole. Killed at any moment,
/// a stage continues behind the last committed unit.

#include "concord/core/provenance.hpp"
#include "concord/io/hdf5.hpp"

#include <functional>
#include <optional>

namespace concord::io {

/// Whether `path` is already there, made with the same key. Collective over `comm`.
/// @throws Error config when it was made with other settings or inputs, unless `force`, which removes it.
bool output_is_done(const comm::Communicator& comm, const std::filesystem::path& path, const StageKey& key, bool force);

/// The digest of a file made by a stage. Local. @throws Error input_missing, or bad_data when it is no such file.
std::string stage_digest_of(const std::filesystem::path& path);

class Output {
public:
  /// `all`: every rank writes through MPI-IO. `root`: rank 0 alone has the file. `by_offset`: rank 0 lays the file out
  /// and closes it, then every rank puts bytes at known offsets (RowWriter), with commit marks in the file itself.
  enum class Writers { all, root, by_offset };
  /// Makes the file with `layout`, or continues the partial one of the same key. `bytes` is the expected size, checked
  /// against the free space first. Collective over `comm`; `layout` runs on every rank that writes.
  /// @throws Error io (no space, no permission) or config (a partial file of other settings, unless `force`).
  Output(const comm::Communicator& comm, std::filesystem::path path, const StageKey& key, Writers writers, bool force, double bytes,
         const std::function<void(File&)>& layout);
  /// Units committed by earlier runs.
  Index units_done() const { return units_done_; }
  /// Only on ranks that write through it.
  File& file() { return *file_; }
  bool writes() const { return file_.has_value(); }
  /// The unfinished file.
  const std::filesystem::path& partial() const { return partial_; }
  /// Makes the first `units` units durable. Collective over the communicator.
  void commit(Index units);
  /// Flushes, syncs and gives the file its final name. Collective.
  void finish();

private:
  void make(const StageKey& key, double bytes, const std::function<void(File&)>& layout);
  bool resume(const StageKey& key, bool force);
  void open();
  comm::Communicator comm_;
  std::filesystem::path path_;
  std::filesystem::path partial_;
  std::filesystem::path journal_;
  Writers writers_;
  std::string digest_;
  Index units_done_ = 0;
  std::optional<File> file_;
};

/// Writes the provenance attributes of the current run and of `key` to the root group.
void write_provenance(File& file, const StageKey& key);

/// Refuses early when the folder of `path` has less than `bytes` free. Local. @throws Error io.
void check_free_space(const std::filesystem::path& path, double bytes);

} // namespace concord::io
