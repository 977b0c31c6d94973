#pragma once
/// A pair of layers at hand: where its rows lie, what this rank owns of it, and what is looked for in the sums. Collective over `comm`.

#include "concord/comm/stop.hpp"

#include "correlate/features/moments.hpp"
#include "correlate/shares/row_pieces.hpp"
#include "correlate/sums/found.hpp"
#include <functional>
#include <memory>

namespace concord::correlate {

/// Where the rows of a pair lie: whole in memory, or piece by piece where they do not fit.
struct PairRows {
  const FeatureSource& a;
  const FeatureSource& b;
  const Deal& deal_a;
  const Deal& deal_b;
  std::shared_ptr<const Whole<PostingShare>> whole_a; ///< both or none
  std::shared_ptr<const Whole<RowShare>> whole_b;
};

/// Of each feature of A of a share, by its place: not 0 where it is wanted.
using Wanted = std::vector<std::uint8_t>;

/// The sums of this rank's features of a pair, by their places in its shares, whoever adds them up.
class PairSums {
public:
  PairSums(const comm::Communicator& comm, const ShareGrid& grid, const PairRows& rows)
      : comm_(comm), grid_(grid), rows_(rows), names_a_(rows.deal_a.features(grid.row(comm.rank()))),
        names_b_(rows.deal_b.features(grid.column(comm.rank()))), dense_a_(rows.deal_a.dense(grid.row(comm.rank()))),
        dense_b_(rows.deal_b.dense(grid.column(comm.rank()))) {}
  PairSums(const PairSums&) = delete;
  PairSums& operator=(const PairSums&) = delete;
  virtual ~PairSums() = default;

  /// Best partners of r at the first shift of B's rows, mostly 0; the largest r at each of the others. Collective.
  virtual void find_best(const std::vector<Index>& shifts, Index best, Found& found) = 0;
  /// The largest r, 0 at least, of those features of A that are wanted at each shift: [shifts, features_a()]; of the
  /// others it means nothing. Collective.
  virtual std::vector<double> find_largest(const std::vector<Index>& shifts, const std::vector<Wanted>& wanted) = 0;
  /// Pairs with r > limit_a + limit_b among the features of A that are wanted, in no order; each rank has its own. Collective.
  virtual std::vector<Exceeding> find_exceeding(const std::vector<double>& limit_a, const std::vector<double>& limit_b,
                                                const Wanted& wanted) = 0;
  /// Visits the sums of one feature of A with all of B's, one call at a time. Collective.
  virtual void for_each_sums(const std::function<void(Index feature, const Accumulator* sums)>& visit) = 0;

  /// From now on a stop is heeded as this says, which began with the pair. Local.
  void heed(const comm::StopWithin& stop) { stop_ = stop; }

  /// Numbers in the layer of this rank's features.
  const std::vector<std::int32_t>& features_a() const { return names_a_; }
  const std::vector<std::int32_t>& features_b() const { return names_b_; }
  /// Complete when sums are.
  const Moments& moments_a() const { return rows_.whole_a ? rows_.whole_a->moments : moments_a_; }
  const Moments& moments_b() const { return rows_.whole_b ? rows_.whole_b->moments : moments_b_; }
  /// r of A's feature with B's from their sums; NaN without variance.
  double correlation(Index a, Index b, const Accumulator& sums) const {
    const auto i = static_cast<std::size_t>(a);
    const auto j = static_cast<std::size_t>(b);
    return pearson(static_cast<double>(rows_.a.rows()), sums.sum, moments_a().sum[i], moments_a().inverse[i], moments_b().sum[j],
                   moments_b().inverse[j]);
  }

protected:
  Index size_a() const { return static_cast<Index>(names_a_.size()); }
  Index size_b() const { return static_cast<Index>(names_b_.size()); }
  const comm::Communicator& comm_;
  ShareGrid grid_;
  PairRows rows_;
  std::vector<std::int32_t> names_a_;
  std::vector<std::int32_t> names_b_;
  Index dense_a_;
  Index dense_b_;
  /// Of rows in pieces: from the first pass over them.
  Moments moments_a_{size_a()};
  Moments moments_b_{size_b()};
  bool have_moments_ = false;
  comm::StopWithin stop_; ///< within the pair
};

/// Entries a row of A's features, and of B's, on a rank of the grid.
struct RowEntries {
  double a, b;
};
inline RowEntries row_entries(const PairRows& rows, const ShareGrid& grid) {
  const auto count = static_cast<double>(rows.a.rows());
  return {static_cast<double>(rows.a.entries()) / (count * grid.rows), static_cast<double>(rows.b.entries()) / (count * grid.columns)};
}

/// Rows of B beside those of each piece of A, one shift after another.
inline std::vector<RowRange> piece_ranges(Index rows, Index piece, const std::vector<Index>& shifts) {
  std::vector<RowRange> ranges;
  for (Index first = 0; first < rows; first += piece)
    for (const Index shift : shifts) ranges.push_back({first + shift, std::min(rows, first + piece) + shift});
  return ranges;
}

} // namespace concord::correlate
