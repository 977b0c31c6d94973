#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"
#include <algorithm>
#include <limits>

namespace concord::app {
namespace {

/// Paths around three models and those that close, of each three of their layers. Returns how many close.
Index check_cycles(const io::File& file, const std::string& cycles, const char* name) {
  std::vector<Index> dims;
  for (const char* layers : {"/layers_0", "/layers_1", "/layers_2"}) dims.push_back(file.dataset(cycles + layers, {-1}).rows());
  dims.push_back(2);
  const auto counts = file.read<Index>(cycles + "/" + name, dims);
  Index closed = 0;
  for (std::size_t i = 0; i < counts.size(); i += 2) {
    const bool possible = counts[i] <= std::numeric_limits<std::int32_t>::max() && counts[i] >= counts[i + 1] && counts[i + 1] >= 0;
    require(possible, ExitCode::bad_data, "{}:{}/{} closes {} of {} paths", file.path().string(), cycles, name, counts[i + 1], counts[i]);
    closed += counts[i + 1];
  }
  return closed;
}

} // namespace

std::string check_graph(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& stop) {
  const auto file = io::File::open(path);
  Index closed = 0;
  const auto cycles = file.members("/cycles");
  for (const auto& number : cycles)
    for (const std::string name : {"best", "mutual", "shifted_best", "shifted_mutual"}) {
      look(stop);
      if (!file.has("/cycles/" + number + "/" + name)) continue;
      const Index these = check_cycles(file, "/cycles/" + number, name.c_str());
      if (name == "mutual") closed += these;
    }
  const auto dims = file.dataset("/components", {-1, -1}).dims();
  file.dataset("/found", {dims[1], dims[1]});
  Index components = 0; // a row of zeros stands where nothing hangs together
  const auto features = file.read<std::int32_t>("/components");
  for (auto row = features.begin(); row != features.end(); row += dims[1])
    components += std::any_of(row, row + dims[1], [](auto n) { return n > 0; }) ? 1 : 0;
  return fmt::format("cycles of {} triples of models, {} closed; {} components", cycles.size(), closed, components);
}

} // namespace concord::app
