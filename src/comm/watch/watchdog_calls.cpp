// The calls of MPI that may wait for other ranks, seen through MPI's profiling interface: each of them notes that this rank is in it. So
// the watchdog knows where a rank waits, whichever library called (HDF5, ScaLAPACK, Boost.MPI).
#include "concord/comm/watch/watchdog.hpp"
#include "concord/core/run/heartbeat.hpp"
#include "concord/core/run/spent.hpp"

#include <mpi.h>

#include "comm/refused_call.hpp"
#include <array>
#include <atomic>

// name, parameters, arguments
#define CONCORD_WAITING_CALLS(X)                                                                                                           \
  X(Barrier, (MPI_Comm c), (c))                                                                                                            \
  X(Bcast, (void* b, int n, MPI_Datatype t, int r, MPI_Comm c), (b, n, t, r, c))                                                           \
  X(Allreduce, (const void* s, void* r, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c), (s, r, n, t, o, c))                                  \
  X(Reduce, (const void* s, void* r, int n, MPI_Datatype t, MPI_Op o, int root, MPI_Comm c), (s, r, n, t, o, root, c))                     \
  X(Exscan, (const void* s, void* r, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c), (s, r, n, t, o, c))                                     \
  X(Scan, (const void* s, void* r, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c), (s, r, n, t, o, c))                                       \
  X(Gather, (const void* s, int n, MPI_Datatype t, void* r, int m, MPI_Datatype u, int root, MPI_Comm c), (s, n, t, r, m, u, root, c))     \
  X(Gatherv, (const void* s, int n, MPI_Datatype t, void* r, const int* m, const int* d, MPI_Datatype u, int root, MPI_Comm c),            \
    (s, n, t, r, m, d, u, root, c))                                                                                                        \
  X(Allgather, (const void* s, int n, MPI_Datatype t, void* r, int m, MPI_Datatype u, MPI_Comm c), (s, n, t, r, m, u, c))                  \
  X(Allgatherv, (const void* s, int n, MPI_Datatype t, void* r, const int* m, const int* d, MPI_Datatype u, MPI_Comm c),                   \
    (s, n, t, r, m, d, u, c))                                                                                                              \
  X(Alltoall, (const void* s, int n, MPI_Datatype t, void* r, int m, MPI_Datatype u, MPI_Comm c), (s, n, t, r, m, u, c))                   \
  X(Alltoallv,                                                                                                                             \
    (const void* s, const int* n, const int* e, MPI_Datatype t, void* r, const int* m, const int* d, MPI_Datatype u, MPI_Comm c),          \
    (s, n, e, t, r, m, d, u, c))                                                                                                           \
  X(Send, (const void* b, int n, MPI_Datatype t, int to, int tag, MPI_Comm c), (b, n, t, to, tag, c))                                      \
  X(Recv, (void* b, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Status* s), (b, n, t, from, tag, c, s))                      \
  X(Sendrecv,                                                                                                                              \
    (const void* b, int n, MPI_Datatype t, int to, int tag, void* r, int m, MPI_Datatype u, int from, int rtag, MPI_Comm c,                \
     MPI_Status* s),                                                                                                                       \
    (b, n, t, to, tag, r, m, u, from, rtag, c, s))                                                                                         \
  X(Probe, (int from, int tag, MPI_Comm c, MPI_Status* s), (from, tag, c, s))                                                              \
  X(Wait, (MPI_Request * r, MPI_Status * s), (r, s))                                                                                       \
  X(Waitall, (int n, MPI_Request* r, MPI_Status* s), (n, r, s))                                                                            \
  X(Waitany, (int n, MPI_Request* r, int* i, MPI_Status* s), (n, r, i, s))                                                                 \
  X(Comm_dup, (MPI_Comm c, MPI_Comm * n), (c, n))                                                                                          \
  X(Comm_split, (MPI_Comm c, int color, int key, MPI_Comm* n), (c, color, key, n))                                                         \
  X(Comm_split_type, (MPI_Comm c, int type, int key, MPI_Info i, MPI_Comm* n), (c, type, key, i, n))                                       \
  X(File_open, (MPI_Comm c, const char* name, int mode, MPI_Info i, MPI_File* f), (c, name, mode, i, f))                                   \
  X(File_close, (MPI_File * f), (f))                                                                                                       \
  X(File_sync, (MPI_File f), (f))                                                                                                          \
  X(File_set_size, (MPI_File f, MPI_Offset s), (f, s))                                                                                     \
  X(File_set_view, (MPI_File f, MPI_Offset o, MPI_Datatype t, MPI_Datatype u, const char* r, MPI_Info i), (f, o, t, u, r, i))              \
  X(File_read_at_all, (MPI_File f, MPI_Offset o, void* b, int n, MPI_Datatype t, MPI_Status* s), (f, o, b, n, t, s))                       \
  X(File_write_at_all, (MPI_File f, MPI_Offset o, const void* b, int n, MPI_Datatype t, MPI_Status* s), (f, o, b, n, t, s))                \
  X(Finalize, (), ())

namespace concord::comm {
namespace {

#define CONCORD_NUMBER(name, parameters, arguments) name,
enum class Call : int { none, CONCORD_WAITING_CALLS(CONCORD_NUMBER) count };
#undef CONCORD_NUMBER

#define CONCORD_NAME(name, parameters, arguments) "MPI_" #name,
constexpr std::array<const char*, static_cast<std::size_t>(Call::count)> names{"", CONCORD_WAITING_CALLS(CONCORD_NAME)};
#undef CONCORD_NAME

std::atomic<int> current{0};

/// The outermost call counts: some are made of others. Returns whether this is it.
bool enter(Call call) {
  if (current.load(std::memory_order_relaxed) != 0) return false;
  beat();
  current.store(static_cast<int>(call), std::memory_order_relaxed);
  return true;
}

void leave() {
  current.store(0, std::memory_order_relaxed);
  beat();
}

bool of_files(Call call) {
  return call == Call::File_open || call == Call::File_close || call == Call::File_sync || call == Call::File_set_size ||
         call == Call::File_set_view || call == Call::File_read_at_all || call == Call::File_write_at_all;
}

bool of_contents(Call call) {
  return call == Call::File_sync || call == Call::File_set_size || call == Call::File_read_at_all || call == Call::File_write_at_all;
}

class Waiting {
public:
  explicit Waiting(Call call)
      : outermost_(enter(call)), spend_(of_files(call) ? Spending::files : Spending::mpi, names[static_cast<std::size_t>(call)]) {}
  ~Waiting() {
    if (outermost_) leave();
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

private:
  bool outermost_;
  Spend spend_;
};

} // namespace

WaitingInMpi::WaitingInMpi() : outermost_(enter(Call::Wait)) {}

WaitingInMpi::~WaitingInMpi() {
  if (outermost_) leave();
}

const char* mpi_call_name(int call) {
  return call > 0 && call < static_cast<int>(Call::count) ? names[static_cast<std::size_t>(call)] : "";
}

int mpi_call_now() {
  return current.load(std::memory_order_relaxed);
}

} // namespace concord::comm

#define CONCORD_CALL(name, parameters, arguments)                                                                                          \
  extern "C" int MPI_##name parameters {                                                                                                   \
    const concord::comm::Waiting waiting(concord::comm::Call::name);                                                                       \
    const int code = PMPI_##name arguments;                                                                                                \
    return concord::comm::of_contents(concord::comm::Call::name) ? concord::comm::unless_refused(code) : code;                             \
  }
CONCORD_WAITING_CALLS(CONCORD_CALL)
#undef CONCORD_CALL
