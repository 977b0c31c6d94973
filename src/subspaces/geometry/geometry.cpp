#include "subspaces/geometry/geometry.hpp"

#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"

#include "subspaces/claim/claim_tests.hpp"
#include <algorithm>
#include <cmath>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// A kind of matrix: its dataset of a side, its group of tests, how many of a layer, whether the model's weights are needed.
struct Kind {
  const char* dataset;
  const char* claim;
  int matrices;
  bool of_weights;
};
constexpr std::array<Kind, 3> kinds{Kind{"overlap_excess", "overlap", basis_kinds, false}, Kind{"logits", "logits", basis_kinds, true},
                                    Kind{"coactivation", "coactivation", 1, false}};

std::vector<Kind> kinds_of(const Extent& extent) {
  std::vector<Kind> list;
  for (const Kind& kind : kinds)
    if (extent.effects || !kind.of_weights) list.push_back(kind);
  return list;
}

/// A matrix of each layer.
using Layers = std::vector<std::vector<double>>;

bool measured(const std::vector<double>& matrix) {
  return std::any_of(matrix.begin(), matrix.end(), [](double value) { return !std::isnan(value); });
}

/// Of one matrix a layer: [numbers][pairs of the extent]
std::vector<std::vector<double>> numbers_of(const comm::Communicator& comm, const Layers& a, const Layers& b, Index concepts,
                                            const GeometryClaims& claims) {
  std::vector<agreement::MatrixPair> pairs;
  std::vector<Index> which;
  const auto width = static_cast<Index>(b.size());
  for (const Index pair : claims.pairs) {
    agreement::MatrixPair matrices;
    matrices.concepts = concepts;
    matrices.a = {a[at(pair / width)]};
    matrices.b = {b[at(pair % width)]};
    if (!measured(matrices.a[0]) || !measured(matrices.b[0])) continue;
    matrices.covariates = {claims.together};
    matrices.groups = claims.groups;
    pairs.push_back(std::move(matrices));
    which.push_back(pair);
  }
  const auto of_pairs = family_numbers(comm, pairs, claims.permutations, claims.seed);
  std::vector<std::vector<double>> numbers(single_names().size(), std::vector<double>(a.size() * b.size(), not_known));
  for (std::size_t i = 0; i < pairs.size(); ++i)
    for (std::size_t name = 0; name < numbers.size(); ++name) numbers[name][at(which[i])] = of_pairs[i][name];
  return numbers;
}

/// The matrices of a kind, [matrix of the kind][layer], on every rank.
std::vector<Layers> matrices_of(const comm::Communicator& comm, io::File* file, const Kind& kind, char side, Index layers, Index concepts) {
  std::vector<double> flat;
  comm::agree(comm, [&] {
    if (file == nullptr || layers == 0) return;
    flat = file->dataset(fmt::format("/{}/{}", side, kind.dataset)).read_all<double>();
    require(static_cast<Index>(flat.size()) == layers * kind.matrices * concepts * concepts, ExitCode::bad_data,
            "{}:/{}/{} holds {} numbers", file->path().string(), side, kind.dataset, flat.size());
  });
  comm::broadcast(comm, flat);
  std::vector<Layers> matrices(at(kind.matrices));
  const Index cells = concepts * concepts;
  for (Index layer = 0; layer < layers; ++layer)
    for (Index i = 0; i < kind.matrices; ++i) {
      const auto first = flat.begin() + static_cast<std::ptrdiff_t>((layer * kind.matrices + i) * cells);
      matrices[at(i)].emplace_back(first, first + static_cast<std::ptrdiff_t>(cells));
    }
  return matrices;
}

std::string claim_name(const Kind& kind, const std::string& number) {
  return fmt::format("/claim/{}/{}", kind.claim, number);
}

} // namespace

void lay_out_geometry(io::File& file, const Extent& extent) {
  const Index c = extent.concepts;
  for (const auto& [side, layers] : {std::pair{"/a/", &extent.layers_a}, std::pair{"/b/", &extent.layers_b}}) {
    const auto count = static_cast<Index>(layers->size());
    if (extent.effects) file.create_dataset(std::string(side) + "logits", {count, basis_kinds, c, c}, Dtype::f64);
    for (const char* name : {"coactivation", "coactivation_phi", "coactivation_npmi"})
      file.create_dataset(std::string(side) + name, {count, c, c}, Dtype::f64);
  }
  for (const Kind& kind : kinds_of(extent))
    for (const auto& name : single_names()) file.create_dataset(claim_name(kind, name), {kind.matrices, extent.pairs()}, Dtype::f64);
}

void write_geometry(io::File& file, char side, Index layer, const LayerGeometry& geometry) {
  const auto write = [&](const char* name, const std::vector<double>& values) {
    auto dataset = file.dataset(fmt::format("/{}/{}", side, name));
    require(dataset.row_size() == static_cast<Index>(values.size()), ExitCode::internal, "{}: {} values for a row of {}", name,
            values.size(), dataset.row_size());
    dataset.write_rows(layer, 1, values.data());
  };
  if (!geometry.logits.empty()) write("logits", geometry.logits);
  write("coactivation", geometry.coactivation.log_odds);
  write("coactivation_phi", geometry.coactivation.phi);
  write("coactivation_npmi", geometry.coactivation.npmi);
}

void test_geometry(const comm::Communicator& comm, io::File* file, const Extent& extent, const GeometryClaims& claims) {
  for (const Kind& kind : kinds_of(extent)) {
    const auto a = matrices_of(comm, file, kind, 'a', static_cast<Index>(extent.layers_a.size()), extent.concepts);
    const auto b = matrices_of(comm, file, kind, 'b', static_cast<Index>(extent.layers_b.size()), extent.concepts);
    const std::size_t of_name = at(kind.matrices * extent.pairs());
    std::vector<double> flat(single_names().size() * of_name);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const auto numbers = numbers_of(comm, a[i], b[i], extent.concepts, claims);
      for (std::size_t name = 0; name < numbers.size(); ++name)
        std::copy(numbers[name].begin(), numbers[name].end(),
                  flat.begin() + static_cast<std::ptrdiff_t>(name * of_name + i * numbers[name].size()));
    }
    comm::agree(comm, [&] {
      for (std::size_t name = 0; name < single_names().size() && file != nullptr; ++name) {
        const auto first = flat.begin() + static_cast<std::ptrdiff_t>(name * of_name);
        file->dataset(claim_name(kind, single_names()[name]))
            .write_all(std::vector<double>(first, first + static_cast<std::ptrdiff_t>(of_name)));
      }
    });
  }
}

double geometry_bytes(const Extent& extent) {
  constexpr double layer_matrices = 3; // of co-activation
  const auto c = static_cast<double>(extent.concepts);
  const double matrices = static_cast<double>(extent.layers()) * (layer_matrices + (extent.effects ? basis_kinds : 0)) * c * c;
  double tests = 0;
  for (const Kind& kind : kinds_of(extent))
    tests += static_cast<double>(kind.matrices * extent.pairs()) * static_cast<double>(single_names().size());
  return 8 * (matrices + tests);
}

} // namespace concord::subspaces
