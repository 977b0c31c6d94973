#include "app/torch_failures.hpp"

#include <c10/util/Exception.h>
#include <string_view>

namespace concord::app {

std::optional<Failure> torch_failure(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  if (torch == nullptr) return {};
  const std::string_view what = torch->what_without_backtrace();
  const bool on_gpu = dynamic_cast<const c10::OutOfMemoryError*>(torch) != nullptr;
  if (!on_gpu && what.find("can't allocate memory") == std::string_view::npos && what.find("not enough memory") == std::string_view::npos)
    return {};
  const char* advice = on_gpu ? "start more ranks with a GPU each, or lower extract.batch, sae.batch or sae.latents"
                              : "start more ranks, or see `concord plan` for what each stage needs";
  return Failure{ExitCode::unavailable,
                 fmt::format("out of memory{}: {}; {}", on_gpu ? " on the GPU" : "", what.substr(0, what.find('\n')), advice)};
}

} // namespace concord::app
