#pragma once
/// A signed count or position as the index of an element of a container. Local.

#include "concord/core/index.hpp"

#include <cassert>
#include <cstddef>

namespace concord {

/// Programs built without NDEBUG stop at a negative one.
constexpr std::size_t at(Index i) {
  assert(i >= 0);
  return static_cast<std::size_t>(i);
}

} // namespace concord
