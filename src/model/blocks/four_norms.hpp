#pragma once
/// The block of Gemma 2 and 3: norms before and behind attention and MLP. Local.

#include "model/loader.hpp"

namespace concord::model {

BlockParts four_norm_parts(Loader& loader, int layer);

} // namespace concord::model
