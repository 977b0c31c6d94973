#include "concord/core/run/heartbeat.hpp"

#include <fmt/format.h>

#include <mutex>

namespace concord {
namespace {

struct Place {
  std::mutex lock;
  std::string stage;
  std::string unit;
  Index done = 0;
  Index total = 0;
};

Place& place() {
  static Place instance;
  return instance;
}

} // namespace

Heartbeat& heartbeat() {
  static Heartbeat instance;
  return instance;
}

void note_place(const std::string& stage, Index done, Index total, const std::string& unit) {
  beat();
  Place& now = place();
  const std::lock_guard guard(now.lock);
  now.stage = stage;
  now.unit = unit;
  now.done = done;
  now.total = total;
}

std::string noted_place() {
  Place& now = place();
  const std::lock_guard guard(now.lock);
  return now.stage.empty() ? "at the start" : fmt::format("{}: {}/{} {}", now.stage, now.done, now.total, now.unit);
}

} // namespace concord
