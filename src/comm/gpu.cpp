#include "concord/comm/gpu.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"

#include <boost/mpi/collectives.hpp>
#include <boost/serialization/string.hpp>

#include <algorithm>
#include <atomic>
#include <new>
#include <optional>

#ifdef CONCORD_CUDA
#include <cuda_runtime_api.h>
#endif

namespace concord::comm {
namespace {

std::optional<Gpu> bound;       ///< of this rank, by its first call
std::atomic<int> bound_gpu{-1}; ///< its number, for other threads

/// In front of the memory handed out: how it was got. As long as the widest vectors are aligned.
struct alignas(64) StagingHeader {
  bool pinned;
};

#ifdef CONCORD_CUDA

int gpus_here() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

Gpu open_gpu(int number) {
  cudaDeviceProp properties{};
  std::size_t free = 0;
  std::size_t total = 0;
  require(cudaSetDevice(number) == cudaSuccess && cudaGetDeviceProperties(&properties, number) == cudaSuccess &&
              cudaMemGetInfo(&free, &total) == cudaSuccess,
          ExitCode::unavailable, "cannot open GPU {}: {}", number, cudaGetErrorString(cudaGetLastError()));
  Gpu gpu{number, "", static_cast<double>(free), 1};
  for (const char byte : properties.uuid.bytes) gpu.uuid += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return gpu;
}

bool take_pinned(void** memory, std::size_t bytes) {
  // A thread that has not named its GPU would open the first one.
  const bool taken = cudaSetDevice(bound_gpu) == cudaSuccess && cudaMallocHost(memory, bytes) == cudaSuccess;
  if (!taken) static_cast<void>(cudaGetLastError()); // plain memory will do
  return taken;
}

void give_pinned(void* memory) noexcept {
  cudaFreeHost(memory);
}

#else

int gpus_here() {
  return 0;
}

bool take_pinned(void** /*memory*/, std::size_t /*bytes*/) {
  return false;
}

void give_pinned(void* /*memory*/) noexcept {}

Gpu open_gpu(int /*number*/) {
  fail(ExitCode::internal, "this build has no CUDA");
}

#endif

} // namespace

void* take_staging(std::size_t bytes) {
  void* memory = nullptr;
  const bool pinned = bound_gpu >= 0 && take_pinned(&memory, bytes + sizeof(StagingHeader));
  if (!pinned) memory = ::operator new (bytes + sizeof(StagingHeader), std::align_val_t{alignof(StagingHeader)});
  return new (memory) StagingHeader{pinned} + 1;
}

void give_staging(void* memory) noexcept {
  StagingHeader* header = static_cast<StagingHeader*>(memory) - 1;
  header->pinned ? give_pinned(header) : ::operator delete (header, std::align_val_t{alignof(StagingHeader)});
}

Gpu bind_gpu(const Communicator& comm, const std::string& device, bool allow_shared) {
  const int local = node_rank(comm);
  Gpu gpu;
  const bool bound_before = device != "cpu" && bound;
  agree(comm, [&] {
    require(device == "auto" || device == "cpu" || device == "cuda", ExitCode::config, "device must be auto, cpu or cuda, not {}", device);
    const int count = device == "cpu" ? 0 : gpus_here();
    require(device != "cuda" || count > 0, ExitCode::unavailable,
            "device = \"cuda\" but no GPU is to be seen; build with -DCONCORD_CUDA=ON on a node with GPUs, or set device = \"cpu\"");
    if (count > 0) gpu = open_gpu(bound_before ? bound->number : local % count);
  });
  std::vector<std::string> uuids;
  boost::mpi::all_gather(comm, gpu.uuid, uuids);
  agree(comm, [&] {
    if (gpu.uuid.empty()) return;
    gpu.sharing = bound_before ? bound->sharing : static_cast<int>(std::count(uuids.begin(), uuids.end(), gpu.uuid));
    bound = gpu;
    bound_gpu = gpu.number;
    require(gpu.sharing == 1 || allow_shared, ExitCode::unavailable,
            "{} ranks would share the GPU {}: start one rank a GPU (mpirun --map-by ppr:GPUS:node, srun --gpus-per-task=1), or give "
            "--allow-shared-gpu",
            gpu.sharing, gpu.uuid);
  });
  return gpu;
}

} // namespace concord::comm
