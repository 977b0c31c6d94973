#include "concord/subspaces/members/membership.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace concord::subspaces {
SpanRanking::SpanRanking(const std::vector<Span>& spans, int concepts)
    : concepts_(concepts), cell_of_(spans.size()), label_(spans.size()), count_(static_cast<std::size_t>(2 * concepts)) {
  std::array<std::vector<std::int32_t>, 2> numbers; // [half][length]
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    cell_of_[i] = -1;
    if (span.concept_number < 0) continue;
    auto& of_half = numbers[span.phrase_half == 0 ? 0 : 1];
    const auto length = static_cast<std::size_t>(span.length());
    if (length >= of_half.size()) of_half.resize(length + 1, -1);
    if (of_half[length] < 0) {
      of_half[length] = static_cast<std::int32_t>(cells_.size());
      const std::vector<Index> none(static_cast<std::size_t>(concepts));
      cells_.push_back({none, none, 0, span.phrase_half});
    }
    Cell& cell = cells_[static_cast<std::size_t>(of_half[length])];
    const auto c = static_cast<std::size_t>(span.concept_number);
    cell_of_[i] = of_half[length];
    label_[i] = span.random ? -1 - span.concept_number : span.concept_number;
    ++(span.random ? cell.random[c] : cell.own[c]);
    if (span.random) continue;
    ++cell.all;
    ++count_[at(span.concept_number, span.phrase_half)];
  }
  in_cell_.resize(cells_.size());
  group_.own.resize(static_cast<std::size_t>(concepts));
  group_.random.resize(static_cast<std::size_t>(concepts));
  for (auto& pairs : pairs_) pairs.assign(count_.size(), 0);
  for (const Cell& cell : cells_)
    for (int c = 0; c < concepts; ++c) {
      const auto own = static_cast<double>(cell.own[static_cast<std::size_t>(c)]);
      pairs_[0][at(c, cell.half)] += own * (static_cast<double>(cell.all) - own);
      pairs_[1][at(c, cell.half)] += own * static_cast<double>(cell.random[static_cast<std::size_t>(c)]);
    }
}

void SpanRanking::rank(std::span<const SpanEntry> entries) {
  deal_to_cells(entries);
  for (auto& values : in_cell_) std::sort(values.begin(), values.end());
  for (std::size_t i = 0; i < cells_.size(); ++i) sweep(cells_[i], in_cell_[i]);
}

void SpanRanking::rank_ascending(std::span<const SpanEntry> entries) {
  deal_to_cells(entries);
  for (std::size_t i = 0; i < cells_.size(); ++i) sweep(cells_[i], in_cell_[i]);
}

void SpanRanking::deal_to_cells(std::span<const SpanEntry> entries) {
  for (auto& sums : twice_u_) sums.assign(count_.size(), 0);
  for (auto& values : in_cell_) values.clear();
  for (const auto& entry : entries) {
    const auto span = static_cast<std::size_t>(entry.span);
    if (cell_of_[span] >= 0) in_cell_[static_cast<std::size_t>(cell_of_[span])].emplace_back(entry.value, label_[span]);
  }
}

/// From the smallest value up, tie group by tie group; the first group are the zeros.
void SpanRanking::sweep(const Cell& cell, const std::vector<std::pair<float, std::int32_t>>& values) {
  add_zeros(cell, values);
  for (std::size_t begin = 0; begin < values.size();) {
    std::size_t end = begin;
    for (; end < values.size() && values[end].first == values[begin].first; ++end) count(values[end].second);
    add_group(cell.half);
    begin = end;
  }
}

/// What has no value is 0: below nothing, tied with its like.
void SpanRanking::add_zeros(const Cell& cell, const std::vector<std::pair<float, std::int32_t>>& values) {
  below_.own = cell.own; // into memory that is there
  below_.random = cell.random;
  below_.all = cell.all;
  for (const auto& [value, label] : values) {
    if (label < 0) {
      --below_.random[static_cast<std::size_t>(-1 - label)];
      continue;
    }
    --below_.own[static_cast<std::size_t>(label)];
    --below_.all;
  }
  for (int number = 0; number < concepts_; ++number) {
    const auto c = static_cast<std::size_t>(number);
    twice_u_[0][at(number, cell.half)] += below_.own[c] * (below_.all - below_.own[c]);
    twice_u_[1][at(number, cell.half)] += below_.own[c] * below_.random[c];
  }
}

void SpanRanking::count(std::int32_t label) {
  const std::int32_t number = label < 0 ? -1 - label : label;
  const auto c = static_cast<std::size_t>(number);
  if (group_.own[c] == 0 && group_.random[c] == 0) in_group_.push_back(number);
  ++(label < 0 ? group_.random[c] : group_.own[c]);
  group_.all += label < 0 ? 0 : 1;
}

void SpanRanking::add_group(int half) {
  for (const std::int32_t number : in_group_) {
    const auto c = static_cast<std::size_t>(number);
    const Index own = group_.own[c];
    twice_u_[0][at(number, half)] += own * (2 * (below_.all - below_.own[c]) + group_.all - own);
    twice_u_[1][at(number, half)] += own * (2 * below_.random[c] + group_.random[c]);
  }
  below_.all += group_.all;
  group_.all = 0;
  for (const std::int32_t number : in_group_) {
    const auto c = static_cast<std::size_t>(number);
    below_.own[c] += std::exchange(group_.own[c], 0);
    below_.random[c] += std::exchange(group_.random[c], 0);
  }
  in_group_.clear();
}

double SpanRanking::auc(int concept_number, int half, Others others) const {
  const double compared = pairs_[static_cast<std::size_t>(others)][at(concept_number, half)];
  if (compared == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(twice_u_[static_cast<std::size_t>(others)][at(concept_number, half)]) / (2 * compared);
}

} // namespace concord::subspaces
