#include "device_launch.hpp"

#include <cuda_runtime.h>
#include <type_traits>

namespace concord::correlate::device {
namespace {

/// A warp a thread block: blocks are dealt to multiprocessors as those get free, so that long and short ones balance.
template <typename KernelType>
__global__ void __launch_bounds__(warp_lanes) run_warps(const KernelType kernel) {
  extern __shared__ __align__(16) std::byte shared[];
  run(GpuWarp{}, kernel, static_cast<Index>(blockIdx.x), shared);
}

template <typename KernelType>
cudaError_t launch(const KernelType& kernel) {
  if (kernel.warps() == 0) return cudaSuccess;
  const auto shared = static_cast<int>(kernel.shared());
  // Beyond 48 KiB a kernel must ask.
  const auto status = cudaFuncSetAttribute(run_warps<KernelType>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  if (status != cudaSuccess) return status;
  run_warps<KernelType><<<static_cast<unsigned>(kernel.warps()), warp_lanes, static_cast<std::size_t>(shared)>>>(kernel);
  return cudaGetLastError();
}

} // namespace

int launch_on_gpu(const Kernel& kernel) {
  return std::visit([](const auto& of) { return static_cast<int>(launch(of)); }, kernel);
}

} // namespace concord::correlate::device
