#include "concord/similarity/compare.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/io/output.hpp"
#include "concord/io/row_source.hpp"
#include "concord/sae/sae.hpp"

#include <cmath>
#include <limits>
#include <map>

namespace concord::similarity {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

struct PairResult {
  Index matched = 0;
  double mean_r = 0;
  Svcca svcca;
  Rsa rsa;
};

void check(const CompareSettings& s) {
  require(s.svcca.variance > 0 && s.svcca.variance <= 1, ExitCode::config, "compare.svcca_variance = {} must lie in (0, 1]",
          s.svcca.variance);
  require(s.svcca.k >= 0, ExitCode::config, "compare.svcca_k = {} must not be negative", s.svcca.k);
  require(s.permutations >= 1, ExitCode::config, "compare.permutations must be at least 1, not {}", s.permutations);
  require(s.rsa.max_features >= 3, ExitCode::config, "compare.rsa_max_features must be at least 3, not {}", s.rsa.max_features);
}

nlohmann::json settings_json(const CompareSettings& s) {
  return {{"svcca_variance", s.svcca.variance}, {"svcca_k", s.svcca.k},         {"rsa_max_features", s.rsa.max_features},
          {"permutations", s.permutations},     {"min_matches", s.min_matches}, {"seed", s.seed}};
}

/// The columns of similarity.h5 that hold one number a pair.
std::vector<std::pair<std::string, double>> columns_of(const PairResult& r) {
  std::vector<std::pair<std::string, double>> columns{{"/matched", static_cast<double>(r.matched)}, {"/mean_r", r.mean_r}};
  for (const auto& [name, m] : {std::pair{"/svcca/", &r.svcca.measure}, std::pair{"/rsa/", &r.rsa.measure}}) {
    const std::string at_name = name;
    columns.insert(columns.end(), {{at_name + "score", m->score},
                                   {at_name + "null_mean", m->null_mean},
                                   {at_name + "null_sd", m->null_sd},
                                   {at_name + "z", m->z},
                                   {at_name + "p", m->p},
                                   {at_name + "calibrated", m->calibrated}});
  }
  for (const auto& [name, side] : {std::pair{"_a", &r.svcca.x}, std::pair{"_b", &r.svcca.y}}) {
    columns.emplace_back(std::string("/svcca/k") + name, static_cast<double>(side->k));
    columns.emplace_back(std::string("/svcca/rank") + name, static_cast<double>(side->rank));
    columns.emplace_back(std::string("/svcca/variance_at_k") + name, side->variance_at_k);
    columns.emplace_back(std::string("/svcca/variance_before_k") + name, side->variance_before_k);
  }
  columns.emplace_back("/svcca/forced_ones", static_cast<double>(r.svcca.forced_ones));
  columns.emplace_back("/rsa/features", static_cast<double>(r.rsa.features));
  return columns;
}

class Comparison {
public:
  Comparison(const comm::Communicator& comm, const CompareOptions& options) : comm_(comm), options_(options) {
    comm::agree(comm_, [&] { open(); });
  }

  void run() {
    if (io::output_is_done(comm_, options_.out, key_, options_.force)) {
      log_info("compare: {} is done", options_.out.string());
      return;
    }
    const auto pairs = static_cast<Index>(index_.layers_a.size() * index_.layers_b.size());
    const double bytes = static_cast<double>(pairs) * (16.0 * static_cast<double>(options_.settings.permutations) + 512) + (1 << 20);
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, bytes,
                      [&](io::File& file) { lay_out(file, pairs); });
    Progress progress("compare", pairs, "pairs", output.units_done());
    for (Index done = output.units_done(); done < pairs; ++done) {
      const PairResult result = run_pair(done);
      comm::agree(comm_, [&] {
        if (output.writes()) write_pair(output.file(), done, result);
      });
      output.commit(done + 1);
      progress.update(done + 1);
      if (done + 1 < pairs && comm::stop_requested(comm_)) comm::throw_stopped("compare");
    }
    output.finish();
    say_stage_ok("compare", progress.seconds(), fmt::format("pairs={} permutations={}", pairs, options_.settings.permutations),
                 options_.out.string());
  }

private:
  void open() {
    check(options_.settings);
    index_ = correlate::read_matches_index(options_.matches);
    key_ = {"compare", settings_json(options_.settings), {{"matches", index_.digest}}};
    for (const int layer : index_.layers_a)
      key_.inputs["sae_a/" + layer_name(layer)] = sae::sae_digest(sae::sae_path(options_.saes_a, layer));
    for (const int layer : index_.layers_b)
      key_.inputs["sae_b/" + layer_name(layer)] = sae::sae_digest(sae::sae_path(options_.saes_b, layer));
  }

