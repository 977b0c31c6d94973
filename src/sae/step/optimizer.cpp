#include "sae/step/optimizer.hpp"

#include "sae/numbers/rows.hpp"
#include "sae/step/step_rows.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {
namespace {

struct AdamRates {
  float rate, correction, scale, beta1;
  void move(float* p, float* m, float* v, const float* g, Index n) const {
    constexpr float beta2 = 0.999F;
    constexpr float epsilon = 1e-8F;
#pragma omp simd
    for (Index i = 0; i < n; ++i) {
      const float gradient = scale * g[i];
      m[i] += (1 - beta1) * (gradient - m[i]);
      v[i] += (1 - beta2) * (gradient * gradient - v[i]);
      p[i] -= rate * m[i] / (std::sqrt(v[i]) * correction + epsilon);
    }
  }
};

} // namespace

double project_decoder_gradient(const FlatParameters& parameters, FlatParameters& gradients, Index first, Index i) {
  const Index d = parameters.d;
  float* gradient = gradients.decoder().data() + i * d;
  const float* row = parameters.decoder().data() + (first + i) * d;
  const float along = dot(gradient, row, d);
  if (along != 0) add_scaled(gradient, row, -along, d);
  double scalars = 0;
  for (Index s = 0; s < gradients.scalars; ++s) scalars += static_cast<double>(gradients.scalar(s)[at(i)]) * gradients.scalar(s)[at(i)];
  return squared_norm({gradient, at(d)}) + squared_norm({gradients.encoder().data() + i * d, at(d)}) + scalars;
}

void unit_row(float* row, Index d) {
  const auto inverse = static_cast<float>(1.0 / std::max(std::sqrt(squared_norm({row, at(d)})), 1e-12));
#pragma omp simd
  for (Index c = 0; c < d; ++c) row[c] *= inverse;
}

void Adam::step(FlatParameters& parameters, const FlatParameters& gradients, Index first, double rate, float scale, Index t) {
  const auto steps = static_cast<double>(t);
  const AdamRates rates{static_cast<float>(rate / (1 - std::pow(beta1, steps))),
                        static_cast<float>(1 / std::sqrt(1 - std::pow(0.999, steps))), scale, beta1};
  const Index d = parameters.d;
  const auto move = [&](std::span<float> p, std::span<float> m, std::span<float> v, std::span<const float> g) {
    rates.move(p.data(), m.data(), v.data(), g.data(), static_cast<Index>(p.size()));
  };
  for_pieces((gradients.latents + latent_piece - 1) / latent_piece, [&](Index piece) {
    for (Index i = piece * latent_piece; i < std::min(gradients.latents, (piece + 1) * latent_piece); ++i) {
      const Index j = first + i;
      const auto row = [d](auto all, Index n) { return all.subspan(at(n * d), at(d)); };
      move(row(parameters.encoder(), j), row(first_moment.encoder(), i), row(second_moment.encoder(), i), row(gradients.encoder(), i));
      move(row(parameters.decoder(), j), row(first_moment.decoder(), i), row(second_moment.decoder(), i), row(gradients.decoder(), i));
      unit_row(parameters.decoder().data() + j * d, d);
    }
  });
  for (Index s = 0; s < gradients.scalars; ++s)
    move(parameters.scalar(s).subspan(at(first), at(gradients.latents)), first_moment.scalar(s), second_moment.scalar(s),
         gradients.scalar(s));
  move(parameters.b_dec(), first_moment.b_dec(), second_moment.b_dec(), gradients.b_dec());
}

} // namespace concord::sae
