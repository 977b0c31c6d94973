#pragma once
/// By what the rows of two models are known to be of the same tokens. Local.

#include "concord/io/hdf5.hpp"

#include <string>

namespace concord::io {

/// Of tokens.h5, activations.h5 or features.h5: the hash of its tokens' ids and context offsets, or, where models have tokenizers of their
/// own, that of the tokens of all of them. @throws Error bad_data.
inline std::string row_hash_of(const File& file) {
  return file.attribute(file.has_attribute("row_hash") ? "row_hash" : "token_hash");
}

} // namespace concord::io
