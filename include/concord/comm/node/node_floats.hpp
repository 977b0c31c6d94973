#pragma once
/// Numbers that a process has for itself, or that lie once a node for all its ranks: what reads weights need not know which. Local where it
/// does not say Collective.

#include "concord/comm/node/node_array.hpp"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace concord::comm {

/// Copies of a node's numbers are the same numbers; copies of a process's own are numbers of their own.
class NodeFloats {
public:
  NodeFloats() = default;
  NodeFloats(std::vector<float> own) : own_(std::move(own)) {} // NOLINT(google-explicit-constructor): wherever a vector is at hand
  NodeFloats(std::initializer_list<float> own) : own_(own) {}
  /// `part` of an array, which lives as long as this does.
  NodeFloats(std::shared_ptr<NodeArray> array, std::span<float> part) : array_(std::move(array)), part_(part) {}

  bool on_node() const { return array_ != nullptr; }
  std::size_t size() const { return values().size(); }
  bool empty() const { return size() == 0; }
  const float* data() const { return values().data(); }
  float* data() { return values().data(); }
  const float* begin() const { return data(); }
  const float* end() const { return data() + size(); }
  float* begin() { return data(); }
  float* end() { return data() + size(); }
  float operator[](std::size_t i) const { return values()[i]; }
  float& operator[](std::size_t i) { return values()[i]; }
  std::span<const float> values() const { return array_ ? std::span<const float>(part_) : std::span<const float>(own_); }
  std::span<float> values() { return array_ ? part_ : std::span<float>(own_); }
  friend bool operator==(const NodeFloats& a, const NodeFloats& b) { return std::ranges::equal(a.values(), b.values()); }

private:
  std::vector<float> own_;
  std::shared_ptr<NodeArray> array_;
  std::span<float> part_;
};

/// Puts arrays of rank 0 into memory of which each node has one copy, behind one another; what the other ranks pass is dropped. Rank 0
/// holds no more than one array beside the copy. Collective over `comm`, which must outlive them. @throws Error unavailable as NodeArray
/// does; agreed.
void move_to_nodes(const Communicator& comm, const std::vector<NodeFloats*>& arrays);

} // namespace concord::comm
