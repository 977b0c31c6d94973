#pragma once
/// The one function that the GPU's compiler makes: it keeps away from the headers that nvcc does not take. Local.

#include "correlate/device/device_kernels.hpp"

namespace concord::correlate::device {

/// Launches a kernel on the current GPU. Returns a cudaError_t.
int launch_on_gpu(const Kernel& kernel);

} // namespace concord::correlate::device
