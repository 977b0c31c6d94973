#pragma once
/// Spans of rows far longer than others: attention sinks, whose norms of a hundred medians would rule every mean that they are in.

#include "concord/comm/session.hpp"
#include "concord/io/row_source.hpp"
#include "concord/subspaces/spans.hpp"

#include <vector>

namespace concord::subspaces {

/// Numbers, ascending, of the spans with a row longer than `limit` times the median norm of the last rows of all occurrences (of n, the
/// (n / 2 + 1)th smallest); none where `limit` is 0. Each rank reads the rows of its share. Collective over `comm`; the same on all ranks,
/// whatever their number. @throws Error bad_data or io, agreed.
std::vector<std::int32_t> long_spans(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans,
                                     double limit);

/// The others. Local.
std::vector<Span> without(const std::vector<Span>& spans, const std::vector<std::int32_t>& numbers);
/// Those of `list` that are not among `numbers`, both ascending. Local.
std::vector<std::int32_t> without(const std::vector<std::int32_t>& list, const std::vector<std::int32_t>& numbers);

} // namespace concord::subspaces
