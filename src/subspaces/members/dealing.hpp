#pragma once
// Phrases dealt out anew to the concepts, as dealt_anew() says, many times over the same spans. Local.

#include "concord/subspaces/spans/spans.hpp"

#include <map>
#include <vector>

namespace concord::subspaces {

class Dealing {
public:
  explicit Dealing(const std::vector<Span>& spans);
  /// [spans] the concept of each by deal `draw`; -1 on the half that members are not chosen on.
  std::vector<std::int32_t> concepts(std::uint64_t seed, int draw) const;

private:
  std::vector<std::int32_t> family_of_;                  ///< [spans] numbered from 0; -1: of the other half
  std::vector<std::int32_t> concept_of_;                 ///< [families]
  std::map<Index, std::vector<std::int32_t>> of_length_; ///< families by the length of most of their spans, in the order of their names
};

} // namespace concord::subspaces
