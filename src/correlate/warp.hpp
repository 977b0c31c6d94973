#pragma once
/// Kernels are written once, for warps of 32 lanes that go through phases together: on a GPU the lanes are threads, elsewhere a loop, so
/// that the same source is tested where there is no GPU. Local.
///
/// What differs by lane lies in Lanes<T>; in a phase a lane may only touch what no other lane of the phase writes. The loop takes the lanes
/// in an order that mixes them up: a kernel that relies on one gives other results.

#include "concord/correlate/elements.hpp"

#include <array>
#include <cstdint>

namespace concord::correlate {

inline constexpr int warp_lanes = 32;

/// A warp as a loop.
class LoopWarp {
public:
  template <typename T>
  class Lanes {
  public:
    T& operator[](int lane) { return of_[static_cast<std::size_t>(lane)]; }
    const T& operator[](int lane) const { return of_[static_cast<std::size_t>(lane)]; }

  private:
    std::array<T, warp_lanes> of_;
  };

  /// A phase: `work(lane)` for all lanes; what they write is there for all lanes behind it.
  template <typename Work>
  void each(Work&& work) const {
    for (int i = 0; i < warp_lanes; ++i) work((i * 13 + 5) % warp_lanes);
  }
  /// A phase that writes to nothing but Lanes: loads of several such phases may be on their way at once.
  template <typename Work>
  void each_alone(Work&& work) const {
    each(work);
  }
  /// Bit i is set where test(i) holds.
  template <typename Test>
  std::uint32_t ballot(Test&& test) const {
    std::uint32_t bits = 0;
    for (int lane = 0; lane < warp_lanes; ++lane) bits |= static_cast<std::uint32_t>(static_cast<bool>(test(lane))) << lane;
    return bits;
  }
  /// One lane's value, for all.
  template <typename T>
  T from(const Lanes<T>& values, int lane) const {
    return values[lane];
  }
  /// Takes the next `count` numbers of a counter that all warps share: the first of them.
  std::uint64_t take(std::uint64_t* counter, int count) const {
    const std::uint64_t first = *counter;
    *counter += static_cast<std::uint64_t>(count);
    return first;
  }
};

CONCORD_ANYWHERE inline int count_bits(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __popc(bits);
#else
  return __builtin_popcount(bits);
#endif
}

/// The lowest set bit's number.
CONCORD_ANYWHERE inline int first_bit(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __ffs(static_cast<int>(bits)) - 1;
#else
  return __builtin_ctz(bits);
#endif
}

#ifdef __CUDACC__

/// A warp of a GPU.
class GpuWarp {
public:
  template <typename T>
  class Lanes {
  public:
    __device__ T& operator[](int) { return of_; }
    __device__ const T& operator[](int) const { return of_; }

  private:
    T of_;
  };

  __device__ GpuWarp() : lane_(static_cast<int>(threadIdx.x) % warp_lanes) {}
  template <typename Work>
  __device__ void each(Work&& work) const {
    work(lane_);
    __syncwarp();
  }
  template <typename Work>
  __device__ void each_alone(Work&& work) const {
    work(lane_);
  }
  template <typename Test>
  __device__ std::uint32_t ballot(Test&& test) const {
    return __ballot_sync(all, test(lane_));
  }
  template <typename T>
  __device__ T from(const Lanes<T>& values, int lane) const {
    return __shfl_sync(all, values[lane_], lane);
  }
  __device__ std::uint64_t take(std::uint64_t* counter, int count) const {
    unsigned long long first = 0;
    if (lane_ == 0) first = atomicAdd(reinterpret_cast<unsigned long long*>(counter), static_cast<unsigned long long>(count));
    return __shfl_sync(all, first, 0);
  }

private:
  static constexpr unsigned all = 0xFFFFFFFF;
  int lane_;
};

#endif

} // namespace concord::correlate
