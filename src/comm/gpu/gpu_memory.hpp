#pragma once
/// Memory of a GPU that libtorch takes and keeps. For modules that link libtorch. Local.

#include "concord/core/text.hpp"

#include <fmt/format.h>

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <exception>
#include <string>

namespace concord::comm {

/// Gives back what libtorch holds of its GPUs and no tensor uses: to the next layer's check of what is free, to other ranks, to cudaMalloc.
inline void give_back_gpu_cache() noexcept {
  try {
    auto* allocator = at::hasCUDA() ? at::getDeviceAllocator(at::kCUDA) : nullptr;
    if (allocator != nullptr && allocator->initialized()) allocator->emptyCache();
  } catch (const std::exception&) { // behind an error of the GPU, which is already on its way
  }
}

/// Counts the most that tensors take of a GPU from now on.
inline void begin_gpu_peak(int gpu) {
  auto* allocator = gpu >= 0 ? at::getDeviceAllocator(at::kCUDA) : nullptr;
  if (allocator != nullptr && allocator->initialized()) allocator->resetPeakStats(static_cast<c10::DeviceIndex>(gpu));
}

/// " gpu_planned=... gpu_peak=..." of a stage's last line; empty without a GPU.
inline std::string gpu_memory_text(int gpu, double planned) {
  if (gpu < 0 || !at::getDeviceAllocator(at::kCUDA)->initialized()) return ""; // a rank without work took nothing
  const auto stats = at::getDeviceAllocator(at::kCUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(gpu));
  const auto peak = stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  return fmt::format(" gpu_planned={} gpu_peak={}", human_bytes(planned), human_bytes(static_cast<double>(peak)));
}

} // namespace concord::comm
