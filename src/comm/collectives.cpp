#include "concord/comm/collectives.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/error.hpp"

#include <boost/mpi/collectives.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <mpi.h>

#include "comm/message_size.hpp"
#include <algorithm>
#include <exception>
#include <limits>
#include <numeric>
#include <set>

namespace concord::comm {
namespace {

// MPI takes memory of its own for a reduction, as much as the message.
Index summed_at_once() {
  return std::min(most_a_message, Index{1} << 22);
}

template <typename T>
void sum_pieces(const Communicator& comm, T* values, Index count, MPI_Datatype type) {
  for (Index done = 0; done < count; done += summed_at_once())
    MPI_Allreduce(MPI_IN_PLACE, values + done, static_cast<int>(std::min(summed_at_once(), count - done)), type, MPI_SUM, comm);
}

} // namespace

void sum(const Communicator& comm, float* values, Index count) {
  sum_pieces(comm, values, count, MPI_FLOAT);
}
void sum(const Communicator& comm, double* values, Index count) {
  sum_pieces(comm, values, count, MPI_DOUBLE);
}
void sum(const Communicator& comm, Index* values, Index count) {
  sum_pieces(comm, values, count, MPI_INT64_T);
}

void max(const Communicator& comm, std::vector<float>& values) {
  const auto count = static_cast<Index>(values.size());
  for (Index done = 0; done < count; done += summed_at_once())
    MPI_Allreduce(MPI_IN_PLACE, values.data() + done, static_cast<int>(std::min(summed_at_once(), count - done)), MPI_FLOAT, MPI_MAX, comm);
}

Index max_of(const Communicator& comm, Index value) {
  MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_MAX, comm);
  return value;
}

double max_of(const Communicator& comm, double value) {
  MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, comm);
  return value;
}

Index sum_below(const Communicator& comm, Index value) {
  Index below = 0;
  MPI_Exscan(&value, &below, 1, MPI_INT64_T, MPI_SUM, comm);
  return comm.rank() == 0 ? 0 : below;
}

void broadcast_bytes(const Communicator& comm, void* data, Index bytes, int root) {
  for (Index done = 0; done < bytes; done += most_a_message)
    MPI_Bcast(static_cast<char*>(data) + done, static_cast<int>(std::min(most_a_message, bytes - done)), MPI_BYTE, root, comm);
}

std::vector<char> all_gather_bytes(const Communicator& comm, const void* data, Index bytes) {
  std::vector<Index> sizes(static_cast<std::size_t>(comm.size()));
  MPI_Allgather(&bytes, 1, MPI_INT64_T, sizes.data(), 1, MPI_INT64_T, comm);
  Index total = 0;
  for (const Index size : sizes) total += size;
  std::vector<char> all(static_cast<std::size_t>(total));
  if (total <= most_a_message) {
    std::vector<int> counts(sizes.begin(), sizes.end()), offsets(sizes.size(), 0);
    std::partial_sum(counts.begin(), counts.end() - 1, offsets.begin() + 1);
    MPI_Allgatherv(data, static_cast<int>(bytes), MPI_BYTE, all.data(), counts.data(), offsets.data(), MPI_BYTE, comm);
    return all;
  }
  Index offset = 0;
  for (int rank = 0; rank < comm.size(); ++rank) { // one broadcast a rank: any size
    const Index size = sizes[static_cast<std::size_t>(rank)];
    if (rank == comm.rank()) std::copy_n(static_cast<const char*>(data), size, all.data() + offset);
    broadcast_bytes(comm, all.data() + offset, size, rank);
    offset += size;
  }
  return all;
}

namespace {

/// Counts, offsets and a type of whole rows: 32-bit counts reach far.
class RowShares {
public:
  RowShares(const std::vector<Index>& counts, Index row_bytes) {
    require(row_bytes > 0 && row_bytes <= std::numeric_limits<int>::max(), ExitCode::internal, "rows of {} bytes", row_bytes);
    Index offset = 0;
    for (const Index count : counts) {
      require(offset + count <= std::numeric_limits<int>::max(), ExitCode::internal, "too many rows for one message");
      counts_.push_back(static_cast<int>(count));
      offsets_.push_back(static_cast<int>(offset));
      offset += count;
    }
    MPI_Type_contiguous(static_cast<int>(row_bytes), MPI_BYTE, &row_); // last: what threw above would leave it behind
    MPI_Type_commit(&row_);
  }
  ~RowShares() { MPI_Type_free(&row_); }
  RowShares(const RowShares&) = delete;
  RowShares& operator=(const RowShares&) = delete;
  int count(int rank) const { return counts_[static_cast<std::size_t>(rank)]; }
  const int* counts() const { return counts_.data(); }
  const int* offsets() const { return offsets_.data(); }
  MPI_Datatype row() const { return row_; }

private:
  MPI_Datatype row_ = MPI_DATATYPE_NULL;
  std::vector<int> counts_;
  std::vector<int> offsets_;
};

} // namespace

