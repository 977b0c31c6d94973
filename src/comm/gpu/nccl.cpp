#include "concord/comm/gpu/nccl.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"

#ifdef CONCORD_NCCL
#include "concord/core/run/spent.hpp"

#include "comm/gpu/queued_times.hpp"
#include <cuda_runtime_api.h>
#include <nccl.h>
#endif

namespace concord::comm {

#ifdef CONCORD_NCCL

namespace {

void check(ncclResult_t result, const char* what) {
  require(result == ncclSuccess, ExitCode::unavailable, "NCCL cannot {}: {}; set sae.gpu_exchange = \"host\" to go through MPI", what,
          ncclGetErrorString(result));
}

/// Events on the default stream. An error of theirs is one of the work around them, which says so itself.
struct Events {
  cudaEvent_t make() const {
    cudaEvent_t event = nullptr;
    if (cudaEventCreate(&event) == cudaSuccess) return event;
    static_cast<void>(cudaGetLastError()); // else it would be taken for one of the next kernel
    return nullptr;
  }
  void put(cudaEvent_t event) const { static_cast<void>(cudaEventRecord(event, nullptr)); }
  bool passed(cudaEvent_t event) const {
    const cudaError_t answer = cudaEventQuery(event);
    if (answer == cudaErrorNotReady) static_cast<void>(cudaGetLastError()); // an answer, but it is kept as an error
    return answer == cudaSuccess;
  }
  double seconds(cudaEvent_t begin, cudaEvent_t end) const {
    float milliseconds = 0;
    return cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess ? 1e-3 * static_cast<double>(milliseconds) : 0.0;
  }
  void drop(cudaEvent_t event) const { static_cast<void>(cudaEventDestroy(event)); }
};

} // namespace

struct Nccl::State {
  ncclComm_t comm = nullptr;
  QueuedTimes<Events> times;
  ~State() {
    note_gpu_exchange(times.take_done());
    if (comm != nullptr) ncclCommDestroy(comm);
  }
  /// Queues a collective call, and notes how long earlier ones took.
  template <typename Call>
  void queue(const Call& call) {
    note_gpu_exchange(times.around(call));
  }
};

bool Nccl::built() {
  return true;
}

Nccl::Nccl(const Communicator& comm, int gpu) : state_(std::make_unique<State>()) {
  ncclUniqueId id{};
  agree(comm, [&] {
    if (comm.rank() == 0) check(ncclGetUniqueId(&id), "start");
  });
  MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, comm);
  agree(comm, [&] { require(cudaSetDevice(gpu) == cudaSuccess, ExitCode::unavailable, "cannot open GPU {}", gpu); });
  agree(comm, [&] { // apart: it waits for all ranks
    check(ncclCommInitRank(&state_->comm, comm.size(), id, comm.rank()), "connect the GPUs");
  });
}

void Nccl::sum_at_owners(std::span<const Part> parts) {
  state_->queue([&] {
    check(ncclGroupStart(), "sum");
    for (const Part& part : parts)
      check(ncclReduce(part.values, part.values, at(part.count), ncclFloat, ncclSum, part.owner, state_->comm, nullptr), "sum");
    check(ncclGroupEnd(), "sum");
  });
}

void Nccl::copy_from_owners(std::span<const Part> parts) {
  state_->queue([&] {
    check(ncclGroupStart(), "copy");
    for (const Part& part : parts)
      check(ncclBroadcast(part.values, part.values, at(part.count), ncclFloat, part.owner, state_->comm, nullptr), "copy");
    check(ncclGroupEnd(), "copy");
  });
}

void Nccl::sum(float* values, Index count) {
  state_->queue([&] { check(ncclAllReduce(values, values, at(count), ncclFloat, ncclSum, state_->comm, nullptr), "sum"); });
}

#else

struct Nccl::State {};

bool Nccl::built() {
  return false;
}

Nccl::Nccl(const Communicator& comm, int /*gpu*/) {
  agree(comm, [] { fail(ExitCode::config, "this build has no NCCL: build with -DCONCORD_CUDA=ON, or set sae.gpu_exchange = \"host\""); });
}

void Nccl::sum_at_owners(std::span<const Part> /*parts*/) {}
void Nccl::copy_from_owners(std::span<const Part> /*parts*/) {}
void Nccl::sum(float* /*values*/, Index /*count*/) {}

#endif

Nccl::~Nccl() = default;

} // namespace concord::comm
