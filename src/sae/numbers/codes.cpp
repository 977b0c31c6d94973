#include "concord/sae/numbers/codes.hpp"

#include "sae/numbers/rows.hpp"
#include <algorithm>

namespace concord::sae {

void SparseRows::clear() {
  ends.clear();
  index.clear();
  value.clear();
}

void Codes::clear() {
  SparseRows::clear();
  gradient.clear();
  extra.clear();
}

void Codes::begin_gradients() {
  resize_exactly(gradient, index.size());
  resize_exactly(extra, index.size() * at(extras));
  std::fill(gradient.begin(), gradient.end(), 0.0F);
  std::fill(extra.begin(), extra.end(), 0.0F);
}

void join_parts(const std::vector<SparseRows>& parts, Codes& codes) {
  codes.ends.clear();
  std::vector<Index> begins{0};
  for (const auto& part : parts) {
    const Index begin = begins.back();
    for (const Index end : part.ends) codes.ends.push_back(begin + end);
    begins.push_back(begin + part.entries());
  }
  resize_exactly(codes.index, at(begins.back()));
  resize_exactly(codes.value, at(begins.back()));
  for_pieces(static_cast<Index>(parts.size()), [&](Index p) {
    std::copy(parts[at(p)].index.begin(), parts[at(p)].index.end(), codes.index.begin() + begins[at(p)]);
    std::copy(parts[at(p)].value.begin(), parts[at(p)].value.end(), codes.value.begin() + begins[at(p)]);
  });
}

void CodesByLatent::sort(const Codes& codes, const std::vector<Index>& order, Index first, Index count) {
  begin.assign(at(count + 1), 0);
  for (const auto j : codes.index)
    if (j >= first && j < first + count) ++begin[at(j - first) + 1];
  for (Index i = 0; i < count; ++i) begin[at(i + 1)] += begin[at(i)];
  resize_exactly(entries, at(begin.back()));
  extras = codes.extras;
  resize_exactly(extra, entries.size() * at(extras));
  std::vector<Index> next(begin.begin(), begin.end() - 1);
  for (const Index r : order)
    for (Index s = codes.begin(r); s < codes.end(r); ++s) {
      const Index i = codes.index[at(s)] - first;
      if (i < 0 || i >= count) continue;
      const Index to = next[at(i)]++;
      entries[at(to)] = {static_cast<std::int32_t>(r), codes.value[at(s)], codes.gradient[at(s)]};
      std::copy_n(codes.extra.begin() + s * extras, extras, extra.begin() + to * extras);
    }
}

} // namespace concord::sae
