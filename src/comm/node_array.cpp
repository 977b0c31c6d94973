#include "concord/comm/node_array.hpp"

#include "concord/comm/collectives.hpp"

#include <mpi.h>

#include <algorithm>

namespace concord::comm {

struct NodeArray::Storage {
  MPI_Comm node = MPI_COMM_NULL;    ///< ranks of this copy
  MPI_Comm leaders = MPI_COMM_NULL; ///< the first rank of each copy
  MPI_Win window = MPI_WIN_NULL;
  std::vector<float> own; ///< where a rank has a copy for itself
  std::span<float> values;
  std::vector<int> sizes; ///< ranks of each copy, in rank order

  ~Storage() {
    if (window != MPI_WIN_NULL) {
      MPI_Win_unlock_all(window);
      MPI_Win_free(&window);
    }
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

  void split(const Communicator& comm, int most_ranks) {
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, comm.rank(), MPI_INFO_NULL, &node);
    if (most_ranks <= 0) return;
    MPI_Comm parts = MPI_COMM_NULL;
    MPI_Comm_split(node, node_rank() / most_ranks, node_rank(), &parts);
    MPI_Comm_free(&node);
    node = parts;
  }

  /// Whether the ranks of each node follow one another.
  bool in_rank_order(const Communicator& comm) const {
    const Index first = comm.rank() - node_rank();
    Index of_leader = comm.rank();
    MPI_Bcast(&of_leader, 1, MPI_INT64_T, 0, node);
    return max_of(comm, Index{first != of_leader}) == 0;
  }

  void alone(const Communicator& comm) {
    if (node != MPI_COMM_NULL) MPI_Comm_free(&node);
    MPI_Comm_split(comm, comm.rank(), 0, &node);
  }

  /// Whether the node's ranks now share memory.
  bool allocate(const Communicator& comm, Index count) {
    float* base = nullptr;
    const auto bytes = node_rank() == 0 ? static_cast<MPI_Aint>(count) * static_cast<MPI_Aint>(sizeof(float)) : MPI_Aint{0};
    MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN);
    const bool failed = MPI_Win_allocate_shared(bytes, sizeof(float), MPI_INFO_NULL, node, &base, &window) != MPI_SUCCESS;
    if (max_of(comm, Index{failed}) > 0) {
      if (!failed) MPI_Win_free(&window);
      window = MPI_WIN_NULL;
      return false;
    }
    MPI_Aint size = 0;
    int unit = 0;
    MPI_Win_shared_query(window, 0, &size, &unit, &base);
    MPI_Win_lock_all(MPI_MODE_NOCHECK, window);
    values = {base, static_cast<std::size_t>(count)};
    return true;
  }
};

NodeArray::NodeArray(const Communicator& comm, Index count, int most_ranks) : comm_(comm), storage_(std::make_unique<Storage>()) {
  Storage& s = *storage_;
  s.split(comm, most_ranks);
  const bool shared = max_of(comm, Index{s.node_size()}) > 1 && s.in_rank_order(comm) && s.allocate(comm, count);
  if (!shared) {
    s.alone(comm);
    s.own.assign(static_cast<std::size_t>(count), 0.0F);
    s.values = s.own;
  }
  const bool leads = s.node_rank() == 0;
  if (leads && shared) std::fill(s.values.begin(), s.values.end(), 0.0F);
  MPI_Comm_split(comm, leads ? 0 : MPI_UNDEFINED, comm.rank(), &s.leaders);
  const auto of_ranks = all_gather(comm, std::vector<int>{leads ? s.node_size() : 0});
  std::copy_if(of_ranks.begin(), of_ranks.end(), std::back_inserter(s.sizes), [](int size) { return size > 0; });
  sync();
}

NodeArray::~NodeArray() = default;

std::span<float> NodeArray::values() {
  return storage_->values;
}

int NodeArray::ranks_a_copy() const {
  return storage_->node_size();
}

int NodeArray::rank_in_copy() const {
  return storage_->node_rank();
}

void NodeArray::sync() {
  if (storage_->window == MPI_WIN_NULL) return;
  MPI_Win_sync(storage_->window);
  MPI_Barrier(storage_->node);
  MPI_Win_sync(storage_->window);
}

double NodeArray::share(Index begin, const std::vector<Index>& counts, Index width) {
  Storage& s = *storage_;
  sync();
  if (s.sizes.size() == 1) return 0;
  std::vector<Index> of_copies;
  Index rank = 0;
  Index others = 0;
  for (const int size : s.sizes) {
    Index rows = 0;
    const bool mine = comm_.rank() >= rank && comm_.rank() < rank + size;
    for (const Index end = rank + size; rank < end; ++rank) rows += counts[static_cast<std::size_t>(rank)];
    of_copies.push_back(rows);
    if (!mine) others += rows;
  }
  const double received = static_cast<double>(others * width) * sizeof(float);
  if (s.leaders != MPI_COMM_NULL)
    all_gather_rows(Communicator(s.leaders, boost::mpi::comm_attach), nullptr, of_copies, width * static_cast<Index>(sizeof(float)),
                    s.values.data() + begin);
  sync();
  return s.leaders != MPI_COMM_NULL ? received : 0;
}

} // namespace concord::comm
