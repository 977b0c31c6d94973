#pragma once
/// What an architecture asks of whatever multiplies rows by the encoder: which latents are active on a row. Screen does it on the CPU,
/// DeviceStep on a GPU. Local, or collective as theirs are.

#include "concord/sae/numbers/codes.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace concord::sae {

class LatentSearch {
public:
  LatentSearch() = default;
  LatentSearch(const LatentSearch&) = delete;
  LatentSearch& operator=(const LatentSearch&) = delete;
  virtual ~LatentSearch() = default;
  /// Takes the weights anew. encoder [F, d], bias [F]; `subset`: the latents to look at (all when empty). Both must stay
  /// where they are while top_k() or above() is called. `floors` [F]: what above() measures each latent from (0 when empty).
  virtual void update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset,
                      std::span<const float> floors) = 0;
  /// Fills `codes` with the k largest positive h = w x + b of each row of x [n, d]; ties go to the smaller index.
  virtual void top_k(std::span<const float> x, int k, Codes& codes) = 0;
  /// Fills `codes` with all h >= floor + limit of each row of x [n, d].
  virtual void above(std::span<const float> x, float limit, Codes& codes) = 0;
};

/// AuxK's codes: of each row the `most` largest of the latents that `dead` marks. False, and no codes, where there are none to look at.
bool find_dead(LatentSearch& search, std::span<const float> encoder, std::span<const float> bias, std::span<const float> x,
               const std::vector<std::uint8_t>& dead, Index most, Codes& codes);

} // namespace concord::sae
