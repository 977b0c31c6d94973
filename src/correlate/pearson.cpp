#include "concord/correlate/pearson.hpp"

#include "concord/comm/collectives.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// Sums of every column in row order.
struct Moments {
  std::vector<double> sum;
  std::vector<double> variance; ///< N S_jj - S_j^2, 0 for a constant column
};

Moments moments_of(const io::CsrMatrix& m) {
  Moments moments{std::vector<double>(at(m.cols), 0.0), std::vector<double>(at(m.cols), 0.0)};
  for (std::size_t e = 0; e < m.indices.size(); ++e) {
    const double value = m.values[e];
    moments.sum[at(m.indices[e])] += value;
    moments.variance[at(m.indices[e])] += value * value;
  }
  const auto n = static_cast<double>(m.rows);
  for (std::size_t j = 0; j < moments.sum.size(); ++j) {
    const double whole = n * moments.variance[j];
    const double variance = whole - moments.sum[j] * moments.sum[j];
    // What is left of a constant column is rounding of two equal numbers.
    moments.variance[j] = variance > whole * n * 1e-16 + 1e-300 ? variance : 0.0;
  }
  return moments;
}

/// Posting lists: for each column, its rows ascending with their values.
struct Postings {
  std::vector<Index> begin;
  std::vector<std::int32_t> row;
  std::vector<float> value;
};

Postings postings_of(const io::CsrMatrix& m) {
  Postings postings{std::vector<Index>(at(m.cols) + 1, 0), std::vector<std::int32_t>(m.indices.size()),
                    std::vector<float>(m.indices.size())};
  for (const auto column : m.indices) ++postings.begin[at(column) + 1];
  std::partial_sum(postings.begin.begin(), postings.begin.end(), postings.begin.begin());
  std::vector<Index> next(postings.begin.begin(), postings.begin.end() - 1);
  for (Index r = 0; r < m.rows; ++r)
    for (Index e = m.indptr[at(r)]; e < m.indptr[at(r) + 1]; ++e) {
      const Index place = next[at(m.indices[at(e)])]++;
      postings.row[at(place)] = static_cast<std::int32_t>(r);
      postings.value[at(place)] = m.values[at(e)];
    }
  return postings;
}

/// Rows of B with index and value side by side: one run of memory a row.
struct Entry {
  std::int32_t column;
  float value;
};

std::vector<Entry> entries_of(const io::CsrMatrix& m) {
  std::vector<Entry> entries(m.indices.size());
  for (std::size_t e = 0; e < entries.size(); ++e) entries[e] = {m.indices[e], m.values[e]};
  return entries;
}

/// Sum of products and count of common rows of the feature at hand with one feature of B: side by side in one cache line.
struct Accumulator {
  double sum;
  Index cofire;
};

/// Adds up one feature of A (its postings [begin, end)) against all rows of B, in row order. The rows lie scattered over
/// memory, so those a few postings ahead are fetched beforehand.
void accumulate(const Postings& a, Index begin, Index end, const io::CsrMatrix& b, const std::vector<Entry>& entries, Index shift,
                std::vector<Accumulator>& accumulators) {
  constexpr Index ahead = 8;
  const auto row_of = [&](Index p) {
    const Index row = a.row[at(p)] + shift;
    return row < b.rows ? row : row - b.rows;
  };
  for (Index p = begin; p < end; ++p) {
    if (p + 2 * ahead < end) __builtin_prefetch(&b.indptr[at(row_of(p + 2 * ahead))]);
    if (p + ahead < end) {
      const Entry* next = entries.data() + b.indptr[at(row_of(p + ahead))];
      __builtin_prefetch(next);
      __builtin_prefetch(next + 8);
    }
    const double value = a.value[at(p)];
    const Index row = row_of(p);
    const Entry* last = entries.data() + b.indptr[at(row) + 1];
    for (const Entry* entry = entries.data() + b.indptr[at(row)]; entry != last; ++entry) {
      Accumulator& accumulator = accumulators[at(entry->column)];
      accumulator.sum += value * static_cast<double>(entry->value);
      ++accumulator.cofire;
    }
  }
}

struct Candidate {
  double r;
  std::int32_t partner;
  std::int32_t owner; ///< the feature whose candidate this is
  Index cofire;
};

bool better(const Candidate& x, const Candidate& y) {
  return x.r > y.r || (x.r == y.r && x.partner < y.partner);
}

