#pragma once
/// Active latents of rows, the same during training, and sorted by latent. Local.

#include "concord/core/index.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace concord::sae {

/// Gives `values` this size without a place to spare, since codes are most of what penalised kinds hold; what they held may be lost.
template <typename T>
void resize_exactly(std::vector<T>& values, std::size_t size) {
  if (size > values.capacity()) values = std::vector<T>(); // first, so that there are not two
  values.resize(size);
}

/// Active latents of rows, behind one another; those of a row ascend.
struct SparseRows {
  std::vector<Index> ends; ///< row r is the entries [ends[r - 1], ends[r])
  std::vector<std::int32_t> index;
  std::vector<float> value; ///< a
  Index rows() const { return static_cast<Index>(ends.size()); }
  Index entries() const { return static_cast<Index>(index.size()); }
  Index begin(Index r) const { return r == 0 ? 0 : ends[static_cast<std::size_t>(r - 1)]; }
  Index end(Index r) const { return ends[static_cast<std::size_t>(r)]; }
  void clear();
};

/// The same in training; a is 0 for a latent that takes part without being active.
struct Codes : SparseRows {
  Index extras = 0;            ///< further numbers an entry: gradients of the latent's scalars behind b_enc
  std::vector<float> gradient; ///< dL/da, then dL/dh
  std::vector<float> extra;    ///< [entries, extras]
  void clear();
  /// Makes room for gradients and extras, all 0.
  void begin_gradients();
};

/// Drops the entries s for which keep(s) is false. Before begin_gradients().
template <typename Keep>
void keep_if(Codes& codes, const Keep& keep) {
  Index to = 0;
  Index s = 0;
  for (Index& end : codes.ends) {
    for (; s < end; ++s) {
      if (!keep(s)) continue;
      codes.index[static_cast<std::size_t>(to)] = codes.index[static_cast<std::size_t>(s)];
      codes.value[static_cast<std::size_t>(to++)] = codes.value[static_cast<std::size_t>(s)];
    }
    end = to;
  }
  codes.index.resize(static_cast<std::size_t>(to));
  codes.value.resize(static_cast<std::size_t>(to));
}

/// Drops entries of exactly 0, which LatentSearch::above(0) lists and where no gradient passes. Local.
inline void keep_positive(Codes& codes) {
  if (std::find(codes.value.begin(), codes.value.end(), 0.0F) == codes.value.end()) return; // nearly always
  keep_if(codes, [&](Index s) { return codes.value[static_cast<std::size_t>(s)] > 0; });
}

/// Puts parts behind one another. Threads share the work.
void join_parts(const std::vector<SparseRows>& parts, Codes& codes);

/// The entries of some latents, by latent and then in the order of rows: what gradients of weights are summed over.
struct CodesByLatent {
  struct Entry {
    std::int32_t row;
    float value;
    float gradient;
  };
  std::vector<Index> begin; ///< entries of latent first + i are [begin[i], begin[i + 1])
  std::vector<Entry> entries;
  Index extras = 0;
  std::vector<float> extra; ///< [entries, extras]
  /// Of the latents [first, first + count).
  void sort(const Codes& codes, const std::vector<Index>& order, Index first, Index count);
};

} // namespace concord::sae
