#pragma once
/// All correlations of a pair of layers, one feature of A after another, as this rank owns them. Collective over `comm`.

#include "kernels.hpp"
#include <cmath>
#include <functional>
#include <memory>

namespace concord::correlate {

/// N S_ij - S_i S_j and the like from sums of a share's features. Features without variance have no number: every comparison with what
/// comes of them is false.
struct Moments {
  std::vector<double> sum;     ///< less the pilots
  std::vector<double> squares; ///< likewise
  std::vector<double> inverse; ///< 1 / sqrt(N S_jj - S_j^2), NaN without variance
  explicit Moments(Index features) : sum(static_cast<std::size_t>(features), 0.0), squares(static_cast<std::size_t>(features), 0.0) {}
  void add(const PostingShare& share);
  void add(const RowShare& share);
  void finish(Index rows);
};

/// r of A's feature of (sum, inverse) with B's of (sum_b, inverse_b); the same when A and B change places.
inline double pearson(double n, double products, double sum, double inverse, double sum_b, double inverse_b) {
  return std::fma(n, products, -(sum * sum_b)) * (inverse * inverse_b); // fma said: the same bits wherever this is compiled into
}

/// Where the rows of a pair lie: whole in memory, or piece by piece where they do not fit.
struct PairRows {
  const FeatureSource& a;
  const FeatureSource& b;
  const Deal& deal_a;
  const Deal& deal_b;
  std::shared_ptr<const PostingShare> whole_a; ///< both or none
  std::shared_ptr<const RowShare> whole_b;
};

/// Sums of one feature of A with B's features at places [first, last): any before `front` may have some, and of the others those listed.
struct FeatureSums {
  const kernels::Accumulator* of; ///< by places of the share
  Index first;
  Index last;
  Index front;
  const std::vector<std::int32_t>* places = nullptr;
  Index listed = 0;
};

class Sweep {
public:
  /// `memory`: bytes for pieces of rows and for sums that wait for the next piece.
  Sweep(const comm::Communicator& comm, const ShareGrid& grid, const PairRows& rows, double memory, int threads);
  /// The sums of one feature of A (its place in the share) with a block of B's share, for the numbered shift. Called by threads at once,
  /// each block of a feature by one thread, and with different blocks of a feature by different ones.
  using Visit = std::function<void(int thread, Index feature, Index shift, const FeatureSums& sums)>;
  /// For every feature of A, or those that `wanted` names, and every shift of B's rows, the first of which is 0. Collective.
  void run(const std::vector<Index>& shifts, const Visit& visit, const std::vector<std::uint8_t>* wanted = nullptr);

  /// r of A's feature with B's (places in the shares) from their sums; NaN without variance. Where `visit` is called.
  double correlation(Index a, Index b, const kernels::Accumulator& sums) const {
    const auto i = static_cast<std::size_t>(a);
    const auto j = static_cast<std::size_t>(b);
    return pearson(static_cast<double>(rows_.a.rows()), sums.sum, moments_a_.sum[i], moments_a_.inverse[i], moments_b_.sum[j],
                   moments_b_.inverse[j]);
  }
  /// Numbers in the layer of this rank's features.
  const std::vector<std::int32_t>& features_a() const { return deal_a_; }
  const std::vector<std::int32_t>& features_b() const { return deal_b_; }
  /// Complete whenever `visit` is called.
  const Moments& moments_a() const { return moments_a_; }
  const Moments& moments_b() const { return moments_b_; }

private:
  /// What is added up at once: a sparse feature of A, or a strip of dense ones.
  struct Item {
    Index first;    ///< feature
    Index features; ///< 1, or those of the strip
    Index places;   ///< 1, or strip_a
    bool dense;
  };
  std::vector<Item> items(const std::vector<std::uint8_t>* wanted) const;
  void run_whole(const std::vector<Item>& items, const std::vector<Index>& shifts, const Visit& visit);
  void run_pieces(const std::vector<Item>& items, const std::vector<Index>& shifts, const Visit& visit);
  void add(const Item& item, const PostingShare& a, const RowShare& b, std::size_t block, Index shift, kernels::Accumulator* into,
           int thread, kernels::Touched* touched = nullptr);
  /// Sums of a block for an item and all shifts, looked at.
  struct Workplace;
  void sum_block(const Item& item, std::size_t block, const std::vector<Index>& shifts, int thread, Workplace& own, const Visit& visit);
  Index front(const Item& item, const RowShare::Block& block) const;

  const comm::Communicator& comm_;
  ShareGrid grid_;
  PairRows rows_;
  double memory_;
  int threads_;
  std::vector<std::int32_t> deal_a_;
  std::vector<std::int32_t> deal_b_;
  Index dense_a_;
  std::vector<Index> counts_b_; ///< active rows of B's features, falling in a block
  bool have_moments_ = false;
  Moments moments_a_;
  Moments moments_b_;
  std::vector<kernels::StripScratch> scratch_;
};

} // namespace concord::correlate
