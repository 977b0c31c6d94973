#pragma once
/// Stage `correlate`: features of A x features of B -> matches.h5, for every layer pair. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/correlate/matching.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::correlate {

struct CorrelateOptions {
  std::filesystem::path a; ///< features.h5, or a scipy CSR matrix (.npz)
  std::filesystem::path b;
  std::filesystem::path tokens; ///< tokens.h5; needed by the token filters alone
  Index best = 16;              ///< partners kept a feature, both ways
  Index null_shifts = 1;        ///< shifted passes for the null of the best r; 0: none
  MatchRules rules;
  double memory_gib = 4; ///< layers of B kept in memory for the next layer of A
  std::filesystem::path out;
  bool force = false;
};

/// Writes the best partners both ways, the matches and the shifted null of every pair; committed pair by pair.
/// @throws Error input_missing, bad_data (different tokens), config, io, stopped; agreed.
void correlate(const comm::Communicator& comm, const CorrelateOptions& options);

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
MatchesIndex read_matches_index(const std::filesystem::path& path);
std::vector<Match> read_matches(const std::filesystem::path& path, int layer_a, int layer_b);

} // namespace concord::correlate
