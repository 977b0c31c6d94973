#include "concord/sae/top_k_step.hpp"

#include "concord/sae/encoder.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <algorithm>
#include <cstring>

namespace concord::sae {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

void add_scaled(float* to, const float* from, float scale, Index begin, Index end) {
  for (Index c = begin; c < end; ++c) to[c] += scale * from[c];
}

float dot(const float* a, const float* b, Index n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index c = 0; c < n; ++c) sum += a[c] * b[c];
  return sum;
}

/// Selected latents of a batch, `slots` a row; unused slots hold index -1.
struct Codes {
  Index slots = 0;
  std::vector<std::int32_t> index;
  std::vector<float> value;
  std::vector<float> gradient; ///< dL/dh of each slot
  void resize(Index rows) {
    index.assign(at(rows * slots), -1);
    value.assign(at(rows * slots), 0.0F);
    gradient.assign(at(rows * slots), 0.0F);
  }
};

void keep(const std::vector<std::int32_t>& indices, const std::vector<float>& values, Index row, Codes& codes) {
  std::copy(indices.begin(), indices.end(), codes.index.begin() + row * codes.slots);
  std::copy(values.begin(), values.end(), codes.value.begin() + row * codes.slots);
}

} // namespace

struct TopKStep::Buffers {
  Index n = 0;
  at::Tensor centred;              ///< x - b_dec, [n, d]
  at::Tensor hidden;               ///< h, [n, F]
  std::vector<float> error;        ///< x^ - x, [n, d]
  std::vector<float> aux_gradient; ///< dL/de^, [n, d]
  Codes codes;
  Codes aux;
  std::vector<std::int32_t> dead_list;
};

TopKStep::TopKStep(Index d, Index latents, const StepSettings& settings)
    : d_(d), latents_(latents), settings_(settings), b_(std::make_unique<Buffers>()) {
  b_->codes.slots = settings.k;
}

TopKStep::~TopKStep() = default;

StepSums TopKStep::forward(FlatParameters& parameters, std::span<const float> rows, const std::vector<std::uint8_t>& dead) {
  const c10::InferenceMode no_gradients;
  Buffers& b = *b_;
  b.n = static_cast<Index>(rows.size()) / d_;
  if (!b.hidden.defined() || b.hidden.size(0) < b.n) { // buffers grow only: fresh pages are dear
    b.centred = at::empty({b.n, d_});
    b.hidden = at::empty({b.n, latents_});
  }
  float* centred = b.centred.data_ptr<float>();
  const float* b_dec = parameters.b_dec().data();
  for (Index r = 0; r < b.n; ++r)
    for (Index c = 0; c < d_; ++c) centred[r * d_ + c] = rows[at(r * d_ + c)] - b_dec[c];
  const auto encoder = at::from_blob(parameters.encoder().data(), {latents_, d_}, at::kFloat);
  const auto bias = at::from_blob(parameters.b_enc().data(), {latents_}, at::kFloat);
  auto hidden = b.hidden.slice(0, 0, b.n);
  at::addmm_out(hidden, bias, b.centred.slice(0, 0, b.n), encoder.t());

  b.dead_list.clear();
  for (std::size_t j = 0; j < dead.size(); ++j)
    if (dead[j] != 0) b.dead_list.push_back(static_cast<std::int32_t>(j));
  b.codes.resize(b.n);
  b.aux.slots = std::min<Index>(settings_.k_aux, static_cast<Index>(b.dead_list.size()));
  b.aux.resize(b.n);
  b.error.resize(rows.size());
  const float* h = b.hidden.data_ptr<float>();
  const float* decoder = parameters.decoder().data();
  at::parallel_for(0, b.n, 64, [&](Index begin, Index end) {
    std::vector<std::int32_t> indices;
    std::vector<float> values;
    std::vector<float> dead_hidden(b.dead_list.size());
    for (Index r = begin; r < end; ++r) {
      indices.clear();
      values.clear();
      select_top_k({h + r * latents_, at(latents_)}, settings_.k, indices, values);
      keep(indices, values, r, b.codes);
      float* error = b.error.data() + r * d_;
      for (Index c = 0; c < d_; ++c) error[c] = -centred[r * d_ + c];
      for (std::size_t s = 0; s < indices.size(); ++s) add_scaled(error, decoder + indices[s] * d_, values[s], 0, d_);
      if (b.aux.slots == 0) continue;
      for (std::size_t s = 0; s < dead_hidden.size(); ++s) dead_hidden[s] = h[r * latents_ + b.dead_list[s]];
      indices.clear();
      values.clear();
      select_top_k(dead_hidden, static_cast<int>(b.aux.slots), indices, values);
      for (auto& index : indices) index = b.dead_list[static_cast<std::size_t>(index)];
      keep(indices, values, r, b.aux);
    }
  });
  StepSums sums;
  double squared_error = 0;
#pragma omp simd reduction(+ : squared_error)
  for (std::size_t i = 0; i < b.error.size(); ++i) squared_error += static_cast<double>(b.error[i]) * b.error[i];
  sums.squared_error = squared_error;
  for (const auto index : b.codes.index) sums.active += index >= 0 ? 1 : 0;
  return sums;
}

