#include "concord/comm/node/node_array.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/error.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

#include <fmt/format.h>
#include <mpi.h>

#include "comm/message_size.hpp"
#include "comm/node/shared_memory.hpp"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>

namespace concord::comm {

struct NodeArray::Storage {
  MPI_Comm node = MPI_COMM_NULL;    ///< ranks of this copy
  Communicator copy;                ///< the same, as others see it
  MPI_Comm leaders = MPI_COMM_NULL; ///< the first rank of each copy
  Mapped shared;                    ///< the node's copy, or
  Mapped own;                       ///< where a rank has a copy for itself
  std::span<float> values;
  std::vector<int> copies; ///< first rank of the copy that each rank has

  ~Storage() {
    if (leaders != MPI_COMM_NULL) MPI_Comm_free(&leaders);
    if (node != MPI_COMM_NULL) MPI_Comm_free(&node);
  }

  int node_rank() const {
    int rank = 0;
    MPI_Comm_rank(node, &rank);
    return rank;
  }
  int node_size() const {
    int size = 1;
    MPI_Comm_size(node, &size);
    return size;
  }

  void split(const Communicator& comm, const std::vector<int>& nodes) {
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, comm.rank(), MPI_INFO_NULL, &node);
    if (nodes.empty()) return;
    MPI_Comm parts = MPI_COMM_NULL;
    MPI_Comm_split(node, nodes[static_cast<std::size_t>(comm.rank())], node_rank(), &parts);
    MPI_Comm_free(&node);
    node = parts;
  }

  void number_copies(const Communicator& comm) {
    int leader = comm.rank();
    MPI_Bcast(&leader, 1, MPI_INT, 0, node);
    copies = all_gather(comm, std::vector<int>{leader});
    MPI_Comm_split(comm, leader == comm.rank() ? 0 : MPI_UNDEFINED, comm.rank(), &leaders);
  }

  void alone(const Communicator& comm) {
    if (node != MPI_COMM_NULL) MPI_Comm_free(&node);
    MPI_Comm_split(comm, comm.rank(), 0, &node);
  }

  /// Whether the node's ranks now share memory, on every node. @throws Error unavailable where a node has no room for one copy; agreed.
  bool allocate(const Communicator& comm, Index count, Taking taking) {
    const auto bytes = static_cast<std::size_t>(std::max<Index>(count, 1)) * sizeof(float);
    Mapped::Ticket ticket{};
    const bool made = node_rank() != 0 || shared.make(bytes, taking, ticket);
    const int trouble = made ? 0 : errno;
    agree(comm, [&] { // what else keeps memory from being shared does not mean that there is none
      require(trouble != ENOMEM && trouble != ENOSPC, ExitCode::unavailable,
              "there is no memory for an array of {} bytes on {}; take more nodes, or a smaller setting (concord plan tells)", bytes,
              boost::mpi::environment::processor_name());
    });
    MPI_Bcast(ticket.data(), static_cast<int>(ticket.size()), MPI_INT64_T, 0, node);
    const bool seen = node_rank() == 0 ? made : shared.open(bytes, ticket);
    if (max_of(comm, Index{!seen}) > 0) {
      shared.release(); // before each rank takes as much for itself
      return false;
    }
    values = {shared.values(), static_cast<std::size_t>(count)};
    return true;
  }
};

NodeArray::NodeArray(const Communicator& comm, Index count, const std::vector<int>& nodes, Taking taking)
    : comm_(comm), storage_(std::make_unique<Storage>()) {
  Storage& s = *storage_;
  s.split(comm, nodes);
  const bool several = max_of(comm, Index{s.node_size()}) > 1;
  const bool shared = several && s.allocate(comm, count, taking);
  if (several && !shared)
    log_warn("ranks of a node cannot share memory (they do not see each other's): each holds a copy of {}",
             human_bytes(4.0 * static_cast<double>(count)));
  if (!shared) {
    s.alone(comm);
    const auto bytes = static_cast<std::size_t>(std::max<Index>(count, 1)) * sizeof(float);
    agree(comm, [&] {
      require(s.own.make_alone(bytes, taking), ExitCode::unavailable, "there is no memory for an array of {} bytes on each rank", bytes);
    });
    s.values = {s.own.values(), static_cast<std::size_t>(count)};
  }
  s.copy = Communicator(s.node, boost::mpi::comm_attach);
  s.number_copies(comm);
  sync();
}

