#include "subspaces/members/dealt_ranking.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace concord::subspaces {
namespace {

/// Calls visit(first, last) for each tie group of values in ascending order.
template <typename Values, typename Visit>
void each_tie(const Values& values, Visit&& visit) {
  for (std::size_t first = 0; first < values.size();) {
    std::size_t last = first + 1;
    while (last < values.size() && values[last].first == values[first].first) ++last;
    visit(first, last);
    first = last;
  }
}

} // namespace

DealtRanking::DealtRanking(const std::vector<Span>& spans, std::vector<bool> looked_at, double min_auc)
    : looked_at_(std::move(looked_at)), min_auc_(min_auc), cell_of_(spans.size(), -1), family_of_(spans.size(), -1), random_(spans.size()),
      twice_u_(concepts()) {
  std::map<Index, std::int32_t> cells;
  std::map<std::int32_t, std::int32_t> families;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (span.phrase_half != 0) continue;
    cell_of_[i] = cells.emplace(span.length(), static_cast<std::int32_t>(cells.size())).first->second;
    family_of_[i] = families.emplace(subspaces::family_of(span), static_cast<std::int32_t>(families.size())).first->second;
    random_[i] = span.random;
    all_.resize(cells.size());
    all_[at(cell_of_[i])] += span.random ? 0 : 1;
  }
  family_sum_.resize(families.size());
  in_cell_.resize(cells.size());
}

void DealtRanking::add_deal(const std::vector<std::int32_t>& dealt) {
  Deal deal;
  deal.concept_of.resize(family_sum_.size());
  deal.own.resize(all_.size() * concepts());
  deal.random.resize(deal.own.size());
  for (std::size_t i = 0; i < dealt.size(); ++i) {
    if (cell_of_[i] < 0) continue;
    deal.concept_of[at(family_of_[i])] = dealt[i];
    ++(random_[i] ? deal.random : deal.own)[at(cell_of_[i]) * concepts() + at(dealt[i])];
  }
  deal.no_value.resize(concepts());
  deal.least.resize(concepts());
  for (auto& pairs : deal.pairs) pairs.resize(concepts());
  for (std::size_t c = 0; c < concepts(); ++c) {
    for (std::size_t cell = 0; cell < all_.size(); ++cell) {
      const std::int64_t own = deal.own[cell * concepts() + c];
      deal.no_value[c] += own * (all_[cell] - own);
      deal.pairs[0][c] += static_cast<double>(own) * static_cast<double>(all_[cell] - own);
      deal.pairs[1][c] += static_cast<double>(own) * static_cast<double>(deal.random[cell * concepts() + c]);
    }
    const bool has_auc = looked_at_[c] && deal.pairs[0][c] > 0 && deal.pairs[1][c] > 0;
    deal.least[c] = has_auc ? static_cast<std::int64_t>(std::floor(2 * min_auc_ * deal.pairs[0][c])) - 1 // rounding is decided below
                            : std::numeric_limits<std::int64_t>::max();
  }
  deals_.push_back(std::move(deal));
}

const std::vector<DealtRanking::Hit>& DealtRanking::hits(std::span<const SpanEntry> entries) {
  hits_.clear();
  add_up(entries);
  for (int number = 0; number < static_cast<int>(deals_.size()); ++number) look_at(number, entries);
  for (const std::int32_t family : touched_) family_sum_[at(family)] = 0;
  return hits_;
}

/// z + a + b of the active occurrences, by family.
void DealtRanking::add_up(std::span<const SpanEntry> entries) {
  for (auto& values : in_cell_) values.clear();
  for (const auto& [span, value] : entries)
    if (cell_of_[at(span)] >= 0 && !random_[at(span)]) in_cell_[at(cell_of_[at(span)])].emplace_back(value, family_of_[at(span)]);
  touched_.clear();
  for (std::size_t cell = 0; cell < in_cell_.size(); ++cell) {
    auto& values = in_cell_[cell];
    std::sort(values.begin(), values.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    const std::int64_t zeros = all_[cell] - static_cast<std::int64_t>(values.size());
    each_tie(values, [&](std::size_t first, std::size_t last) {
      for (std::size_t i = first; i < last; ++i) {
        std::int64_t& sum = family_sum_[at(values[i].second)];
        if (sum == 0) touched_.push_back(values[i].second);
        sum += zeros + static_cast<std::int64_t>(first + last);
      }
    });
  }
}

void DealtRanking::look_at(int number, std::span<const SpanEntry> entries) {
  const Deal& deal = deals_[at(number)];
  twice_u_ = deal.no_value;
  for (std::size_t cell = 0; cell < all_.size(); ++cell) {
    const auto active = static_cast<std::int64_t>(in_cell_[cell].size());
    const std::int64_t* own = &deal.own[cell * concepts()];
    for (std::size_t c = 0; active > 0 && c < twice_u_.size(); ++c) twice_u_[c] -= own[c] * active;
  }
  for (const std::int32_t family : touched_) twice_u_[at(deal.concept_of[at(family)])] += family_sum_[at(family)];
  for (std::size_t c = 0; c < twice_u_.size(); ++c) {
    if (twice_u_[c] < deal.least[c]) continue;
    const double auc = static_cast<double>(twice_u_[c]) / (2 * deal.pairs[0][c]);
    if (!(auc >= min_auc_)) continue;
    const double least = std::min(auc, random_auc(deal, static_cast<std::int32_t>(c), entries));
    if (least >= min_auc_) hits_.push_back({number, static_cast<int>(c), least});
  }
}

/// Against the random spans beside the concept's own.
double DealtRanking::random_auc(const Deal& deal, std::int32_t c, std::span<const SpanEntry> entries) {
  std::vector<std::vector<std::pair<float, bool>>> values(all_.size()); // value, random
  for (const auto& [span, value] : entries)
    if (cell_of_[at(span)] >= 0 && deal.concept_of[at(family_of_[at(span)])] == c)
      values[at(cell_of_[at(span)])].emplace_back(value, random_[at(span)]);
  std::int64_t twice_u = 0;
  for (std::size_t cell = 0; cell < values.size(); ++cell) {
    auto& of = values[cell];
    const auto active = std::count_if(of.begin(), of.end(), [](const auto& item) { return item.second; });
    const auto own_active = static_cast<std::int64_t>(of.size()) - active;
    std::int64_t below = deal.random[cell * concepts() + at(c)] - active;
    twice_u += (deal.own[cell * concepts() + at(c)] - own_active) * below;
    std::sort(of.begin(), of.end());
    each_tie(of, [&](std::size_t first, std::size_t last) { // occurrences before random spans
      const auto place =
          std::partition_point(of.begin() + static_cast<std::ptrdiff_t>(first), of.begin() + static_cast<std::ptrdiff_t>(last),
                               [](const auto& item) { return !item.second; }) -
          of.begin();
      const auto own = place - static_cast<std::ptrdiff_t>(first);
      const auto random = static_cast<std::ptrdiff_t>(last) - place;
      twice_u += own * (2 * below + random);
      below += random;
    });
  }
  return static_cast<double>(twice_u) / (2 * deal.pairs[1][at(c)]);
}

} // namespace concord::subspaces
