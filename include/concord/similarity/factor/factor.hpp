#pragma once
/// Orthonormal bases of two spaces with matched rows and what they have in common, whatever the pairing. Collective over the communicator
/// where it says so.
///
/// X = U S V^T, columns centred. A pairing P of rows gives T = U_x^T P U_y: SVCCA is its leading block, ||S_x T S_y|| is CKA's and
/// Procrustes' X^T P Y. Permutations cost a product each and no factorisation of the data.
///
/// Routes to U: `gram` takes eigenvectors of X^T X, 2 to 4 times faster, accurate where the kept singular values are not much smaller than
/// the largest; `qr` takes Householder QR and the SVD of R (ScaLAPACK), backward stable; `automatic` takes gram where its error is
/// estimated below 1e-11 of a canonical correlation, else qr; `whole` is pdgesvd of the whole matrix, to measure against.

#include "concord/comm/node/node_array.hpp"
#include "concord/comm/session.hpp"
#include "concord/similarity/chance/chance.hpp"
#include "concord/similarity/measures/cka.hpp"
#include "concord/similarity/measures/matrix.hpp"
#include "concord/similarity/measures/svcca.hpp"

#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>

namespace concord::similarity {

struct FactorOptions {
  SvccaOptions svcca;
  Route route = Route::automatic;
  bool all_components = true; ///< also those that SVCCA drops: for cka and procrustes
  bool loadings = false;      ///< U^T X of the kept ones: for pwcca and principal angles
  Index permutations = 0;     ///< that will be asked for: U is formed when they pay for it
  bool law = false;           ///< the skewness of chance is wanted, since nothing will be permuted: U is formed for it
};

/// One side, the same on every rank but for the rows of its carrier.
struct Factor {
  Index m = 0;
  Index d = 0;
  SvccaSide side;
  std::string route;
  std::vector<double> singular_values;
  CkaSide cka;
  double squares = 0;           ///< ||X||_F^2
  std::vector<double> loadings; ///< [k, d]
  double leverage_squares =
      std::numeric_limits<double>::quiet_NaN(); ///< sum over rows of (squared norm of the row of U_k)^2, where U was formed
  GramMoments whole, kept, first;               ///< of X X^T, of U_k U_k^T and of the first component alone, for `law`

  Index begin = 0; ///< rows of the carrier that this rank has
  Index end = 0;
  Index carried = 0;            ///< columns of the carrier
  Index components = 0;         ///< columns of U that are used
  std::vector<double> carrier;  ///< [end - begin, carried]
  std::vector<double> to_basis; ///< U = carrier to_basis, [carried, components]; empty: the carrier is U
};

/// Factors of matrices that are compared more than once, under one set of options. The matrices must outlive it.
using FactorCache = std::map<const Matrix*, std::shared_ptr<const Factor>>;

/// A matrix [rows, width] of which each rank has a share of the rows, whole, once a node.
class NodeRows {
public:
  /// `mine`: this rank's rows by dist::Partition, row-major. Collective over `comm`, which must outlive it. @throws Error unavailable where
  /// a node has no room; agreed.
  NodeRows(const comm::Communicator& comm, const std::vector<double>& mine, Index rows, Index width);
  /// Row-major. Local.
  std::span<const double> values() const { return values_; }

private:
  comm::NodeArray array_;
  std::span<double> values_;
};

class FactorPair {
public:
  /// Factors both, but for those in `cache`, which learns the others. Collective; every rank sees both matrices whole.
  /// @throws Error bad_data when values are not finite (agreed).
  FactorPair(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const FactorOptions& options, FactorCache* cache = nullptr);
  const Factor& x() const { return *x_; }
  const Factor& y() const { return *y_; }
  /// T [x.components, y.components] of the pairing as given. Collective.
  std::vector<double> matched() const;
  /// Makes all rows known to every rank, once a node, so that permuted() can be asked for. Collective.
  void prepare_permutations();
  /// T when row i of X meets row order[i] of Y. Local.
  std::vector<double> permuted(const std::vector<Index>& order);

private:
  const comm::Communicator& comm_;
  std::shared_ptr<const Factor> x_;
  std::shared_ptr<const Factor> y_;
  std::unique_ptr<NodeRows> whole_x_, whole_y_;
  std::vector<double> shuffled_y_; ///< a block of rows
};

} // namespace concord::similarity
