#pragma once
/// All sums of a pair of layers, one feature of A after another, as this rank owns them. Collective over `comm`.

#include "correlate/shares/row_pieces.hpp"
#include "correlate/sums/kernels.hpp"
#include "correlate/sums/pair_sums.hpp"
#include <functional>

namespace concord::correlate {

/// Sums of one feature of A with B's features at places [first, last): any before `front` may have some, and of the others those listed.
struct FeatureSums {
  const Accumulator* of; ///< by places of the share
  Index first;
  Index last;
  Index front;
  const std::vector<std::int32_t>* places = nullptr;
  Index listed = 0;
};

class Sweep : public PairSums {
public:
  /// @param column  the ranks of this rank's column, of which `sharing` surely share a node
  /// @param memory  bytes for pieces of rows and for sums that wait for the next piece
  Sweep(const comm::Communicator& comm, const comm::Communicator& column, int sharing, const ShareGrid& grid, const PairRows& rows,
        double memory, int threads);
  /// The sums of one feature of A (its place in the share) with a block of B's share, for the numbered shift. Called by threads at once,
  /// each block of a feature by one thread, and with different blocks of a feature by different ones.
  using Visit = std::function<void(int thread, Index feature, Index shift, const FeatureSums& sums)>;
  /// For every feature of A, or those that `wanted` names for the shift, and every shift of B's rows. Collective.
  void run(const std::vector<Index>& shifts, const Visit& visit, const std::vector<Wanted>* wanted = nullptr);

  void find_best(const std::vector<Index>& shifts, Index best, Found& found) override;
  std::vector<double> find_largest(const std::vector<Index>& shifts, const std::vector<Wanted>& wanted) override;
  std::vector<Exceeding> find_exceeding(const std::vector<double>& limit_a, const std::vector<double>& limit_b,
                                        const Wanted& wanted) override;
  void for_each_sums(const std::function<void(Index feature, const Accumulator* sums)>& visit) override;

private:
  /// What is added up at once: a sparse feature of A, or a strip of dense ones, at one shift.
  struct Item {
    std::int32_t first;    ///< feature
    std::int16_t features; ///< 1, or those of the strip
    std::int16_t places;   ///< 1, or strip_a
    std::int32_t shift;    ///< its number
    bool dense;
  };
  std::vector<Item> items(std::size_t shifts, const std::vector<Wanted>* wanted) const;
  void run_whole(const std::vector<Item>& items, const std::vector<Index>& shifts, const Visit& visit);
  void run_pieces(const std::vector<Item>& items, const std::vector<Index>& shifts, const Visit& visit);
  Index rows_a_piece() const;
  void take_moments();
  /// The items' sums of all rows; the first time the moments are taken, too.
  struct PieceSums;
  void add_pieces(const PieceSums& sums, Index piece, const std::vector<Index>& shifts, RowPieces& pieces_of_b);
  void add(const Item& item, const PostingShare& a, const RowShare& b, std::size_t block, Index shift, Accumulator* into, int thread,
           kernels::Touched* touched = nullptr);
  /// Sums of a block for an item, looked at.
  struct Workplace;
  void sum_block(const Item& item, std::size_t block, Index shift, int thread, Workplace& own, const Visit& visit);
  bool few_touched(const Item& item, const RowShare::Block& block) const;

  const comm::Communicator& column_;
  int sharing_;
  double memory_;
  int threads_;
  std::vector<Index> counts_b_;  ///< active rows of B's features, falling in a block
  std::vector<Index> entries_b_; ///< those of all features in front of each
  std::vector<kernels::StripScratch> scratch_;
};

} // namespace concord::correlate
