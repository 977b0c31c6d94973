#include "concord/similarity/measures/measure.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::similarity {
namespace {

Index reached(const std::vector<double>& null, double score, double rounding) {
  return std::count_if(null.begin(), null.end(), [&](double value) { return value >= score - rounding; });
}

void finish_null(Null& null, double score) {
  const auto count = static_cast<double>(null.values.size());
  if (null.values.empty() || std::isnan(score)) return;
  null.mean = std::accumulate(null.values.begin(), null.values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : null.values) squares += (value - null.mean) * (value - null.mean);
  const double rounding = rounding_of(score, null.values);
  if (count > 1) null.sd = std::sqrt(squares / (count - 1));
  if (null.sd <= rounding) null.sd = 0; // all of them equal
  null.p = (1 + static_cast<double>(reached(null.values, score, rounding))) / (1 + count);
}

/// The (1 - level) quantile of score and null together: with K null values the ceil((1 - level)(K + 1))-th smallest.
double threshold(const Measure& measure, double level) {
  auto all = measure.shuffled.values;
  all.push_back(measure.score);
  std::sort(all.begin(), all.end());
  const auto place = static_cast<std::size_t>(std::ceil((1 - level) * static_cast<double>(all.size()) - 1e-9));
  return all[std::clamp<std::size_t>(place, 1, all.size()) - 1];
}

} // namespace

double rounding_of(double score, const std::vector<double>& null) {
  constexpr double relative = 1e-10;
  double largest = std::abs(score);
  for (const double value : null) largest = std::max(largest, std::abs(value));
  return relative * largest;
}

Measure undefined(std::string reason) {
  Measure measure;
  measure.reason = std::move(reason);
  return measure;
}

void finish(Measure& m, double level) {
  for (Null* null : {&m.shuffled, &m.stratified, &m.subsets}) finish_null(*null, m.score);
  const bool shuffled = !m.shuffled.values.empty();
  const double mean = shuffled ? m.shuffled.mean : m.formula_mean;
  const double sd = shuffled ? m.shuffled.sd : m.formula_sd;
  if (sd > 0) m.z = (m.score - mean) / sd;
  if (!std::isnan(m.formula_p)) m.formula_p = std::max(m.formula_p, std::numeric_limits<double>::min()); // never 0
  m.p = shuffled ? m.shuffled.p : m.formula_p;
  if (shuffled && !std::isnan(m.p)) m.p_from = PFrom::shuffles;
  if (mean < 1) m.adjusted = (m.score - mean) / (1 - mean);
  if (!shuffled || std::isnan(m.score)) return;
  const double t = threshold(m, level);
  const bool above = m.score - t > rounding_of(m.score, m.shuffled.values);
  m.calibrated = t < 1 && above ? (m.score - t) / (1 - t) : 0.0;
}

const std::vector<std::string>& measure_columns() {
  static const std::vector<std::string> names{"score",
                                              "null_mean",
                                              "null_sd",
                                              "z",
                                              "p",
                                              "p_from",
                                              "q",
                                              "max_p",
                                              "adjusted",
                                              "calibrated",
                                              "formula_mean",
                                              "formula_sd",
                                              "stratified_mean",
                                              "stratified_sd",
                                              "stratified_p",
                                              "subset_mean",
                                              "subset_sd",
                                              "subset_p"};
  return names;
}

std::vector<double> measure_values(const Measure& m) {
  return {m.score,
          m.shuffled.mean,
          m.shuffled.sd,
          m.z,
          m.p,
          static_cast<double>(m.p_from),
          not_known,
          not_known,
          m.adjusted,
          m.calibrated,
          m.formula_mean,
          m.formula_sd,
          m.stratified.mean,
          m.stratified.sd,
          m.stratified.p,
          m.subsets.mean,
          m.subsets.sd,
          m.subsets.p};
}

std::vector<double> false_discovery_rates(const std::vector<double>& p) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < p.size(); ++i)
    if (!std::isnan(p[i])) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  std::vector<double> q(p.size(), not_known);
  double least = 1;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const auto tests = static_cast<double>(order.size());
    least = std::min(least, p[order[rank]] * tests / (tests - static_cast<double>(rank)));
    q[order[rank]] = least;
  }
  return q;
}

std::vector<double> max_statistic_p(const std::vector<double>& scores, const std::vector<std::vector<double>>& nulls) {
  std::vector<double> result(scores.size(), not_known);
  const std::size_t count = nulls.empty() ? 0 : nulls.front().size();
  if (count < 2) return result;
  std::vector<double> z(scores.size(), not_known);
  std::vector<double> rounding(scores.size(), 0.0); // of z
  std::vector<double> largest(count, -std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) continue;
    // Score and null are standardised together, so that under the null hypothesis each of them is the largest equally often.
    Null all{nulls[i]};
    all.values.push_back(scores[i]);
    finish_null(all, scores[i]);
    if (!(all.sd > 0)) continue;
    z[i] = (scores[i] - all.mean) / all.sd;
    rounding[i] = rounding_of(scores[i], nulls[i]) / all.sd;
    for (std::size_t b = 0; b < count; ++b) largest[b] = std::max(largest[b], (nulls[i][b] - all.mean) / all.sd);
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(z[i])) continue;
    result[i] = (1 + static_cast<double>(reached(largest, z[i], rounding[i]))) / (1 + static_cast<double>(count));
  }
  return result;
}

} // namespace concord::similarity
