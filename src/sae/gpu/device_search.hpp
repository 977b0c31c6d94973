#pragma once
/// The search for active latents on a device: products of rows and the encoder, and the kernels of search_kernels.hpp on them. Local.

#include "concord/sae/search/latent_search.hpp"

#include "sae/gpu/bags.hpp"
#include <vector>

namespace concord::sae {

/// Elements of pre-activations at once: a GiB.
inline constexpr Index elements_at_once = Index{1} << 28;

/// Looks among rows and weights on the device, which do not move while it is asked; what an architecture names of the host's is not read.
class DeviceSearch final : public LatentSearch {
public:
  /// x - b_dec [n, d], encoder [F, d], b_enc [F].
  void look_at(const Tensor& centred, const Tensor& encoder, const Tensor& bias);

  void update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset,
              std::span<const float> floors) override;
  /// A rounded product screens the latents; the largest and some more are computed again in f32. So values are f32's, and a latent can
  /// only be missed in favour of one that comes within the rounding, where more than those lie as close together.
  void top_k(std::span<const float> x, int k, Codes& found) override;
  /// A positive limit is BatchTopK's, which few latents reach: a rounded product screens for it with the slack that rounding needs, and
  /// what may reach it is computed again in f32. Others are looked for in f32.
  void above(std::span<const float> x, float limit, Codes& found) override;

private:
  Tensor largest(const Tensor& hidden, Index places) const;
  Tensor exact(const Tensor& x, const Bags& candidates) const;
  /// Latents of rows, ascending, with their pre-activations.
  struct Reaching {
    Bags rows;
    Tensor values;
  };
  Reaching reaching(const Tensor& x, const Tensor& hidden, float limit, const Tensor& norms) const;
  Reaching computed_again(const Tensor& x, const Bags& candidates, float limit) const;
  template <typename Look>
  void for_hidden(const Look& look) const;
  void append(Codes& to, const Tensor& ends, const Tensor& index, const Tensor& value) const;

  Tensor centred_, encoder_, bias_;
  Tensor searched_, searched_bias_, floor_; ///< the encoder's rows that are looked at, their b_enc, and what above() measures from
  std::vector<std::int32_t> subset_;
};

} // namespace concord::sae
