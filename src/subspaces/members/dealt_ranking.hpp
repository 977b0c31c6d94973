#pragma once
// Which concepts a feature tells from others, for many deals of the phrases to the concepts at once. Local.
//
// What SpanRanking gives for each deal by itself, for less: only the labels of phrases differ between deals. With a the number of active
// spans below, b that up to the end of the tie group, z that of spans without a value, all of one length,
//   2 U of a concept's n spans against the other concepts' = sum over its active spans (z + a + b) + n z - n^2,
// in which a, b and z are the same for every deal, and can be added up phrase by phrase. Random spans are looked at where that AUC is high
// enough.

#include "concord/subspaces/members/membership.hpp"

#include <span>
#include <utility>
#include <vector>

namespace concord::subspaces {

class DealtRanking {
public:
  /// A concept whose smaller AUC is high enough.
  struct Hit {
    int deal = 0;
    int concept_number = 0;
    double auc = 0;
  };

  /// Of the half of the phrases that members are chosen on.
  /// @param looked_at  [concepts] others give no hit
  DealtRanking(const std::vector<Span>& spans, std::vector<bool> looked_at, double min_auc);
  /// One more deal, the next number: the spans' concepts, equal ones for a family.
  void add_deal(const std::vector<std::int32_t>& dealt);
  /// Of a feature by its values that are not 0; valid until the next call.
  const std::vector<Hit>& hits(std::span<const SpanEntry> entries);

private:
  struct Deal {
    std::vector<std::int32_t> concept_of; ///< [families]
    std::vector<std::int64_t> own;        ///< [cells, concepts] spans
    std::vector<std::int64_t> random;     ///< [cells, concepts] random spans beside them
    std::vector<std::int64_t> no_value;   ///< [concepts] 2 U of a feature without values
    std::vector<std::int64_t> least;      ///< [concepts] 2 U below which the AUC is too low
    std::vector<double> pairs[2];         ///< [others][concepts]
  };
  std::size_t concepts() const { return looked_at_.size(); }
  void add_up(std::span<const SpanEntry> entries);
  void look_at(int number, std::span<const SpanEntry> entries);
  double random_auc(const Deal& deal, std::int32_t c, std::span<const SpanEntry> entries);

  std::vector<bool> looked_at_;
  double min_auc_;
  std::vector<std::int32_t> cell_of_;   ///< [spans] by length; -1: not of this half
  std::vector<std::int32_t> family_of_; ///< [spans] numbered from 0
  std::vector<bool> random_;            ///< [spans]
  std::vector<std::int64_t> all_;       ///< [cells] spans that are not random
  std::vector<Deal> deals_;
  std::vector<std::int64_t> family_sum_; ///< [families] of z + a + b
  std::vector<std::int32_t> touched_;    ///< families with a sum
  std::vector<std::vector<std::pair<float, std::int32_t>>> in_cell_;
  std::vector<std::int64_t> twice_u_;
  std::vector<Hit> hits_;
};

} // namespace concord::subspaces
