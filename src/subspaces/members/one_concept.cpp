#include "subspaces/members/one_concept.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

std::vector<Span> kept_spans(const std::vector<Span>& spans, int concept_number, std::vector<std::int32_t>& numbers) {
  const auto is_kept = [&](const Span& span) { return !span.random || span.concept_number == concept_number; };
  std::vector<Span> kept;
  kept.reserve(static_cast<std::size_t>(std::count_if(spans.begin(), spans.end(), is_kept)));
  numbers.assign(spans.size(), -1);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    Span span = spans[i];
    if (!is_kept(span)) continue;
    span.concept_number = span.concept_number == concept_number ? 0 : 1;
    numbers[i] = static_cast<std::int32_t>(kept.size());
    kept.push_back(span);
  }
  return kept;
}

/// Rows of features and whether each is of the concept; most spans have no value at all and are only counted.
struct ProbeRows {
  Index k = 0;
  std::vector<double> x; ///< [rows, k]
  std::vector<bool> positive;
  double zeros[2] = {0, 0}; ///< rows of zeros: of others, of the concept
};

/// Weights of a logistic regression with an intercept, by Newton's method with a little shrinkage, which keeps separable classes finite.
std::vector<double> fit_logistic(const ProbeRows& rows) {
  constexpr double shrinkage = 1e-2; // of the sum over rows
  constexpr int most_steps = 50;
  const Index k = rows.k;
  const Index width = k + 1;
  std::vector<double> w(at(width));
  for (int step = 0; step < most_steps; ++step) {
    std::vector<double> gradient(at(width));
    std::vector<double> hessian(at(width * width));
    for (Index i = 0; i < width; ++i) {
      gradient[at(i)] = i < k ? shrinkage * w[at(i)] : 0;
      hessian[at(i * width + i)] = i < k ? shrinkage : 1e-12;
    }
    const double probability_of_none = 1 / (1 + std::exp(-w[at(k)]));
    gradient[at(k)] += rows.zeros[0] * probability_of_none + rows.zeros[1] * (probability_of_none - 1);
    hessian[at(k * width + k)] += (rows.zeros[0] + rows.zeros[1]) * probability_of_none * (1 - probability_of_none);
    for (std::size_t row = 0; row < rows.positive.size(); ++row) {
      const auto value = [&](Index i) { return i < k ? rows.x[row * at(k) + at(i)] : 1.0; };
      double score = 0;
      for (Index i = 0; i < width; ++i) score += w[at(i)] * value(i);
      const double probability = 1 / (1 + std::exp(-score));
      const double slope = probability * (1 - probability);
      for (Index i = 0; i < width; ++i) {
        gradient[at(i)] += (probability - (rows.positive[row] ? 1 : 0)) * value(i);
        for (Index j = 0; j < width; ++j) hessian[at(i * width + j)] += slope * value(i) * value(j);
      }
    }
    // Gaussian elimination without pivots: the matrix is positive definite.
    for (Index i = 0; i < width; ++i)
      for (Index j = i + 1; j < width; ++j) {
        const double factor = hessian[at(j * width + i)] / hessian[at(i * width + i)];
        for (Index c = i; c < width; ++c) hessian[at(j * width + c)] -= factor * hessian[at(i * width + c)];
        gradient[at(j)] -= factor * gradient[at(i)];
      }
    double largest = 0;
    for (Index i = width - 1; i >= 0; --i) {
      for (Index j = i + 1; j < width; ++j) gradient[at(i)] -= hessian[at(i * width + j)] * gradient[at(j)];
      gradient[at(i)] /= hessian[at(i * width + i)];
      largest = std::max(largest, std::abs(gradient[at(i)]));
    }
    const double damping = std::min(1.0, 4 / std::max(largest, 1e-300));
    for (Index i = 0; i < width; ++i) w[at(i)] -= damping * gradient[at(i)];
    if (largest < 1e-8) break;
  }
  return w;
}

} // namespace

OneConcept::OneConcept(const std::vector<Span>& spans, int concept_number)
    : spans_(kept_spans(spans, concept_number, kept_)), ranking_(spans_, 2), sum_(spans_.size()), changed_(spans_.size()) {}

