#pragma once
/// Spans of rows far longer than others: attention sinks, whose norms of a hundred medians would rule every mean that they are in.

#include "concord/comm/session.hpp"
#include "concord/comm/stop.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/subspaces/spans/spans.hpp"

#include <vector>

namespace concord::subspaces {

/// Numbers, ascending, of the spans with a row longer than `limit` times the median norm of the last rows of all occurrences (of n, the
/// (n / 2 + 1)th smallest); none where `limit` is 0. Each rank reads the rows of its share, and holds two numbers a span. Looks for the
/// stop signal. Collective over `comm`; the same on all ranks, whatever their number. @throws Error bad_data, io or stopped, agreed.
std::vector<std::int32_t> long_spans(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans,
                                     double limit, const comm::StopWithin& stop = comm::StopWithin());

/// That norm, by the same median; infinite where `limit` is 0 or nothing occurs. Collective over `comm`, as above.
double longest_row(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans, double limit,
                   const comm::StopWithin& stop = comm::StopWithin());

/// The others. Local.
std::vector<Span> without(const std::vector<Span>& spans, const std::vector<std::int32_t>& numbers);
/// Those of `list` that are not among `numbers`, both ascending. Local.
std::vector<std::int32_t> without(const std::vector<std::int32_t>& list, const std::vector<std::int32_t>& numbers);

/// Rows of values that belong to some of the numbers in `all`, with a row for each of these: NaN for the others. Local.
std::vector<float> placed_among(const std::vector<float>& values, const std::vector<std::int32_t>& some,
                                const std::vector<std::int32_t>& all);

} // namespace concord::subspaces
