#include "concord/comm/node_array.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/error.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace concord::comm {
namespace {

/// Memory without a name, which the processes of a node can map: nothing is left behind when they are killed, and a small /dev/shm does not
/// limit it. MPI_Win_allocate_shared does the same, but in Open MPI 4.1 hangs where its backing file finds no room.
class Mapped {
public:
  Mapped() = default;
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  ~Mapped() { release(); }

  void release() {
    if (begin_ != MAP_FAILED) munmap(begin_, bytes_);
    if (file_ >= 0) close(file_);
    begin_ = MAP_FAILED;
    file_ = -1;
  }

  /// Who made it, as which file: what another process needs to find it, and to know that it is the right one.
  using Ticket = std::array<Index, 4>;

  /// Zeros. False when there is no memory.
  bool make(std::size_t bytes, NodeArray::Taking taking, Ticket& ticket) {
    file_ = memfd_create("concord", MFD_CLOEXEC);
    if (file_ < 0) return false;
    const auto size = static_cast<off_t>(bytes);
    if (taking == NodeArray::Taking::as_written && ftruncate(file_, size) != 0) return false;
    if (taking == NodeArray::Taking::at_once) {
      errno = posix_fallocate(file_, 0, size); // returns its error
      if (errno != 0) return false;
    }
    struct stat facts {};
    if (fstat(file_, &facts) != 0) return false;
    ticket = {getpid(), file_, static_cast<Index>(facts.st_dev), static_cast<Index>(facts.st_ino)};
    return map(bytes);
  }

  /// Zeros for this process alone. False when there is no memory.
  bool make_alone(std::size_t bytes, NodeArray::Taking taking) {
    const int when = taking == NodeArray::Taking::at_once ? MAP_POPULATE : MAP_NORESERVE;
    bytes_ = bytes;
    begin_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | when, -1, 0);
    return begin_ != MAP_FAILED;
  }

  /// False where the maker cannot be seen from here (another container's processes).
  bool open(std::size_t bytes, const Ticket& ticket) {
    const auto path = fmt::format("/proc/{}/fd/{}", ticket[0], ticket[1]);
    struct stat facts {};
    file_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    const bool same = file_ >= 0 && fstat(file_, &facts) == 0 && static_cast<Index>(facts.st_dev) == ticket[2] &&
                      static_cast<Index>(facts.st_ino) == ticket[3];
    return same && map(bytes);
  }

  float* values() const { return static_cast<float*>(begin_); }

private:
  bool map(std::size_t bytes) {
    bytes_ = bytes;
    begin_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    return begin_ != MAP_FAILED;
  }

  int file_ = -1;
  void* begin_ = MAP_FAILED;
  std::size_t bytes_ = 0;
};

} // namespace

struct NodeArray::Storage {
  MPI_Comm node = MPI_COMM_NULL;    ///< ranks of this copy
  Communicator copy;                ///< the same, as others see it
  MPI_Comm leaders = MPI_COMM_NULL; ///< the first rank of each copy
  Mapped shared;                    ///< the node's copy, or
  Mapped own;                       ///< where a rank has a copy for itself
  std::span<float> values;
  std::vector<int> sizes; ///< ranks of each copy, in rank order

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

NodeArray::NodeArray(const Communicator& comm, Index count, int most_ranks, Taking taking)
    : comm_(comm), storage_(std::make_unique<Storage>()) {
  Storage& s = *storage_;
  s.split(comm, most_ranks);
  const bool several = max_of(comm, Index{s.node_size()}) > 1;
  const bool in_order = several && s.in_rank_order(comm);
  const bool shared = in_order && s.allocate(comm, count, taking);
  if (several && !shared)
    log_warn("ranks of a node cannot share memory ({}): each holds a copy of {}",
             in_order ? "they do not see each other's"
                      : "they do not follow one another; place them with mpirun --map-by slot or srun --distribution=block",
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
  const bool leads = s.node_rank() == 0;
  MPI_Comm_split(comm, leads ? 0 : MPI_UNDEFINED, comm.rank(), &s.leaders);
  const auto of_ranks = all_gather(comm, std::vector<int>{leads ? s.node_size() : 0});
  std::copy_if(of_ranks.begin(), of_ranks.end(), std::back_inserter(s.sizes), [](int size) { return size > 0; });
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

void NodeArray::sync() {
  if (storage_->node_size() == 1) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  MPI_Barrier(storage_->node);
  std::atomic_thread_fence(std::memory_order_seq_cst);
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
