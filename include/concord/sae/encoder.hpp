#pragma once
/// Sparse codes of dense rows. Local.

#include "concord/sae/sae.hpp"

#include <span>
#include <vector>

namespace concord::sae {

/// Rows of active latents, indices ascending within a row, values > 0.
struct SparseRows {
  std::vector<Index> row_ends;
  std::vector<std::int32_t> indices;
  std::vector<float> values;
  void clear();
};

/// The k largest positive entries of `values` (ties: the smaller index), appended in ascending index order.
void select_top_k(std::span<const float> values, int k, std::vector<std::int32_t>& indices, std::vector<float>& selected);

/// The reconstruction of row r of `codes` into `row` [d]: its codes by the decoder, and b_dec.
void decode_row(const Sae& sae, const SparseRows& codes, Index r, std::span<float> row);

/// Encodes blocks of rows; holds the weights as tensors and reuses its buffers.
class Encoder {
public:
  explicit Encoder(const Sae& sae);
  ~Encoder();
  /// rows [n, d] row-major; appends n rows to `out`.
  void encode(std::span<const float> rows, SparseRows& out);

private:
  struct Buffers;
  void select_above(std::span<const float> hidden, SparseRows& out) const;
  void select_gated(std::span<const float> hidden, SparseRows& out) const;
  const Sae& sae_;
  std::unique_ptr<Buffers> buffers_;
};

} // namespace concord::sae
