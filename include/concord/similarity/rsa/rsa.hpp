#pragma once
/// RSA (Kriegeskorte et al. 2008): how alike the RDMs of two spaces with matched rows are. Collective over the communicator where it says
/// so.
///
/// All M (M - 1) / 2 entries count. Dissimilarities become keys, fewer than 2^24 whole numbers in the same order; a histogram of the keys
/// gives average ranks with ties; a second pass sums products of ranks in 128-bit integers: Spearman's rho of the rounded RDM, the same
/// bits on any number of ranks. Up to whole_rows items each value has a key of its own; beyond, keys are given out by a sample, so that
/// entries are told apart wherever they crowd, and rounding moves rho by some 1e-8. Where it would tie more, it is not defined. Keys are
/// kept between the passes where memory allows, else made again; an M x M matrix is held for permutations alone, where it fits.

#include "concord/comm/session.hpp"
#include "concord/similarity/chance/chance.hpp"
#include "concord/similarity/measures/mutual_knn.hpp"
#include "concord/similarity/rsa/rdm.hpp"

namespace concord::similarity {

/// Items up to which rho is exact: their entries are few enough to be sorted.
inline constexpr Index whole_rows = 1024;

/// Whether the skewness of chance is found: never, where memory does not allow to permute, or always.
enum class RsaSkewness { none, without_tables, wanted };

struct RsaOptions {
  RdmKind kind = RdmKind::correlation;
  int key_bits = 20;         ///< 2^key_bits keys; 2^23 where these would tie too many entries
  Index neighbours = 0;      ///< of mutual_knn; 0: not wanted
  Index kendall_samples = 0; ///< pairs of RDM entries drawn for Kendall's tau, or all where there are no more; 0: not wanted
  double memory = 4e9;       ///< bytes a rank, for keys and tables
  bool permute = false;      ///< spearman_of and pearson_of will be asked for
  RsaSkewness skewness = RsaSkewness::none;
  std::uint64_t seed = 0;
  int threads = 1;
  Index tile = 512; ///< rows and columns of a tile; no result depends on it
};

struct RsaResult {
  double spearman = 0;
  double pearson = 0;
  double rho_a = 0;         ///< 12 sum (R_a - m)(R_b - m) / (n^3 - n): no correction for ties
  double kendall = 0;       ///< tau-a of all or sampled pairs of entries
  double kendall_error = 0; ///< its standard error; 0: of all
  Moments spearman_chance;  ///< skewness: where it was wanted, of 1,024 items where there are more; it does not grow with their number
  Moments pearson_chance;
  double rho_a_of_spearman = 1; ///< rho_a / spearman, the same for every permutation
  double ties_x = 0;            ///< sum (t^3 - t) / (n^3 - n) over groups of t tied entries
  double ties_y = 0;
  Neighbours neighbours_x;
  Neighbours neighbours_y;
  std::string reason;     ///< why it is not defined, else empty
  double rdm_seconds = 0; ///< spent on RDMs, and on ranking and correlating them
  double rank_seconds = 0;
};

class Rsa {
public:
  /// Compares. Collective over `comm`; both matrices are whole on every rank and outlive this. @throws Error stopped (agreed).
  Rsa(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const RsaOptions& options);
  ~Rsa();
  const RsaResult& result() const { return result_; }
  /// Whether permuted scores can be had: both RDMs' ranks, or values, fit into memory. Local.
  bool permutes_ranks() const { return !ranks_x_.empty(); }
  bool permutes_values() const { return !values_x_.empty(); }
  /// Spearman and Pearson when row i of X meets row order[i] of Y: those of the result for the pairing as given. Local.
  double spearman_of(const std::vector<Index>& order) const;
  double pearson_of(const std::vector<Index>& order) const;
  /// Kendall's tau-a of the same pairs of entries, where permutes_ranks(). Local.
  double kendall_of(const std::vector<Index>& order) const;

private:
  struct Side;
  struct Tiles;
  struct Sums;
  void count(Tiles& tiles);
  void correlate(Tiles& tiles);
  void take_ranks(const Tiles& tiles, const Sums& sums);
  void take_values(const Sums& sums);
  void make_law(const Tiles& tiles);
  void share_tables();
  void measure_kendall(const Tiles& tiles);
  const comm::Communicator& comm_;
  RsaOptions options_;
  Index m_ = 0;
  RsaResult result_;
  double norm_ = 1;       ///< sqrt(sum of squared centred ranks of X times that of Y)
  double value_norm_ = 1; ///< the same of values
  double value_mean_product_ = 0;
  double spearman_rounding_ = 0, pearson_rounding_ = 0;        ///< of the tables: the result less what they give for the same pairing
  std::vector<float> ranks_x_, ranks_y_, values_x_, values_y_; ///< [M, M], centred, of permutations
};

} // namespace concord::similarity
