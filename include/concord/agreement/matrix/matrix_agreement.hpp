#pragma once
/// Tests whether two models' matrices of concepts by concepts agree. Local, except where permutations are shared (`Sharing`).
///
/// The statistic: off-diagonal entries become normal scores; row effects, column effects and dyadic covariates (each in normal scores)
/// are taken out of both matrices by least squares; r is the correlation of what is left, t = r sqrt(df / (1 - r^2)) is pivotal. The test
/// is double semi-partialling (Dekker, Krackhardt and Snijders 2007), one-sided: the residuals of B are permuted, rows and columns
/// together, and A is regressed on them, rows, columns and covariates. Beside t stands a robust t, whose error allows for variances that
/// differ between entries (DiCiccio and Romano 2017): where strengths multiply noise, t finds likeness where there is none. The two
/// matrices come from different halves of the documents, both ways round, under the same permutation; the statistic is the mean of the two
/// t.
///
/// All matrices are [C, C], row-major; diagonals are never looked at. NaN is undefined: a concept whose row or column is undefined in one
/// of the matrices is left out of all; a single undefined entry is left out of both sides of its crossing, and rows and columns are then
/// those of the unbalanced two-way model, solved anew for every permutation.

#include "concord/agreement/bootstrap.hpp"
#include "concord/agreement/permutations.hpp"

#include <string>

