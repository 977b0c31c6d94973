#pragma once
// The codes at some spans, span by span, each feature once. Local.

#include "concord/comm/stop.hpp"
#include "concord/features/features.hpp"
#include "concord/subspaces/settings.hpp"
#include "concord/subspaces/spans/spans.hpp"

#include <deque>
#include <vector>

namespace concord::subspaces {

/// The values on successive spans: entries [ends[i - 1], ends[i]) are those of span first_span + i.
struct SpanPiece {
  std::int32_t first_span = 0;
  std::vector<std::size_t> ends;
  std::vector<std::int32_t> features;
  std::vector<float> values;
};

/// In pieces, so that they can be let go one by one.
struct SpanCodes {
  std::deque<SpanPiece> pieces; ///< in the order of the spans
  std::vector<Index> count;     ///< [features] entries of each
};

/// Of spans [first, last), until `stop` is wanted. @throws Error bad_data or io.
SpanCodes read_span_codes(const features::LayerCodes& layer, Index features, const std::vector<Span>& spans, Index first, Index last,
                          SpanValue value, const comm::StopWithin& stop);

} // namespace concord::subspaces
