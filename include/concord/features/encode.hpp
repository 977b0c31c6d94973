#pragma once
/// Stage `encode`: activations + SAEs -> features.h5 (sparse rows and statistics of every layer). Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"
#include "concord/features/piece_windows.hpp"
#include "concord/features/settings.hpp"
#include "concord/io/claim/claim.hpp"
#include "concord/io/rows/row_kinds.hpp"
#include "concord/sae/rows/norm_limit.hpp"
#include "concord/sae/search/encoder.hpp"
#include "concord/sae/training/metrics.hpp"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace concord::features {

struct EncodeOptions : EncodeSettings {
  std::filesystem::path activations; ///< activations.h5
  std::string saes;                  ///< folder of layer_LLL folders, or a path with {layer}
  std::vector<int> layers;           ///< empty: all layers of the activations
  std::string stage_word = "encode";
  std::filesystem::path out; ///< features.h5; each layer goes to a file of its own beside it
  bool force = false;
};

/// Rows are encoded in pieces of fixed composition that are spread over ranks, so any number of ranks computes the same
/// features. Each layer becomes `OUT.layers/layer_LLL.h5`, committed when whole; `OUT` links them. Until then its codes lie in
/// `OUT.layers/layer_LLL.codes`. A rerun continues with the first window of rows that is not there. A rank holds the codes of a window,
/// of at most 64 pieces, and of 2^22 entries on their way to the file.
/// @throws Error input_missing, bad_data (an SAE of another width, activations that are not finite), config, io, stopped; agreed.
void encode(const comm::Communicator& comm, const EncodeOptions& options);

/// Rows that `encode` takes between two looks for the stop signal. Local.
Index encode_rows_at_once(Index latents, Index d, int threads);

/// What `encode` needs to know of activations, in a file or straight from the model.
struct ActivationsFacts {
  std::vector<int> layers;
  std::string token_hash;
  std::string row_hash; ///< as io::row_hash_of()
  std::string digest;   ///< identity of the activations
  Index rows = 0;
  io::RowKinds row_kinds;
  std::vector<Index> block_offsets; ///< block b was extracted as the rows [block_offsets[b], block_offsets[b + 1])
};

/// Where the codes of rows come from, a piece at a time. Each rank asks for pieces of its own. Local.
class CodeSource {
public:
  CodeSource() = default;
  CodeSource(const CodeSource&) = delete;
  CodeSource& operator=(const CodeSource&) = delete;
  virtual ~CodeSource() = default;
  /// Computes the missing codes of a layer into `folder`, under the identity `digest`, before any rank opens it. Collective.
  /// @throws Error stopped; agreed.
  virtual void make_ready(int /*layer*/, const std::filesystem::path& /*folder*/, const std::string& /*digest*/,
                          const PieceWindows& /*windows*/) {}
  /// Called when the file of the opened layer is whole. Collective.
  virtual void layer_done() {}
  /// Opens a layer; returns its number of latents.
  virtual Index open(int layer) = 0;
  /// FVU and L0 of the layer's SAE on some of its rows, where rows are at hand. They reveal an SAE of another layer or convention.
  virtual std::optional<sae::Fit> fit() { return std::nullopt; }
  /// Appends the codes of the rows of a piece: a run of rows within one block.
  virtual void codes(Index begin, Index end, sae::SparseRows& out) = 0;
  /// Rows of the layer that have no codes since they are too long; those of all ranks add up.
  virtual Index left_out() const = 0;
};

/// Which rows of a layer get no codes: those longer than max_norm times the median norm that the SAE's training.json tells. Of an SAE from
/// elsewhere it is the median of `rows`, those at hand; without any there is no limit, which is said. Rank 0 alone looks for the record and
/// asks for rows. Collective over `comm`.
sae::NormLimit norm_limit(const comm::Communicator& comm, const EncodeOptions& options, int layer, Index d,
                          const std::function<std::vector<float>()>& rows);

/// encode() for codes of any source, under the caller's claim. Collective over `comm`. @throws as encode(); agreed.
void encode_codes(const comm::Communicator& comm, const EncodeOptions& options, const ActivationsFacts& facts, CodeSource& source);

/// The claim under which encode_codes() makes features.h5; nothing when it is there already, made with these settings. A stage takes it
/// before it computes codes. Collective over `comm`. @throws Error as io::claim_unless_done() does.
std::optional<io::Claim> claim_unless_encoded(const comm::Communicator& comm, const EncodeOptions& options, const ActivationsFacts& facts);

} // namespace concord::features
