#pragma once
/// Stage `correlate`: features of A x features of B -> matches.h5, for every layer pair. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/correlate/settings.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::correlate {

struct CorrelateOptions : CorrelateSettings {
  std::filesystem::path a; ///< features.h5, a scipy CSR matrix (.npz), or a dense array (.npy)
  std::filesystem::path b;
  std::filesystem::path tokens;   ///< tokens.h5: documents for the null's shifts, texts for the token filters; may be left out
  std::filesystem::path tokens_b; ///< of B, where it has a tokenizer of its own; empty: those of A
  std::vector<int> layers_a;      ///< empty: all
  std::vector<int> layers_b;
  std::uint64_t seed = 1;    ///< of the features whose null is taken, where that is a sample
  int grid_columns = 0;      ///< of a group's grid of ranks; 0: by size
  std::filesystem::path csv; ///< matches as text, may be left out
  std::filesystem::path out;
  double shift_a = 0; ///< share of the rows, in [0, 1), by which a model's documents are moved: what chance gives, where the two differ
  double shift_b = 0;
  bool force = false;
  std::string stage_word = "correlate";
};

/// The options under which the rows of two models are moved by shares of their own: best partners alone, two a feature, without a null.
/// With one share a model, links that lead around three models compare rows with themselves again, as those of rows that are not moved do.
/// Local.
CorrelateOptions shifted(CorrelateOptions options, double shift_a, double shift_b);

/// Writes the best partners both ways with their null, and the matches, of every pair; committed as pairs are done.
/// @throws Error input_missing, bad_data (different tokens), config, io, stopped; agreed.
void correlate(const comm::Communicator& comm, const CorrelateOptions& options);

/// Groups of ranks with a pair each: options.groups, or one for 64 ranks. Local.
int groups_for(const CorrelateOptions& options, Index pairs, int ranks);

/// One matched pair of features.
struct Match {
  std::int32_t a = 0;
  std::int32_t b = 0;
  double r = 0;
};

/// "/layer_003_layer_007": the group of a layer pair in matches.h5.
std::string pair_group(int layer_a, int layer_b);

/// The layers that matches.h5 pairs, and the matches of one pair in ascending b. Local.
struct MatchesIndex {
  std::vector<int> layers_a;
  std::vector<int> layers_b;
  std::string digest;
};
/// Both: @throws Error input_missing, or bad_data where it is no matches file.
MatchesIndex read_matches_index(const std::filesystem::path& path);
std::vector<Match> read_matches(const std::filesystem::path& path, int layer_a, int layer_b);
/// Every feature of B that has a partner, with its best one, matched or not. Local. @throws as above.
std::vector<Match> read_best_partners(const std::filesystem::path& path, int layer_a, int layer_b);
/// Rows on which each feature of B is active. Local. @throws as above.
std::vector<Index> read_counts_b(const std::filesystem::path& path, int layer_a, int layer_b);
/// How many features of each pair are matched, pairs in the order of layers of A, then of B. Local. @throws as above.
std::vector<Index> read_matched_counts(const std::filesystem::path& path);

/// Columns of `summary` (docs/formats.md).
const std::vector<std::string>& summary_columns();

} // namespace concord::correlate
