// Matryoshka BatchTopK (Bussmann et al. 2025, arXiv 2503.17547): one choice of codes as in batch_top_k.hpp, and the loss is the mean of
// the errors |x^_g - x|^2 of G reconstructions, the g-th by the first F / 2^(G - g) latents alone. Each prefix must do by
// itself, so general features come first. Sources sum the errors; the mean keeps the loss at the size of the others'.
//   dL/da_j = 2 / (B G) <sum of x^_g - x over the prefixes g that hold j, W_dec[j]>,  and b_dec and W_dec alike.

#include "sae/kinds/batch_top_k.hpp"
#include "sae/kinds/kinds.hpp"

namespace concord::sae {
namespace {

class Matryoshka final : public BatchTopK {
public:
  using BatchTopK::BatchTopK;
  std::vector<std::int32_t> prefixes() const override;
};

std::vector<std::int32_t> Matryoshka::prefixes() const {
  std::vector<std::int32_t> ends;
  for (int g = settings_.prefixes - 1; g >= 0; --g) {
    const auto end = static_cast<std::int32_t>(settings_.latents >> g);
    if (end > 0 && (ends.empty() || end > ends.back())) ends.push_back(end);
  }
  return ends;
}

} // namespace

std::unique_ptr<Architecture> make_matryoshka(const comm::Communicator& comm, const ArchitectureSettings& settings) {
  return std::make_unique<Matryoshka>(comm, settings);
}

} // namespace concord::sae
