#pragma once
/// Settings of stage `compare`. Local.

#include "concord/core/settings.hpp"

namespace concord::similarity {

/// To the singular vectors: from the Gram matrix (fast), by QR (accurate whatever the data), of the matrix whole on every rank, or by Gram
/// where that is accurate.
enum class Route { automatic, gram, qr, whole };
/// Dissimilarity of two rows: 1 - Pearson r, 1 - their cosine, or their Euclidean distance.
enum class RdmKind { correlation, cosine, euclidean };

/// All measures, in the order of files and reports:
///   svcca, svcca_squared, svcca_rank1, pwcca        svcca.hpp
///   rsa, rsa_pearson, rsa_rho_a, rsa_kendall        rsa.hpp; rsa is Spearman's
///   cka, cka_debiased                               cka.hpp
///   procrustes                                      procrustes.hpp
///   mutual_knn                                      mutual_knn.hpp, neighbours under the RDM's dissimilarity
///   principal_angles: mean squared cosine between the spans of the kept components in the residual stream, of spaces of one width
inline constexpr std::array<const char*, 13> all_measures{"svcca",       "svcca_squared", "svcca_rank1",     "pwcca", "rsa",
                                                          "rsa_pearson", "rsa_rho_a",     "rsa_kendall",     "cka",   "cka_debiased",
                                                          "procrustes",  "mutual_knn",    "principal_angles"};

struct SvccaOptions {
  double variance = 0.99; ///< share of the summed squared singular values to keep
  Index k = 0;            ///< keep exactly k instead (at most the numerical rank); 0: by variance
};

} // namespace concord::similarity

namespace concord::settings {
template <>
struct WordsOf<similarity::Route> {
  static constexpr std::array<const char*, 4> words{"auto", "gram", "qr", "whole"};
};
template <>
struct WordsOf<similarity::RdmKind> {
  static constexpr std::array<const char*, 3> words{"correlation", "cosine", "euclidean"};
};
} // namespace concord::settings

namespace concord::similarity {

/// Of the comparison of two spaces.
struct SpaceOptions {
  std::vector<std::string> measures{"svcca",     "svcca_squared", "svcca_rank1",  "rsa",        "rsa_pearson",
                                    "rsa_rho_a", "cka",           "cka_debiased", "procrustes", "mutual_knn"};
  SvccaOptions svcca;
  Route route = Route::automatic;
  RdmKind rdm = RdmKind::correlation;
  Index neighbours = 10;
  Index kendall_samples = 100000;
  Index permutations = 199; ///< shuffled pairings
  Index stratified = 99;    ///< pairings shuffled within strata, where strata are given
  Index subsets = 20;       ///< random subsets, where they are given
  double level = 0.05;      ///< of `calibrated`
  double memory_gib = 4;    ///< a rank, for RDM keys and tables
  std::uint64_t seed = 0;   ///< given by the study, or a flag

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("measures", s.measures, words({all_measures.begin(), all_measures.end()}),
            "which measures; docs/concepts.md says what they are");
    setting("svcca_variance", s.svcca.variance, positive(1), "share of variance that SVCCA keeps");
    setting("svcca_k", s.svcca.k, within(0, largest_int), "components that SVCCA keeps instead; 0: by variance");
    setting("route", s.route, one_of<Route>(),
            "to the singular vectors: gram is fast, qr accurate whatever the data, auto is gram where it is accurate; whole: qr with the "
            "matrix on every rank");
    setting("rdm", s.rdm, one_of<RdmKind>(), "dissimilarity of two features in RSA and mutual_knn");
    setting("neighbours", s.neighbours, within(1, largest_int), "of mutual_knn");
    setting("kendall_samples", s.kendall_samples, within(2, largest_index), "pairs of RDM entries drawn for rsa_kendall");
    setting("permutations", s.permutations, within(0, largest_int), "shuffled pairings of the null; p is at least 1 / (permutations + 1)");
    setting("stratified_permutations", s.stratified, within(0, largest_int),
            "pairings shuffled among features alike in firing rate and decoder norm");
    setting("subsets", s.subsets, within(0, largest_int),
            "random features with their best partners, as many as are matched, compared in the same way");
    setting("level", s.level, inside(0, 1), "of calibrated scores: 0 unless significant at it");
    setting("memory_gib", s.memory_gib, positive(),
            "memory of a rank for RSA; what does not fit is computed twice, and its null is the closed form");
  }
};

struct CompareSettings {
  SpaceOptions spaces;
  int groups = 0;         ///< 0: groups_for(pairs, ranks)
  Index min_matches = 10; ///< fewer matched features leave a pair undefined

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    SpaceOptions::describe(s.spaces, setting);
    setting("groups", s.groups, within(0, largest_int), "groups of ranks, each of which compares one layer pair at a time; 0: by number",
            settings::Digest::ignored);
    setting("min_matches", s.min_matches, within(4, largest_index), "fewer matched features leave a layer pair undefined");
  }
};

} // namespace concord::similarity
