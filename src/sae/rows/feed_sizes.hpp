#pragma once
/// Sizes that all feeds have in common. Local.

#include "concord/core/index.hpp"

#include <cstddef>

namespace concord::sae {

inline constexpr Index sample_size = 32768;         ///< rows of the sample, at most
inline constexpr std::size_t held_out_piece = 1024; ///< held-out rows at a time

} // namespace concord::sae
