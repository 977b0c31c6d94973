#include "concord/similarity/compare_spaces.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/similarity/chance/permutation.hpp"

#include "similarity/factor_scores.hpp"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>

namespace concord::similarity {
namespace {

/// Scores of many permutations, [count] each.
using Nulls = std::map<std::string, std::vector<double>>;

class SpaceComparer {
public:
  SpaceComparer(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const SpaceFacts& facts, const SpaceOptions& options)
      : comm_(comm), x_(x), y_(y), facts_(facts), options_(options) {}

  SpaceComparison compare() {
    comm::agree(comm_, [&] { check_input(); });
    for (const auto& name : options_.measures) result_.measures[name] = {};
    const Index m = x_.rows;
    if (m < 4) {
      for (auto& [name, measure] : result_.measures) measure = undefined(fmt::format("{} matched rows are too few", m));
      return result_;
    }
    timed("factors", [&] { score_factors(); });
    look_for_stop();
    score_rsa();
    timed("nulls", [&] {
      permute();
      draw_subsets();
    });
    for (auto& [name, measure] : result_.measures) {
      finish(measure, options_.level);
      if (measure.p_from == PFrom::nothing && !std::isnan(measure.p))
        measure.p_from = options_.permutations > 0 ? PFrom::law_for_memory : PFrom::law;
    }
    return std::move(result_);
  }

private:
  void look_for_stop() const { comm::stop_if_requested(comm_, "compare"); }

  bool wants(const std::string& name) const { return result_.measures.contains(name); }
  bool wants_any(const std::vector<std::string>& names) const {
    return std::any_of(names.begin(), names.end(), [&](const auto& name) { return wants(name); });
  }
  bool wants_blocks() const { return similarity::wants_blocks(wanted()); }
  bool wants_cross() const { return similarity::wants_cross(wanted()); }
  std::function<bool(const std::string&)> wanted() const {
    return [this](const std::string& name) { return wants(name); };
  }

