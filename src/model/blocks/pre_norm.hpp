#pragma once
/// The block of Llama and its like: a norm before attention and one before the gated MLP. Local.

#include "model/loader.hpp"

namespace concord::model {

BlockParts pre_norm_parts(Loader& loader, int layer);

std::unique_ptr<Block> load_pre_norm_block(Loader& loader, int layer);

} // namespace concord::model
