#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"
#include <algorithm>
#include <cmath>

namespace concord::app {
namespace {

/// Row after row, since a matrix may be larger than memory.
void check_correlations(const io::Dataset& r, const std::filesystem::path& path, const comm::StopWithin& stop) {
  const Index step = std::max<Index>(1, (Index{1} << 22) / std::max<Index>(1, r.row_size()));
  for (Index row = 0; row < r.rows(); row += step) {
    look(stop);
    for (const float value : r.read<float>(row, std::min(step, r.rows() - row)))
      require(std::abs(value) <= 1.0F, ExitCode::bad_data, "{}:{} holds {} near row {}, which is no correlation", path.string(), r.name(),
              value, row);
  }
}

/// Pairs that are active together, by features of A.
std::string check_coactive(const io::File& file, const comm::StopWithin& stop) {
  const auto r = file.dataset("/r", {-1});
  check_correlations(r, file.path(), stop);
  const auto indices = file.dataset("/indices", r.dims());
  file.dataset("/cofire", r.dims());
  const auto begin = file.read<Index>("/indptr", {-1});
  const auto shape = file.read<Index>("/shape", {2});
  require(!begin.empty() && std::is_sorted(begin.begin(), begin.end()) && static_cast<Index>(begin.size()) - 1 == shape[0] &&
              begin.front() == 0 && std::max<Index>(1, begin.back()) == r.rows(),
          ExitCode::bad_data, "{}: rows and pairs do not fit", file.path().string());
  for (std::size_t i = 0; i + 1 < begin.size(); ++i) {
    look(stop);
    const auto partners = indices.read<std::int32_t>(begin[i], begin[i + 1] - begin[i]);
    const bool ascending = std::adjacent_find(partners.begin(), partners.end(), std::greater_equal<>()) == partners.end();
    require(partners.empty() || (ascending && partners.front() >= 0 && partners.back() < shape[1]), ExitCode::bad_data,
            "{}: the partners of feature {} are damaged", file.path().string(), i);
  }
  return fmt::format("correlations of {} x {} features, {} pairs active together", shape[0], shape[1], begin.back());
}

} // namespace

std::string check_matrix(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& stop) {
  const auto file = io::File::open(path);
  if (file.has("/indptr")) return check_coactive(file, stop);
  const auto r = file.dataset("/r", {-1, -1});
  check_correlations(r, path, stop);
  return fmt::format("correlations of {} x {} features", r.rows(), r.row_size());
}

} // namespace concord::app
