#include "concord/sae/top_k_step.hpp"

#include "sae/rows.hpp"
#include <algorithm>

namespace concord::sae {
namespace {

/// The used slots of one row.
struct RowCodes {
  RowCodes(Codes& codes, Index r)
      : index(codes.index.data() + r * codes.slots), value(codes.value.data() + r * codes.slots),
        gradient(codes.gradient.data() + r * codes.slots) {
    while (used < codes.slots && index[used] >= 0) ++used;
  }
  /// to += a W_dec
  void decode(const float* decoder, float* to, Index d) const {
    RowSum sum(to, d);
    for (Index s = 0; s < used; ++s) {
      if (s + 4 < used) prefetch_row(decoder + index[s + 4] * d, d);
      sum.add(decoder + index[s] * d, value[s]);
    }
  }
  /// dL/dh = scale <row, W_dec[j]>
  void take_gradients(const float* decoder, const float* row, float scale, Index d) const {
    for (Index s = 0; s < used; ++s) gradient[s] = scale * dot(row, decoder + index[s] * d, d);
  }
  const std::int32_t* index;
  const float* value;
  float* gradient;
  Index used = 0;
};

} // namespace

TopKStep::TopKStep(Index d, const StepSettings& settings) : d_(d), settings_(settings), screen_(d), dead_screen_(d) {
  rows_.d = d;
  rows_.codes.slots = settings.k;
}

void TopKStep::forward(const FlatParameters& parameters, std::span<const float> rows, std::vector<Index> positions,
                       const std::vector<std::uint8_t>& dead) {
  rows_.positions = std::move(positions);
  rows_.centred.resize(rows.size()); // keeps its memory: fresh pages are dear
  rows_.error.resize(rows.size());
  rows_.aux_gradient.clear();
  const float* b_dec = parameters.b_dec().data();
  for_rows(rows_.count(), [&](Index r) {
    for (Index c = 0; c < d_; ++c) rows_.centred[at(r * d_ + c)] = rows[at(r * d_ + c)] - b_dec[c];
  });
  screen_.update(parameters.encoder(), parameters.b_enc());
  screen_.top_k(rows_.centred, rows_.codes);
  // Errors, and with the decoder's rows still near the gradients of the codes.
  const float* decoder = parameters.decoder().data();
  for_rows(rows_.count(), [&](Index r) {
    float* error = rows_.error.data() + r * d_;
    for (Index c = 0; c < d_; ++c) error[c] = -rows_.centred[at(r * d_ + c)];
    const RowCodes codes(rows_.codes, r);
    codes.decode(decoder, error, d_);
    codes.take_gradients(decoder, error, settings_.scale(), d_);
  });

  std::vector<std::int32_t> dead_list;
  for (std::size_t j = 0; j < dead.size(); ++j)
    if (dead[j] != 0) dead_list.push_back(static_cast<std::int32_t>(j));
  rows_.aux.slots = std::min<Index>(settings_.k_aux, static_cast<Index>(dead_list.size()));
  rows_.aux.resize(rows_.count());
  if (rows_.aux.slots == 0) return;
  dead_screen_.update(parameters.encoder(), parameters.b_enc(), dead_list);
  dead_screen_.top_k(rows_.centred, rows_.aux);
}

double TopKStep::backward_dead(const FlatParameters& parameters, double error_variance) {
  const auto scale = static_cast<float>(2.0 * settings_.alpha / error_variance);
  const float* decoder = parameters.decoder().data();
  rows_.aux_gradient.resize(rows_.error.size());
  std::vector<double> errors(rows_.positions.size());
  for_rows(rows_.count(), [&](Index r) {
    float* g = rows_.aux_gradient.data() + r * d_;
    std::copy_n(rows_.error.data() + r * d_, d_, g); // e^ - e = e^ + (x^ - x)
    const RowCodes codes(rows_.aux, r);
    codes.decode(decoder, g, d_);
    double squares = 0;
    for (Index c = 0; c < d_; ++c) {
      squares += static_cast<double>(g[c]) * g[c];
      g[c] *= scale;
    }
    errors[at(r)] = squares;
    codes.take_gradients(decoder, g, 1.0F, d_);
  });
  double sum = 0;
  for (const double e : errors) sum += e;
  return sum;
}

} // namespace concord::sae
