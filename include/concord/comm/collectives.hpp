#pragma once
/// Collectives with 64-bit counts on plain arrays. Each is collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace concord::comm {

/// In-place element-wise sum over ranks; every rank passes the same count.
void sum(const Communicator& comm, float* values, Index count);
void sum(const Communicator& comm, double* values, Index count);
void sum(const Communicator& comm, Index* values, Index count);
template <typename T>
void sum(const Communicator& comm, std::vector<T>& values) {
  sum(comm, values.data(), static_cast<Index>(values.size()));
}
template <typename T>
T sum_of(const Communicator& comm, T value) {
  sum(comm, &value, 1);
  return value;
}
/// In-place element-wise maximum over ranks.
void max(const Communicator& comm, std::vector<float>& values);

Index max_of(const Communicator& comm, Index value);
double max_of(const Communicator& comm, double value);
/// The sum of `value` over lower ranks.
Index sum_below(const Communicator& comm, Index value);

/// Sends `bytes` bytes from `root` to everyone.
void broadcast_bytes(const Communicator& comm, void* data, Index bytes, int root = 0);
template <typename T>
void broadcast(const Communicator& comm, std::vector<T>& values, int root = 0) {
  Index count = static_cast<Index>(values.size());
  broadcast_bytes(comm, &count, sizeof count, root);
  values.resize(static_cast<std::size_t>(count));
  broadcast_bytes(comm, values.data(), count * static_cast<Index>(sizeof(T)), root);
}

/// Every rank's bytes in rank order, on every rank.
std::vector<char> all_gather_bytes(const Communicator& comm, const void* data, Index bytes);
template <typename T>
std::vector<T> all_gather(const Communicator& comm, const std::vector<T>& local) {
  const auto bytes = all_gather_bytes(comm, local.data(), static_cast<Index>(local.size() * sizeof(T)));
  std::vector<T> all(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(all.data()));
  return all;
}

/// Sends items [begin[r], begin[r] + count[r]) of `out` to each rank r; the runs may overlap. Returns what came, in rank order.
/// Fewer than 2^31 items come and go.
std::vector<Index> exchange_counts(const Communicator& comm, const std::vector<Index>& count);
void exchange_items(const Communicator& comm, const void* out, const std::vector<Index>& begin, const std::vector<Index>& count, void* in,
                    const std::vector<Index>& received, Index item_bytes);
template <typename T>
std::vector<T> exchange(const Communicator& comm, const std::vector<T>& out, const std::vector<Index>& begin,
                        const std::vector<Index>& count) {
  const auto received = exchange_counts(comm, count);
  Index items = 0;
  for (const Index from_rank : received) items += from_rank;
  std::vector<T> in(static_cast<std::size_t>(items));
  exchange_items(comm, out.data(), begin, count, in.data(), received, sizeof(T));
  return in;
}

/// Shares of rows, `counts` of each rank, of `row_bytes` bytes, in rank order on every rank, or on rank 0. `mine` is this rank's
/// share; nullptr: it is in its place in `all` already.
void all_gather_rows(const Communicator& comm, const void* mine, const std::vector<Index>& counts, Index row_bytes, void* all);
void gather_rows(const Communicator& comm, const void* mine, const std::vector<Index>& counts, Index row_bytes, void* all);
/// Every rank's items in rank order on rank 0; empty elsewhere.
template <typename T>
std::vector<T> gather(const Communicator& comm, const std::vector<T>& mine) {
  const auto counts = all_gather(comm, std::vector<Index>{static_cast<Index>(mine.size())});
  Index items = 0;
  for (const Index of_rank : counts) items += of_rank;
  std::vector<T> all(comm.rank() == 0 ? static_cast<std::size_t>(items) : 0);
  gather_rows(comm, mine.data(), counts, sizeof(T), all.data());
  return all;
}

/// Hands each rank's bytes, where it has any, to `visit` on rank 0, one rank after the other: rank 0 holds those of one rank at a time,
/// of any size. What `visit` throws is agreed.
void gather_each(const Communicator& comm, std::span<const char> mine,
                 const std::function<void(int rank, std::vector<char>& bytes)>& visit);

/// Names of the distinct hosts, comma separated.
std::string host_names(const Communicator& comm);
/// This rank's number among the ranks of its node.
int node_rank(const Communicator& comm);
/// The lowest rank of its node: a number of the node.
int node_number(const Communicator& comm);
/// How many ranks its node has.
int node_size(const Communicator& comm);
/// The sum of `value` over the ranks of this rank's node.
double sum_on_node(const Communicator& comm, double value);

} // namespace concord::comm