NodeArray::~NodeArray() = default;

std::span<float> NodeArray::values() {
  return storage_->values;
}

const Communicator& NodeArray::copy() const {
  return storage_->copy;
}

int NodeArray::ranks_a_copy() const {
  return storage_->node_size();
}

int NodeArray::rank_in_copy() const {
  return storage_->node_rank();
}

const std::vector<int>& NodeArray::copies() const {
  return storage_->copies;
}

void NodeArray::sync() {
  if (storage_->node_size() == 1) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  MPI_Barrier(storage_->node);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

namespace {

/// Rows [first, last) of `counts`, a run of bytes a rank.
struct Runs {
  std::vector<int> rows;
  std::vector<MPI_Aint> bytes; ///< where they begin

  void add(Index first, Index last, Index row_bytes) {
    if (first == last) return;
    rows.push_back(narrow_int(last - first, "rows that ranks exchange"));
    bytes.push_back(static_cast<MPI_Aint>(first * row_bytes));
  }
};

/// Rows of each copy from its first rank to all others, wherever they lie: piece by piece, since a message holds less than 2 GiB.
void share_runs(const Communicator& leaders, const std::vector<int>& copies, const std::vector<Index>& counts, Index row_bytes,
                float* values) {
  Index rows = 0;
  for (const Index count : counts) rows += count;
  const Index pieces = 1 + rows * row_bytes / most_a_message;
  MPI_Datatype row = MPI_DATATYPE_NULL;
  MPI_Type_contiguous(narrow_int(row_bytes, "bytes of a row"), MPI_BYTE, &row);
  for (Index piece = 0; piece < pieces; ++piece) {
    std::map<int, Runs> of_copies; // in the order of their first ranks, as leaders are
    Index begin = 0;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      of_copies[copies[rank]].add(begin + counts[rank] * piece / pieces, begin + counts[rank] * (piece + 1) / pieces, row_bytes);
      begin += counts[rank];
    }
    int leader = 0;
    for (const auto& [first_rank, runs] : of_copies) {
      MPI_Datatype type = MPI_DATATYPE_NULL;
      MPI_Type_create_hindexed(static_cast<int>(runs.rows.size()), runs.rows.data(), runs.bytes.data(), row, &type);
      MPI_Type_commit(&type);
      if (!runs.rows.empty()) MPI_Bcast(values, 1, type, leader, leaders);
      MPI_Type_free(&type);
      ++leader;
    }
  }
  MPI_Type_free(&row);
}

} // namespace

double NodeArray::share(Index begin, const std::vector<Index>& counts, Index width) {
  Storage& s = *storage_;
  sync();
  const int mine = s.copies[static_cast<std::size_t>(comm_.rank())];
  Index others = 0; // rows that come from other copies
  for (std::size_t rank = 0; rank < counts.size(); ++rank)
    if (s.copies[rank] != mine) others += counts[rank];
  if (std::all_of(s.copies.begin(), s.copies.end(), [&](int copy) { return copy == mine; })) return 0;
  const Index row_bytes = width * static_cast<Index>(sizeof(float));
  if (s.leaders != MPI_COMM_NULL && width > 0) {
    const Communicator leaders(s.leaders, boost::mpi::comm_attach);
    if (std::is_sorted(s.copies.begin(), s.copies.end())) { // the ranks of each copy follow one another: so do their rows
      std::map<int, Index> of_copies;
      for (std::size_t rank = 0; rank < counts.size(); ++rank) of_copies[s.copies[rank]] += counts[rank];
      std::vector<Index> rows;
      for (const auto& [first_rank, count] : of_copies) rows.push_back(count);
      all_gather_rows(leaders, nullptr, rows, row_bytes, s.values.data() + begin);
    } else {
      share_runs(leaders, s.copies, counts, row_bytes, s.values.data() + begin);
    }
  }
  sync();
  return s.leaders != MPI_COMM_NULL ? static_cast<double>(others * row_bytes) : 0;
}

} // namespace concord::comm
