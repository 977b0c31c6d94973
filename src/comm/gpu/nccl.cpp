#include "concord/comm/gpu/nccl.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"

#ifdef CONCORD_NCCL
#include "concord/core/run/spent.hpp"

#include "comm/gpu/queued_times.hpp"
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cuda_runtime_api.h>
#include <mutex>
#include <nccl.h>
#include <thread>
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

/// Ends the job where NCCL has lost a peer. The GPU waits for it for ever, and its host for the GPU inside libtorch: so a thread looks.
class PeerWatch {
public:
  explicit PeerWatch(ncclComm_t comm) : comm_(comm) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals go to the thread that works
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~PeerWatch() {
    {
      const std::lock_guard guard(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

private:
  void run() {
    std::unique_lock guard(mutex_);
    while (!changed_.wait_for(guard, std::chrono::seconds(1), [&] { return ended_; })) {
      ncclResult_t found = ncclSuccess;
      if (ncclCommGetAsyncError(comm_, &found) != ncclSuccess || found == ncclSuccess || found == ncclInProgress) continue;
      end_job(ExitCode::unavailable, fmt::format("NCCL has lost another rank or the way to its GPU: {}; run again to go on from the last "
                                                 "checkpoint, or set sae.gpu_exchange = \"host\" to go through MPI",
                                                 ncclGetErrorString(found)));
    }
  }

  ncclComm_t comm_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::thread thread_;
};

} // namespace

struct Nccl::State {
  ncclComm_t comm = nullptr;
  QueuedTimes<Events> times;
  std::unique_ptr<PeerWatch> peers;
  ~State() {
    note_gpu_exchange(times.take_done());
    peers.reset(); // it asks the communicator
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
  state_->peers = std::make_unique<PeerWatch>(state_->comm);
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
