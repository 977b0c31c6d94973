#include "concord/features/features.hpp"

#include "concord/core/text.hpp"

#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"
#include <algorithm>
#include <cmath>

namespace concord::app {
namespace {

/// Statistics kept beside the rows must be what the rows give. Rows come in windows, since a layer may be larger than memory.
void check_statistics(const features::FeaturesFile& file, int layer, const std::string& where, const comm::StopWithin& stop) {
  const auto statistics = file.statistics(layer);
  std::vector<Index> count(statistics.count.size(), 0);
  std::vector<double> sum(statistics.count.size(), 0.0);
  const Index window = std::max<Index>(1, (Index{1} << 24) / (1 + file.entries(layer) / std::max<Index>(1, file.rows())));
  for (Index row = 0; row < file.rows(); row += window) {
    look(stop);
    const auto csr = file.csr(layer, row, std::min(file.rows(), row + window));
    for (std::size_t e = 0; e < csr.indices.size(); ++e) {
      ++count[static_cast<std::size_t>(csr.indices[e])];
      sum[static_cast<std::size_t>(csr.indices[e])] += csr.values[e];
    }
  }
  require(count == statistics.count, ExitCode::bad_data, "{}: the firing counts do not fit the rows", where);
  for (std::size_t j = 0; j < sum.size(); ++j)
    require(std::abs(sum[j] - statistics.sum[j]) <= 1e-9 * (1 + std::abs(sum[j])), ExitCode::bad_data,
            "{}: the sum of feature {} does not fit the rows", where, j);
}

} // namespace

std::string check_features(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop) {
  if (!io::File::open(path).has_attribute("layers")) return "one layer's features"; // of features.h5.layers/
  const features::FeaturesFile file(path);
  for (const int layer : file.layers()) {
    const auto of_layer = check_contents(std::filesystem::path(path.string() + ".layers") / (layer_name(layer) + ".h5"), stop);
    if (warning.empty()) warning = of_layer;
  }
  Index nnz = 0;
  for (const int layer : file.layers()) {
    check_statistics(file, layer, path.string() + ":/" + layer_name(layer), stop);
    nnz += file.entries(layer);
  }
  return fmt::format("features of {} layers, {} non-zeros", file.layers().size(), nnz);
}

} // namespace concord::app
