#include "concord/correlate/correlate.hpp"

#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"
#include <algorithm>

namespace concord::app {
namespace {

void check_features_named(const io::File& file, const std::string& name, const std::vector<Index>& dims, Index features) {
  for (const auto feature : file.read<std::int32_t>(name, dims))
    require(feature >= -1 && feature < features, ExitCode::bad_data, "{}:{} names feature {} of {}", file.path().string(), name, feature,
            features);
}

/// The best partners of the features of one side among those of the other.
void check_side(const io::File& file, const std::string& side, Index others) {
  const auto dims = file.dataset(side + "partner", {-1, -1}).dims();
  check_features_named(file, side + "partner", dims, others);
  check_between(file, side + "r", dims, -1, 1);
  file.dataset(side + "cofire", dims);
  if (file.has(side + "count")) file.dataset(side + "count", {dims[0]});
  if (file.has(side + "threshold")) file.dataset(side + "threshold", {dims[0]});
  if (file.has(side + "p")) check_between(file, side + "p", {dims[0]}, 1e-12, 1);
}

/// The matched features of B.
void check_matched(const io::File& file, const std::string& match, Index features_a, Index features_b) {
  const std::vector<Index> each{features_b};
  check_features_named(file, match + "a", each, features_a);
  for (const char* name : {"margin", "cofire"}) file.dataset(match + name, each);
  check_between(file, match + "r", each, -1, 1);
  constexpr double rounding = 1e-9; // of phi, which was not clamped once
  check_between(file, match + "phi", each, -1 - rounding, 1 + rounding);
  for (const char* name : {"p", "q", "iou"}) check_between(file, match + name, each, 0, 1);
}

} // namespace

std::string check_matches(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& stop) {
  const auto index = correlate::read_matches_index(path);
  const auto file = io::File::open(path);
  std::size_t matched = 0;
  for (const int a : index.layers_a)
    for (const int b : index.layers_b) {
      look(stop);
      const auto group = correlate::pair_group(a, b);
      const Index features_a = file.dataset(group + "/a_to_b/partner").rows();
      const Index features_b = file.dataset(group + "/b_to_a/partner").rows();
      check_side(file, group + "/a_to_b/", features_b);
      check_side(file, group + "/b_to_a/", features_a);
      check_matched(file, group + "/match/", features_a, features_b);
      const auto matches = correlate::read_matches(path, a, b).size();
      matched += matches;
      const auto counts = file.read<Index>(group + "/filter_counts", {-1});
      require(!counts.empty() && std::is_sorted(counts.rbegin(), counts.rend()) && counts.back() == static_cast<Index>(matches),
              ExitCode::bad_data, "{}:{} has filter counts that do not fit its matches", path.string(), group);
    }
  return fmt::format("matches of {} x {} layers, {} matched features", index.layers_a.size(), index.layers_b.size(), matched);
}

} // namespace concord::app
