#pragma once
/// One direction of one pair of layers as a unit of work of the stage, and its place in subspaces.h5.

#include "concord/subspaces/carried/carried.hpp"

#include "subspaces/carried/map_rows.hpp"
#include "subspaces/effects/model_runner.hpp"

namespace concord::subspaces {

inline constexpr int directions = 2; ///< A into B, B into A

struct CarriedInputs {
  const LayerBases& from;
  const LayerBases& to;
  PairedRows rows; ///< x of the model that is carried from, y of the other
  const MapContexts& contexts;
  ModelRunner& runner; ///< of the model that is acted on
  int layer = 0;       ///< of it
  const std::vector<Span>& spans;
  const std::vector<std::int32_t>& at_spans; ///< of both halves of the documents; those of half 1 are looked at
  Index after = 0;
  CarriedTests tests;
};

struct CarriedResult {
  std::array<double, map_parts> rows{}; ///< of each part
  std::array<double, 2> ridge{};        ///< strength: of the map, of that of shuffled rows
  std::array<double, 2> r2{};           ///< on the held-out rows
  CarriedEffects effects;               ///< on rank 0
};

/// Fits both maps and measures. Collective over `comm`. @throws Error bad_data, io, unavailable, stopped; agreed.
CarriedResult carry(const comm::Communicator& comm, const CarriedInputs& inputs);

/// Datasets of `pairs` [pairs, 2] of layers, A's first. Local.
void lay_out_carried(io::File& file, const std::vector<std::int32_t>& pairs, Index concepts);
/// @param direction 0: A into B. Local.
void write_carried(io::File& file, Index pair, int direction, const CarriedResult& result);
/// Bytes of the datasets.
double carried_bytes(Index pairs, Index concepts);

} // namespace concord::subspaces
