#include "concord/core/text.hpp"
#include "concord/subspaces/bases/bases.hpp"

#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"
#include <cmath>
#include <limits>
#include <set>

namespace concord::app {
namespace {

/// What removals take: a share of the whole, but for LEACE, which takes along one direction what it reads off another.
void check_energy(const io::File& file, const std::string& name) {
  const auto energy = file.dataset(name, {-1, -1, -1, -1, -1, -1});
  const auto& dims = energy.dims(); // layers, span sets, kinds, halves, concepts, concepts
  const auto of_kind = static_cast<std::size_t>(dims[3] * dims[4] * dims[5]);
  const auto values = energy.read_all<double>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto kind = static_cast<subspaces::BasisKind>(i / of_kind % static_cast<std::size_t>(dims[2]));
    const double most = kind == subspaces::BasisKind::leace ? std::numeric_limits<double>::max() : 1 + 1e-6;
    require(std::isnan(values[i]) || (values[i] >= 0 && values[i] <= most), ExitCode::bad_data,
            "{}:{} holds {}, which is not between 0 and {}", file.path().string(), name, values[i], most);
  }
}

/// How a layer's subspaces act.
void check_effects_of(const io::File& file, const std::string& side) {
  constexpr double most = std::numeric_limits<double>::max();
  check_between(file, side + "kl", -1e-6, most);
  check_energy(file, side + "energy");
  if (file.has(side + "resample")) check_between(file, side + "resample/kl", -1e-6, most);
  if (file.has(side + "equal")) {
    check_between(file, side + "equal/kl", -1e-6, most);
    check_energy(file, side + "equal/energy");
    check_between(file, side + "equal/excess_error", 0, most);
  }
  if (file.has(side + "steering")) check_between(file, side + "steering/kl", -1e-6, most);
}

/// A layer's members and effects: features that are there and named once a concept, AUCs and shares between 0 and 1.
void check_subspaces_of(const io::File& file, const std::string& side, Index layers, Index concepts) {
  const auto members = file.dataset(side + "members", {layers, concepts, -1});
  for (const char* name : {"member_q", "member_coverage", "sum_auc_chosen", "sum_auc_held"})
    check_between(file, side + name, members.dims(), 0, 1);
  check_between(file, side + "member_auc", {layers, concepts, members.dims().back(), 2, 2}, 0, 1);
  check_between(file, side + "probe_auc", {layers, concepts, -1}, 0, 1);
  check_between(file, side + "overlap_excess", std::numeric_limits<double>::lowest(), 1 + 1e-9);
  for (const auto& [name, least] : {std::pair{"overlap_whitened", std::numeric_limits<double>::lowest()},
                                    std::pair{"coactivation_phi", -1 - 1e-9}, std::pair{"coactivation_npmi", -1 - 1e-9}})
    if (file.has(side + name)) check_between(file, side + name, least, 1 + 1e-9); // files of older versions have none
  const auto most = static_cast<std::size_t>(members.dims().back());
  const auto features = members.read_all<std::int32_t>();
  for (std::size_t first = 0; first < features.size(); first += most) {
    std::set<std::int32_t> seen;
    for (std::size_t i = first; i < first + most && features[i] >= 0; ++i)
      require(seen.insert(features[i]).second, ExitCode::bad_data, "{}:{}members names feature {} twice", file.path().string(), side,
              features[i]);
  }
  if (file.has(side + "kl")) check_effects_of(file, side);
}

} // namespace

std::string check_subspaces(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& /*stop*/) {
  const auto file = io::File::open(path);
  const auto layers_a = file.integers("layers_a");
  const auto layers_b = file.integers("layers_b");
  const Index concepts = file.dataset("/concepts/defined", {-1}).rows();
  for (const auto& [side, layers] : {std::pair{"/a/", &layers_a}, std::pair{"/b/", &layers_b}})
    check_subspaces_of(file, side, static_cast<Index>(layers->size()), concepts);
  for (const char* name : {"/alike/matrix", "/alike/features/score", "/alike/phrases/score"})
    check_between(file, name, -1 - 1e-9, 1 + 1e-9);
  for (const char* name : {"/alike/features/p", "/alike/phrases/p", "/alike/contrast_p"}) check_between(file, name, 1e-12, 1);
  if (file.has("/claim"))
    for (const char* measure : {"kl", "loss", "resample/kl", "resample/loss", "equal/kl", "equal/loss", "steering/kl", "steering/writes"}) {
      const std::string group = fmt::format("/claim/{}", measure);
      if (!file.has(group)) continue;
      for (const char* name : {"/p", "/p_grouped", "/p_max", "/p_max_grouped"}) check_between(file, group + name, 1e-12, 1);
      check_between(file, group + "/r", -1 - 1e-9, 1 + 1e-9);
    }
  for (const char* matrix : {"/claim/overlap/", "/claim/logits/", "/claim/coactivation/"})
    if (file.has(std::string(matrix) + "p")) {
      for (const char* name : {"p", "p_grouped", "p_max", "p_max_grouped"}) check_between(file, std::string(matrix) + name, 1e-12, 1);
      check_between(file, std::string(matrix) + "r", -1 - 1e-9, 1 + 1e-9);
    }
  if (file.has("/carried")) {
    check_between(file, "/carried/r2", std::numeric_limits<double>::lowest(), 1 + 1e-9);
    check_between(file, "/carried/kl", -1e-6, std::numeric_limits<double>::max());
    check_between(file, "/carried/energy", 0, 1 + 1e-6);
    check_between(file, "/carried/contrast_p", 1e-12, 1);
  }
  return fmt::format("subspaces of {} concepts in {} and {} layers", concepts, layers_a.size(), layers_b.size());
}

} // namespace concord::app
