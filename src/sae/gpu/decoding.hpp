#pragma once
/// What some architectures ask of whoever holds the decoder, beside the reconstruction that every step makes: on a GPU DeviceStep, on the
/// CPU they have it themselves. Local.

#include "concord/sae/numbers/codes.hpp"

#include <vector>

namespace concord::sae {

class Decoding {
public:
  Decoding() = default;
  Decoding(const Decoding&) = delete;
  Decoding& operator=(const Decoding&) = delete;
  virtual ~Decoding() = default;
  /// Of x^' = sum_j v_j W_dec[j] + b_dec, where v are other values of the entries at hand: adds scale <x^' - x, W_dec[j]> to the gradient
  /// of each. Returns the sum of |x^' - x|^2 over the rows.
  virtual double add_pull(const std::vector<float>& values, float scale, std::vector<float>& gradient) = 0;
  /// [F] of each latent |W_dec[j]| of model A + that of model B.
  virtual std::vector<float> norms_by_model() const = 0;
};

} // namespace concord::sae