  int layer_a(Index pair) const { return index_.layers_a[at(pair) / index_.layers_b.size()]; }
  int layer_b(Index pair) const { return index_.layers_b[at(pair) % index_.layers_b.size()]; }

  void lay_out(io::File& file, Index pairs) const {
    std::vector<std::int32_t> layers;
    for (Index pair = 0; pair < pairs; ++pair) layers.insert(layers.end(), {layer_a(pair), layer_b(pair)});
    file.write("/pairs", layers, {pairs, 2});
    for (const auto& [name, value] : columns_of({})) file.create_dataset(name, {pairs}, Dtype::f64);
    for (const char* name : {"/svcca/null", "/rsa/null"}) file.create_dataset(name, {pairs, options_.settings.permutations}, Dtype::f64);
    file.write_attribute("layers_a", nlohmann::json(index_.layers_a).dump());
    file.write_attribute("layers_b", nlohmann::json(index_.layers_b).dump());
  }

  /// Decoder rows of the features named by `rows`, from an SAE kept for the next pair.
  Matrix decoder_rows(const std::string& location, int layer, const std::vector<std::int32_t>& rows) {
    const auto path = sae::sae_path(location, layer);
    if (!saes_.contains(path.string())) {
      if (saes_.size() > 16) saes_.clear();
      saes_[path.string()] = sae::load_sae(path);
    }
    const sae::Sae& sae = saes_.at(path.string());
    Matrix matrix{static_cast<Index>(rows.size()), sae.d, {}};
    for (const auto row : rows) {
      require(row >= 0 && row < sae.latents, ExitCode::bad_data, "feature {} is not in the SAE {} of {} latents", row, path.string(),
              sae.latents);
      matrix.values.insert(matrix.values.end(), sae.decoder.begin() + row * sae.d, sae.decoder.begin() + (row + 1) * sae.d);
    }
    return matrix;
  }

  PairResult run_pair(Index pair) {
    PairResult result;
    Matrix x;
    Matrix y;
    comm::agree(comm_, [&] {
      std::vector<std::int32_t> rows_a;
      std::vector<std::int32_t> rows_b;
      for (const auto& match : correlate::read_matches(options_.matches, layer_a(pair), layer_b(pair))) {
        rows_a.push_back(match.a);
        rows_b.push_back(match.b);
        result.mean_r += match.r;
      }
      result.matched = static_cast<Index>(rows_a.size());
      result.mean_r = rows_a.empty() ? std::numeric_limits<double>::quiet_NaN() : result.mean_r / static_cast<double>(result.matched);
      x = decoder_rows(options_.saes_a, layer_a(pair), rows_a);
      y = decoder_rows(options_.saes_b, layer_b(pair), rows_b);
    });
    const auto& s = options_.settings;
    if (result.matched < s.min_matches) {
      result.svcca.measure = result.rsa.measure = undefined("too few matched features");
      return result;
    }
    result.svcca = svcca(comm_, x, y, s.svcca, s.permutations, s.seed);
    result.rsa = rsa(comm_, x, y, s.rsa, s.permutations, s.seed);
    for (const auto* m : {&result.svcca.measure, &result.rsa.measure})
      if (!m->reason.empty()) log_warn("compare {} x {}: {}", layer_name(layer_a(pair)), layer_name(layer_b(pair)), m->reason);
    return result;
  }