std::vector<double> TopKStep::error_moments() const {
  std::vector<double> moments(at(d_ + 1), 0.0);
  double squares = 0;
  for (Index r = 0; r < b_->n; ++r) {
    const float* error = b_->error.data() + r * d_;
#pragma omp simd reduction(+ : squares)
    for (Index c = 0; c < d_; ++c) {
      const double e = error[c];
      moments[at(c)] -= e; // e of the AuxK loss is x - x^
      squares += e * e;
    }
  }
  moments[at(d_)] = squares;
  return moments;
}

void TopKStep::backward(FlatParameters& parameters, double aux_denominator, FlatParameters& gradients, StepSums& sums) {
  Buffers& b = *b_;
  const float* decoder = parameters.decoder().data();
  const float* centred = b.centred.data_ptr<float>();
  const auto scale = static_cast<float>(2.0 / static_cast<double>(settings_.batch));
  const bool with_aux = b.aux.slots > 0 && aux_denominator > 0;
  const auto aux_scale = static_cast<float>(with_aux ? 2.0 * settings_.alpha / aux_denominator : 0.0);
  b.aux_gradient.resize(with_aux ? b.error.size() : 0);
  std::vector<double> aux_errors(at(b.n), 0.0);

  // Per row: gradients of the codes.
  at::parallel_for(0, b.n, 64, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const float* error = b.error.data() + r * d_;
      for (Index s = r * b.codes.slots; s < (r + 1) * b.codes.slots; ++s)
        if (b.codes.index[at(s)] >= 0) b.codes.gradient[at(s)] = scale * dot(error, decoder + b.codes.index[at(s)] * d_, d_);
      if (!with_aux) continue;
      float* g = b.aux_gradient.data() + r * d_;
      std::copy(error, error + d_, g); // e^ - e = e^ + (x^ - x)
      for (Index s = r * b.aux.slots; s < (r + 1) * b.aux.slots; ++s)
        if (b.aux.index[at(s)] >= 0) add_scaled(g, decoder + b.aux.index[at(s)] * d_, b.aux.value[at(s)], 0, d_);
      for (Index c = 0; c < d_; ++c) {
        aux_errors[at(r)] += static_cast<double>(g[c]) * g[c];
        g[c] *= aux_scale;
      }
      for (Index s = r * b.aux.slots; s < (r + 1) * b.aux.slots; ++s)
        if (b.aux.index[at(s)] >= 0) b.aux.gradient[at(s)] = dot(g, decoder + b.aux.index[at(s)] * d_, d_);
    }
  });
  for (const double e : aux_errors) sums.aux_error += e;

  // Per column slice: gradients of the weights. Slices never meet, so the sums have one order at any thread count.
  float* encoder_gradient = gradients.encoder().data();
  float* decoder_gradient = gradients.decoder().data();
  float* b_dec_gradient = gradients.b_dec().data();
  const auto accumulate = [&](const Codes& codes, Index r, const float* row_gradient, float row_scale, Index begin, Index end) {
    for (Index s = r * codes.slots; s < (r + 1) * codes.slots; ++s) {
      const auto j = codes.index[at(s)];
      if (j < 0) continue;
      add_scaled(decoder_gradient + j * d_, row_gradient, row_scale * codes.value[at(s)], begin, end);
      add_scaled(encoder_gradient + j * d_, centred + r * d_, codes.gradient[at(s)], begin, end);
    }
  };
  at::parallel_for(0, (d_ + 31) / 32, 1, [&](Index first, Index last) {
    const Index begin = first * 32;
    const Index end = std::min(d_, last * 32);
    for (Index r = 0; r < b.n; ++r) {
      const float* error = b.error.data() + r * d_;
      accumulate(b.codes, r, error, scale, begin, end);
      add_scaled(b_dec_gradient, error, scale, begin, end);
      if (with_aux) accumulate(b.aux, r, b.aux_gradient.data() + r * d_, 1.0F, begin, end);
    }
  });

  std::vector<float> encoder_sum(at(latents_), 0.0F);
  for (const Codes* codes : {&b.codes, &b.aux})
    for (std::size_t s = 0; s < codes->index.size(); ++s)
      if (codes->index[s] >= 0) encoder_sum[at(codes->index[s])] += codes->gradient[s];
  const float* encoder = parameters.encoder().data();
  for (Index j = 0; j < latents_; ++j) {
    gradients.b_enc()[at(j)] += encoder_sum[at(j)];
    if (encoder_sum[at(j)] != 0) add_scaled(b_dec_gradient, encoder + j * d_, -encoder_sum[at(j)], 0, d_);
  }
}

void TopKStep::mark_fired(std::vector<float>& fired) const {
  for (const auto index : b_->codes.index)
    if (index >= 0) fired[at(index)] = 1.0F;
}

} // namespace concord::sae
