#pragma once
/// Which GPU a rank owns, and memory that it copies from.

#include "concord/comm/session.hpp"
#include "concord/core/machine/device.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace concord::comm {

struct Gpu {
  int number = -1;   ///< among those this rank sees; -1: none, the rank computes on the CPU
  std::string uuid;  ///< names the device wherever it is seen from
  double memory = 0; ///< bytes of it that this rank may take: of what was free at first its part, and no more than is free now
  int sharing = 1;   ///< ranks that have it
};

/// A GPU as it stands in the node, unopened.
struct SeenGpu {
  int number = -1;    ///< among those this rank sees; -1: it sees none
  int seen = 0;       ///< how many it sees
  std::string name;   ///< "NVIDIA H200"
  std::string uuid;   ///< as of Gpu
  int numa_node = -1; ///< that it hangs on; -1: the system does not say
};

/// The GPU that bind_gpu() would give the rank of this number on its node. Local.
SeenGpu gpu_in_turn(int node_rank);

/// The GPU of this rank by its number on the node, or none: with Device::automatic where there is none, with Device::cpu always.
/// Ranks that would share a device are refused unless `allow_shared`. A rank keeps the GPU that its first call gave it, so that call must
/// be one of all ranks: groups of them would each begin with a node's first GPU. Collective over `comm`.
/// @throws Error config, or unavailable when Device::cuda is asked for and there is no GPU, or too few; agreed.
Gpu bind_gpu(const Communicator& comm, Device device, bool allow_shared);

/// Says once a stage that this job holds GPUs (CUDA_VISIBLE_DEVICES, or Slurm's variables) while the stage computes on CPUs, and that
/// `setting` would change it. Local; rank 0 alone speaks.
void warn_of_idle_gpus(const std::string& stage, const std::string& setting);

/// Memory that a GPU copies from and to at full speed, once bind_gpu() has found this rank one: pages that stay where they are. Else plain
/// memory. Local. @throws std::bad_alloc
void* take_staging(std::size_t bytes);
void give_staging(void* memory) noexcept;

template <typename T>
struct StagingAllocator {
  using value_type = T;
  StagingAllocator() = default;
  template <typename Other>
  StagingAllocator(const StagingAllocator<Other>& /*same*/) {}
  T* allocate(std::size_t count) { return static_cast<T*>(take_staging(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t /*count*/) noexcept { give_staging(memory); }
  bool operator==(const StagingAllocator& /*same*/) const { return true; }
};
/// Rows and the like on their way to a GPU.
template <typename T>
using StagingVector = std::vector<T, StagingAllocator<T>>;

} // namespace concord::comm
