#include "concord/sae/encoder.hpp"

#include "concord/core/error.hpp"

#include "sae/rows.hpp"
#include <ATen/ATen.h>
#include <algorithm>
#include <cmath>

namespace concord::sae {

void SparseRows::clear() {
  row_ends.clear();
  indices.clear();
  values.clear();
}

void select_top_k(std::span<const float> values, int k, std::vector<std::int32_t>& indices, std::vector<float>& selected) {
  struct Entry {
    float value;
    std::int32_t index;
  };
  // A heap whose front is the entry to lose first: the smallest value, of equals the largest index.
  const auto keeps_longer = [](const Entry& a, const Entry& b) { return a.value > b.value || (a.value == b.value && a.index < b.index); };
  thread_local std::vector<Entry> heap;
  heap.clear();
  if (k <= 0) return;
  float floor = 0; // entries must be positive, and above the smallest kept one once k are kept
  constexpr std::size_t block = 32;
  for (std::size_t begin = 0; begin < values.size(); begin += block) {
    const std::size_t end = std::min(values.size(), begin + block);
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (std::size_t i = begin; i < end; ++i) largest = std::max(largest, values[i]);
    if (largest <= floor) continue; // most blocks hold nothing
    for (std::size_t i = begin; i < end; ++i) {
      if (values[i] <= floor) continue;
      if (static_cast<int>(heap.size()) == k) {
        std::pop_heap(heap.begin(), heap.end(), keeps_longer);
        heap.pop_back();
      }
      heap.push_back({values[i], static_cast<std::int32_t>(i)});
      std::push_heap(heap.begin(), heap.end(), keeps_longer);
      if (static_cast<int>(heap.size()) == k) floor = heap.front().value;
    }
  }
  std::sort(heap.begin(), heap.end(), [](const Entry& a, const Entry& b) { return a.index < b.index; });
  for (const Entry& entry : heap) {
    indices.push_back(entry.index);
    selected.push_back(entry.value);
  }
}

void decode_row(const Sae& sae, const SparseRows& codes, Index r, std::span<float> row) {
  std::copy(sae.b_dec.begin(), sae.b_dec.end(), row.begin());
  const Index begin = r == 0 ? 0 : codes.row_ends[static_cast<std::size_t>(r - 1)];
  for (Index e = begin; e < codes.row_ends[static_cast<std::size_t>(r)]; ++e)
    add_scaled(row.data(), sae.decoder.data() + codes.indices[static_cast<std::size_t>(e)] * sae.d,
               codes.values[static_cast<std::size_t>(e)], sae.d);
}

struct Encoder::Buffers {
  at::Tensor encoder; ///< [F, d]
  at::Tensor bias;    ///< [F]: b_enc, less b_dec W_enc where b_dec is subtracted
  at::Tensor hidden;  ///< [n, F]
};

Encoder::Encoder(const Sae& sae) : sae_(sae), buffers_(std::make_unique<Buffers>()) {
  const auto borrow = [](const std::vector<float>& values, const std::vector<Index>& shape) {
    return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat);
  };
  buffers_->encoder = borrow(sae.encoder, {sae.latents, sae.d});
  buffers_->bias = borrow(sae.b_enc, {sae.latents});
  if (sae.subtract_b_dec) {
    const auto shift = at::mv(buffers_->encoder.to(at::kDouble), borrow(sae.b_dec, {sae.d}).to(at::kDouble));
    buffers_->bias = (buffers_->bias.to(at::kDouble) - shift).to(at::kFloat);
  }
}

Encoder::~Encoder() = default;

void Encoder::select_above(std::span<const float> hidden, SparseRows& out) const {
  for (std::size_t j = 0; j < hidden.size(); ++j)
    if (hidden[j] > 0 && (sae_.threshold.empty() || hidden[j] > sae_.threshold[j])) {
      out.indices.push_back(static_cast<std::int32_t>(j));
      out.values.push_back(hidden[j]);
    }
}

void Encoder::select_gated(std::span<const float> hidden, SparseRows& out) const {
  for (std::size_t j = 0; j < hidden.size(); ++j) {
    if (hidden[j] <= 0) continue;
    const float magnitude = std::exp(sae_.r_mag[j]) * (hidden[j] - sae_.b_enc[j]) + sae_.b_mag[j];
    if (magnitude <= 0) continue;
    out.indices.push_back(static_cast<std::int32_t>(j));
    out.values.push_back(magnitude);
  }
}

void Encoder::encode(std::span<const float> rows, SparseRows& out) {
  const c10::InferenceMode no_gradients;
  const Index n = static_cast<Index>(rows.size()) / sae_.d;
  const auto x = at::from_blob(const_cast<float*>(rows.data()), {n, sae_.d}, at::kFloat);
  if (!buffers_->hidden.defined() || buffers_->hidden.size(0) != n) buffers_->hidden = at::empty({n, sae_.latents});
  at::addmm_out(buffers_->hidden, buffers_->bias, x, buffers_->encoder.t());
  const float* hidden = buffers_->hidden.data_ptr<float>();
  for (Index r = 0; r < n; ++r) {
    const std::span<const float> row(hidden + r * sae_.latents, static_cast<std::size_t>(sae_.latents));
    switch (sae_.architecture) {
    case Sae::Architecture::topk:
      select_top_k(row, sae_.k, out.indices, out.values);
      break;
    case Sae::Architecture::gated:
      select_gated(row, out);
      break;
    case Sae::Architecture::standard:
    case Sae::Architecture::jumprelu:
      select_above(row, out);
      break;
    }
    out.row_ends.push_back(static_cast<Index>(out.indices.size()));
  }
}

} // namespace concord::sae
