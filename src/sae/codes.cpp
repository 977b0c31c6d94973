#include "concord/sae/codes.hpp"

namespace concord::sae {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

} // namespace

void Codes::resize(Index rows) {
  index.assign(at(rows * slots), -1);
  value.assign(at(rows * slots), 0.0F);
  gradient.assign(at(rows * slots), 0.0F);
}

void CodesByLatent::sort(const Codes& codes, const std::vector<Index>& order, Index first, Index count) {
  begin.assign(at(count + 1), 0);
  for (const auto j : codes.index)
    if (j >= first && j < first + count) ++begin[at(j - first) + 1];
  for (Index i = 0; i < count; ++i) begin[at(i + 1)] += begin[at(i)];
  entries.resize(at(begin.back()));
  std::vector<Index> next(begin.begin(), begin.end() - 1);
  for (const Index r : order)
    for (Index s = r * codes.slots; s < (r + 1) * codes.slots && codes.index[at(s)] >= 0; ++s) {
      const Index i = codes.index[at(s)] - first;
      if (i >= 0 && i < count) entries[at(next[at(i)]++)] = {static_cast<std::int32_t>(r), codes.value[at(s)], codes.gradient[at(s)]};
    }
}

} // namespace concord::sae