  void write_pair(io::File& file, Index pair, const PairResult& result) const {
    for (const auto& [name, value] : columns_of(result)) file.dataset(name).write_rows(pair, 1, &value);
    for (const auto& [name, measure] : {std::pair{"/svcca/null", &result.svcca.measure}, std::pair{"/rsa/null", &result.rsa.measure}}) {
      std::vector<double> null = measure->null;
      null.resize(at(options_.settings.permutations), std::numeric_limits<double>::quiet_NaN());
      file.dataset(name).write_rows(pair, 1, null.data());
    }
  }

  const comm::Communicator& comm_;
  const CompareOptions& options_;
  correlate::MatchesIndex index_;
  StageKey key_;
  std::map<std::string, sae::Sae> saes_;
};

Matrix read_matrix(const std::string& location) {
  const io::RowSource source(location);
  Matrix matrix{source.rows(), source.cols(), std::vector<double>(at(source.rows() * source.cols()))};
  if (source.dtype() == Dtype::f64) {
    source.read(0, source.rows(), matrix.values.data());
    for (std::size_t i = 0; i < matrix.values.size(); ++i)
      require(std::isfinite(matrix.values[i]), ExitCode::bad_data, "{}: row {} holds a value that is not finite", location,
              static_cast<Index>(i) / source.cols());
  } else {
    std::vector<float> floats(matrix.values.size());
    source.read_float(0, source.rows(), floats);
    std::copy(floats.begin(), floats.end(), matrix.values.begin());
  }
  return matrix;
}

nlohmann::json json_of(const Measure& m) {
  const auto number = [](double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(); };
  return {{"score", number(m.score)}, {"reason", m.reason}, {"null_mean", number(m.null_mean)},   {"null_sd", number(m.null_sd)},
          {"z", number(m.z)},         {"p", number(m.p)},   {"calibrated", number(m.calibrated)}, {"null", m.null}};
}

nlohmann::json json_of(const SvccaSide& side) {
  return {{"k", side.k}, {"rank", side.rank}, {"variance_at_k", side.variance_at_k}, {"variance_before_k", side.variance_before_k}};
}

} // namespace

void compare(const comm::Communicator& comm, const CompareOptions& options) {
  Comparison(comm, options).run();
}

void compare_matrices(const comm::Communicator& comm, const std::string& x, const std::string& y, const CompareSettings& settings,
                      const std::filesystem::path& json) {
  const Progress clock("compare", 1, "pairs");
  Matrix mx;
  Matrix my;
  comm::agree(comm, [&] {
    check(settings);
    mx = read_matrix(x);
    my = read_matrix(y);
    require(mx.rows == my.rows, ExitCode::bad_data, "rows must match one to one: {} has {}, {} has {}", x, mx.rows, y, my.rows);
  });
  const Svcca s = svcca(comm, mx, my, settings.svcca, settings.permutations, settings.seed);
  const Rsa r = rsa(comm, mx, my, settings.rsa, settings.permutations, settings.seed);
  nlohmann::json record{{"x", x}, {"y", y}, {"rows", mx.rows}, {"settings", settings_json(settings)}};
  record["svcca"] = json_of(s.measure);
  record["svcca"]["x"] = json_of(s.x);
  record["svcca"]["y"] = json_of(s.y);
  record["svcca"]["forced_ones"] = s.forced_ones;
  record["rsa"] = json_of(r.measure);
  record["rsa"]["features"] = r.features;
  comm::agree(comm, [&] {
    if (comm.rank() == 0) write_text_atomic(json, record.dump(2) + "\n");
  });
  say_stage_ok("compare", clock.seconds(),
               fmt::format("svcca={:.6f} (null {:.6f}, p={:.4f}) rsa={:.6f} (null {:.6f}, p={:.4f})", s.measure.score, s.measure.null_mean,
                           s.measure.p, r.measure.score, r.measure.null_mean, r.measure.p),
               json.string());
}

} // namespace concord::similarity
