#pragma once
/// Features of several models that links join, directly or over others. Local.

#include "concord/core/index.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace concord::graph {

/// Connected components of a graph whose nodes are the features of some models, those of one model side by side.
class Components {
public:
  /// @param features of each model
  explicit Components(const std::vector<Index>& features);
  ~Components();
  Components(const Components&) = delete;
  Components& operator=(const Components&) = delete;
  /// Joins two nodes: features of a model are numbered from first(model).
  void join(Index one, Index other);
  Index first(int model) const;

  /// What of two nodes and more hangs together, in the order of the first of each.
  struct Found {
    std::vector<std::int32_t> of_node;               ///< number of the component; -1: the node stands alone
    std::vector<std::vector<std::int32_t>> features; ///< [components] of each model
    std::vector<int> models;                         ///< [components] how many models have a feature in it
  };
  Found found();

private:
  struct Sets;
  std::unique_ptr<Sets> sets_;
  std::vector<Index> first_; ///< [models + 1]
};

} // namespace concord::graph