void all_gather_rows(const Communicator& comm, const void* mine, const std::vector<Index>& counts, Index row_bytes, void* all) {
  if (row_bytes == 0) return;
  const RowShares shares(counts, row_bytes);
  MPI_Allgatherv(mine == nullptr ? MPI_IN_PLACE : mine, shares.count(comm.rank()), shares.row(), all, shares.counts(), shares.offsets(),
                 shares.row(), comm);
}

void gather_rows(const Communicator& comm, const void* mine, const std::vector<Index>& counts, Index row_bytes, void* all) {
  if (row_bytes == 0) return;
  const RowShares shares(counts, row_bytes);
  MPI_Gatherv(mine, shares.count(comm.rank()), shares.row(), all, shares.counts(), shares.offsets(), shares.row(), 0, comm);
}

void gather_each(const Communicator& comm, std::span<const char> mine,
                 const std::function<void(int rank, std::vector<char>& bytes)>& visit) {
  constexpr int tag = 17;
  const auto size = static_cast<Index>(mine.size());
  std::vector<Index> sizes(comm.rank() == 0 ? static_cast<std::size_t>(comm.size()) : 0);
  MPI_Gather(&size, 1, MPI_INT64_T, sizes.data(), 1, MPI_INT64_T, 0, comm);
  if (comm.rank() != 0)
    for (Index done = 0; done < size; done += most_a_message)
      MPI_Send(mine.data() + done, static_cast<int>(std::min(most_a_message, size - done)), MPI_CHAR, 0, tag, comm);
  std::exception_ptr met;
  std::vector<char> bytes;
  for (std::size_t rank = 0; rank < sizes.size(); ++rank) {
    bytes.resize(static_cast<std::size_t>(sizes[rank]));
    if (rank == 0) std::copy(mine.begin(), mine.end(), bytes.begin());
    for (Index done = 0; rank != 0 && done < sizes[rank]; done += most_a_message)
      MPI_Recv(bytes.data() + done, static_cast<int>(std::min(most_a_message, sizes[rank] - done)), MPI_CHAR, static_cast<int>(rank), tag,
               comm, MPI_STATUS_IGNORE);
    if (bytes.empty() || met) continue; // what is sent must be taken all the same
    try {
      visit(static_cast<int>(rank), bytes);
    } catch (...) {
      met = std::current_exception();
    }
  }
  agree(comm, [&] {
    if (met) std::rethrow_exception(met);
  });
}

std::vector<Index> exchange_counts(const Communicator& comm, const std::vector<Index>& count) {
  std::vector<Index> received(count.size());
  MPI_Alltoall(count.data(), 1, MPI_INT64_T, received.data(), 1, MPI_INT64_T, comm);
  return received;
}

void exchange_items(const Communicator& comm, const void* out, const std::vector<Index>& begin, const std::vector<Index>& count, void* in,
                    const std::vector<Index>& received, Index item_bytes) {
  const auto narrowed = [](const std::vector<Index>& values) {
    std::vector<int> result;
    result.reserve(values.size());
    for (const Index value : values) result.push_back(narrow_int(value, "items that ranks exchange"));
    return result;
  };
  std::vector<Index> arriving(received.size());
  std::exclusive_scan(received.begin(), received.end(), arriving.begin(), Index{0});
  const auto out_counts = narrowed(count);
  const auto out_begins = narrowed(begin);
  const auto in_counts = narrowed(received);
  const auto in_begins = narrowed(arriving);
  MPI_Datatype type = MPI_DATATYPE_NULL;
  MPI_Type_contiguous(static_cast<int>(item_bytes), MPI_BYTE, &type);
  MPI_Type_commit(&type);
  MPI_Alltoallv(out, out_counts.data(), out_begins.data(), type, in, in_counts.data(), in_begins.data(), type, comm);
  MPI_Type_free(&type);
}

std::string host_names(const Communicator& comm) {
  std::vector<std::string> names;
  boost::mpi::all_gather(comm, boost::mpi::environment::processor_name(), names);
  std::string text;
  for (const auto& name : std::set<std::string>(names.begin(), names.end())) text += (text.empty() ? "" : ",") + name;
  return text;
}

namespace {

/// The ranks that share this rank's node.
class Node {
public:
  explicit Node(const Communicator& comm) { MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, comm.rank(), MPI_INFO_NULL, &comm_); }
  ~Node() { MPI_Comm_free(&comm_); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  MPI_Comm get() const { return comm_; }

private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

} // namespace

int node_rank(const Communicator& comm) {
  const Node node(comm);
  int rank = 0;
  MPI_Comm_rank(node.get(), &rank);
  return rank;
}

int node_number(const Communicator& comm) {
  const Node node(comm);
  int lowest = comm.rank();
  MPI_Allreduce(MPI_IN_PLACE, &lowest, 1, MPI_INT, MPI_MIN, node.get());
  return lowest;
}

int node_size(const Communicator& comm) {
  const Node node(comm);
  int size = 1;
  MPI_Comm_size(node.get(), &size);
  return size;
}

double sum_on_node(const Communicator& comm, double value) {
  const Node node(comm);
  MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_SUM, node.get());
  return value;
}

} // namespace concord::comm