namespace concord::agreement {

inline constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

struct MatrixPair {
  Index concepts = 0;
  /// Matrices of A and of B on each half of the documents: two and two, compared as (A on half 1, B on half 2) and (A on half 2, B on
  /// half 1); or one and one, compared as they are.
  std::vector<std::vector<double>> a;
  std::vector<std::vector<double>> b;
  std::vector<std::vector<double>> covariates; ///< dyadic: co-occurrence of words, differences of length
  std::vector<Index> groups;                   ///< of each concept; empty: all permutations, and no grouped p
};

struct AgreementOptions {
  Index permutations = 9999; ///< K; all where there are no more than max(K, 8!)
  std::uint64_t seed = 0;
  Sharing sharing = {};
};

/// One-sided p of several statistics by the same permutations; values within 1e-9 (relative) of the observed one reach it.
struct PermutationTest {
  PermutationCount count;
  double p = not_known;            ///< of the mean t
  double p_robust = not_known;     ///< of the mean robust t
  double p_spearman = not_known;   ///< of plain Spearman: Mantel's test on ranks
  double p_max = not_known;        ///< share of permutations whose largest t of the family reaches this t
  double p_max_robust = not_known; ///< the same of robust t
};

struct Agreement {
  double r = not_known;        ///< mean over crossings
  double t = not_known;        ///< mean over crossings
  double robust_t = not_known; ///< sum xy / sqrt(sum x^2 y^2) of the same residuals, mean over crossings
  double spearman = not_known; ///< plain, of off-diagonal entries, mean over crossings
  std::vector<double> r_each;
  std::vector<double> t_each;
  std::vector<Index> df_each; ///< of t
  PermutationTest free;
  PermutationTest grouped;     ///< NaN without groups
  std::vector<Index> kept;     ///< concepts
  Index undefined_entries = 0; ///< off-diagonal entries of kept concepts that were left out, summed over crossings
  Index covariates = 0;        ///< that say more than rows and columns, the least of the crossings
  std::string reason;          ///< why r is not defined, else empty
};

/// @throws Error internal: sizes do not fit.
Agreement matrix_agreement(const MatrixPair& pair, const AgreementOptions& options);

/// The concepts that the statistics of a pair are of: those whose row and column are defined somewhere in every matrix.
std::vector<Index> defined_in(const MatrixPair& pair);
/// r alone, without a test: nothing is permuted.
double agreement_r(const MatrixPair& pair);

/// Several pairs of matrices (layer pairs, measures) of the same concepts under the same permutations, so that the maximum over pairs is
/// a valid test (Westfall and Young 1993, single step). A concept that is undefined in one pair is left out of all.
/// @throws Error internal: concepts or groups differ between pairs.
std::vector<Agreement> agreement_family(const std::vector<MatrixPair>& pairs, const AgreementOptions& options);

/// How large agreement can be, given the noise of each matrix: r of the two halves of the same model, same statistic.
struct Reliability {
  double half_a = not_known; ///< r of A's halves
  double half_b = not_known;
  double a = not_known; ///< Spearman-Brown: of all documents
  double b = not_known;
  double ceiling = not_known;      ///< sqrt(a b): what r of two matrices of all documents can reach; NaN unless both are positive
  double ratio = not_known;        ///< r / ceiling. A lower bound: r crosses halves, and halves have the lower ceiling
  double half_ceiling = not_known; ///< sqrt(half_a half_b): what r of crossed halves can reach
  double half_ratio = not_known;   ///< r / half_ceiling: near 1 where the two models have the same matrix
  bool measurable = false;         ///< a and b are at least least_reliability
};
inline constexpr double least_reliability = 0.3;
/// sqrt(a b), NaN unless both are positive.
double reliability_ceiling(double a, double b);
/// NaN, not measurable, without two halves a side.
Reliability reliability(const MatrixPair& pair);

/// Intervals by replicates that the caller makes from documents drawn anew within each half. A matrix of documents drawn with replacement
/// has twice the noise, so r of the replicates is too low as a whole, and their percentiles with it (they held the truth in 1 to 16 % of
/// planted worlds where 95 % were meant); `interval` is moved by observed - mean and held it in 91 to 96 %. The half ratio has no such
/// bias.
struct EffectInterval {
  double observed = not_known;
  Interval interval;        ///< percentiles of the replicates + observed - mean
  Interval percentile;      ///< as they are
  double error = not_known; ///< standard deviation of the replicates
  double mean = not_known;  ///< of the replicates
};
struct AgreementIntervals {
  EffectInterval r, spearman, ratio, half_ratio;
  Index replicates = 0; ///< whose r is defined
};
/// What intervals are given of.
struct AgreementNumbers {
  double r = not_known;
  double spearman = not_known;
  double ratio = not_known; ///< as in Reliability
  double half_ratio = not_known;
};
/// Nothing is permuted.
AgreementNumbers agreement_numbers(const MatrixPair& pair);
AgreementIntervals agreement_intervals(const AgreementNumbers& observed, const std::vector<AgreementNumbers>& replicates,
                                       double level = 0.95);
/// `replicate(b)`: the same pair from resampled documents; concepts, covariates and groups as in `pair`.
AgreementIntervals agreement_intervals(const MatrixPair& pair, Index replicates, const std::function<MatrixPair(Index b)>& replicate,
                                       double level = 0.95);

struct SelfLevelOptions {
  Index draws = 200;
  Index first = 0; ///< number of the first draw: ranks take draws of their own
  Index permutations = 199;
  double alpha = 0.05;
  std::uint64_t seed = 0;
};
/// Level of the test itself on a null made from the data: to the fit of rows, columns and covariates of either side its residuals are added
/// after permutations of concepts that are independent in A and B and keep groups where there are any, so that either side keeps means of
/// groups by groups of its own.
struct SelfLevel {
  Index draws = 0;
  double alpha = not_known;
  double grouped = not_known; ///< share of draws with p <= alpha; NaN without groups
  double free = not_known;
  double grouped_robust = not_known; ///< the same of the robust t
  double free_robust = not_known;
  double mantel = not_known; ///< of plain Spearman, free permutations
  Interval grouped_interval; ///< Wilson, 95 %
  Interval free_interval;
};
SelfLevel self_level(const MatrixPair& pair, const SelfLevelOptions& options);

/// Is concept c of A more like c of B than like other concepts of B? Permutes the labels of one side: all of them, or members inside their
/// groups. Groups do not change places here: against the groups of the other side, which stay, this would test whether groups match.
struct Contrast {
  double contrast = not_known; ///< mean of the diagonal - mean of the rest
  double diagonal = not_known;
  double rest = not_known;
  PermutationCount free_count, grouped_count;
  double p_free = not_known;
  double p_grouped = not_known; ///< more alike than kin of the concept are; NaN without groups
  std::vector<Index> kept;      ///< concepts whose row and column are not wholly undefined
};
Contrast same_concept_contrast(const std::vector<double>& matrix, Index concepts, const std::vector<Index>& groups,
                               const AgreementOptions& options);

/// E of both models against a semantic similarity T [C, C] (larger: nearer), rows, columns and the pair's covariates held fixed. Where
/// groups follow T, grouped permutations leave T's blocks in their place, so the grouped p asks what T says beyond kinship alone.
struct SemanticAnswers {
  Agreement effect_a; ///< 1: E of A is larger for pairs near in T
  Agreement effect_b;
  Agreement nearer; ///< 2: |z_A - z_B| is smaller for pairs near in T; z: normal scores. Positive r: it is
  Agreement beside; ///< 3: agreement of A and B with T as one more covariate
};
SemanticAnswers semantic_answers(const MatrixPair& pair, const std::vector<double>& similarity, const AgreementOptions& options);

} // namespace concord::agreement
