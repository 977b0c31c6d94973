#pragma once
// Token ids [contexts, length] of a file of arrays. Local.

#include "concord/core/index.hpp"

#include <filesystem>
#include <functional>
#include <vector>

namespace concord::corpus {

struct IdArray {
  Index rows = 0;
  Index cols = 0;
  std::function<std::vector<Index>(Index begin, Index count)> read; ///< rows [begin, begin + count), row after row
};

/// A .npy, read window by window; a safetensors file, which is mapped; a .npz, which is held whole. Of several arrays that which is called
/// input_ids, token_ids, tokens or ids. @throws Error input_missing, or bad_data naming the arrays.
IdArray open_id_array(const std::filesystem::path& path);

} // namespace concord::corpus
