#pragma once
/// How large subspaces.h5 is. Local.

#include "subspaces/files/result_file.hpp"

namespace concord::subspaces {

struct FileCounts {
  double phrases = 0;       ///< of the lists
  double removals = 0;      ///< spans at which subspaces are removed
  double meanings = 0;      ///< measures of similarity
  double carried_pairs = 0; ///< of layers
};
/// Bytes of all datasets of numbers, exactly.
double dataset_bytes(const Extent& extent, const FileCounts& counts);
/// With texts and what HDF5 adds, at most.
double file_bytes(const Extent& extent, const FileCounts& counts);

} // namespace concord::subspaces
