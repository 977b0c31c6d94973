#pragma once
/// Starts kernels of core/warp.hpp on the current GPU, in its default stream. For sources of the GPU's compiler alone. Local.

#include "concord/core/warp.hpp"

#ifdef __CUDACC__

#include <cuda_runtime.h>
#include <limits>

namespace concord {

/// One warp a thread block: the GPU deals blocks to free multiprocessors, which balances long and short ones.
template <typename Kernel>
__global__ void __launch_bounds__(warp_lanes) run_warps(const Kernel kernel) {
  extern __shared__ __align__(16) std::byte shared[];
  run(GpuWarp{}, kernel, static_cast<std::int64_t>(blockIdx.x), shared);
}

template <typename Kernel>
cudaError_t launch_warps(const Kernel& kernel) {
  if (kernel.warps() == 0) return cudaSuccess;
  if (kernel.warps() > std::numeric_limits<std::int32_t>::max()) return cudaErrorInvalidConfiguration;
  const auto shared = static_cast<int>(kernel.shared());
  constexpr int without_asking = 48 << 10;
  if (shared > without_asking) {
    const auto status = cudaFuncSetAttribute(run_warps<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
    if (status != cudaSuccess) return status;
  }
  // Blocks of one warp that use much shared memory: as many as fit, at the cost of the cache beside it.
  constexpr int worth_the_cache = 8 << 10;
  if (shared > worth_the_cache) {
    const auto status =
        cudaFuncSetAttribute(run_warps<Kernel>, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    if (status != cudaSuccess) return status;
  }
  run_warps<Kernel><<<static_cast<unsigned>(kernel.warps()), warp_lanes, static_cast<std::size_t>(shared)>>>(kernel);
  return cudaGetLastError();
}

} // namespace concord

#endif
