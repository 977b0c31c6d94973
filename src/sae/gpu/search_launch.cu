#include "concord/core/machine/warp_launch.hpp"

#include "sae/gpu/search_kernels.hpp"

namespace concord::sae::search {

int launch_on_gpu(const Kernel& kernel) {
  return std::visit([](const auto& of) { return static_cast<int>(launch_warps(of)); }, kernel);
}

} // namespace concord::sae::search
