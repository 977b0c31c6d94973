#include "concord/app/verify.hpp"

#include "concord/core/text.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/features/features.hpp"
#include "concord/io/row_source.hpp"
#include "concord/sae/sae.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace concord::app {

namespace fs = std::filesystem;

namespace {

std::vector<int> layers_in(const io::File& file, const char* name) {
  const auto layers = nlohmann::json::parse(file.attribute(name), nullptr, false);
  require(layers.is_array(), ExitCode::bad_data, "{}: the attribute {} is damaged", file.path().string(), name);
  return layers.get<std::vector<int>>();
}

std::string verify_activations(const fs::path& path) {
  const auto file = io::File::open(path);
  const auto layers = layers_in(file, "layers");
  Index rows = 0;
  for (const int layer : layers) {
    const io::RowSource source(path.string() + ":/" + layer_name(layer) + "/x");
    rows = source.rows();
    constexpr Index block = 4096;
    std::vector<float> values(static_cast<std::size_t>(block * source.cols()));
    for (Index begin = 0; begin < rows; begin += block) source.read_float(begin, std::min(block, rows - begin), values);
  }
  return fmt::format("activations of {} layers, {} rows", layers.size(), rows);
}

/// Statistics kept beside the rows must be what the rows give.
void check_statistics(const io::CsrMatrix& csr, const features::FeatureStatistics& statistics, const std::string& where) {
  std::vector<Index> count(statistics.count.size(), 0);
  std::vector<double> sum(statistics.count.size(), 0.0);
  for (std::size_t e = 0; e < csr.indices.size(); ++e) {
    ++count[static_cast<std::size_t>(csr.indices[e])];
    sum[static_cast<std::size_t>(csr.indices[e])] += csr.values[e];
  }
  require(count == statistics.count, ExitCode::bad_data, "{}: the firing counts do not fit the rows", where);
  for (std::size_t j = 0; j < sum.size(); ++j)
    require(std::abs(sum[j] - statistics.sum[j]) <= 1e-9 * (1 + std::abs(sum[j])), ExitCode::bad_data,
            "{}: the sum of feature {} does not fit the rows", where, j);
}

std::string verify_features(const fs::path& path) {
  const features::FeaturesFile file(path);
  Index nnz = 0;
  for (const int layer : file.layers()) {
    const auto csr = file.csr(layer);
    check_statistics(csr, file.statistics(layer), path.string() + ":/" + layer_name(layer));
    nnz += csr.nnz();
  }
  return fmt::format("features of {} layers, {} non-zeros", file.layers().size(), nnz);
}

std::string verify_matches(const fs::path& path) {
  const auto index = correlate::read_matches_index(path);
  const auto file = io::File::open(path);
  std::size_t matched = 0;
  for (const int a : index.layers_a)
    for (const int b : index.layers_b) {
      const auto group = correlate::pair_group(a, b);
      for (const char* side : {"/a_to_b/r", "/b_to_a/r"})
        for (const double r : file.read<double>(group + side))
          require(r >= -1 && r <= 1, ExitCode::bad_data, "{}:{}{} holds the correlation {}", path.string(), group, side, r);
      for (const auto& match : correlate::read_matches(path, a, b)) {
        require(match.a >= 0, ExitCode::bad_data, "{}:{} has a match without a partner", path.string(), group);
        ++matched;
      }
    }
  return fmt::format("matches of {} x {} layers, {} matched features", index.layers_a.size(), index.layers_b.size(), matched);
}

std::string verify_similarity(const fs::path& path) {
  const auto file = io::File::open(path);
  const auto pairs = file.dataset("/pairs").rows();
  for (const char* measure : {"/svcca/", "/rsa/"})
    for (const double p : file.read<double>(std::string(measure) + "p"))
      require(std::isnan(p) || (p > 0 && p <= 1), ExitCode::bad_data, "{}:{}p holds {}", path.string(), measure, p);
  return fmt::format("similarity of {} layer pairs", pairs);
}

std::string verify_sae(const fs::path& path) {
  const auto sae = sae::load_sae(path);
  return fmt::format("an SAE of {} latents on width {}", sae.latents, sae.d);
}

} // namespace

std::string verify(const fs::path& path) {
  require(fs::exists(path), ExitCode::input_missing, "there is no file {}", path.string());
  if (fs::is_directory(path) || path.extension() == ".npz") return verify_sae(path);
  require(!path.string().ends_with(".partial"), ExitCode::bad_data, "{} is unfinished: run its stage again", path.string());
  const auto file = io::File::open(path);
  require(file.has_attribute("concord_stage"), ExitCode::bad_data, "{} was not made by concord", path.string());
  const std::string stage = file.attribute("concord_stage");
  if (stage == "tokenize") return fmt::format("{} tokens", corpus::read_tokens(path).count());
  if (stage == "extract") return verify_activations(path);
  if (stage == "encode") return verify_features(path);
  if (stage == "correlate") return verify_matches(path);
  if (stage == "compare") return verify_similarity(path);
  fail(ExitCode::bad_data, "{}: unknown stage {}", path.string(), stage);
}

} // namespace concord::app
