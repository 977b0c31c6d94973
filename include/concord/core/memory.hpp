#pragma once
/// How much memory this process and its node have. Local.

namespace concord {

/// Bytes that processes of this node can still take: the kernel's estimate, or what is left of the job's control group.
double available_memory();
/// The most bytes that this process has had in memory at once.
double peak_memory();
/// What a process of concord takes before any data: the program, libtorch, MPI. Measured, rounded up (docs/performance.md).
inline constexpr double base_memory = 170.0 * (1 << 20);
/// What each further thread of the matrix libraries keeps for itself (measured, as above).
inline constexpr double thread_memory = 30.0 * (1 << 20);

} // namespace concord
