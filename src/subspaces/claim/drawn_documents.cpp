#include "subspaces/claim/drawn_documents.hpp"

#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::subspaces {
std::vector<Removal> removals_of(const std::vector<Span>& spans, const std::vector<std::int32_t>& numbers) {
  std::vector<Removal> removals;
  removals.reserve(numbers.size());
  for (const std::int32_t number : numbers) {
    const Span& span = spans[at(number)];
    removals.push_back({span.document, span.concept_number, span.document_half});
  }
  return removals;
}

Documents::Documents(const std::vector<Removal>& removals) {
  for (const Removal& removal : removals) documents_[at(removal.half)].push_back(removal.document);
  for (auto& of_half : documents_) {
    std::sort(of_half.begin(), of_half.end());
    of_half.erase(std::unique(of_half.begin(), of_half.end()), of_half.end());
  }
}

Index Documents::place(const Removal& removal) const {
  const auto& of_half = documents_[at(removal.half)];
  return std::lower_bound(of_half.begin(), of_half.end(), removal.document) - of_half.begin();
}

Draw Documents::drawn(std::uint64_t seed, Index number) const {
  Draw draw;
  for (std::size_t half = 0; half < draw.size(); ++half) {
    const Philox random(seed, "documents drawn", static_cast<std::uint64_t>(number), half);
    const std::size_t count = documents_[half].size();
    draw[half].assign(count, 0);
    for (std::size_t i = 0; i < count; ++i) ++draw[half][random.below(i, count)];
  }
  return draw;
}

Draw Documents::all() const {
  Draw draw;
  for (std::size_t half = 0; half < draw.size(); ++half) draw[half].assign(documents_[half].size(), 1);
  return draw;
}

KlByDocument::KlByDocument(const std::vector<Removal>& removals, const Documents& documents, const std::vector<float>& kl, int kind,
                           Index concepts)
    : concepts_(concepts) {
  for (auto& of_half : cells_) of_half.resize(at(concepts * concepts));
  std::vector<std::size_t> order(removals.size()); // by half, concept and document
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto key = [&](std::size_t i) { return std::tuple(removals[i].half, removals[i].concept_number, removals[i].document); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first;
    while (end < order.size() && key(order[end]) == key(order[first])) ++end;
    const Removal& removal = removals[order[first]];
    for (Index c = 0; c < concepts; ++c) {
      double sum = 0;
      double count = 0;
      for (std::size_t i = first; i < end; ++i) {
        const auto value = static_cast<double>(kl[at((static_cast<Index>(order[i]) * basis_kinds + kind) * concepts + c)]);
        if (std::isnan(value)) continue; // no basis, or a span of rows that are too long
        sum += value;
        ++count;
      }
      if (count > 0) cells_[at(removal.half)][at(c * concepts + removal.concept_number)].push_back({sum / count, documents.place(removal)});
    }
    first = end;
  }
  for (auto& of_half : cells_)
    for (auto& cell : of_half)
      std::sort(cell.begin(), cell.end(), [](const OfDocument& a, const OfDocument& b) { return a.mean < b.mean; });
}

std::vector<double> KlByDocument::means(const Draw& draw, int half) const {
  constexpr double share = 0.05; // cut at either end
  const auto& times = draw[at(half)];
  std::vector<double> means(at(concepts_ * concepts_), std::numeric_limits<double>::quiet_NaN());
  for (std::size_t i = 0; i < means.size(); ++i) {
    const auto& cell = cells_[at(half)][i];
    Index count = 0;
    for (const OfDocument& one : cell) count += times[at(one.document)];
    const auto cut = static_cast<Index>(share * static_cast<double>(count));
    double sum = 0;
    Index place = 0; // of the draws so far
    for (const OfDocument& one : cell) {
      const Index end = place + times[at(one.document)];
      const Index kept = std::min(end, count - cut) - std::max(place, cut);
      if (kept > 0) sum += static_cast<double>(kept) * one.mean;
      place = end;
    }
    if (count > 0) means[i] = sum / static_cast<double>(count - 2 * cut);
  }
  return means;
}

} // namespace concord::subspaces
