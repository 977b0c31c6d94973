#pragma once
/// Active latents of a batch of rows during training, and the same sorted by latent. Local.

#include "concord/core/index.hpp"

#include <cstdint>
#include <vector>

namespace concord::sae {

/// `slots` places a row, ascending by latent; unused ones behind them hold index -1.
struct Codes {
  Index slots = 0;
  std::vector<std::int32_t> index;
  std::vector<float> value;
  std::vector<float> gradient; ///< dL/dh of each slot
  void resize(Index rows);
  Index rows() const { return slots == 0 ? 0 : static_cast<Index>(index.size()) / slots; }
};

/// The used slots of some latents' codes, by latent and then in the order of rows: what gradients of weights are summed over.
struct CodesByLatent {
  struct Entry {
    std::int32_t row;
    float value;
    float gradient;
  };
  std::vector<Index> begin; ///< entries of latent first + i are [begin[i], begin[i + 1])
  std::vector<Entry> entries;
  /// Of the latents [first, first + count).
  void sort(const Codes& codes, const std::vector<Index>& order, Index first, Index count);
};

} // namespace concord::sae
