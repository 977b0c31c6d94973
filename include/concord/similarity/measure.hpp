#pragma once
/// A similarity score beside its chance level. Collective parts say so.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <functional>
#include <string>
#include <vector>

namespace concord::similarity {

/// Score of the matched order, and of `null.size()` shuffled pairings of the same features.
struct Measure {
  double score = 0; ///< NaN when it is not defined; `reason` says why
  std::string reason;
  std::vector<double> null;
  double null_mean = 0;
  double null_sd = 0;
  double z = 0;          ///< (score - null_mean) / null_sd
  double p = 1;          ///< (1 + number of null >= score) / (1 + permutations): never 0
  double calibrated = 0; ///< (score - null_mean) / (1 - null_mean): 0 at chance, 1 at identity
};

/// Fills `null` by calling score_of for permutations 0 .. count - 1 of [0, m), spread over the ranks, and derives the rest.
/// Permutation b is the same at any number of ranks. Collective over `comm`; score_of is local.
void add_permutation_null(const comm::Communicator& comm, Measure& measure, Index m, Index count, std::uint64_t seed,
                          const std::function<double(const std::vector<Index>&)>& score_of);

/// A measure that is not defined, with the reason.
Measure undefined(std::string reason);

/// A row-major float64 matrix.
struct Matrix {
  Index rows = 0;
  Index cols = 0;
  std::vector<double> values;
  double at(Index i, Index j) const { return values[static_cast<std::size_t>(i * cols + j)]; }
};

} // namespace concord::similarity
