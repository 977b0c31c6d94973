#include "concord/core/machine/memory_plan.hpp"

#include <algorithm>
#include <iterator>
#include <map>

namespace concord {

void MemoryPlan::add(std::string what, std::string formula, double bytes, Holder holder) {
  items_.push_back({std::move(what), std::move(formula), bytes, holder, phase_});
}

double MemoryPlan::weight(const MemoryItem& item, double ranks, double root, double node) {
  return item.holder == Holder::rank ? ranks : item.holder == Holder::root ? root : node;
}

double MemoryPlan::most(double ranks, double root, double node) const {
  double always = 0;
  std::map<std::string, double> phases;
  for (const auto& item : items_) {
    (item.phase.empty() ? always : phases[item.phase]) += weight(item, ranks, root, node) * item.bytes;
  }
  double largest = 0;
  for (const auto& [phase, bytes] : phases) largest = std::max(largest, bytes);
  return always + largest;
}

MemoryPlan MemoryPlan::without_upper_bounds() const {
  MemoryPlan plan(stage_);
  std::copy_if(items_.begin(), items_.end(), std::back_inserter(plan.items_), [](const auto& item) { return !item.may_be_less; });
  return plan;
}

MemoryPlan MemoryPlan::without_node_arrays(const std::string& phase) const {
  MemoryPlan plan(stage_);
  std::copy_if(items_.begin(), items_.end(), std::back_inserter(plan.items_),
               [&](const auto& item) { return item.holder != Holder::node && item.phase != phase; });
  return plan;
}

double MemoryPlan::of_rank(bool root) const {
  return most(1, root ? 1 : 0, 0);
}

double MemoryPlan::of_node() const {
  return most(0, 0, 1);
}

double MemoryPlan::of_all(int ranks, bool root) const {
  return most(ranks, root ? 1 : 0, copies_);
}

const MemoryItem& MemoryPlan::largest(int ranks) const {
  const auto taken = [&](const MemoryItem& item) { return weight(item, ranks, 1, copies_) * item.bytes; };
  return *std::max_element(items_.begin(), items_.end(), [&](const auto& a, const auto& b) { return taken(a) < taken(b); });
}

} // namespace concord
