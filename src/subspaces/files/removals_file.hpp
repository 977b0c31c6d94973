#pragma once
/// Effects on single spans in subspaces.h5 (group /removals), from which documents can be drawn anew. Local: rank 0 has the file.

#include "subspaces/files/result_file.hpp"

namespace concord::subspaces {

/// Where subspaces are removed, and room for the effects of every layer; nothing without such spans.
/// @param removals  numbers of the spans, ascending
void lay_out_removals(io::File& file, const Extent& extent, const std::vector<Span>& spans, const std::vector<std::int32_t>& removals);
/// Of a layer; NaN where nothing was measured behind it.
void write_removals(io::File& file, char side, Index layer, const EffectMatrices& effects);
/// [removals, basis_kinds, concepts] of a layer that was written; empty without such spans. @throws Error bad_data.
std::vector<float> read_removals(const io::File& file, char side, Index layer);

/// Bytes of the datasets, of so many spans.
double removals_bytes(const Extent& extent, double removals);

} // namespace concord::subspaces
