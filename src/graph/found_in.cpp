#include "graph/found_in.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/graph/components.hpp"

#include <cstring>

namespace concord::graph {
namespace {

/// A feature of some layer of the other model, by its place among the layers; -1: none.
struct There {
  std::int32_t layer = -1;
  std::int32_t feature = -1;
};

/// The best mutual link of each feature of a layer over all layers of the other model: the larger r, then the lower layer.
std::vector<There> best_of_layer(const PairLinks& pair, bool of_a, std::size_t layer, bool shifted) {
  const std::size_t others = of_a ? pair.layers_b().size() : pair.layers_a().size();
  std::vector<There> best(at((of_a ? pair.features_a() : pair.features_b())[layer]));
  std::vector<double> largest(best.size(), 0);
  for (std::size_t other = 0; other < others; ++other) {
    const auto links = of_a ? pair.links(layer, other, shifted) : pair.links(other, layer, shifted);
    const auto& to = of_a ? links.mutual.to_b : links.mutual.to_a;
    const auto& r = of_a ? links.r_a : links.r_b;
    for (std::size_t i = 0; i < to.size(); ++i)
      if (to[i] >= 0 && r[i] > largest[i]) {
        best[i] = {static_cast<std::int32_t>(other), to[i]};
        largest[i] = r[i];
      }
  }
  return best;
}

/// What ranks, which take turns with the layers of a side, found: [layer][feature] on rank 0.
std::vector<std::vector<There>> best_of_side(const comm::Communicator& comm, const PairLinks& pair, bool of_a, bool shifted) {
  const std::size_t layers = (of_a ? pair.layers_a() : pair.layers_b()).size();
  std::vector<std::vector<There>> all(comm.rank() == 0 ? layers : 0);
  for (std::size_t begin = 0; begin < layers; begin += at(comm.size())) {
    comm::stop_if_requested(comm, "graph");
    const std::size_t mine = begin + at(comm.rank());
    const auto best = comm::agreed(comm, [&] { return mine < layers ? best_of_layer(pair, of_a, mine, shifted) : std::vector<There>{}; });
    const std::span<const char> bytes(reinterpret_cast<const char*>(best.data()), best.size() * sizeof(There));
    comm::gather_each(comm, bytes, [&](int rank, std::vector<char>& of_rank) {
      auto& of_layer = all[begin + at(rank)];
      of_layer.resize(of_rank.size() / sizeof(There));
      std::memcpy(of_layer.data(), of_rank.data(), of_rank.size());
    });
  }
  return all;
}

/// Features of a model are numbered layer after layer.
std::vector<std::vector<Index>> first_of_layers(const std::vector<ModelLayers>& models) {
  std::vector<std::vector<Index>> first;
  for (const auto& model : models) {
    first.push_back({0});
    for (const Index features : model.features) first.back().push_back(first.back().back() + features);
  }
  return first;
}

void join_pair(Components& graph, const PairFiles& files, const std::vector<std::vector<Index>>& first,
               const std::vector<std::vector<There>>& of_a, const std::vector<std::vector<There>>& of_b) {
  for (std::size_t layer = 0; layer < of_a.size(); ++layer)
    for (std::size_t i = 0; i < of_a[layer].size(); ++i) {
      const There there = of_a[layer][i];
      if (there.layer < 0) continue;
      const There back = of_b.at(at(there.layer)).at(at(there.feature));
      if (back.layer != static_cast<std::int32_t>(layer) || back.feature != static_cast<std::int32_t>(i)) continue;
      graph.join(graph.first(files.a) + first[at(files.a)][layer] + static_cast<Index>(i),
                 graph.first(files.b) + first[at(files.b)][at(there.layer)] + there.feature);
    }
}

/// Whether each feature of a model is ever active.
std::vector<std::vector<Index>> counts_of(const std::vector<PairLinks>& pairs, int model, std::size_t layers) {
  std::vector<std::vector<Index>> counts;
  for (const auto& pair : pairs) {
    if (pair.files().a != model && pair.files().b != model) continue;
    for (std::size_t layer = 0; layer < layers; ++layer)
      counts.push_back(pair.files().a == model ? pair.counts_a(layer) : pair.counts_b(layer));
    break;
  }
  return counts;
}

FoundIn counted(Components& graph, const std::vector<PairLinks>& pairs, const std::vector<ModelLayers>& models,
                const std::vector<std::vector<Index>>& first) {
  const auto components = graph.found();
  FoundIn found;
  found.components = static_cast<Index>(components.features.size());
  for (const auto& features : components.features)
    found.features_of_components.insert(found.features_of_components.end(), features.begin(), features.end());
  found.counts.assign(models.size() * models.size(), 0);
  for (std::size_t model = 0; model < models.size(); ++model) {
    const auto counts = counts_of(pairs, static_cast<int>(model), models[model].layers.size());
    found.component.emplace_back();
    for (std::size_t layer = 0; layer < counts.size(); ++layer) {
      const auto begin = components.of_node.begin() + graph.first(static_cast<int>(model)) + first[model][layer];
      auto& of_layer = found.component.back().emplace_back(begin, begin + models[model].features[layer]);
      for (std::size_t i = 0; i < of_layer.size(); ++i) {
        if (counts[layer][i] == 0) continue;
        const int in_models = of_layer[i] < 0 ? 1 : components.models[at(of_layer[i])];
        ++found.counts[model * models.size() + at(in_models) - 1];
      }
    }
  }
  return found;
}

} // namespace

FoundIn found_in(const comm::Communicator& comm, const std::vector<PairLinks>& pairs, const std::vector<ModelLayers>& models,
                 bool shifted) {
  const auto first = first_of_layers(models);
  std::vector<Index> features;
  for (const auto& of_model : first) features.push_back(comm.rank() == 0 ? of_model.back() : 0);
  Components graph(features);
  for (const auto& pair : pairs) {
    const auto of_a = best_of_side(comm, pair, /*of_a=*/true, shifted);
    const auto of_b = best_of_side(comm, pair, /*of_a=*/false, shifted);
    comm::agree(comm, [&] { join_pair(graph, pair.files(), first, of_a, of_b); });
  }
  FoundIn found;
  comm::agree(comm, [&] {
    if (comm.rank() == 0) found = counted(graph, pairs, models, first);
  });
  found.components = comm::max_of(comm, found.components);
  return found;
}

} // namespace concord::graph
