#include "concord/comm/gpu/gpu.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/log.hpp"

#include <boost/mpi/collectives.hpp>
#include <boost/serialization/string.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>
#include <optional>
#include <set>
#include <string_view>

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

double free_on(int number) {
  std::size_t free = 0;
  std::size_t total = 0;
  require(cudaMemGetInfo(&free, &total) == cudaSuccess, ExitCode::unavailable, "cannot ask GPU {} for its memory: {}", number,
          cudaGetErrorString(cudaGetLastError()));
  return static_cast<double>(free);
}

std::string hex(const char (&bytes)[16]) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

Gpu open_gpu(int number) {
  cudaDeviceProp properties{};
  require(cudaSetDevice(number) == cudaSuccess && cudaGetDeviceProperties(&properties, number) == cudaSuccess, ExitCode::unavailable,
          "cannot open GPU {}: {}", number, cudaGetErrorString(cudaGetLastError()));
  Gpu gpu{number, "", free_on(number), 1};
  gpu.uuid = hex(properties.uuid.bytes);
  return gpu;
}

SeenGpu look_at(int number) {
  cudaDeviceProp properties{};
  SeenGpu gpu{.number = number, .seen = gpus_here(), .name = {}, .uuid = {}, .numa_node = -1};
  if (cudaGetDeviceProperties(&properties, number) != cudaSuccess) return gpu;
  gpu.name = properties.name;
  gpu.uuid = hex(properties.uuid.bytes);
  std::ifstream numa(fmt::format("/sys/bus/pci/devices/{:04x}:{:02x}:{:02x}.0/numa_node", properties.pciDomainID, properties.pciBusID,
                                 properties.pciDeviceID));
  if (!(numa >> gpu.numa_node)) gpu.numa_node = -1;
  return gpu;
}

bool take_pinned(void** memory, std::size_t bytes) {
  // A thread that has not named its GPU would open the first one.
  const bool taken = cudaSetDevice(bound_gpu) == cudaSuccess && cudaMallocHost(memory, bytes) == cudaSuccess;
  if (!taken) static_cast<void>(cudaGetLastError()); // plain memory will do
  return taken;
}

void give_pinned(void* memory) noexcept {
  static_cast<void>(cudaSetDevice(bound_gpu));
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

double free_on(int /*number*/) {
  return 0;
}

SeenGpu look_at(int /*number*/) {
  return {};
}

Gpu open_gpu(int /*number*/) {
  fail(ExitCode::internal, "this build has no CUDA");
}

#endif

} // namespace

SeenGpu gpu_in_turn(int node_rank) {
  const int count = gpus_here();
  return count > 0 ? look_at(node_rank % count) : SeenGpu{};
}

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

void warn_of_idle_gpus(const std::string& stage, const std::string& setting) {
  static std::set<std::string> said;
  for (const char* name : {"SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0' || std::string_view(value) == "-1" || std::string_view(value) == "NoDevFiles") continue;
    if (said.insert(stage).second)
      log_warn("{}: computes on CPUs while this job holds GPUs ({}={}); {}", stage, name, value,
               gpus_here() > 0 ? fmt::format("set {}, or ask for none", setting)
                               : "this build has no CUDA or sees no GPU: take a build with -DCONCORD_CUDA=ON, or ask for none");
    return;
  }
}

Gpu bind_gpu(const Communicator& comm, Device device, bool allow_shared) {
  const int local = node_rank(comm);
  Gpu gpu;
  const bool bound_before = device != Device::cpu && bound;
  agree(comm, [&] {
    const int count = device == Device::cpu ? 0 : gpus_here();
    require(device != Device::cuda || count > 0, ExitCode::unavailable,
            "device = \"cuda\" but no GPU is to be seen; build with -DCONCORD_CUDA=ON on a node with GPUs, or set device = \"cpu\"");
    if (count > 0) gpu = open_gpu(bound_before ? bound->number : local % count);
  });
  std::vector<std::string> uuids;
  boost::mpi::all_gather(comm, gpu.uuid, uuids);
  agree(comm, [&] {
    if (gpu.uuid.empty()) return;
    gpu.sharing = bound_before ? bound->sharing : static_cast<int>(std::count(uuids.begin(), uuids.end(), gpu.uuid));
    if (bound_before)
      gpu.memory = std::min(gpu.memory, bound->memory);
    else
      gpu.memory = free_on(gpu.number) / gpu.sharing; // again, now that each rank has its context there
    if (!bound_before) bound = gpu;
    bound_gpu = gpu.number;
    require(gpu.sharing == 1 || allow_shared, ExitCode::unavailable,
            "{} ranks would share the GPU {}: start one rank a GPU (mpirun --map-by ppr:GPUS:node, srun --gpus-per-task=1), or give "
            "--allow-shared-gpu",
            gpu.sharing, gpu.uuid);
  });
  return gpu;
}

} // namespace concord::comm
