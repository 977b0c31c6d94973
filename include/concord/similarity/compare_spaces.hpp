#pragma once
/// All measures of two spaces with matched rows, each beside chance. Collective over `comm`.

#include "concord/similarity/factor/factor.hpp"
#include "concord/similarity/measures/measure.hpp"
#include "concord/similarity/rsa/rsa.hpp"
#include "concord/similarity/settings.hpp"

#include <functional>
#include <map>

namespace concord::similarity {

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
