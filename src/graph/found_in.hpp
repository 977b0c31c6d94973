#pragma once
/// In how many models each feature is found. Collective over `comm`.

#include "concord/comm/session.hpp"

#include "graph/pair_links.hpp"

namespace concord::graph {

/// On rank 0; empty elsewhere but for `components`.
struct FoundIn {
  std::vector<Index> counts; ///< [models, models] features of each model that are active and hang together with those of 1, 2, ... models
  Index components = 0;
  std::vector<std::int32_t> features_of_components;              ///< [components, models]
  std::vector<std::vector<std::vector<std::int32_t>>> component; ///< [model][layer][feature] its component; -1: none
};

/// Joins two features where each is the other's best of all layers of its model, by mutual links. @throws Error bad_data, stopped; agreed.
FoundIn found_in(const comm::Communicator& comm, const std::vector<PairLinks>& pairs, const std::vector<ModelLayers>& models, bool shifted);

} // namespace concord::graph
