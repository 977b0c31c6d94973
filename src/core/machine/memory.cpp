#include "concord/core/machine/memory.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
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

/// The number behind `name` in a file of lines "Name: 123".
std::optional<double> line_in(const std::string& path, const std::string& name) {
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line)) {
    if (!line.starts_with(name)) continue;
    std::istringstream rest(line.substr(name.size()));
    double value = 0;
    if (rest >> value) return value;
  }
  return {};
}

double free_on_node() {
  return line_in("/proc/meminfo", "MemAvailable:").value_or(std::numeric_limits<double>::infinity()) * 1024;
}

/// The files of a version of control groups.
struct GroupFiles {
  const char* limit;
  const char* used;
  const char* reclaimable; ///< line of memory.stat: page cache that the kernel gives back when it is asked for memory
};

/// What a group and all those above it still allow: a batch system sets its limit on the job, not on the process.
double free_up_to_root(const std::string& root, std::string path, const GroupFiles& files) {
  double least = std::numeric_limits<double>::infinity();
  for (;;) {
    const std::string folder = root + path;
    const auto limit = number_in(folder + "/" + files.limit); // "max" is no number: no limit
    const auto used = number_in(folder + "/" + files.used);
    const double reclaimable = line_in(folder + "/memory.stat", files.reclaimable).value_or(0);
    if (limit && used) least = std::min(least, std::max(0.0, *limit - std::max(0.0, *used - reclaimable)));
    if (path.empty() || path == "/") return least;
    path.resize(path.rfind('/'));
  }
}

} // namespace

double free_in_control_groups(const std::string& membership, const std::string& root) {
  std::ifstream in(membership);
  std::string line;
  double least = std::numeric_limits<double>::infinity();
  while (std::getline(in, line)) { // "0::/job/step", or of version 1 "7:memory:/job/step"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || second + 1 >= line.size() || line[second + 1] != '/') continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,")
      least = std::min(least, free_up_to_root(root, path, {"memory.max", "memory.current", "inactive_file "}));
    else if (controllers.find(",memory,") != std::string::npos)
      least = std::min(least,
                       free_up_to_root(root + "/memory", path, {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "}));
  }
  return least;
}

double available_memory() {
  return std::min(free_on_node(), free_in_control_groups("/proc/self/cgroup", "/sys/fs/cgroup"));
}

double peak_memory() {
  // Not getrusage: its maximum survives exec, so that a small program started by a large one looks large.
  return line_in("/proc/self/status", "VmHWM:").value_or(0) * 1024;
}

void prefer_huge_pages(void* begin, std::size_t bytes) {
  constexpr std::uintptr_t page = 2 << 20;
  const auto misses = (page - reinterpret_cast<std::uintptr_t>(begin) % page) % page; // of the first whole page
  if (bytes < misses + page) return;
  auto* first = static_cast<char*>(begin) + misses;
  ::madvise(first, (bytes - misses) / page * page, MADV_HUGEPAGE); // refused: then small ones
}

} // namespace concord
