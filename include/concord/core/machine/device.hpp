#pragma once
/// Where a stage computes. Local.

namespace concord {

/// `automatic`: on a GPU when libtorch sees one. To check the GPU's code without one: `torch`, its tensors on the CPU; `emulated`, its
/// kernels as loops.
enum class Device { automatic, cpu, cuda, torch, emulated };

} // namespace concord
