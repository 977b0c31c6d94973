#include "concord/dist/partition.hpp"

// The distributions are header-only arithmetic; this file keeps the module a library like every other.
namespace concord::dist {
static_assert(BlockCyclic{7, 2, 2}.block == 2);
} // namespace concord::dist
