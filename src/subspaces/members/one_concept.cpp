#include "subspaces/members/one_concept.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::subspaces {
namespace {

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
  std::vector<bool> is_zero;
  for (std::size_t row = 0; row < positive.size(); ++row) {
    const auto first = x.begin() + static_cast<std::ptrdiff_t>(row * at(k));
    is_zero.push_back(std::all_of(first, first + k, [](double value) { return value == 0; }));
  }
  for (int step = 0; step < most_steps; ++step) {
    std::vector<double> gradient(at(width));
    std::vector<double> hessian(at(width * width));
    for (Index i = 0; i < width; ++i) {
      gradient[at(i)] = i < k ? shrinkage * w[at(i)] : 0;
      hessian[at(i * width + i)] = i < k ? shrinkage : 1e-12;
    }
    const double probability_of_none = 1 / (1 + std::exp(-w[at(k)])); // of a row of zeros, as most are
    const double slope_of_none = probability_of_none * (1 - probability_of_none);
    for (std::size_t row = 0; row < positive.size(); ++row) {
      if (is_zero[row]) {
        gradient[at(k)] += probability_of_none - (positive[row] ? 1 : 0);
        hessian[at(k * width + k)] += slope_of_none;
        continue;
      }
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

Probe OneConcept::probe(const ConceptMembers& chosen, Index members) {
  if (static_cast<Index>(chosen.members.size()) < members) return {members, not_known};
  const auto k = at(members);
  std::vector<float> values(spans_.size() * k);
  for (std::size_t i = 0; i < k; ++i)
    for (const SpanEntry& entry : members_[i]->values) values[at(entry.span) * k + i] = entry.value;
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
