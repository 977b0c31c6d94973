#include "concord/subspaces/likeness/alike.hpp"

#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/similarity/chance/permutation.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// Sums of a feature's values over the spans of a half.
struct Sums {
  double sum = 0;
  double squares = 0;
};

std::vector<Sums> sums_of(const std::vector<Span>& spans, int half, const LayerMembers& members) {
  std::vector<Sums> sums;
  for (const auto& values : members.values) {
    Sums of;
    for (const auto& [span, value] : values) {
      if (spans[at(span)].document_half != half) continue;
      of.sum += value;
      of.squares += static_cast<double>(value) * value;
    }
    sums.push_back(of);
  }
  return sums;
}

/// Each the other's best: places in `rows` and `columns`.
std::vector<std::pair<Index, Index>> mutual_best(const std::vector<double>& r, Index width, const std::vector<Index>& rows,
                                                 const std::vector<Index>& columns) {
  const auto better = [](double value, double than) { return value > 0 && value > than; };
  std::vector<Index> best_row(columns.size(), -1);
  std::vector<Index> best_column(rows.size(), -1);
  std::vector<double> of_row(rows.size(), 0);
  std::vector<double> of_column(columns.size(), 0);
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = 0; j < columns.size(); ++j) {
      const double value = r[at(rows[i] * width + columns[j])];
      if (better(value, of_row[i])) {
        of_row[i] = value;
        best_column[i] = static_cast<Index>(j);
      }
      if (better(value, of_column[j])) {
        of_column[j] = value;
        best_row[j] = static_cast<Index>(i);
      }
    }
  std::vector<std::pair<Index, Index>> pairs;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (best_column[i] >= 0 && best_row[at(best_column[i])] == static_cast<Index>(i))
      pairs.emplace_back(rows[i], columns[at(best_column[i])]);
  return pairs;
}

/// Components of svcca: at most a tenth of the rows, else the score is high whatever the data.
Index components(Index pairs) {
  return std::max<Index>(1, pairs / 10);
}

std::vector<Index> in_order(Index m) {
  std::vector<Index> order(at(m));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

AgainstShuffled against_shuffled(const SmallSide& x, const SmallSide& y, Index shuffles, std::uint64_t seed) {
  AgainstShuffled result;
  result.pairs = x.rows();
  result.mean.fill(not_known);
  result.p.fill(not_known);
  result.score.fill(not_known);
  if (x.rows() < least_pairs) return result;
  result.score = small_scores(x, y, in_order(x.rows()));
  SmallScores sum{};
  std::array<Index, small_measures> reached{};
  for (Index s = 0; s < shuffles; ++s) {
    const auto scores = small_scores(x, y, similarity::shuffled_pairing(x.rows(), seed, s));
    for (std::size_t i = 0; i < scores.size(); ++i) {
      sum[i] += scores[i];
      reached[i] += scores[i] >= result.score[i] - 1e-9 * (1 + std::abs(result.score[i])) ? 1 : 0;
    }
  }
  for (std::size_t i = 0; i < sum.size(); ++i) {
    if (std::isnan(result.score[i])) continue;
    result.mean[i] = sum[i] / static_cast<double>(shuffles);
    result.p[i] = static_cast<double>(reached[i] + 1) / static_cast<double>(shuffles + 1);
  }
  return result;
}

/// The means of phrases of a concept that occur, matched by phrase: the spans are the same for both models.
AgainstShuffled phrases_of_one(const SmallSpace& a, const SmallSpace& b, const std::vector<Index>& places, Index shuffles,
                               std::uint64_t seed) {
  const Index k = components(static_cast<Index>(places.size()));
  return against_shuffled(SmallSide(a, places, k), SmallSide(b, places, k), shuffles, seed);
}

std::map<std::int32_t, std::vector<Index>> phrases_of_concepts(const std::vector<Span>& spans, const PhraseMeans& means) {
  std::map<std::int32_t, std::int32_t> concept_of;
  for (const Span& span : spans)
    if (!span.random) concept_of[span.phrase] = span.concept_number;
  std::map<std::int32_t, std::vector<Index>> places;
  for (std::size_t i = 0; i < means.phrase.size(); ++i) places[concept_of.at(means.phrase[i])].push_back(static_cast<Index>(i));
  return places;
}

} // namespace

AgainstShuffled not_compared() {
  AgainstShuffled none;
  for (auto* scores : {&none.score, &none.mean, &none.p}) scores->fill(not_known);
  return none;
}

