#pragma once
/// Stage `graph`: matches of three or more models -> graph.h5: what only they can tell. Collective over `comm`.
///
/// A link leads from a feature to its best partner in a layer of another model (`best`), or joins two features that are each other's best
/// with an r above what both reach by chance (`mutual`). For each three layers of three models it counts the paths A -> B -> C and those
/// whose last link leads back to where they began. Of its mutual links a feature keeps the best over all layers of the other model; two
/// features that keep the same one are joined. Components of that graph say which features are found in how many models. Both stand beside
/// the same counts of shifted rows, which have no counterparts: what chance closes.

#include "concord/comm/session.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::graph {

/// What correlate made of two models.
struct PairFiles {
  int a = 0; ///< number of the model
  int b = 0;
  std::filesystem::path matches; ///< matches.h5
  std::filesystem::path shifted; ///< the same of shifted rows; empty in all pairs or in none
};

struct GraphOptions {
  std::vector<std::string> models;  ///< names
  std::vector<std::string> streams; ///< of each model what its residual streams are called: two SAEs of one share it; may be empty
  std::vector<PairFiles> pairs;     ///< any two models at most once, in either order
  std::filesystem::path out;
  bool force = false;
  std::string stage_word = "graph";
};

/// Each three models of which all pairs are there, by number, ascending. Local.
std::vector<std::vector<int>> triples(const GraphOptions& options);

/// Whether two models, in either order, are among three. Local.
bool is_in(const std::vector<std::vector<int>>& triples, int one, int other);

/// Writes graph.h5 (docs/formats.md). @throws Error input_missing, bad_data (other tokens, layers or features), config (no three models of
/// which all pairs are there), io, stopped; agreed.
void graph(const comm::Communicator& comm, const GraphOptions& options);

} // namespace concord::graph
