#pragma once
/// The commit protocol of every HDF5 file that a stage writes.
///
/// A stage writes `NAME.partial` with all datasets allocated up front, and beside it a journal of how many units of work
/// are safely in it; finish() renames it to `NAME`. A file under its final name is therefore whole. Killed at any moment,
/// a stage continues behind the last committed unit.

#include "concord/core/run/provenance.hpp"
#include "concord/io/claim/claim.hpp"
#include "concord/io/hdf5.hpp"

#include <functional>
#include <optional>

namespace concord::io {

/// Makes sure that all ranks have the same key. Collective over `comm`. @throws Error config naming a rank and how its key differs, agreed.
void require_same_key(const comm::Communicator& comm, const StageKey& key);

/// Whether `path` is already there, made with the same key; rank 0 looks. Collective over `comm`.
/// @throws Error config when it was made with other settings or inputs, unless `force`, which removes it; or when ranks have other keys.
bool output_is_done(const comm::Communicator& comm, const std::filesystem::path& path, const StageKey& key, bool force);

/// The claim under which this run makes `path`; nothing when it is done. Collective over `comm`.
/// @throws Error as output_is_done() does, also for a partial file; or as Claim does.
std::optional<Claim> claim_unless_done(const comm::Communicator& comm, const std::filesystem::path& path, const StageKey& key, bool force);

/// The digest of a file made by a stage. Local. @throws Error input_missing, or bad_data when it is no such file.
std::string stage_digest_of(const std::filesystem::path& path);

class Output {
public:
  /// Rank 0 lays the file out and closes it. Then `all`: every rank writes rows of its datasets through MPI-IO. `root`: rank 0 alone has
  /// the file. `by_offset`: every rank puts bytes at known offsets (RowWriter), with commit marks in the file itself.
  enum class Writers { all, root, by_offset };
  /// Makes the file with `layout`, or continues the partial one of the same key. `bytes` is the expected size, checked
  /// against the free space first. Collective over `comm`; `layout` runs on rank 0.
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

/// Names and values, in turn, of the attributes that say what made a file at `path`: the current run and `key`. Local.
std::vector<std::string> provenance(const StageKey& key, const std::filesystem::path& path);

/// Refuses early when the folder of `path` has less than `bytes` free. Local. @throws Error io.
void check_free_space(const std::filesystem::path& path, double bytes);

} // namespace concord::io
