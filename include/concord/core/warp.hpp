#pragma once
/// Kernels are written once, for warps of 32 lanes that go through phases together: on a GPU the lanes are threads, elsewhere a loop, so
/// that the same source is tested where there is no GPU. Local.
///
/// What differs by lane lies in Lanes<T>; in a phase a lane may only touch what no other lane of the phase writes, and of Lanes its own.
/// The loop takes the lanes in an order that mixes them up, and refuses another lane's values: a kernel that relies on either fails.
///
/// A kernel is a struct of numbers and pointers with warps(), how many it needs, shared(), bytes of shared memory for each, and a function
/// run(warp, kernel, number of the warp, shared memory) beside it. Warps run in no order.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

/// Functions for host and GPU, and functions for the device of a kernel alone.
#ifdef __CUDACC__
#define CONCORD_ANYWHERE __host__ __device__
#define CONCORD_DEVICE __device__ __forceinline__
#else
#define CONCORD_ANYWHERE
#define CONCORD_DEVICE inline
#endif

namespace concord {

inline constexpr int warp_lanes = 32;

/// A warp as a loop.
class LoopWarp {
public:
  template <typename T>
  class Lanes {
  public:
    T& operator[](int lane) { return of_[own(lane)]; }
    const T& operator[](int lane) const { return of_[own(lane)]; }

  private:
    friend class LoopWarp;
    static std::size_t own(int lane) {
      if (lane != running) throw std::logic_error("a lane touches another's values");
      return static_cast<std::size_t>(lane);
    }
    std::array<T, warp_lanes> of_;
  };

  /// A phase: `work(lane)` for all lanes. Later phases see what it wrote.
  template <typename Work>
  void each(Work&& work) const {
    for (int i = 0; i < warp_lanes; ++i) {
      running = (i * 13 + 5) % warp_lanes;
      work(running);
    }
    running = -1;
  }
  /// A phase that writes to Lanes alone, so loads of several such phases may overlap.
  template <typename Work>
  void each_alone(Work&& work) const {
    each(work);
  }
  /// Bit i is set where test(i) holds.
  template <typename Test>
  std::uint32_t ballot(Test&& test) const {
    std::uint32_t bits = 0;
    each([&](int lane) { bits |= static_cast<std::uint32_t>(static_cast<bool>(test(lane))) << lane; });
    return bits;
  }
  /// Broadcasts one lane's value.
  template <typename T>
  T from(const Lanes<T>& values, int lane) const {
    return values.of_[static_cast<std::size_t>(lane)];
  }
  /// Takes the next `count` numbers of a counter that all warps share; returns the first.
  std::uint64_t take(std::uint64_t* counter, int count) const {
    const std::uint64_t first = *counter;
    *counter += static_cast<std::uint64_t>(count);
    return first;
  }

private:
  static inline thread_local int running = -1; ///< lane
};

/// Runs a kernel warp after warp. Shared memory holds garbage at first, as a GPU's does.
template <typename Kernel>
void run_in_loop(const Kernel& kernel) {
  struct alignas(16) Line {
    std::byte bytes[16];
  };
  std::vector<Line> shared(static_cast<std::size_t>(kernel.shared()) / sizeof(Line) + 1);
  for (auto warp = kernel.warps() - 1; warp >= 0; --warp) {
    std::memset(shared.data(), 0xA5, shared.size() * sizeof(Line));
    run(LoopWarp{}, kernel, warp, shared.front().bytes);
  }
}

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

/// Inserts a candidate into a list in shared memory, sorted by better(), and drops the worst.
template <typename Warp, typename Entry>
CONCORD_DEVICE void insert(const Warp& warp, Entry* list, std::int64_t places, const Entry& candidate) {
  std::int64_t place = 0;
  for (std::int64_t first = 0; first < places; first += warp_lanes)
    place += count_bits(warp.ballot([&](int lane) { return first + lane < places && better(list[first + lane], candidate); }));
  for (std::int64_t first = (places - 1) / warp_lanes * warp_lanes; first + warp_lanes > place && first >= 0; first -= warp_lanes) {
    typename Warp::template Lanes<Entry> moved;
    warp.each([&](int lane) {
      const std::int64_t at = first + lane;
      moved[lane] = at > place && at < places ? list[at - 1] : candidate;
    });
    warp.each([&](int lane) {
      const std::int64_t at = first + lane;
      if (at >= place && at < places) list[at] = moved[lane];
    });
  }
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

} // namespace concord
