#include "correlate/matching/null_values.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <limits>

namespace concord::correlate {

NullValues::NullValues(std::vector<std::pair<double, double>> values) {
  std::sort(values.begin(), values.end());
  sorted_.reserve(values.size());
  for (const auto& [value, features] : values) sorted_.push_back(value);
  if (std::all_of(values.begin(), values.end(), [](const auto& value) { return value.second == 1; })) return;
  reaching_.assign(values.size() + 1, 0);
  for (std::size_t i = values.size(); i > 0; --i) reaching_[i - 1] = reaching_[i] + values[i - 1].second;
  most_ = 0;
  for (const auto& [value, features] : values) most_ = std::max(most_, features);
}

double NullValues::share(double r) const {
  return share_from(static_cast<std::size_t>(std::lower_bound(sorted_.begin(), sorted_.end(), r - rounding) - sorted_.begin()));
}

double NullValues::from_above(Index places) const {
  return sorted_[sorted_.size() - std::min(sorted_.size(), at(places))];
}

double NullValues::upper(double part) const {
  const double features = part * reaching(0);
  std::size_t place = 0; // the last from which on there are more
  for (std::size_t end = sorted_.size(); place + 1 < end;) {
    const std::size_t middle = place + (end - place) / 2;
    (reaching(middle) > features ? place : end) = middle;
  }
  return sorted_[place];
}

double NullValues::bound(double level) const {
  const double allowed = level * (1 + 1e-12);
  std::size_t place = 0; // of the first value that may be reached
  std::size_t end = sorted_.size() + 1;
  while (place < end) {
    const std::size_t middle = place + (end - place) / 2;
    if (share_from(middle) <= allowed)
      end = middle;
    else
      place = middle + 1;
  }
  if (place > sorted_.size()) return std::numeric_limits<double>::infinity();
  return place == 0 ? -1 : sorted_[place - 1] + rounding / 2;
}

} // namespace concord::correlate
