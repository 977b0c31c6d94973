#include "correlate/device/device.hpp"
#include <cstdlib>
#include <cstring>

namespace concord::correlate::device {
namespace {

/// Fresh memory holds no zeros: a kernel that forgets to clear some shows it.
constexpr int garbage = 0xA5;

class Emulated : public Device {
public:
  void* allocate(std::size_t bytes) override {
    void* memory = std::malloc(bytes);
    require(memory != nullptr, ExitCode::unavailable, "no {} bytes of memory", bytes);
    return std::memset(memory, garbage, bytes);
  }
  void release(void* memory) noexcept override { std::free(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes); // memcpy takes no null pointer, which an empty array has
  }
  void download(void* to, const void* from, std::size_t bytes) override { upload(to, from, bytes); }
  void launch(const Kernel& kernel) override {
    std::visit([](const auto& of) { run_in_loop(of); }, kernel);
  }
};

} // namespace

std::unique_ptr<Device> open_emulated() {
  return std::make_unique<Emulated>();
}

} // namespace concord::correlate::device
