#pragma once
/// How far the claim's headline can be trusted: the level of its own test on a null made from the data, and intervals of r and of its ratio
/// to the ceiling by resampling documents. Of KL over all spans, for subspaces `sae`, `residual` and `dealt`.

#include "subspaces/claim/claim_tests.hpp"
#include "subspaces/claim/drawn_documents.hpp"

namespace concord::subspaces {

struct HeadlineInputs {
  const ClaimInputs& claim;
  std::vector<Removal> removals;
  Index level_draws; ///< each tested with 199 permutations
  Index resamples;   ///< of the documents
};

/// What the datasets are called, each [span_sets, basis_kinds, pairs] of doubles, NaN but for what this looks at:
///   self_level  share of draws of the null that the own test calls agreement at 0.05; grouped, where groups are known
///   r_low, r_high, ratio_low, ratio_high  95 % intervals
/// Local.
const std::vector<std::string>& headline_datasets();
/// Their values in that order, from the effects of every layer, which rank 0 has; draws are spread over ranks. On every rank, and the same
/// for any number of them. Collective over `comm`. @throws Error stopped, agreed.
std::vector<std::vector<double>> headline_values(const comm::Communicator& comm, std::vector<EffectMatrices> a,
                                                 std::vector<EffectMatrices> b, const HeadlineInputs& inputs);
/// Says them of the pair of layers whose robust t is largest, and warns where the level lies surely (95 %) above 0.05. Local.
/// @param robust_t, r, ratio  as in the claim's datasets; @param pairs  names of the pairs of layers
void say_headline(const std::vector<std::vector<double>>& values, const std::vector<double>& robust_t, const std::vector<double>& r,
                  const std::vector<double>& ratio, const std::vector<std::string>& pairs, Index level_draws);

} // namespace concord::subspaces
