#include "concord/core/memory.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <sys/mman.h>

namespace concord {
namespace {

std::optional<double> number_in(const std::string& path) {
  std::ifstream in(path);
  double value = 0;
  if (in >> value) return value;
  return {};
}

/// The number behind `name` in a file of lines "Name:  123 kB".
std::optional<double> kib_in(const std::string& path, const std::string& name) {
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line))
    if (line.starts_with(name)) return std::stod(line.substr(name.size()));
  return {};
}

double free_on_node() {
  return kib_in("/proc/meminfo", "MemAvailable:").value_or(std::numeric_limits<double>::infinity()) * 1024;
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
  // Not getrusage: its maximum survives exec, so that a small program started by a large one looks large.
  return kib_in("/proc/self/status", "VmHWM:").value_or(0) * 1024;
}

void prefer_huge_pages(void* begin, std::size_t bytes) {
  constexpr std::uintptr_t page = 2 << 20;
  const auto misses = (page - reinterpret_cast<std::uintptr_t>(begin) % page) % page; // of the first whole page
  if (bytes < misses + page) return;
  auto* first = static_cast<char*>(begin) + misses;
  ::madvise(first, (bytes - misses) / page * page, MADV_HUGEPAGE); // refused: then small ones
}

} // namespace concord
