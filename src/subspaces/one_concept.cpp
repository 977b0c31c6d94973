#include "subspaces/one_concept.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::subspaces {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

std::vector<Span> kept_spans(const std::vector<Span>& spans, int concept_number, std::vector<std::int32_t>& numbers) {
  std::vector<Span> kept;
  numbers.assign(spans.size(), -1);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    Span span = spans[i];
    const bool own = span.concept_number == concept_number;
    if (span.random && !own) continue;
    span.concept_number = own ? 0 : 1;
    numbers[i] = static_cast<std::int32_t>(kept.size());
    kept.push_back(span);
  }
  return kept;
}

/// Weights of a logistic regression with an intercept, by Newton's method with a little shrinkage, which keeps separable classes finite.
/// @param x [n, k] row-major, @param positive [n]
std::vector<double> fit_logistic(const std::vector<double>& x, const std::vector<bool>& positive, Index k) {
  constexpr double shrinkage = 1e-2; // of the sum over rows
  constexpr int most_steps = 50;
  const Index width = k + 1;
  std::vector<double> w(at(width));
  for (int step = 0; step < most_steps; ++step) {
    std::vector<double> gradient(at(width));
    std::vector<double> hessian(at(width * width));
    for (Index i = 0; i < width; ++i) {
      gradient[at(i)] = i < k ? shrinkage * w[at(i)] : 0;
      hessian[at(i * width + i)] = i < k ? shrinkage : 1e-12;
    }
    for (std::size_t row = 0; row < positive.size(); ++row) {
      const auto value = [&](Index i) { return i < k ? x[row * at(k) + at(i)] : 1.0; };
      double score = 0;
      for (Index i = 0; i < width; ++i) score += w[at(i)] * value(i);
      const double probability = 1 / (1 + std::exp(-score));
      const double slope = probability * (1 - probability);
      for (Index i = 0; i < width; ++i) {
        gradient[at(i)] += (probability - (positive[row] ? 1 : 0)) * value(i);
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
    : spans_(kept_spans(spans, concept_number, kept_)), ranking_(spans_, 2) {}

void OneConcept::add_candidate(std::int32_t number, const Member& member) {
  candidates_[number].member = member;
  number_of_feature_[member.feature] = number;
}

void OneConcept::add_value(std::int32_t number, const SpanEntry& entry) {
  const std::int32_t kept = kept_[at(entry.span)];
  if (kept < 0) return;
  Candidate& candidate = candidates_.at(number);
  candidate.values.push_back({kept, entry.value / static_cast<float>(candidate.member.scale)});
}

/// Of both kinds of others, of what was ranked last; of those that there are.
double OneConcept::mean_auc(int half) const {
  const double against_concepts = ranking_.auc(0, half, Others::concepts);
  const double against_random = ranking_.auc(0, half, Others::random);
  if (std::isnan(against_concepts)) return against_random;
  if (std::isnan(against_random)) return against_concepts;
  return (against_concepts + against_random) / 2;
}

/// Of the sum with a candidate's values added, on one half of the phrases.
double OneConcept::sum_auc(const std::vector<float>& sum, const std::vector<SpanEntry>& added, int half) {
  std::vector<SpanEntry> entries;
  auto next = added.begin();
  for (std::size_t i = 0; i < sum.size(); ++i) {
    float value = sum[i];
    if (next != added.end() && at(next->span) == i) value += (next++)->value;
    if (value > 0 && spans_[i].phrase_half == half) entries.push_back({static_cast<std::int32_t>(i), value});
  }
  ranking_.rank(entries);
  return mean_auc(half);
}

ConceptMembers OneConcept::choose(Index max_members, Index k) {
  ConceptMembers chosen;
  std::vector<float> sum(spans_.size());
  double so_far = 0.5;
  while (static_cast<Index>(chosen.members.size()) < max_members) {
    Candidate* best = nullptr;
    double best_auc = -1;
    for (auto& [number, candidate] : candidates_) {
      if (candidate.taken) continue;
      const double auc = sum_auc(sum, candidate.values, 0);
      if (auc <= best_auc) continue; // of equals the first, which has the higher AUC by itself
      best = &candidate;
      best_auc = auc;
    }
    if (best == nullptr || (best_auc <= so_far && static_cast<Index>(chosen.members.size()) >= k)) break;
    best->taken = true;
    for (const SpanEntry& entry : best->values) sum[at(entry.span)] += entry.value;
    so_far = best_auc;
    chosen.members.push_back(best->member);
    chosen.sum_auc_chosen.push_back(best_auc);
    chosen.sum_auc_held.push_back(sum_auc(sum, {}, 1));
  }
  for (const Index members : {1, 2, 5}) chosen.probes.push_back(probe(chosen, members));
  return chosen;
}

Probe OneConcept::probe(const ConceptMembers& chosen, Index members) {
  if (static_cast<Index>(chosen.members.size()) < members) return {members, not_known};
  const auto k = at(members);
  std::vector<float> values(spans_.size() * k);
  for (std::size_t i = 0; i < k; ++i)
    for (const SpanEntry& entry : candidates_.at(number_of_feature_.at(chosen.members[i].feature)).values)
      values[at(entry.span) * k + i] = entry.value;
  std::vector<double> x;
  std::vector<bool> positive;
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    if (spans_[i].phrase_half != 0 || spans_[i].random) continue;
    x.insert(x.end(), values.begin() + static_cast<std::ptrdiff_t>(i * k), values.begin() + static_cast<std::ptrdiff_t>((i + 1) * k));
    positive.push_back(spans_[i].concept_number == 0);
  }
  const auto w = fit_logistic(x, positive, members);
  std::vector<double> scores; // without the intercept, which moves no rank
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    scores.push_back(0);
    for (std::size_t j = 0; j < k; ++j) scores.back() += w[j] * values[i * k + j];
  }
  const double lowest = *std::min_element(scores.begin(), scores.end());
  std::vector<SpanEntry> entries; // of every span: what has no entry would count as 0
  for (std::size_t i = 0; i < spans_.size(); ++i)
    if (!spans_[i].random) entries.push_back({static_cast<std::int32_t>(i), static_cast<float>(scores[i] - lowest + 1)});
  ranking_.rank(entries);
  return {members, ranking_.auc(0, 1, Others::concepts)};
}

} // namespace concord::subspaces