void OneConcept::add_candidate(const Member& member) {
  candidates_.push_back({member, {}, false});
}

void OneConcept::add_value(const SpanEntry& entry) {
  const std::int32_t kept = kept_[at(entry.span)];
  Candidate& candidate = candidates_.back();
  if (kept >= 0) candidate.values.push_back({kept, entry.value / static_cast<float>(candidate.member.scale)});
}

/// Of both kinds of others, of what was ranked last; of those that there are.
double OneConcept::mean_auc(int half) const {
  const double against_concepts = ranking_.auc(0, half, Others::concepts);
  const double against_random = ranking_.auc(0, half, Others::random);
  if (std::isnan(against_concepts)) return against_random;
  if (std::isnan(against_random)) return against_concepts;
  return (against_concepts + against_random) / 2;
}

/// Of the members' sum with a candidate's values added, on the half chosen on. Leaves the values that are not 0 in merged_, ascending: only
/// those that the candidate changes are sorted.
double OneConcept::auc_with(const Candidate& candidate) {
  const auto below = [](const SpanEntry& a, const SpanEntry& b) { return a.value < b.value; };
  new_values_.clear();
  for (const auto& [span, value] : candidate.values)
    if (spans_[at(span)].phrase_half == 0 && sum_[at(span)] + value > 0) new_values_.push_back({span, sum_[at(span)] + value});
  std::sort(new_values_.begin(), new_values_.end(), below);
  for (const SpanEntry& entry : new_values_) changed_[at(entry.span)] = true;
  merged_.clear();
  auto next = new_values_.begin();
  for (const SpanEntry& entry : ascending_) {
    if (changed_[at(entry.span)]) continue;
    while (next != new_values_.end() && next->value < entry.value) merged_.push_back(*next++);
    merged_.push_back(entry);
  }
  merged_.insert(merged_.end(), next, new_values_.end());
  for (const SpanEntry& entry : new_values_) changed_[at(entry.span)] = false;
  ranking_.rank_ascending(merged_);
  return mean_auc(0);
}

/// Of the members' sum, on the other half.
double OneConcept::held_auc() {
  std::vector<SpanEntry> entries;
  for (std::size_t i = 0; i < sum_.size(); ++i)
    if (sum_[i] > 0 && spans_[i].phrase_half == 1) entries.push_back({static_cast<std::int32_t>(i), sum_[i]});
  ranking_.rank(entries);
  return mean_auc(1);
}

void OneConcept::take(Candidate& candidate) {
  auc_with(candidate);
  std::swap(ascending_, merged_);
  for (const SpanEntry& entry : candidate.values) sum_[at(entry.span)] += entry.value;
  candidate.taken = true;
  members_.push_back(&candidate);
}

ConceptMembers OneConcept::choose(Index max_members, Index k) {
  ConceptMembers chosen;
  double so_far = 0.5;
  while (static_cast<Index>(chosen.members.size()) < max_members) {
    Candidate* best = nullptr;
    double best_auc = -1;
    for (Candidate& candidate : candidates_) {
      if (candidate.taken) continue;
      const double auc = auc_with(candidate);
      if (auc <= best_auc) continue; // of equals the first, which has the higher AUC by itself
      best = &candidate;
      best_auc = auc;
    }
    if (best == nullptr || (best_auc <= so_far && static_cast<Index>(chosen.members.size()) >= k)) break;
    take(*best);
    so_far = best_auc;
    chosen.members.push_back(best->member);
    chosen.sum_auc_chosen.push_back(best_auc);
    chosen.sum_auc_held.push_back(held_auc());
  }
  for (const Index members : {1, 2, 5}) chosen.probes.push_back(probe(chosen, members));
  return chosen;
}