/// The best `places` candidates seen so far, as a heap with the worst in front.
class BestHeap {
public:
  void offer(const Candidate& candidate, Index places) {
    if (static_cast<Index>(heap_.size()) == places) {
      if (!better(candidate, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), better);
      heap_.back() = candidate;
    } else {
      heap_.push_back(candidate);
    }
    std::push_heap(heap_.begin(), heap_.end(), better);
  }
  const std::vector<Candidate>& entries() const { return heap_; }

private:
  std::vector<Candidate> heap_;
};

/// Columns of A dealt to ranks in order of falling work, so that each rank gets a like share of the heavy ones.
std::vector<std::int32_t> owned_columns(const Postings& a, int rank, int ranks) {
  const auto columns = static_cast<std::int32_t>(a.begin.size() - 1);
  std::vector<std::int32_t> order(static_cast<std::size_t>(columns));
  std::iota(order.begin(), order.end(), 0);
  const auto work = [&](std::int32_t i) { return a.begin[at(i) + 1] - a.begin[at(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t x, std::int32_t y) { return work(x) > work(y); });
  std::vector<std::int32_t> owned;
  for (std::size_t i = static_cast<std::size_t>(rank); i < order.size(); i += static_cast<std::size_t>(ranks)) owned.push_back(order[i]);
  std::sort(owned.begin(), owned.end());
  return owned;
}

BestPartners collect(const comm::Communicator& comm, const std::vector<BestHeap>& heaps, Index features, Index places) {
  std::vector<Candidate> mine;
  for (const auto& heap : heaps) mine.insert(mine.end(), heap.entries().begin(), heap.entries().end());
  auto all = comm::all_gather(comm, mine);
  std::sort(all.begin(), all.end(),
            [](const Candidate& x, const Candidate& y) { return x.owner < y.owner || (x.owner == y.owner && better(x, y)); });
  BestPartners best{places, std::vector<std::int32_t>(at(features * places), -1), std::vector<double>(at(features * places), 0.0),
                    std::vector<Index>(at(features * places), 0)};
  Index filled = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    filled = i > 0 && all[i].owner == all[i - 1].owner ? filled + 1 : 0;
    if (filled >= places) continue;
    const auto place = at(all[i].owner * places + filled);
    best.partner[place] = all[i].partner;
    best.r[place] = all[i].r;
    best.cofire[place] = all[i].cofire;
  }
  return best;
}

} // namespace

PairCorrelation best_correlations(const comm::Communicator& comm, const io::CsrMatrix& a, const io::CsrMatrix& b, Index best, Index shift) {
  const Moments moments_a = moments_of(a);
  const Moments moments_b = moments_of(b);
  const Postings postings = postings_of(a);
  const auto n = static_cast<double>(a.rows);
  const auto entries = entries_of(b);
  std::vector<Accumulator> accumulators(at(b.cols));
  std::vector<BestHeap> best_of_a(at(a.cols));
  std::vector<BestHeap> best_of_b(at(b.cols));
  for (const std::int32_t i : owned_columns(postings, comm.rank(), comm.size())) {
    if (moments_a.variance[at(i)] == 0) continue;
    std::fill(accumulators.begin(), accumulators.end(), Accumulator{0, 0});
    accumulate(postings, postings.begin[at(i)], postings.begin[at(i) + 1], b, entries, shift, accumulators);
    for (std::int32_t j = 0; j < b.cols; ++j) {
      if (moments_b.variance[at(j)] == 0) continue;
      const double covariance = n * accumulators[at(j)].sum - moments_a.sum[at(i)] * moments_b.sum[at(j)];
      const double r = std::clamp(covariance / (std::sqrt(moments_a.variance[at(i)]) * std::sqrt(moments_b.variance[at(j)])), -1.0, 1.0);
      best_of_a[at(i)].offer({r, j, i, accumulators[at(j)].cofire}, best);
      best_of_b[at(j)].offer({r, i, j, accumulators[at(j)].cofire}, best);
    }
  }
  return {collect(comm, best_of_a, a.cols, best), collect(comm, best_of_b, b.cols, best)};
}

std::vector<Index> column_counts(const io::CsrMatrix& matrix) {
  std::vector<Index> counts(at(matrix.cols), 0);
  for (const auto column : matrix.indices) ++counts[at(column)];
  return counts;
}

} // namespace concord::correlate