  template <typename F>
  void timed(const std::string& name, const F& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    result_.seconds[name] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  void check_input() const {
    check(options_);
    require(x_.rows == y_.rows, ExitCode::bad_data, "matched rows are needed: {} against {}", x_.rows, y_.rows);
    require(x_.rows < (Index{1} << 31), ExitCode::unavailable, "{} rows are more than 2^31", x_.rows);
    for (const auto& [name, matrix] : {std::pair{"X", &x_}, std::pair{"Y", &y_}}) {
      const Index row = matrix->first_bad_row();
      require(row < 0, ExitCode::bad_data, "row {} of {} holds a value that is not finite", row, name);
    }
  }

  void give(const std::string& name, double score, const Moments& chance = {not_known, not_known}) {
    if (!wants(name)) return;
    auto& measure = result_.measures[name];
    measure.score = score;
    measure.formula_mean = chance.mean;
    measure.formula_sd = chance.sd;
    measure.formula_p = upper_tail(chance, score);
  }
  void refuse(const std::vector<std::string>& names, const std::string& reason) {
    for (const auto& name : names)
      if (wants(name)) result_.measures[name] = undefined(reason);
  }

  void score_factors() {
    const bool angles = wants("principal_angles");
    if (!wants_blocks() && !wants_cross() && !angles) return;
    FactorOptions o{options_.svcca, options_.route, wants_cross(), wants("pwcca") || angles, permutations(), wants_law()};
    factors_.emplace(comm_, x_, y_, o, facts_.factors);
    result_.x = factors_->x().side;
    result_.y = factors_->y().side;
    result_.route_x = factors_->x().route;
    result_.route_y = factors_->y().route;
    result_.forced_ones = forced_ones(x_.rows, result_.x.k, result_.y.k);
    if (result_.x.k == 0 || result_.y.k == 0) {
      refuse(FactorScores::names(), "a side has no variance");
      return;
    }
    scores_.emplace(*factors_, wanted());
    Scores scores;
    if (scores_->any()) scores = scores_->of(factors_->matched(), identity());
    const auto chances = scores_->chance(wants_law());
    for (const auto& [name, score] : scores) {
      const auto chance = chances.find(name);
      give(name, score, chance == chances.end() ? Moments{not_known, not_known} : chance->second);
    }
    if (wants("svcca_rank1") && wants_law()) { // the law of r^2 leans far to one side, that of |r| has no known moments of its own
      auto& measure = result_.measures["svcca_rank1"];
      measure.formula_p = upper_tail(rv_moments(x_.rows, factors_->x().first, factors_->y().first), measure.score * measure.score);
    }
    refuse_undefined();
    if (angles) score_angles();
  }

  void refuse_undefined() {
    if (!scores_->block_reason().empty()) refuse({"svcca", "svcca_squared", "pwcca"}, scores_->block_reason());
    if (wants("cka_debiased") && std::isnan(result_.measures["cka_debiased"].score))
      refuse({"cka_debiased"}, "an unbiased estimate of a side with itself is not positive");
  }

  void score_angles() {
    const Index a = factors_->x().d, b = factors_->y().d;
    if (a != b) return refuse({"principal_angles"}, fmt::format("spaces of width {} and {} have no directions in common", a, b));
    const auto [score, chance] = scores_->angles();
    give("principal_angles", score, chance);
  }

  void score_rsa() {
    const std::vector<std::string> by_rdm{"rsa", "rsa_pearson", "rsa_rho_a", "rsa_kendall"};
    if (!wants_any(by_rdm) && !wants("mutual_knn")) return;
    RsaOptions o;
    o.kind = options_.rdm;
    o.neighbours = wants("mutual_knn") ? std::min(options_.neighbours, x_.rows - 1) : 0;
    o.kendall_samples = wants("rsa_kendall") ? options_.kendall_samples : 0;
    o.memory = options_.memory_gib * 0x1p30;
    o.permute = permutations() > 0 && wants_any(by_rdm);
    if (wants_any({"rsa", "rsa_pearson", "rsa_rho_a"}) && !facts_.scores_only)
      o.skewness = wants_law() ? RsaSkewness::wanted : RsaSkewness::without_tables;
    o.seed = options_.seed;
    o.threads = thread_count();
    rsa_.emplace(comm_, x_, y_, o);
    const auto& r = rsa_->result();
    result_.seconds["rdm"] = r.rdm_seconds;
    result_.seconds["ranks"] = r.rank_seconds;
    result_.ties_x = r.ties_x;
    result_.ties_y = r.ties_y;
    if (!r.reason.empty()) refuse(by_rdm, r.reason);
    if (r.neighbours_x.k == 0) refuse({"mutual_knn"}, r.reason);
    if (r.reason.empty()) {
      const auto& chance = r.spearman_chance;
      give("rsa", r.spearman, chance);
      give("rsa_pearson", r.pearson, r.pearson_chance);
      give("rsa_rho_a", r.rho_a, {chance.mean * r.rho_a_of_spearman, chance.sd * r.rho_a_of_spearman, chance.skew});
      give("rsa_kendall", r.kendall, {0, not_known});
      if (wants("rsa_kendall")) result_.kendall_error = r.kendall_error;
    }
    if (r.neighbours_x.k > 0 && wants("mutual_knn"))
      give("mutual_knn", mutual_knn(r.neighbours_x, r.neighbours_y, identity()),
           {static_cast<double>(r.neighbours_x.k) / static_cast<double>(x_.rows - 1), not_known});
  }

  std::vector<Index> identity() const {
    std::vector<Index> order(at(x_.rows));
    std::iota(order.begin(), order.end(), Index{0});
    return order;
  }

  Index stratified() const { return facts_.strata.empty() ? 0 : options_.stratified; }
  Index permutations() const { return options_.permutations + stratified(); }
  /// Whether p of factors comes from a law.
  bool wants_law() const { return options_.permutations == 0 && !facts_.scores_only; }
  std::vector<Index> pairing(Index number) const {
    return number < options_.permutations ? shuffled_pairing(x_.rows, options_.seed, number)
                                          : stratified_pairing(facts_.strata, options_.seed, number - options_.permutations);
  }

  /// Permutations, shuffled and then stratified, spread over ranks: each belongs to one rank whatever their number.
  void permute() {
    if (permutations() == 0) return;
    std::vector<Index> mine;
    for (Index b = comm_.rank(); b < permutations(); b += comm_.size()) mine.push_back(b);
    Nulls nulls;
    if (scores_ && scores_->any()) {
      factors_->prepare_permutations();
      for (const Index b : mine) { // products have the threads of BLAS
        if (comm::stop_wanted_here()) break;
        const auto order = pairing(b);
        for (const auto& [name, score] : scores_->of(factors_->permuted(order), order)) put(nulls, name, b, score);
      }
    }
    if (rsa_) permute_rsa(nulls, mine);
    look_for_stop();
    for (auto& [name, measure] : result_.measures) {
      const bool here = nulls.contains(name);
      if (comm::max_of(comm_, Index{here}) == 0) continue;
      auto& values = nulls[name];
      values.resize(at(permutations()), 0.0);
      comm::sum(comm_, values); // one owner each, the others add exact zeros
      if (std::isnan(measure.score)) continue;
      measure.shuffled.values.assign(values.begin(), values.begin() + options_.permutations);
      measure.stratified.values.assign(values.begin() + options_.permutations, values.end());
    }
  }

  void put(Nulls& nulls, const std::string& name, Index b, double score) const {
    auto& values = nulls[name];
    values.resize(at(permutations()), 0.0);
    values[at(b)] = score;
  }

  void permute_rsa(Nulls& nulls, const std::vector<Index>& mine) const {
    const auto& r = rsa_->result();
    struct Row {
      double spearman, pearson, kendall, neighbours;
    };
    std::vector<Row> rows(mine.size());
    const bool knn = wants("mutual_knn") && r.neighbours_x.k > 0;
    const bool ranks = rsa_->permutes_ranks() && wants_any({"rsa", "rsa_rho_a"});
    const bool kendall = rsa_->permutes_ranks() && wants("rsa_kendall");
    const bool values = rsa_->permutes_values() && wants("rsa_pearson");
    for_each_item(static_cast<Index>(mine.size()), thread_count(), [&](int, Index item) {
      if (comm::stop_wanted_here()) return;
      const auto order = pairing(mine[at(item)]);
      auto& row = rows[at(item)];
      if (ranks) row.spearman = rsa_->spearman_of(order);
      if (kendall) row.kendall = rsa_->kendall_of(order);
      if (values) row.pearson = rsa_->pearson_of(order);
      if (knn) row.neighbours = mutual_knn(r.neighbours_x, r.neighbours_y, order);
    });
    for (std::size_t i = 0; i < mine.size(); ++i) {
      if (ranks) put(nulls, "rsa", mine[i], rows[i].spearman);
      if (ranks) put(nulls, "rsa_rho_a", mine[i], rows[i].spearman * r.rho_a_of_spearman);
      if (kendall) put(nulls, "rsa_kendall", mine[i], rows[i].kendall);
      if (values) put(nulls, "rsa_pearson", mine[i], rows[i].pearson);
      if (knn) put(nulls, "mutual_knn", mine[i], rows[i].neighbours);
    }
  }

  /// Random subsets, each compared by one rank.
  void draw_subsets() {
    if (!facts_.subset || options_.subsets == 0) return;
    SpaceOptions plain = options_;
    plain.permutations = plain.stratified = plain.subsets = 0;
    const auto alone = comm_.split(comm_.rank());
    std::vector<double> scores(static_cast<std::size_t>(options_.subsets) * options_.measures.size(), 0.0);
    for (Index s = comm_.rank(); s < options_.subsets && !comm::stop_wanted_here(); s += comm_.size()) {
      const auto [x, y] = facts_.subset(s);
      const auto drawn = compare_alone(alone, x, y, plain);
      for (std::size_t i = 0; i < options_.measures.size() && !drawn.measures.empty(); ++i)
        scores[at(s) * options_.measures.size() + i] = drawn.measures.at(options_.measures[i]).score;
    }
    look_for_stop();
    comm::sum(comm_, scores);
    for (std::size_t i = 0; i < options_.measures.size(); ++i) {
      std::vector<double> values;
      for (std::size_t s = i; s < scores.size(); s += options_.measures.size())
        if (!std::isnan(scores[s])) values.push_back(scores[s]);
      result_.measures[options_.measures[i]].subsets.values = std::move(values);
    }
  }

  /// What one rank throws, the others do not know of: it is not agreed among them. Nothing where this rank is to stop.
  static SpaceComparison compare_alone(const comm::Communicator& alone, const Matrix& x, const Matrix& y, const SpaceOptions& options) {
    try {
      return compare_spaces(alone, x, y, {{}, {}, nullptr, true}, options);
    } catch (const Error& error) {
      if (error.code() == ExitCode::stopped) return {};
      fail(error.code(), "{}", error.what());
    }
  }

  const comm::Communicator& comm_;
  const Matrix& x_;
  const Matrix& y_;
  const SpaceFacts& facts_;
  const SpaceOptions& options_;
  SpaceComparison result_;
  std::optional<FactorPair> factors_;
  std::optional<FactorScores> scores_; ///< of factors, where both sides have variance
  std::optional<Rsa> rsa_;
};

} // namespace

void check(const SpaceOptions& options) {
  settings::check_all(options, "compare", "this comparison");
  require(!options.measures.empty(), ExitCode::config, "compare.measures is empty; it may hold {}",
          join({all_measures.begin(), all_measures.end()}, ", "));
}

SpaceComparison compare_spaces(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const SpaceFacts& facts,
                               const SpaceOptions& options) {
  return SpaceComparer(comm, x, y, facts, options).compare();
}

} // namespace concord::similarity
