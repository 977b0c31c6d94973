#include "concord/core/run/await_file.hpp"

#include "concord/core/error.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

namespace concord {

void await_file(const std::filesystem::path& path) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::seconds patience{120};
  constexpr std::chrono::milliseconds longest{500};
  const auto begin = Clock::now();
  std::chrono::milliseconds pause{1};
  std::error_code error;
  while (!std::filesystem::exists(path, error)) {
    require(Clock::now() - begin < patience, ExitCode::io,
            "{} was made by another rank and is not seen here after {} s; do all nodes mount the same file system?", path.string(),
            patience.count());
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, longest);
  }
}

} // namespace concord
