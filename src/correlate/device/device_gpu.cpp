#include "correlate/device/device.hpp"

#ifdef CONCORD_CUDA
#include "correlate/device/device_launch.hpp"
#include <cuda_runtime_api.h>
#endif

namespace concord::correlate::device {

#ifdef CONCORD_CUDA

namespace {

void check(cudaError_t status, const char* what) {
  require(status == cudaSuccess, ExitCode::internal, "{}: {}", what, cudaGetErrorString(status));
}

class Gpu : public Device {
public:
  explicit Gpu(int number) : number_(number) { bind(); }
  void* allocate(std::size_t bytes) override {
    bind();
    void* memory = nullptr;
    const auto status = cudaMalloc(&memory, bytes);
    require(status == cudaSuccess, ExitCode::unavailable, "GPU {} has no {} bytes left: {}; lower correlate.gpu_memory_gib", number_, bytes,
            cudaGetErrorString(status));
    return memory;
  }
  void release(void* memory) noexcept override { cudaFree(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override {
    bind();
    check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to the GPU");
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    bind();
    check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "correlating on the GPU");
  }
  void launch(const Kernel& kernel) override {
    bind();
    check(static_cast<cudaError_t>(launch_on_gpu(kernel)), "launching a kernel");
  }

private:
  void bind() const { check(cudaSetDevice(number_), "opening the GPU"); }
  int number_;
};

} // namespace

std::unique_ptr<Device> open_gpu(int number) {
  return std::make_unique<Gpu>(number);
}

#else

std::unique_ptr<Device> open_gpu(int /*number*/) {
  fail(ExitCode::internal, "this build has no CUDA");
}

#endif

} // namespace concord::correlate::device
