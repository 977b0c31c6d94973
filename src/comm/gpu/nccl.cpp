#include "concord/comm/gpu/nccl.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"

#ifdef CONCORD_NCCL
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

} // namespace

struct Nccl::State {
  ncclComm_t comm = nullptr;
  ~State() {
    if (comm != nullptr) ncclCommDestroy(comm);
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
  check(ncclGroupStart(), "sum");
  for (const Part& part : parts)
    check(ncclReduce(part.values, part.values, at(part.count), ncclFloat, ncclSum, part.owner, state_->comm, nullptr), "sum");
  check(ncclGroupEnd(), "sum");
}

void Nccl::copy_from_owners(std::span<const Part> parts) {
  check(ncclGroupStart(), "copy");
  for (const Part& part : parts)
    check(ncclBroadcast(part.values, part.values, at(part.count), ncclFloat, part.owner, state_->comm, nullptr), "copy");
  check(ncclGroupEnd(), "copy");
}

void Nccl::sum(float* values, Index count) {
  check(ncclAllReduce(values, values, at(count), ncclFloat, ncclSum, state_->comm, nullptr), "sum");
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
