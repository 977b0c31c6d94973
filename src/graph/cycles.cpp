#include "concord/graph/cycles.hpp"

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"

namespace concord::graph {
namespace {

/// -1 stays.
std::int32_t follow(const std::vector<std::int32_t>& links, std::int32_t from) {
  if (from < 0) return -1;
  require(at(from) < links.size(), ExitCode::bad_data, "a link names feature {} of {}", from, links.size());
  return links[at(from)];
}

} // namespace

Links mutual(const Links& links) {
  Links kept = links;
  const auto keep = [](std::vector<std::int32_t>& of, const std::vector<std::int32_t>& there, const std::vector<std::int32_t>& back) {
    for (std::size_t i = 0; i < of.size(); ++i)
      if (there[i] >= 0 && follow(back, there[i]) != static_cast<std::int32_t>(i)) of[i] = -1;
  };
  keep(kept.to_b, links.to_b, links.to_a);
  keep(kept.to_a, links.to_a, links.to_b);
  return kept;
}

Cycles cycles(const std::vector<std::int32_t>& a_to_b, const std::vector<std::int32_t>& b_to_c, const std::vector<std::int32_t>& c_to_a) {
  Cycles found;
  for (std::size_t a = 0; a < a_to_b.size(); ++a) {
    const auto back = follow(c_to_a, follow(b_to_c, follow(a_to_b, static_cast<std::int32_t>(a))));
    if (back < 0) continue;
    ++found.begun;
    if (back == static_cast<std::int32_t>(a)) ++found.closed;
  }
  return found;
}

} // namespace concord::graph
