#pragma once
/// Whose rows take the place of a span's in a resampled removal. Local.

#include "concord/io/rows/row_source.hpp"
#include "concord/subspaces/effects/effects.hpp"

#include <array>
#include <map>

namespace concord::subspaces {

/// Two spans, of two concepts, so that there is one that is not of the concept removed; -1: there is none.
using Donors = std::array<std::int32_t, 2>;

/// For each span of `at_spans` spans of the same length, of other concepts than its own, drawn from all that are neither random nor of
/// `left_out` (ascending; those whose rows are too long behind the layer): each is as likely as any other, the second among those that are
/// of another concept than the first. A pure function of these and the seed.
std::map<std::int32_t, Donors> draw_donors(const std::vector<Span>& spans, const std::vector<std::int32_t>& at_spans,
                                           const std::vector<std::int32_t>& left_out, std::uint64_t seed);

/// Which of two donors a removal of that concept takes: the first, or the second where the first is of the concept; -1: none.
int donor_for(const std::vector<Span>& spans, const Donors& donors, Index removed);

/// Who takes the place of a span, with an empty place for the rows of each.
/// @param count of bases, kind after kind, in each the concepts
Swap swap_without_rows(const std::vector<Span>& spans, const Donors& donors, Index concepts, Index count);

/// The same with the donors' rows behind the layer, read from activations.h5: these are the rows that the layer's means were made of, a few
/// for each span, and reading them takes no run of the model. @throws Error bad_data or io.
Swap read_swap(const io::RowSource& rows, const std::vector<Span>& spans, const Donors& donors, Index concepts, Index count);

} // namespace concord::subspaces
