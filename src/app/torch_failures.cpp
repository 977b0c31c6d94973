#include "app/torch_failures.hpp"

#include <c10/util/Exception.h>
#include <string_view>

namespace concord::app {

namespace {

constexpr const char* advice_here = "start more ranks, or see `concord plan` for what each stage needs";

/// oneDNN, which libtorch multiplies with, does not say why; its kernels are there for every product of ours.
bool without_memory_for_product(std::string_view what) {
  return what.starts_with("could not create a primitive") || what.starts_with("could not execute a primitive");
}

} // namespace

std::optional<Failure> torch_failure(const std::exception& error) {
  if (without_memory_for_product(error.what()))
    return Failure{ExitCode::unavailable, fmt::format("out of memory for a matrix product (oneDNN: {}); {}", error.what(), advice_here)};
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  if (torch == nullptr) return {};
  const std::string_view what = torch->what_without_backtrace();
  const auto says = [&](std::string_view words) { return what.find(words) != std::string_view::npos; };
  const bool on_gpu =
      dynamic_cast<const c10::OutOfMemoryError*>(torch) != nullptr || says("CUDA error: out of memory") || says("_ALLOC_FAILED");
  if (!on_gpu && !says("can't allocate memory") && !says("not enough memory")) return {};
  const char* advice = on_gpu ? "start more ranks with a GPU each, or lower extract.batch, sae.batch or sae.latents" : advice_here;
  return Failure{ExitCode::unavailable,
                 fmt::format("out of memory{}: {}; {}", on_gpu ? " on the GPU" : "", what.substr(0, what.find('\n')), advice)};
}

} // namespace concord::app
