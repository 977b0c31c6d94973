#include "concord/core/memory.hpp"

#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <sys/resource.h>

namespace concord {
namespace {

std::optional<double> number_in(const std::string& path) {
  std::ifstream in(path);
  double value = 0;
  if (in >> value) return value;
  return {};
}

/// MemAvailable of /proc/meminfo, in bytes.
double free_on_node() {
  std::ifstream in("/proc/meminfo");
  std::string name;
  double kib = 0;
  std::string unit;
  while (in >> name >> kib >> unit)
    if (name == "MemAvailable:") return kib * 1024;
  return std::numeric_limits<double>::infinity();
}

/// What the control group of this process (version 2) still allows.
double free_in_group() {
  std::ifstream in("/proc/self/cgroup");
  std::string line;
  double least = std::numeric_limits<double>::infinity();
  while (std::getline(in, line)) {
    if (!line.starts_with("0::")) continue;
    const std::string folder = "/sys/fs/cgroup" + line.substr(3);
    const auto limit = number_in(folder + "/memory.max"); // "max" is no number: no limit
    const auto used = number_in(folder + "/memory.current");
    if (limit && used) least = *limit - *used;
  }
  return least;
}

} // namespace

double available_memory() {
  return std::min(free_on_node(), free_in_group());
}

double peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

} // namespace concord
