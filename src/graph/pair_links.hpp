#pragma once
/// Links between the features of two models, read from what correlate made of them. Local.

#include "concord/graph/cycles.hpp"
#include "concord/graph/graph.hpp"
#include "concord/io/hdf5.hpp"

#include <optional>

namespace concord::graph {

/// Layers of a model and how many features each has.
struct ModelLayers {
  std::string digest; ///< of its features
  std::vector<int> layers;
  std::vector<Index> features;
};

/// Links of one layer pair.
struct LayerLinks {
  Links best;
  Links mutual;            ///< each other's best, with r above what both reach by chance
  std::vector<double> r_a; ///< of the best partner of each feature of A
  std::vector<double> r_b;
};

class PairLinks {
public:
  /// @throws Error input_missing, or bad_data where they are no matches, or `shifted` are those of other layers.
  explicit PairLinks(const PairFiles& files);
  const PairFiles& files() const { return files_; }
  const std::vector<int>& layers_a() const { return layers_a_; }
  const std::vector<int>& layers_b() const { return layers_b_; }
  const std::vector<Index>& features_a() const { return features_a_; }
  const std::vector<Index>& features_b() const { return features_b_; }
  std::string token_hash() const { return matches_.attribute("token_hash"); }
  /// Digests of the features that the files were made from.
  const std::string& digest_a() const { return digest_a_; }
  const std::string& digest_b() const { return digest_b_; }
  bool has_null() const { return shifted_.has_value(); }
  /// Of layers by their places. Thresholds are those of the rows that are not shifted. @throws Error bad_data.
  LayerLinks links(std::size_t a, std::size_t b, bool shifted) const;
  /// Rows on which each feature of a layer is active. @throws Error bad_data.
  std::vector<Index> counts_a(std::size_t layer) const;
  std::vector<Index> counts_b(std::size_t layer) const;

private:
  std::string group(std::size_t a, std::size_t b) const;
  PairFiles files_;
  io::File matches_;
  std::optional<io::File> shifted_;
  std::string digest_a_, digest_b_;
  std::vector<int> layers_a_, layers_b_;
  std::vector<Index> features_a_, features_b_;
};

/// A pair read from one of its models to the other.
struct DirectedPair {
  const PairLinks* pair;
  bool forward; ///< from A to B
  std::size_t layers_from() const { return (forward ? pair->layers_a() : pair->layers_b()).size(); }
  const std::vector<Index>& features_from() const { return forward ? pair->features_a() : pair->features_b(); }
  std::size_t layers_to() const { return (forward ? pair->layers_b() : pair->layers_a()).size(); }
};

} // namespace concord::graph