/// The first members' values on the spans that have any, [touched spans, members].
OneConcept::Touched OneConcept::touched_by(std::size_t members) const {
  Touched touched;
  for (std::size_t i = 0; i < members; ++i)
    for (const SpanEntry& entry : members_[i]->values) touched.spans.push_back(entry.span);
  std::sort(touched.spans.begin(), touched.spans.end());
  touched.spans.erase(std::unique(touched.spans.begin(), touched.spans.end()), touched.spans.end());
  touched.values.resize(touched.spans.size() * members);
  for (std::size_t i = 0; i < members; ++i) {
    std::size_t row = 0;
    for (const SpanEntry& entry : members_[i]->values) { // both ascend
      while (touched.spans[row] != entry.span) ++row;
      touched.values[row * members + i] = entry.value;
    }
  }
  return touched;
}

/// Of all spans but random ones on a half by concept (0: the others, 1: its own), less `counted` of them.
void OneConcept::count_untouched(int half, const std::vector<std::int32_t>& touched, double (&counted)[2]) const {
  counted[1] = static_cast<double>(ranking_.spans(0, half));
  counted[0] = static_cast<double>(ranking_.spans(1, half));
  for (const std::int32_t number : touched) {
    const Span& span = spans_[at(number)];
    if (!span.random && span.phrase_half == half) --counted[span.concept_number == 0 ? 1 : 0];
  }
}

Probe OneConcept::probe(const ConceptMembers& chosen, Index members) {
  if (static_cast<Index>(chosen.members.size()) < members) return {members, not_known};
  const auto k = at(members);
  const Touched touched = touched_by(k);
  ProbeRows rows{members, {}, {}, {}};
  count_untouched(0, touched.spans, rows.zeros);
  for (std::size_t row = 0; row < touched.spans.size(); ++row) {
    const Span& span = spans_[at(touched.spans[row])];
    if (span.phrase_half != 0 || span.random) continue;
    const auto first = touched.values.begin() + static_cast<std::ptrdiff_t>(row * k);
    rows.x.insert(rows.x.end(), first, first + static_cast<std::ptrdiff_t>(k));
    rows.positive.push_back(span.concept_number == 0);
  }
  return {members, held_auc_of(fit_logistic(rows), touched)};
}

/// The AUC of the members' weighted sum on the half held out. Spans without a value lie among the others, so every span has an entry.
double OneConcept::held_auc_of(const std::vector<double>& w, const Touched& touched) {
  std::vector<double> scores; // without the intercept, which moves no rank
  const std::size_t k = w.size() - 1;
  for (std::size_t row = 0; row < touched.spans.size(); ++row) {
    scores.push_back(0);
    for (std::size_t j = 0; j < k; ++j) scores.back() += w[j] * touched.values[row * k + j];
  }
  double lowest = touched.spans.size() < spans_.size() ? 0 : std::numeric_limits<double>::infinity();
  for (const double score : scores) lowest = std::min(lowest, score);
  const auto is_told = [&](const Span& span) { return span.phrase_half == 1 && !span.random; };
  std::vector<SpanEntry> entries;
  for (std::size_t row = 0; row < touched.spans.size(); ++row) {
    changed_[at(touched.spans[row])] = true;
    if (is_told(spans_[at(touched.spans[row])])) entries.push_back({touched.spans[row], static_cast<float>(scores[row] - lowest + 1)});
  }
  const auto none = static_cast<float>(1 - lowest);
  const auto middle = std::partition(entries.begin(), entries.end(), [&](const SpanEntry& entry) { return entry.value < none; });
  std::sort(entries.begin(), middle, [](const SpanEntry& a, const SpanEntry& b) { return a.value < b.value; });
  std::sort(middle, entries.end(), [](const SpanEntry& a, const SpanEntry& b) { return a.value < b.value; });
  merged_.assign(entries.begin(), middle);
  for (std::size_t i = 0; i < spans_.size(); ++i)
    if (!changed_[i] && is_told(spans_[i])) merged_.push_back({static_cast<std::int32_t>(i), none});
  merged_.insert(merged_.end(), middle, entries.end());
  for (const std::int32_t span : touched.spans) changed_[at(span)] = false;
  ranking_.rank_ascending(merged_);
  return ranking_.auc(0, 1, Others::concepts);
}

} // namespace concord::subspaces
