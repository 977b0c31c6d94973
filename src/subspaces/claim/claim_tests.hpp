#pragma once
/// Do alike concepts act alike? The matrices of effects of two models against each other and against meaning (agreement/).

#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/dist/partition.hpp"

#include "subspaces/effects/effect_means.hpp"
#include <map>
#include <string>

namespace concord::subspaces {

/// Reads [C, C] matrices of how alike concepts are in meaning: a table with the columns concept, other and one a measure, a line for each
/// pair (either order; concepts that are not in the lists are not looked at). Those of the measures named are read. A pair without a line
/// is NaN. Local. @throws Error input_missing, or bad_data naming file and line.
std::map<std::string, std::vector<double>> read_similarity(const std::filesystem::path& path, const std::vector<std::string>& measures,
                                                           const concepts::ConceptLists& lists);

/// The number of each concept's group; empty where no groups are known. Local.
std::vector<Index> groups_of(const concepts::ConceptLists& lists);

/// Each measure's same-concept contrast. Local.
std::vector<agreement::Contrast> contrasts_of(const Alike& alike, const std::vector<Index>& groups, Index permutations, std::uint64_t seed);

/// Every rank has rows [begin, end) of the concepts; the whole on every rank. Collective over `comm`.
Alike gathered(const comm::Communicator& comm, const Alike& mine, const dist::Partition& shares);

/// What is said of a pair of matrices that have no halves, so that nothing is known of their reliability. Local.
const std::vector<std::string>& single_names();
/// Numbers of that name for each pair, which every rank has; p_max over all of them. Permutations are spread over ranks; the same on all
/// ranks, whatever their number. Collective over `comm`. @throws Error stopped, agreed.
std::vector<std::vector<double>> family_numbers(const comm::Communicator& comm, const std::vector<agreement::MatrixPair>& pairs,
                                                Index permutations, std::uint64_t seed);

struct ClaimInputs {
  const RemovedBases& removed;
  std::vector<Index> groups;
  const std::vector<double>& together;
  const std::map<std::string, std::vector<double>>& similarity;
  Index permutations;
  std::uint64_t seed;
  std::vector<double> dealt{}; ///< dealt_counts(), covariates of kind `dealt`; empty: without
};
/// A's and B's matrices on both halves of the documents, for one span set and kind of subspace. @param measure 0: KL, 1: loss. Local.
agreement::MatrixPair matrices_of(const EffectMatrices& a, const EffectMatrices& b, std::size_t measure, int set, int kind,
                                  const ClaimInputs& inputs);
/// Whether anything of both sides was measured. Local.
bool is_measured(const agreement::MatrixPair& pair);
/// The same matrices with other concepts undefined, so that r and its ceiling are of the same ones. Local.
agreement::MatrixPair of_concepts(agreement::MatrixPair matrices, const std::vector<Index>& kept);
/// What the claim's datasets are called, measure after measure, each [span_sets, basis_kinds, pairs] of doubles; `similarity`: only [0] of
/// span sets is tested. Local.
std::vector<std::string> claim_datasets(const std::map<std::string, std::vector<double>>& similarity);

/// Tests of all pairs of layers that share permutations, so that their largest t is a test, too.
struct ClaimFamily {
  std::size_t measure; ///< 0: KL, 1: loss
  int set;
  int kind;
};
std::vector<ClaimFamily> claim_families(const RemovedBases& removed);
/// Rank 0's effects on every rank. Collective over `comm`.
void share_effects(const comm::Communicator& comm, std::vector<EffectMatrices>& layers);
/// The numbers of a family, [datasets of the measure][pairs], from effects that every rank has. Permutations are spread over ranks; the
/// same on all ranks, whatever their number. Collective over `comm`. @throws Error stopped, agreed, within seconds of a request.
std::vector<std::vector<double>> family_values(const comm::Communicator& comm, const std::vector<EffectMatrices>& a,
                                               const std::vector<EffectMatrices>& b, const ClaimFamily& of, const ClaimInputs& inputs);
/// Those of all families, [datasets][span_sets, basis_kinds, pairs]; NaN where a kind is not removed. The effects are on rank 0.
/// Collective.
std::vector<std::vector<double>> claim_values(const comm::Communicator& comm, std::vector<EffectMatrices> a, std::vector<EffectMatrices> b,
                                              const ClaimInputs& inputs);

} // namespace concord::subspaces
