#pragma once
/// How well the span values of a feature tell the spans of a concept from others: AUC, exact, from sparse values. Local.
///
/// AUC = U / (n1 n0), U the number of pairs (span of the concept, other span) in which the first has the larger value, ties counting half
/// (Mann and Whitney 1947). Only spans of equal length and of phrases of the same half are compared: a maximum over more tokens is larger
/// by itself. Two kinds of others: spans of the other concepts, and random spans of the same length at the same place of another context.

#include "concord/subspaces/spans/spans.hpp"

#include <array>
#include <span>
#include <vector>

namespace concord::subspaces {

/// Against what a concept's spans are ranked.
enum class Others { concepts, random };

/// A value of a feature on a span that is not 0.
struct SpanEntry {
  std::int32_t span = 0;
  float value = 0;
};

/// Ranks the spans of all concepts by one feature after the other.
class SpanRanking {
public:
  /// @param spans     all of them, the same for every feature; those of a concept below 0 are left out
  /// @param concepts  how many there are
  SpanRanking(const std::vector<Span>& spans, int concepts);

  /// Turns to a feature by its values that are not 0, which must be above 0. Takes time in proportion to their number, and to the number
  /// of concepts times span lengths.
  void rank(std::span<const SpanEntry> entries);
  /// The same of values that ascend.
  void rank_ascending(std::span<const SpanEntry> entries);

  /// Of the feature ranked last; NaN: there is nothing to compare. @param half of the phrases
  double auc(int concept_number, int half, Others others) const;
  /// Spans of a concept on a half.
  Index spans(int concept_number, int half) const { return count_[at(concept_number, half)]; }

private:
  /// Spans of one length and one half of the phrases.
  struct Cell {
    std::vector<Index> own;    ///< [concepts] spans of each
    std::vector<Index> random; ///< [concepts] random spans beside them
    Index all = 0;             ///< spans of all concepts
    int half = 0;
  };
  /// Spans below or in a tie group.
  struct Counts {
    std::vector<Index> own, random; ///< [concepts]
    Index all = 0;
  };
  std::size_t at(int concept_number, int half) const {
    return 2 * static_cast<std::size_t>(concept_number) + static_cast<std::size_t>(half);
  }
  void deal_to_cells(std::span<const SpanEntry> entries);
  void sweep(const Cell& cell, const std::vector<std::pair<float, std::int32_t>>& values);
  void add_zeros(const Cell& cell, const std::vector<std::pair<float, std::int32_t>>& values);
  void add_group(int half);
  void count(std::int32_t label);

  int concepts_ = 0;
  std::vector<Cell> cells_;
  std::vector<std::int32_t> cell_of_;                                ///< [spans], -1: left out
  std::vector<std::int32_t> label_;                                  ///< [spans] the concept; -1 - concept of random spans
  std::vector<Index> count_;                                         ///< [concepts, 2]
  std::array<std::vector<double>, 2> pairs_;                         ///< [others][concepts, 2]
  std::array<std::vector<std::int64_t>, 2> twice_u_;                 ///< [others][concepts, 2] 2 U of the feature ranked last
  std::vector<std::vector<std::pair<float, std::int32_t>>> in_cell_; ///< value and label of the feature's spans, by cell
  Counts below_, group_;
  std::vector<std::int32_t> in_group_; ///< concepts with a span in the tie group
};

} // namespace concord::subspaces
