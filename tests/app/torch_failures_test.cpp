// Memory that libtorch cannot have is no bug of ours: exit 69, with advice, on the CPU as on a GPU.
#include <gtest/gtest.h>

#include "app/torch_failures.hpp"
#include <ATen/ATen.h>

namespace concord::app {
namespace {

Failure failure_of(const std::function<void()>& work) {
  read_failures_with(torch_failure);
  try {
    work();
  } catch (...) {
    return current_failure();
  }
  return {ExitCode::done, ""};
}

TEST(TorchFailures, MemoryThatTheAllocatorCannotHaveIsUnavailable) {
  const auto failure = failure_of([] { at::empty({std::int64_t{1} << 58}, at::kByte); });
  EXPECT_EQ(failure.code, ExitCode::unavailable);
  EXPECT_NE(failure.message.find("concord plan"), std::string::npos) << failure.message;
  EXPECT_EQ(failure.message.find('\n'), std::string::npos) << failure.message;
}

TEST(TorchFailures, MemoryOfAGpuIsUnavailable) {
  const auto failure =
      failure_of([] { TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has"); });
  EXPECT_EQ(failure.code, ExitCode::unavailable);
  EXPECT_NE(failure.message.find("on the GPU: CUDA out of memory. Tried to allocate 2.00 GiB.;"), std::string::npos) << failure.message;
}

TEST(TorchFailures, AProductThatOneDnnCannotMakeRoomForIsUnavailable) {
  const auto failure = failure_of([] { throw std::runtime_error("could not create a primitive"); });
  EXPECT_EQ(failure.code, ExitCode::unavailable);
}

TEST(TorchFailures, OthersAreBugs) {
  EXPECT_EQ(failure_of([] { TORCH_CHECK(false, "shapes differ"); }).code, ExitCode::internal);
  EXPECT_EQ(failure_of([] { throw std::logic_error("no"); }).code, ExitCode::internal);
}

} // namespace
} // namespace concord::app
