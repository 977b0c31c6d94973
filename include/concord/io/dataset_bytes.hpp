#pragma once
/// What a dataset takes in the HDF5 file of a stage. Local.

#include "concord/core/index.hpp"

namespace concord::io {

/// Datasets that are as large begin at multiples of it (output.hpp), the usual stripe of parallel file systems.
constexpr Index stripe = Index{1} << 20;

/// At most, with its header, its digest and what lies unused in front of a large one.
inline double dataset_bytes(double bytes) {
  constexpr double header = 1024;
  return bytes + header + (bytes >= static_cast<double>(stripe) ? static_cast<double>(stripe) : 0.0);
}

} // namespace concord::io
