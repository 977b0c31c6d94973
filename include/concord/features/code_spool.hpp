#pragma once
/// Codes on their way into features.h5: append-only files, one a rank and run, in a folder beside the output. A record is a run of rows
/// of one layer with its checksum (a window of an activations file; a block where activations are never stored), so that a run that was
/// killed loses what was not yet synced and nothing else, and any number of ranks reads on.

#include "concord/comm/session.hpp"
#include "concord/features/encode.hpp"

#include <filesystem>
#include <map>
#include <string>

namespace concord::features {

class CodeSpool final : public CodeSource {
public:
  /// Opens the folder, or makes it for codes of identity `digest`; another digest is an error unless `force`, which
  /// empties it. Whole records of earlier runs are found. Collective over `comm`.
  CodeSpool(const comm::Communicator& comm, std::filesystem::path folder, const std::string& digest, bool force);
  ~CodeSpool() override;
  bool has(int layer, Index first_row) const { return records_.contains({layer, first_row}); }
  /// Appends the codes of the run of rows that begins at `first_row`, of which `left_out` rows have none for their length. Local. @throws
  /// Error io.
  void append(int layer, Index first_row, Index latents, Index left_out, const sae::SparseRows& codes);
  /// Makes everything appended durable. Local. @throws Error io.
  void sync();
  /// Ends appending: every rank then knows all records. Collective over comm.
  void share();

  /// Of a layer whose records are there. @throws Error bad_data.
  Index open(int layer) override;
  /// [begin, end) must lie within one record. @throws Error io, or bad_data when a checksum differs.
  void codes(Index begin, Index end, sae::SparseRows& out) override;
  Index left_out() const override;
  /// Removes the folder. Collective over comm.
  void remove();

private:
  struct Place {
    int layer;
    int file; ///< number in files_
    Index first_row;
    Index latents;
    Index left_out;
    Index offset;
  };
  void scan();
  const comm::Communicator& comm_;
  std::filesystem::path folder_;
  std::vector<std::string> files_;
  std::map<std::pair<int, Index>, Place> records_;
  std::filesystem::path mine_;
  int out_ = -1;
  int layer_ = 0;
  Index read_first_ = -1; ///< first row of the block in block_
  sae::SparseRows block_;
};

} // namespace concord::features
