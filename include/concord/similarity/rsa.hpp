#pragma once
/// RSA (Kriegeskorte et al. 2008): how alike the RDMs of two spaces with matched rows are. Collective over the communicator where it says
/// so.
///
/// All M (M - 1) / 2 entries count. Dissimilarities become keys of `key_bits` bits; a histogram of the keys gives average ranks with ties;
/// a second pass sums products of ranks in 128-bit integers: Spearman's rho of the rounded RDM, the same bits on any number of ranks.
/// Rounding moves rho by some 1e-8. Keys are kept between the passes where memory allows, else made again; an M x M matrix is held for
/// permutations alone, where it fits.

#include "concord/comm/session.hpp"
#include "concord/similarity/chance.hpp"
#include "concord/similarity/mutual_knn.hpp"
#include "concord/similarity/rdm.hpp"

namespace concord::similarity {

struct RsaOptions {
  RdmKind kind = RdmKind::correlation;
  int key_bits = 20;
  Index neighbours = 0;      ///< of mutual_knn; 0: not wanted
  Index kendall_samples = 0; ///< pairs of RDM entries drawn for Kendall's tau; 0: not wanted
  double memory = 4e9;       ///< bytes a rank, for keys and tables
  bool permute = false;      ///< spearman_of and pearson_of will be asked for
  std::uint64_t seed = 0;
  int threads = 1;
  Index tile = 512; ///< rows and columns of a tile; no result depends on it
};

struct RsaResult {
  double spearman = 0;
  double pearson = 0;
  double rho_a = 0;         ///< 12 sum (R_a - m)(R_b - m) / (n^3 - n): no correction for ties
  double kendall = 0;       ///< tau-a of sampled pairs of entries
  double kendall_error = 0; ///< its standard error
  Moments spearman_chance;
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
  /// Compares. Collective over `comm`; both matrices are whole on every rank and outlive this.
  Rsa(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const RsaOptions& options);
  const RsaResult& result() const { return result_; }
  /// Whether permuted scores can be had: both RDMs' ranks, or values, fit into memory. Local.
  bool permutes_ranks() const { return !ranks_x_.empty(); }
  bool permutes_values() const { return !values_x_.empty(); }
  /// Spearman and Pearson when row i of X meets row order[i] of Y. Local.
  double spearman_of(const std::vector<Index>& order) const;
  double pearson_of(const std::vector<Index>& order) const;
  /// Kendall's tau-a of the same sample of entries, where permutes_ranks(). Local.
  double kendall_of(const std::vector<Index>& order) const;

private:
  struct Tiles;
  struct Sums;
  void rank(Tiles& tiles);
  void correlate(Tiles& tiles);
  void add_tile(Sums& sums, Index i0, Index ni, Index j0, Index nj, const Key* x, const Key* y);
  template <typename Value>
  void fill_table(std::vector<float>& table, Index i0, Index ni, Index j0, Index nj, const Value& value) const;
  void take(const Tiles& tiles, const Sums& sums);
  void sample_kendall(const Rdm& x, const Rdm& y);
  const comm::Communicator& comm_;
  RsaOptions options_;
  Index m_ = 0;
  RsaResult result_;
  std::vector<Index> rank_table_x_, rank_table_y_; ///< of each key: twice its rank, centred
  double norm_ = 1;                                ///< sqrt(sum of squared centred ranks of X times that of Y)
  double value_norm_ = 1;
  double value_mean_product_ = 0;
  Index middle_x_ = 0, middle_y_ = 0;                          ///< about which values are centred
  std::vector<float> ranks_x_, ranks_y_, values_x_, values_y_; ///< [M, M], centred, of permutations
};

} // namespace concord::similarity
