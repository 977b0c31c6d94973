#include "concord/io/rows/block_offsets.hpp"

#include "concord/core/error.hpp"

#include <algorithm>

namespace concord::io {

std::vector<Index> read_block_offsets(const File& file, Index rows) {
  auto offsets = file.read<Index>("/block_offsets", {-1});
  require(!offsets.empty() && offsets.front() == 0 && offsets.back() == rows && std::is_sorted(offsets.begin(), offsets.end()),
          ExitCode::bad_data, "{}:/block_offsets are no blocks of its {} rows", file.path().string(), rows);
  return offsets;
}

} // namespace concord::io
