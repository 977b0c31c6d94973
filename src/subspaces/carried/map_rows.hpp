#pragma once
/// Which rows a map between two models is fitted on, and their moments. Collective over `comm` where it says so.

#include "concord/comm/session.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/subspaces/carried/ridge_map.hpp"
#include "concord/subspaces/spans/spans.hpp"

#include <array>
#include <limits>

namespace concord::subspaces {

/// fit, choose: of the documents of half 0, every fifth being kept to choose the ridge's strength on; held: of half 1, on which R^2 and
/// effects are measured.
enum class MapPart : std::uint8_t { fit, choose, held };
inline constexpr int map_parts = 3;

/// Numbers of contexts of each part, in the order in which they were drawn.
using MapContexts = std::array<std::vector<Index>, map_parts>;

/// Draws contexts at random until those of a half have `most_rows` rows. Documents that have spans are of the half that these say, others
/// of a random one; where contexts stand for documents among the spans, they do so here. Local; the same on every rank.
MapContexts draw_map_contexts(const std::vector<Span>& spans, const ContextPlaces& places, Index most_rows, std::uint64_t seed);

/// The rows of two models at the same tokens.
struct PairedRows {
  const io::RowSource& x;
  const io::RowSource& y;
  const corpus::TokenReader& tokens;
  /// Norms above which rows are left out: attention sinks, as those of spans are.
  double longest_x = std::numeric_limits<double>::infinity();
  double longest_y = std::numeric_limits<double>::infinity();
};

/// Over the rows of these contexts but those that open them (bos) and those that are too long in either model. `shuffled`: x of a row
/// against y of another one, of another block of contexts where there are several. The blocks are the same for any number of ranks, each
/// rank has its share of them, and a rank holds one at a time; the sums are equal to rounding for any number of ranks. Looks for the stop
/// signal between blocks. Collective over `comm`.
/// @throws Error bad_data, io, stopped; agreed.
PairMoments map_moments(const comm::Communicator& comm, const PairedRows& rows, const std::vector<Index>& contexts, bool shuffled,
                        std::uint64_t seed);

inline constexpr Index map_block_rows = 1024; ///< of a block, at least, but for the last one

} // namespace concord::subspaces