std::vector<double> span_correlations(const std::vector<Span>& spans, int document_half, const LayerMembers& a, const LayerMembers& b) {
  const auto count =
      static_cast<double>(std::count_if(spans.begin(), spans.end(), [&](const Span& s) { return s.document_half == document_half; }));
  const auto width = static_cast<Index>(b.values.size());
  std::vector<double> r(a.values.size() * b.values.size());
  std::vector<std::vector<std::pair<Index, float>>> of_span(spans.size()); // B's features
  for (Index j = 0; j < width; ++j)
    for (const auto& [span, value] : b.values[at(j)])
      if (spans[at(span)].document_half == document_half) of_span[at(span)].emplace_back(j, value);
  for (std::size_t i = 0; i < a.values.size(); ++i)
    for (const auto& [span, value] : a.values[i])
      for (const auto& [j, other] : of_span[at(span)]) r[i * at(width) + at(j)] += static_cast<double>(value) * other;
  const auto sums_a = sums_of(spans, document_half, a);
  const auto sums_b = sums_of(spans, document_half, b);
  for (std::size_t i = 0; i < sums_a.size(); ++i)
    for (std::size_t j = 0; j < sums_b.size(); ++j) {
      const double variance_a = sums_a[i].squares - sums_a[i].sum * sums_a[i].sum / count;
      const double variance_b = sums_b[j].squares - sums_b[j].sum * sums_b[j].sum / count;
      double& value = r[i * at(width) + j];
      value -= sums_a[i].sum * sums_b[j].sum / count;
      value = variance_a > 0 && variance_b > 0 ? value / std::sqrt(variance_a * variance_b) : 0;
    }
  return r;
}

Alike compare_concepts(const std::vector<Span>& spans, const LayerMembers& a, const LayerMembers& b, const PhraseMeans* phrases_a,
                       const PhraseMeans* phrases_b, Index first, Index last, Index shuffles, std::uint64_t seed,
                       const comm::StopWithin& stop) {
  const auto concepts = static_cast<Index>(a.of_concept.size());
  Alike alike;
  alike.pairs.assign(at(concepts * concepts), 0);
  SmallScores none;
  none.fill(not_known);
  alike.matrix.assign(at(concepts * concepts), none);
  alike.features.assign(at(concepts), {0, none, none, none});
  alike.phrases = alike.features;
  const auto r = span_correlations(spans, 0, a, b);
  for (Index c = first; c < last; ++c)
    for (Index other = 0; other < concepts && !stop.wanted_here(); ++other) {
      const auto pairs = mutual_best(r, static_cast<Index>(b.values.size()), a.of_concept[at(c)], b.of_concept[at(other)]);
      const auto m = static_cast<Index>(pairs.size());
      alike.pairs[at(c * concepts + other)] = m;
      if (m < least_pairs) continue;
      std::vector<Index> rows;
      std::vector<Index> columns;
      for (const auto& [row, column] : pairs) {
        rows.push_back(row);
        columns.push_back(column);
      }
      const SmallSide x(a.decoder, rows, components(m));
      const SmallSide y(b.decoder, columns, components(m));
      alike.matrix[at(c * concepts + other)] = small_scores(x, y, in_order(m));
      if (c == other) alike.features[at(c)] = against_shuffled(x, y, shuffles, seed + static_cast<std::uint64_t>(2 * c));
    }
  if (phrases_a != nullptr && phrases_b != nullptr)
    alike.phrases = compare_phrases(spans, *phrases_a, *phrases_b, concepts, first, last, shuffles, seed, stop);
  return alike;
}

std::vector<AgainstShuffled> compare_phrases(const std::vector<Span>& spans, const PhraseMeans& a, const PhraseMeans& b, Index concepts,
                                             Index first, Index last, Index shuffles, std::uint64_t seed, const comm::StopWithin& stop) {
  std::vector<AgainstShuffled> found(at(concepts), not_compared());
  const SmallSpace means_a(a.means, static_cast<Index>(a.phrase.size()), a.d);
  const SmallSpace means_b(b.means, static_cast<Index>(b.phrase.size()), b.d);
  for (const auto& [c, places] : phrases_of_concepts(spans, a))
    if (c >= first && c < last && !stop.wanted_here())
      found[at(c)] = phrases_of_one(means_a, means_b, places, shuffles, seed + static_cast<std::uint64_t>(2 * c + 1));
  return found;
}

} // namespace concord::subspaces
