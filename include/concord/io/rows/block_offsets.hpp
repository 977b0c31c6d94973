#pragma once
/// Where the blocks of an activations file begin. Local.

#include "concord/io/hdf5.hpp"

#include <vector>

namespace concord::io {

/// /block_offsets: block b is the rows [offsets[b], offsets[b + 1]), and all blocks together are the file's `rows`. At least one number.
/// @throws Error bad_data.
std::vector<Index> read_block_offsets(const File& file, Index rows);

} // namespace concord::io
