#pragma once
/// Stage `compare`: matches + decoders -> similarity.h5, all measures with their chance for every layer pair. Collective over `comm`.

#include "concord/similarity/compare_spaces.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace concord::similarity {

struct CompareOptions {
  std::filesystem::path matches; ///< matches.h5
  std::string saes_a;            ///< as EncodeOptions::saes
  std::string saes_b;
  CompareSettings settings;
  std::filesystem::path out;
  bool force = false;
  std::string stage_word = "compare";
};

/// Compares decoder rows of the matched features pair by pair, the largest first; committed after each round of pairs.
/// @throws Error input_missing, bad_data, config, io, stopped; agreed.
void compare(const comm::Communicator& comm, const CompareOptions& options);

/// Compares every matrix of `x` with every one of `y` (.npy, FILE.h5:/dataset or FILE.safetensors:tensor), all of as many rows, and writes
/// the records as JSON (docs/formats.md). Collective. @throws Error input_missing, bad_data, config, io; agreed.
void compare_matrices(const comm::Communicator& comm, const std::vector<std::string>& x, const std::vector<std::string>& y,
                      const SpaceOptions& options, const std::filesystem::path& json);

/// Into how many groups ranks are best split for so many equal pairs: one rank a pair wastes nothing, but leaves ranks idle in the last
/// round. Local.
int groups_for(Index pairs, int ranks);

} // namespace concord::similarity
