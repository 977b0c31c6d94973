#pragma once
/// What happens to the gradients of a step: the decoder's are projected, the whole is clipped, Adam moves the parameters, the
/// decoder's rows become unit vectors again; in this order, each rank for its own latents [first, first + share). Local; the
/// same bits at any number of threads.
///
/// Adam: Kingma and Ba 2015, beta = (0.9 or the kind's, 0.999), epsilon 1e-8. Projection and unit rows: Bricken et al. 2023.

#include "sae/numbers/parameters.hpp"

namespace concord::sae {

/// Takes the part along its decoder row out of the decoder gradient of latent first + i. Returns the squared norm behind that
/// of all gradients of the latent.
double project_decoder_gradient(const FlatParameters& parameters, FlatParameters& gradients, Index first, Index i);

/// Divides a row by its norm.
void unit_row(float* row, Index d);

struct Adam {
  FlatParameters first_moment;
  FlatParameters second_moment;
  float beta1;
  Adam(Index d, Index share, Index scalars, double first_beta)
      : first_moment(d, share, scalars), second_moment(d, share, scalars), beta1(static_cast<float>(first_beta)) {}
  /// Step `t` (1, 2, ...) with gradients times `scale`: moves the share's latents of `parameters`, whose decoder rows have norm
  /// 1 behind it, and b_dec.
  void step(FlatParameters& parameters, const FlatParameters& gradients, Index first, double rate, float scale, Index t);
};

} // namespace concord::sae
