#pragma once
/// What a stage takes in memory, array by array, by arithmetic alone: `concord plan` shows it, stages check it before they begin, and a
/// test counts the bytes (docs/memory.md). Local.

#include <string>
#include <vector>

namespace concord {

/// An array, or several of one kind.
struct MemoryItem {
  /// Who holds it: every rank, its node once for all its ranks, or rank 0 alone.
  enum class Holder { rank, node, root };
  std::string what;
  std::string formula; ///< in the symbols of docs/memory.md
  double bytes = 0;    ///< of the rank or node that holds most
  Holder holder = Holder::rank;
  std::string phase = {};   ///< of the stage in which it is there; empty: in all of them
  bool may_be_less = false; ///< an upper bound: what the data need of it is not known before
};

/// The bytes of one stage.
class MemoryPlan {
public:
  explicit MemoryPlan(std::string stage) : stage_(std::move(stage)) {}
  /// Items that follow belong to this phase; empty: to all of them.
  void begin_phase(std::string phase) { phase_ = std::move(phase); }
  void each_rank(std::string what, std::string formula, double bytes) { add(std::move(what), std::move(formula), bytes, Holder::rank); }
  void each_node(std::string what, std::string formula, double bytes) { add(std::move(what), std::move(formula), bytes, Holder::node); }
  void rank_0(std::string what, std::string formula, double bytes) { add(std::move(what), std::move(formula), bytes, Holder::root); }
  /// The last item is an upper bound.
  void at_most() { items_.back().may_be_less = true; }

  const std::string& stage() const { return stage_; }
  const std::vector<MemoryItem>& items() const { return items_; }
  MemoryPlan without_upper_bounds() const;
  /// For a rank that has the node's arrays already, from `phase` on.
  MemoryPlan without_node_arrays(const std::string& phase) const;
  /// Sets how many copies of its arrays a node holds: one for each group of ranks.
  void copies_a_node(int copies) { copies_ = copies; }
  /// The most that a rank holds in any phase, its node's arrays apart; `root`: rank 0, else any other.
  double of_rank(bool root = true) const;
  /// The most that a node holds once for its ranks, in any phase.
  double of_node() const;
  /// The most that a node with `ranks` ranks holds together, rank 0 among them or not.
  double of_all(int ranks, bool root = true) const;

  /// The array that takes most of a node with `ranks` ranks, each holder's copy counted. There must be one.
  const MemoryItem& largest(int ranks) const;

private:
  using Holder = MemoryItem::Holder;
  void add(std::string what, std::string formula, double bytes, Holder holder);
  static double weight(const MemoryItem& item, double ranks, double root, double node);
  /// Over phases, the most of ranks' bytes times `ranks`, the root's and the node's times their weights.
  double most(double ranks, double root, double node) const;
  std::string stage_;
  std::string phase_;
  int copies_ = 1;
  std::vector<MemoryItem> items_;
};

} // namespace concord
