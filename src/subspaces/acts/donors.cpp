#include "subspaces/acts/donors.hpp"

#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include <algorithm>

namespace concord::subspaces {
namespace {

/// Spans of one length, by concept.
class OfLength {
public:
  void add(std::int32_t concept_number, std::int32_t span) { spans_[concept_number].push_back(span); }
  /// One of those that are of neither concept; `below(n)` draws a number below n; -1: there is none.
  template <typename Below>
  std::int32_t one_of_others(std::int32_t concept_number, std::int32_t other, const Below& below) const {
    Index count = 0;
    for (const auto& [number, list] : spans_)
      if (number != concept_number && number != other) count += static_cast<Index>(list.size());
    if (count == 0) return -1;
    Index left = below(count);
    for (const auto& [number, list] : spans_) {
      if (number == concept_number || number == other) continue;
      if (left < static_cast<Index>(list.size())) return list[at(left)];
      left -= static_cast<Index>(list.size());
    }
    return -1;
  }

private:
  std::map<std::int32_t, std::vector<std::int32_t>> spans_;
};

} // namespace

std::map<std::int32_t, Donors> draw_donors(const std::vector<Span>& spans, const std::vector<std::int32_t>& at_spans,
                                           const std::vector<std::int32_t>& left_out, std::uint64_t seed) {
  const Philox random(seed, "resampled spans");
  std::map<Index, OfLength> of_length;
  for (std::size_t i = 0; i < spans.size(); ++i)
    if (!spans[i].random && !std::binary_search(left_out.begin(), left_out.end(), static_cast<std::int32_t>(i)))
      of_length[spans[i].length()].add(spans[i].concept_number, static_cast<std::int32_t>(i));
  std::map<std::int32_t, Donors> drawn;
  for (const std::int32_t number : at_spans) {
    const Span& span = spans[at(number)];
    const OfLength& there = of_length[span.length()];
    const auto draw = [&](std::uint64_t which) {
      return [&random, &span, which](Index count) {
        return static_cast<Index>(random.below(2 * static_cast<std::uint64_t>(span.begin) + which, static_cast<std::uint64_t>(count)));
      };
    };
    Donors& donors = drawn[number];
    donors = {there.one_of_others(span.concept_number, span.concept_number, draw(0)), -1};
    if (donors[0] >= 0) donors[1] = there.one_of_others(span.concept_number, spans[at(donors[0])].concept_number, draw(1));
  }
  return drawn;
}

int donor_for(const std::vector<Span>& spans, const Donors& donors, Index removed) {
  for (int i = 0; i < 2; ++i)
    if (donors[at(i)] >= 0 && spans[at(donors[at(i)])].concept_number != removed) return i;
  return -1;
}

Swap swap_without_rows(const std::vector<Span>& spans, const Donors& donors, Index concepts, Index count) {
  Swap swap;
  for (const std::int32_t donor : donors)
    if (donor >= 0) swap.rows.emplace_back();
  for (Index basis = 0; basis < count; ++basis) swap.donor.push_back(donor_for(spans, donors, basis % concepts));
  return swap;
}

Swap read_swap(const io::RowSource& rows, const std::vector<Span>& spans, const Donors& donors, Index concepts, Index count) {
  Swap swap = swap_without_rows(spans, donors, concepts, count);
  auto into = swap.rows.begin();
  for (const std::int32_t donor : donors) {
    if (donor < 0) continue;
    const Span& span = spans[at(donor)];
    into->resize(at(span.length() * rows.cols()));
    rows.read_float(span.begin, span.length(), *into++);
  }
  return swap;
}

} // namespace concord::subspaces
