#pragma once
/// Sums of rows with weights where most weights are not 0, as at the start of a ReLU SAE: as a product of matrices, in registers. Local.
/// Every sum runs in the order of the rows that it is made of, as RowSum's does, and a weight of 0 adds nothing: so both give the same
/// bits.

#include "sae/numbers/rows.hpp"
#include <array>
#include <cstring>
#include <vector>

namespace concord::sae {

/// The share of weights that must not be 0 for the product to be taken: at an eighth both ways are as fast (measured).
inline constexpr double dense_above = 0.2;

/// Weights of `sums` sums over up to `most` rows at once.
class DenseWeights {
public:
  static constexpr Index most = 256;
  void clear(Index sums) { values_.assign(at(sums * most), 0.0F); }
  float& of(Index sum, Index row) { return values_[at(sum * most + row)]; }
  const float* begin(Index sum) const { return values_.data() + sum * most; }

private:
  std::vector<float> values_;
};

namespace dense {

#ifdef __AVX512F__
inline constexpr Index lanes = 16, tile_sums = 8;
#else
inline constexpr Index lanes = 8, tile_sums = 4;
#endif
inline constexpr Index tile_width = 2 * lanes;
using Floats [[gnu::vector_size(lanes * sizeof(float))]] = float;
/// Columns of rows that are taken at once, side by side.
using Panel = std::array<float, static_cast<std::size_t>(DenseWeights::most* tile_width)>;

/// Not by value, since how vectors are passed differs by machine.
inline void load(const float* from, Floats& x) {
  std::memcpy(&x, from, sizeof x);
}

/// to[s] [+]= sum over rows of weight[s][row] panel[row], columns [0, width) of `sums` sums.
template <Index sums>
void add_tile(const float* const* weights, const Panel& panel, Index rows, float* const* to, Index width, bool fresh) {
  Floats low[sums] = {};
  Floats high[sums] = {};
  alignas(64) std::array<float, static_cast<std::size_t>(tile_width)> edge{};
  for (Index s = 0; s < sums && !fresh; ++s) {
    std::copy_n(to[s], width, edge.begin());
    load(edge.data(), low[s]);
    load(edge.data() + lanes, high[s]);
  }
  const float* of_sum[sums];
  for (Index s = 0; s < sums; ++s) of_sum[s] = weights[s];
  const float* of_row = panel.data();
  for (Index row = 0; row < rows; ++row, of_row += tile_width) {
    Floats x;
    Floats y;
    load(of_row, x);
    load(of_row + lanes, y);
#pragma GCC unroll 8
    for (Index s = 0; s < sums; ++s) {
      low[s] += of_sum[s][row] * x;
      high[s] += of_sum[s][row] * y;
    }
  }
  for (Index s = 0; s < sums; ++s) {
    std::memcpy(edge.data(), &low[s], sizeof low[s]);
    std::memcpy(edge.data() + lanes, &high[s], sizeof high[s]);
    std::copy_n(edge.begin(), width, to[s]);
  }
}

} // namespace dense

/// to[s] [+]= sum over `from` of weights.of(s, i) from[i], n columns; `fresh`: whatever is there is overwritten.
inline void add_dense(const DenseWeights& weights, const std::vector<const float*>& from, Index n, const std::vector<float*>& to,
                      bool fresh) {
  thread_local dense::Panel panel;
  const auto rows = static_cast<Index>(from.size());
  const auto sums = static_cast<Index>(to.size());
  for (Index c = 0; c < n; c += dense::tile_width) {
    const Index width = std::min(dense::tile_width, n - c);
    if (width < dense::tile_width) panel.fill(0.0F);
    for (Index row = 0; row < rows; ++row) {
      float* to_panel = panel.data() + row * dense::tile_width;
      if (width == dense::tile_width)
        std::memcpy(to_panel, from[at(row)] + c, dense::tile_width * sizeof(float));
      else
        std::copy_n(from[at(row)] + c, width, to_panel);
    }
    std::array<const float*, at(dense::tile_sums)> of;
    std::array<float*, at(dense::tile_sums)> into;
    Index s = 0;
    const auto tile = [&](Index count) {
      for (Index i = 0; i < count; ++i) {
        of[at(i)] = weights.begin(s + i);
        into[at(i)] = to[at(s + i)] + c;
      }
    };
    for (; s + dense::tile_sums <= sums; s += dense::tile_sums) {
      tile(dense::tile_sums);
      dense::add_tile<dense::tile_sums>(of.data(), panel, rows, into.data(), width, fresh);
    }
    for (; s < sums; ++s) {
      tile(1);
      dense::add_tile<1>(of.data(), panel, rows, into.data(), width, fresh);
    }
  }
}

} // namespace concord::sae
