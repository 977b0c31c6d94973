#pragma once
/// Links from each feature of one model to a feature of another, and whether those of three models close. Local.

#include "concord/core/index.hpp"

#include <cstdint>
#include <vector>

namespace concord::graph {

/// Both ways between the features of two layers; -1: none.
struct Links {
  std::vector<std::int32_t> to_b; ///< [F_A]
  std::vector<std::int32_t> to_a; ///< [F_B]
};

/// Those links that lead back to where they began. @throws Error bad_data where one names no feature of the other side.
Links mutual(const Links& links);

/// How many features of A begin a path A -> B -> C of links whose end has a link to A, and how many of these paths end where they began.
struct Cycles {
  Index begun = 0;
  Index closed = 0;
};
/// @throws Error bad_data where a link names no feature of the other side.
Cycles cycles(const std::vector<std::int32_t>& a_to_b, const std::vector<std::int32_t>& b_to_c, const std::vector<std::int32_t>& c_to_a);

} // namespace concord::graph
