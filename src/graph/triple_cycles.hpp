#pragma once
/// Cycles through all layer triples of three models. Collective over `comm`.

#include "concord/comm/session.hpp"

#include "graph/pair_links.hpp"

namespace concord::graph {

/// [layers of A, of B, of C, 2]: paths begun, and closed; on every rank.
struct TripleCycles {
  std::vector<Index> best;
  std::vector<Index> mutual;
  std::vector<Index> shifted_best; ///< empty without a null, as the next
  std::vector<Index> shifted_mutual;
};

/// Bytes of links between B and C that a rank has at hand: where all of them take more, A's links are read once for each part of them.
inline constexpr Index room_for_links = Index{1} << 28;

/// The pairs in the order of the cycle: A to B, B to C, C to A. Of the layers of B and C each pair's links are read once, by one rank.
/// @param room  one pair's links are kept in any case @throws Error bad_data, stopped; agreed.
TripleCycles triple_cycles(const comm::Communicator& comm, const DirectedPair& ab, const DirectedPair& bc, const DirectedPair& ca,
                           Index room = room_for_links);

} // namespace concord::graph
