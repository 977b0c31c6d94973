#pragma once
/// Where the kernels of device_kernels.hpp run: on a GPU, or, to check them, warp after warp on the CPU. Local.

#include "concord/core/index.hpp"

#include "correlate/device/device_kernels.hpp"
#include <memory>
#include <span>
#include <vector>

namespace concord::correlate::device {

class Device {
public:
  Device() = default;
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  /// @throws Error unavailable where the memory is not to be had
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  /// Waits for the kernels before it. @throws Error internal where one of them failed
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;
  /// Kernels run in the order in which they are launched.
  virtual void launch(const Kernel& kernel) = 0;
};

/// A GPU by its number among those that this process sees. @throws Error unavailable, or config in a build without CUDA
std::unique_ptr<Device> open_gpu(int number);
std::unique_ptr<Device> open_emulated();

/// Memory of a device.
template <typename T>
class DeviceArray {
public:
  DeviceArray() = default;
  DeviceArray(Device& device, std::size_t size)
      : memory_(size == 0 ? nullptr : device.allocate(size * sizeof(T)), Release{&device}), size_(size) {}
  DeviceArray(Device& device, std::span<const T> values) : DeviceArray(device, values.size()) { upload(values); }
  DeviceArray(Device& device, const std::vector<T>& values) : DeviceArray(device, std::span<const T>(values)) {}
  T* data() const { return static_cast<T*>(memory_.get()); }
  std::size_t size() const { return size_; }
  /// From place `first` on.
  void upload(std::span<const T> values, std::size_t first = 0) {
    if (!values.empty()) memory_.get_deleter().device->upload(data() + first, values.data(), values.size_bytes());
  }
  /// The first `count` values.
  std::vector<T> download(std::size_t count) const {
    std::vector<T> values(count);
    if (count > 0) memory_.get_deleter().device->download(values.data(), data(), count * sizeof(T));
    return values;
  }

private:
  struct Release {
    Device* device = nullptr;
    void operator()(void* memory) const noexcept { device->release(memory); }
  };
  std::unique_ptr<void, Release> memory_{nullptr, Release{}};
  std::size_t size_ = 0;
};

} // namespace concord::correlate::device
