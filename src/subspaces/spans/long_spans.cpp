#include "concord/subspaces/spans/long_spans.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::subspaces {
namespace {

struct Norms {
  std::vector<double> longest; ///< of each span's rows
  std::vector<double> last;    ///< of its last row
};

Norms norms_of(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans, const comm::StopWithin& stop) {
  Norms norms{std::vector<double>(spans.size()), std::vector<double>(spans.size())};
  comm::agree(comm, [&] {
    const dist::Partition shares{static_cast<Index>(spans.size()), comm.size()};
    std::vector<float> values;
    for (Index i = shares.begin(comm.rank()); i < shares.end(comm.rank()) && !stop.wanted_here(); ++i) {
      const Span& span = spans[at(i)];
      values.resize(at(span.length() * rows.cols()));
      rows.read_float(span.begin, span.length(), values);
      for (Index row = 0; row < span.length(); ++row) {
        double squares = 0;
        for (Index j = 0; j < rows.cols(); ++j) {
          const auto value = static_cast<double>(values[at(row * rows.cols() + j)]);
          squares += value * value;
        }
        norms.last[at(i)] = std::sqrt(squares);
        norms.longest[at(i)] = std::max(norms.longest[at(i)], norms.last[at(i)]);
      }
    }
  });
  stop.throw_if_wanted(comm, "subspaces");
  comm::sum(comm, norms.longest); // of each but one rank 0
  comm::sum(comm, norms.last);
  return norms;
}

/// limit times the median of the occurrences' last rows; infinite without any.
double bound(const Norms& norms, const std::vector<Span>& spans, double limit) {
  std::vector<double> of_occurrences;
  for (std::size_t i = 0; i < spans.size(); ++i)
    if (!spans[i].random) of_occurrences.push_back(norms.last[i]);
  if (of_occurrences.empty()) return std::numeric_limits<double>::infinity();
  const auto middle = of_occurrences.begin() + static_cast<std::ptrdiff_t>(of_occurrences.size() / 2);
  std::nth_element(of_occurrences.begin(), middle, of_occurrences.end());
  return limit * *middle;
}

} // namespace

double longest_row(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans, double limit,
                   const comm::StopWithin& stop) {
  return limit <= 0 ? std::numeric_limits<double>::infinity() : bound(norms_of(comm, rows, spans, stop), spans, limit);
}

std::vector<std::int32_t> long_spans(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans,
                                     double limit, const comm::StopWithin& stop) {
  if (limit <= 0) return {};
  const auto norms = norms_of(comm, rows, spans, stop);
  const double most = bound(norms, spans, limit);
  std::vector<std::int32_t> numbers;
  for (std::size_t i = 0; i < spans.size(); ++i)
    if (norms.longest[i] > most) numbers.push_back(static_cast<std::int32_t>(i));
  return numbers;
}

std::vector<Span> without(const std::vector<Span>& spans, const std::vector<std::int32_t>& numbers) {
  std::vector<Span> kept;
  kept.reserve(spans.size());
  auto next = numbers.begin();
  for (std::size_t i = 0; i < spans.size(); ++i)
    if (next != numbers.end() && at(*next) == i)
      ++next;
    else
      kept.push_back(spans[i]);
  return kept;
}

std::vector<std::int32_t> without(const std::vector<std::int32_t>& list, const std::vector<std::int32_t>& numbers) {
  std::vector<std::int32_t> kept;
  std::set_difference(list.begin(), list.end(), numbers.begin(), numbers.end(), std::back_inserter(kept));
  return kept;
}

std::vector<float> placed_among(const std::vector<float>& values, const std::vector<std::int32_t>& some,
                                const std::vector<std::int32_t>& all) {
  if (values.empty() || some.size() == all.size()) return values;
  const std::size_t width = values.size() / some.size();
  std::vector<float> placed(all.size() * width, std::numeric_limits<float>::quiet_NaN());
  for (std::size_t i = 0, from = 0; i < all.size() && from < some.size(); ++i) {
    if (all[i] != some[from]) continue;
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from++ * width), width,
                placed.begin() + static_cast<std::ptrdiff_t>(i * width));
  }
  return placed;
}

} // namespace concord::subspaces
