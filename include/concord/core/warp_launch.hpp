#pragma once
/// Starts kernels of core/warp.hpp on the current GPU, in its default stream. For sources of the GPU's compiler alone. Local.

#include "concord/core/warp.hpp"

#ifdef __CUDACC__

#include <cuda_runtime.h>

namespace concord {

/// A warp a thread block: blocks are dealt to multiprocessors as those get free, so that long and short ones balance.
template <typename Kernel>
__global__ void __launch_bounds__(warp_lanes) run_warps(const Kernel kernel) {
  extern __shared__ __align__(16) std::byte shared[];
  run(GpuWarp{}, kernel, static_cast<std::int64_t>(blockIdx.x), shared);
}

template <typename Kernel>
cudaError_t launch_warps(const Kernel& kernel) {
  if (kernel.warps() == 0) return cudaSuccess;
  const auto shared = static_cast<int>(kernel.shared());
  // Beyond 48 KiB a kernel must ask.
  const auto status = cudaFuncSetAttribute(run_warps<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  if (status != cudaSuccess) return status;
  run_warps<Kernel><<<static_cast<unsigned>(kernel.warps()), warp_lanes, static_cast<std::size_t>(shared)>>>(kernel);
  return cudaGetLastError();
}

} // namespace concord

#endif
