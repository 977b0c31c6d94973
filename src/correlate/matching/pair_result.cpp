#include "correlate/matching/pair_result.hpp"

#include "concord/core/at.hpp"
#include "concord/correlate/correlate.hpp"

#include <limits>
#include <numeric>

namespace concord::correlate {
namespace {

constexpr double undefined = std::numeric_limits<double>::quiet_NaN();
constexpr double fixed_cut = 0.1; ///< the papers'

SideResult side_result(BestPartners best, std::vector<double> null_r, NullSample sample, const BestNull& null, double level) {
  const std::size_t features = best.partner.size() / at(best.places);
  const std::vector<double> none(features, undefined);
  SideResult side{std::move(best), std::move(null_r), std::move(sample), none, none};
  if (null.empty()) return side;
  for (std::size_t f = 0; f < features; ++f) {
    side.threshold[f] = null.threshold(static_cast<Index>(f), level);
    if (side.best.partner[f * at(side.best.places)] >= 0) side.p[f] = null.p(static_cast<Index>(f), side.best.r[f * at(side.best.places)]);
  }
  return side;
}

/// What one side's best r say: mean over features that fire often enough, the same weighted by activity, how many of them are tested, how
/// many are beyond chance at the false discovery rate, how many beyond the papers' fixed cut.
struct BestSummary {
  double mppc = 0, weighted = 0, tested = 0, significant = 0, above_fixed = 0;
};

BestSummary summarised(const SideResult& side, const MatchSide& facts, const std::vector<double>& sums, const MatchRules& rules) {
  BestSummary s;
  double weight = 0;
  std::vector<double> p(facts.counts.size(), undefined);
  for (std::size_t f = 0; f < facts.counts.size(); ++f) {
    if (facts.counts[f] < std::max<Index>(1, rules.min_firings)) continue;
    const double r = side.best.r[f * at(side.best.places)];
    s.tested += 1;
    s.mppc += r;
    s.weighted += r * sums[f];
    weight += sums[f];
    s.above_fixed += r > fixed_cut ? 1 : 0;
    p[f] = std::isnan(side.p[f]) && side.best.partner[f * at(side.best.places)] < 0 ? 1.0 : side.p[f];
  }
  s.mppc = s.tested > 0 ? s.mppc / s.tested : undefined;
  s.weighted = weight != 0 ? s.weighted / weight : undefined;
  for (const double q : benjamini_hochberg(p)) s.significant += q <= rules.max_q ? 1 : 0;
  if (side.null_r.empty()) s.significant = undefined;
  return s;
}

/// Calls `f` with every array of a result, whatever its element type.
template <typename Result, typename F>
void for_each_array(Result& result, F&& f) {
  for (auto* side : {&result.a, &result.b}) {
    f(side->best.partner);
    f(side->best.r);
    f(side->best.cofire);
    f(side->null_r);
    f(side->sample.feature);
    f(side->sample.shift);
    f(side->sample.weight);
    f(side->threshold);
    f(side->p);
  }
  f(result.matching.a);
  f(result.matching.r);
  f(result.matching.margin);
  f(result.matching.p);
  f(result.matching.q);
  f(result.matching.cofire);
  f(result.matching.mutual);
  f(result.summary);
}

} // namespace

const std::vector<std::string>& summary_columns() {
  static const std::vector<std::string> columns{"mppc_a",   "mppc_b",        "wmppc_a",       "wmppc_b",       "tested_a",
                                                "tested_b", "significant_a", "significant_b", "above_fixed_a", "above_fixed_b",
                                                "matched",  "mean_r",        "optimal",       "added"};
  return columns;
}

PairResult pair_result(PairCorrelation pair, const Matcher& matcher, Matching matching, const MatchSide& a, const MatchSide& b,
                       const std::vector<double>& sums_a, const std::vector<double>& sums_b, double level, const MatchRules& rules,
                       const Proof& proof) {
  PairResult result{side_result(std::move(pair.a_to_b), std::move(pair.null_a), std::move(pair.sample_a), matcher.null_a(), level),
                    side_result(std::move(pair.b_to_a), std::move(pair.null_b), std::move(pair.sample_b), matcher.null_b(), level),
                    std::move(matching),
                    {}};
  const auto of_a = summarised(result.a, a, sums_a, rules);
  const auto of_b = summarised(result.b, b, sums_b, rules);
  double sum_r = 0;
  for (std::size_t j = 0; j < result.matching.a.size(); ++j) sum_r += result.matching.a[j] >= 0 ? result.matching.r[j] : 0.0;
  const auto matched = static_cast<double>(result.matching.counts.back());
  const bool proven = rules.pairing == Pairing::optimal;
  result.summary = {of_a.mppc,
                    of_b.mppc,
                    of_a.weighted,
                    of_b.weighted,
                    of_a.tested,
                    of_b.tested,
                    of_a.significant,
                    of_b.significant,
                    of_a.above_fixed,
                    of_b.above_fixed,
                    matched,
                    matched > 0 ? sum_r / matched : undefined,
                    proven ? static_cast<double>(proof.optimal) : undefined,
                    proven ? static_cast<double>(proof.added) : undefined};
  return result;
}

std::vector<char> packed(const PairResult& result) {
  std::vector<char> bytes;
  const auto put = [&](const void* data, std::size_t count) {
    const auto* first = static_cast<const char*>(data);
    bytes.insert(bytes.end(), first, first + count);
  };
  put(&result.a.best.places, sizeof(Index));
  put(result.matching.counts.data(), sizeof result.matching.counts);
  for_each_array(result, [&](const auto& values) {
    const std::size_t count = values.size();
    put(&count, sizeof count);
    put(values.data(), count * sizeof values[0]);
  });
  return bytes;
}

PairResult unpacked(const char*& from) {
  PairResult result;
  const auto get = [&](void* data, std::size_t count) {
    if (count > 0) std::memcpy(data, from, count);
    from += count;
  };
  get(&result.a.best.places, sizeof(Index));
  result.b.best.places = result.a.best.places;
  get(result.matching.counts.data(), sizeof result.matching.counts);
  for_each_array(result, [&](auto& values) {
    std::size_t count = 0;
    get(&count, sizeof count);
    values.resize(count);
    get(values.data(), count * sizeof values[0]);
  });
  return result;
}

double PairShape::null_bytes() const {
  constexpr double of_value = 8;
  constexpr double of_sampled = 8 + 4 + 4 + 8;
  const auto values = static_cast<double>(shifts * (samples_null() ? null_a + null_b : features_a + features_b));
  return values * (samples_null() ? of_sampled : of_value);
}

namespace {

void lay_out_null(io::File& file, const std::string& side, const PairShape& shape, Index features, Index sampled) {
  const bool all = !shape.samples_null();
  file.create_dataset(side + "null_r", all ? std::vector<Index>{shape.shifts, features} : std::vector{shape.shifts * sampled}, Dtype::f64);
  file.create_dataset(side + "threshold", {features}, Dtype::f64);
  file.create_dataset(side + "p", {features}, Dtype::f64);
  if (all) return;
  file.create_dataset(side + "null_feature", {shape.shifts * sampled}, Dtype::i32);
  file.create_dataset(side + "null_shift", {shape.shifts * sampled}, Dtype::i32);
  file.create_dataset(side + "null_weight", {shape.shifts * sampled}, Dtype::f64);
}

/// As many as the dataset has: where fewer were drawn, what is behind them is of no feature.
template <typename T>
void write_padded(io::File& file, const std::string& name, std::vector<T> values, T behind) {
  auto dataset = file.dataset(name);
  values.resize(at(dataset.rows()), behind);
  dataset.write_all(values);
}

void write_null(io::File& file, const std::string& side, const SideResult& result) {
  const bool all = !file.has(side + "null_feature");
  if (all) file.dataset(side + "null_r").write_all(result.null_r);
  file.dataset(side + "threshold").write_all(result.threshold);
  file.dataset(side + "p").write_all(result.p);
  if (all) return;
  write_padded(file, side + "null_r", result.null_r, 0.0);
  write_padded(file, side + "null_feature", result.sample.feature, std::int32_t{-1});
  write_padded(file, side + "null_shift", result.sample.shift, std::int32_t{-1});
  write_padded(file, side + "null_weight", result.sample.weight, 0.0);
}

} // namespace

void lay_out_pair(io::File& file, const std::string& group, const PairShape& shape) {
  const Index features_b = shape.features_b;
  for (const auto& [side, features, sampled] :
       {std::tuple{"/a_to_b/", shape.features_a, shape.null_a}, std::tuple{"/b_to_a/", shape.features_b, shape.null_b}}) {
    const std::string at = group + side;
    file.create_dataset(at + "partner", {features, shape.best}, Dtype::i32);
    file.create_dataset(at + "r", {features, shape.best}, Dtype::f64);
    file.create_dataset(at + "cofire", {features, shape.best}, Dtype::i64);
    file.create_dataset(at + "count", {features}, Dtype::i64);
    if (shape.shifts > 0) lay_out_null(file, at, shape, features, sampled);
  }
  file.create_dataset(group + "/match/a", {features_b}, Dtype::i32);
  for (const char* name : {"r", "margin", "p", "q", "iou", "phi"}) file.create_dataset(group + "/match/" + name, {features_b}, Dtype::f64);
  file.create_dataset(group + "/match/cofire", {features_b}, Dtype::i64);
  file.create_dataset(group + "/mutual", {features_b}, Dtype::u8);
  file.create_dataset(group + "/filter_counts", {static_cast<Index>(filter_steps)}, Dtype::i64);
  file.create_dataset(group + "/summary", {static_cast<Index>(summary_columns().size())}, Dtype::f64);
}

void write_pair(io::File& file, const std::string& group, const PairResult& result, Index rows, const MatchSide& a, const MatchSide& b) {
  for (const auto& [name, side, facts] : {std::tuple{"/a_to_b/", &result.a, &a}, std::tuple{"/b_to_a/", &result.b, &b}}) {
    const std::string at = group + name;
    file.dataset(at + "count").write_all(facts->counts);
    file.dataset(at + "partner").write_all(side->best.partner);
    file.dataset(at + "r").write_all(side->best.r);
    file.dataset(at + "cofire").write_all(side->best.cofire);
    if (file.has(at + "null_r")) write_null(file, at, *side);
  }
  const Matching& m = result.matching;
  std::vector<double> iou(m.a.size(), undefined);
  std::vector<double> phi(m.a.size(), undefined);
  for (std::size_t j = 0; j < m.a.size(); ++j) {
    if (m.a[j] < 0) continue;
    const auto both = static_cast<double>(m.cofire[j]);
    const auto of_a = static_cast<double>(a.counts[at(m.a[j])]);
    const auto of_b = static_cast<double>(b.counts[j]);
    const auto n = static_cast<double>(rows);
    iou[j] = both / (of_a + of_b - both);
    phi[j] = std::clamp((n * both - of_a * of_b) / std::sqrt(of_a * (n - of_a) * of_b * (n - of_b)), -1.0, 1.0); // rounding; NaN stays
  }
  file.dataset(group + "/match/a").write_all(m.a);
  for (const auto& [name, values] : {std::pair{"r", &m.r}, {"margin", &m.margin}, {"p", &m.p}, {"q", &m.q}, {"iou", &iou}, {"phi", &phi}})
    file.dataset(group + "/match/" + name).write_all(*values);
  file.dataset(group + "/match/cofire").write_all(m.cofire);
  file.dataset(group + "/mutual").write_all(m.mutual);
  file.dataset(group + "/filter_counts").write_all(std::vector<Index>(m.counts.begin(), m.counts.end()));
  file.dataset(group + "/summary").write_all(result.summary);
}

} // namespace concord::correlate
