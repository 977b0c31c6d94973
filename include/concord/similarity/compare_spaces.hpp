#pragma once
/// All measures of two spaces with matched rows, each beside chance. Collective over `comm`.

#include "concord/similarity/factor.hpp"
#include "concord/similarity/measure.hpp"
#include "concord/similarity/rsa.hpp"

#include <functional>
#include <map>

namespace concord::similarity {

/// Names of all measures, in the order of files and reports:
///   svcca, svcca_squared, svcca_rank1, pwcca        svcca.hpp
///   rsa, rsa_pearson, rsa_rho_a, rsa_kendall        rsa.hpp; rsa is Spearman's
///   cka, cka_debiased                               cka.hpp
///   procrustes                                      procrustes.hpp
///   mutual_knn                                      mutual_knn.hpp, neighbours under the RDM's dissimilarity
///   principal_angles: mean squared cosine between the spans of the kept components in the residual stream, of spaces of one width
const std::vector<std::string>& measure_names();

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
  std::uint64_t seed = 0;
};

/// @throws Error config: a setting out of range, or an unknown measure.
void check(const SpaceOptions& options);

/// What else is known of the items.
struct SpaceFacts {
  std::vector<Index> strata; ///< of each row (permutation.hpp); empty: none
  /// The two matrices of random subset number `s`; empty: none. Local.
  std::function<std::pair<Matrix, Matrix>(Index s)> subset;
  FactorCache* factors = nullptr; ///< of matrices that come in several pairs
  bool scores_only = false;       ///< nothing is compared with chance
};

struct SpaceComparison {
  std::map<std::string, Measure> measures;
  SvccaSide x, y;
  std::string route_x, route_y; ///< taken
  Index forced_ones = 0;
  double ties_x = 0, ties_y = 0; ///< of the RDMs
  double kendall_error = not_known;
  std::map<std::string, double> seconds; ///< of this rank: "factors", "rdm", "ranks", "nulls"
};

/// @throws Error bad_data when the rows differ in number or a value is not finite; config; stopped, within seconds of a request. Agreed.
SpaceComparison compare_spaces(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const SpaceFacts& facts,
                               const SpaceOptions& options);

} // namespace concord::similarity
