#include "concord/graph/components.hpp"

#include "concord/core/at.hpp"

#include <boost/pending/disjoint_sets.hpp>

namespace concord::graph {

struct Components::Sets {
  explicit Sets(std::size_t nodes) : of(nodes) {}
  boost::disjoint_sets_with_storage<> of;
};

Components::Components(const std::vector<Index>& features) : first_{0} {
  for (const Index of_model : features) first_.push_back(first_.back() + of_model);
  sets_ = std::make_unique<Sets>(at(first_.back()));
}
Components::~Components() = default;

void Components::join(Index one, Index other) {
  sets_->of.union_set(at(one), at(other));
}

Index Components::first(int model) const {
  return first_[at(model)];
}

Components::Found Components::found() {
  const std::size_t models = first_.size() - 1;
  const auto nodes = at(first_.back());
  std::vector<std::int32_t> size(nodes, 0);
  for (std::size_t node = 0; node < nodes; ++node) ++size[sets_->of.find_set(node)];
  Found found;
  found.of_node.assign(nodes, -1);
  std::vector<std::int32_t> number(nodes, -1);
  for (std::size_t model = 0; model < models; ++model)
    for (auto node = at(first_[model]); node < at(first_[model + 1]); ++node) {
      const std::size_t root = sets_->of.find_set(node);
      if (size[root] < 2) continue;
      if (number[root] < 0) {
        number[root] = static_cast<std::int32_t>(found.features.size());
        found.features.emplace_back(models, 0);
        found.models.push_back(0);
      }
      const auto component = at(number[root]);
      if (found.features[component][model]++ == 0) ++found.models[component];
      found.of_node[node] = number[root];
    }
  return found;
}

} // namespace concord::graph
