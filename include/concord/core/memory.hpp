#pragma once
/// How much memory this process and its node have. Local.

#include <cstddef>
#include <string>
#include <vector>

namespace concord {

/// Bytes that processes of this node can still take: the kernel's estimate, or what is left of the job's control group.
double available_memory();
/// What the control groups named in the file `membership` (/proc/self/cgroup) and those above them still allow, below `root`
/// (/sys/fs/cgroup): the least of limit less use, page cache that can be given back not counted. Infinity: no limit.
double free_in_control_groups(const std::string& membership, const std::string& root);
/// The most bytes that this process has had in memory at once.
double peak_memory();
/// What a process of concord takes before any data: the program, libtorch, MPI. Measured, rounded up (docs/performance.md).
inline constexpr double base_memory = 170.0 * (1 << 20);
/// What each further thread of the matrix libraries keeps for itself (measured, as above).
inline constexpr double thread_memory = 30.0 * (1 << 20);

/// Asks the kernel for huge pages, which spare address look-ups where memory is read at random. Call it before the memory is first touched.
void prefer_huge_pages(void* begin, std::size_t bytes);

/// Room for `count` elements on huge pages.
template <typename T>
void reserve_huge(std::vector<T>& values, std::size_t count) {
  values.reserve(count);
  prefer_huge_pages(values.data(), count * sizeof(T));
}

} // namespace concord
