#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/io/claim/claim.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/similarity/chance/permutation.hpp"
#include "concord/similarity/compare.hpp"

#include "similarity/measures/procrustes.hpp"
#include <cmath>

namespace concord::similarity {
namespace {

using nlohmann::json;

Matrix read_matrix(const std::string& location) {
  const io::RowSource source(location);
  Matrix matrix{source.rows(), source.cols(), {}};
  const auto count = static_cast<std::size_t>(source.rows() * source.cols());
  require(count > 0, ExitCode::bad_data, "{} is empty: {} x {}", location, source.rows(), source.cols());
  if (source.dtype() == Dtype::f64) {
    matrix.values.resize(count);
    source.read(0, source.rows(), matrix.values.data());
    const Index row = matrix.first_bad_row();
    require(row < 0, ExitCode::bad_data, "{}: row {} holds a value that is not finite", location, row);
  } else {
    std::vector<float> singles(count);
    source.read_float(0, source.rows(), singles);
    matrix.singles = std::move(singles);
  }
  return matrix;
}

json number(double value) {
  return std::isfinite(value) ? json(value) : json();
}

json json_of(const Measure& measure) {
  json record{{"reason", measure.reason}};
  const auto values = measure_values(measure);
  for (std::size_t i = 0; i < values.size(); ++i) record[measure_columns()[i]] = number(values[i]);
  if (!measure.shuffled.values.empty()) record["null"] = measure.shuffled.values;
  return record;
}

json json_of(const SvccaSide& side, const std::string& route) {
  return {{"k", side.k},
          {"rank", side.rank},
          {"variance_at_k", side.variance_at_k},
          {"variance_before_k", side.variance_before_k},
          {"route", route}};
}

json json_of(const SpaceComparison& c) {
  json record;
  for (const auto& [name, measure] : c.measures) record[name] = json_of(measure);
  record["factors"] = {{"x", json_of(c.x, c.route_x)}, {"y", json_of(c.y, c.route_y)}, {"forced_ones", c.forced_ones}};
  record["rdm"] = {{"ties_x", c.ties_x}, {"ties_y", c.ties_y}};
  if (c.measures.contains("rsa_kendall")) record["rsa_kendall"]["error"] = number(c.kendall_error);
  if (c.measures.contains("procrustes")) {
    const double score = c.measures.at("procrustes").score;
    record["procrustes"]["angle"] = number(procrustes_angle(score));
    record["procrustes"]["distance"] = number(procrustes_distance(score));
  }
  record["seconds"] = c.seconds;
  return record;
}

/// q over all pairs, and the max-statistic: all pairs have the same rows, and so the same permutations.
void add_rates(std::vector<json>& records, const std::vector<SpaceComparison>& comparisons, const std::vector<std::string>& measures) {
  for (const auto& name : measures) {
    std::vector<double> p;
    std::vector<double> scores;
    std::vector<std::vector<double>> nulls;
    for (const auto& c : comparisons) {
      const Measure& measure = c.measures.at(name);
      p.push_back(measure.p);
      if (measure.shuffled.values.empty()) continue; // not defined, or nothing was shuffled
      scores.push_back(measure.score);
      nulls.push_back(measure.shuffled.values);
    }
    const auto q = false_discovery_rates(p);
    const auto max_p = max_statistic_p(scores, nulls);
    std::size_t next = 0;
    for (std::size_t i = 0; i < records.size(); ++i) {
      records[i][name]["q"] = number(q[i]);
      if (!comparisons[i].measures.at(name).shuffled.values.empty()) records[i][name]["max_p"] = number(max_p[next++]);
    }
  }
}

std::string summary(const SpaceComparison& c) {
  std::string text;
  for (const auto& [name, m] : c.measures)
    text += fmt::format("{}={:.6f} (chance {:.6f}, p={:.3g}) ", name, m.score, m.shuffled.values.empty() ? m.formula_mean : m.shuffled.mean,
                        m.p);
  return text;
}

} // namespace

void compare_matrices(const comm::Communicator& comm, const std::vector<std::string>& x, const std::vector<std::string>& y,
                      const SpaceOptions& options, const std::filesystem::path& path) {
  const Progress clock("compare", 1, "pairs");
  std::vector<Matrix> all_x;
  std::vector<Matrix> all_y;
  comm::agree(comm, [&] {
    check(options);
    for (auto [locations, matrices] : {std::pair{&x, &all_x}, std::pair{&y, &all_y}})
      for (const auto& location : *locations) {
        matrices->push_back(read_matrix(location));
        require(matrices->back().rows == all_x.front().rows, ExitCode::bad_data, "rows must match one to one: {} has {}, {} has {}",
                x.front(), all_x.front().rows, location, matrices->back().rows);
      }
  });
  std::vector<SpaceComparison> comparisons;
  std::vector<json> records;
  FactorCache factors;
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t j = 0; j < y.size(); ++j) {
      comparisons.push_back(compare_spaces(comm, all_x[i], all_y[j], {strata_of({}, all_y[j].row_norms()), {}, &factors}, options));
      records.push_back(json_of(comparisons.back()));
      records.back().update({{"x", x[i]}, {"y", y[j]}, {"rows", all_x[i].rows}});
    }
  add_rates(records, comparisons, options.measures);
  const io::Claim claim(comm, path);
  json record = records.size() == 1 ? records.front() : json{{"pairs", records}};
  record["settings"] = settings::digest_of(options);
  record["settings"]["seed"] = options.seed;
  comm::agree(comm, [&] {
    if (comm.rank() == 0) write_text_atomic(path, json_text(record, 2) + "\n");
  });
  say_stage_ok("compare", clock.seconds(),
               (records.size() == 1 ? summary(comparisons.front()) : fmt::format("pairs={} ", records.size())) +
                   fmt::format("peak={}", human_bytes(comm::max_of(comm, peak_memory()))),
               path.string());
}

} // namespace concord::similarity
