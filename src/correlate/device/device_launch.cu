#include "concord/core/machine/warp_launch.hpp"

#include "correlate/device/device_launch.hpp"

namespace concord::correlate::device {

int launch_on_gpu(const Kernel& kernel) {
  return std::visit([](const auto& of) { return static_cast<int>(launch_warps(of)); }, kernel);
}

} // namespace concord::correlate::device
