// ReLU with an L1 penalty (Bricken et al. 2023; decoder norms in the penalty: Anthropic, April 2024 update). Local.
//   a = relu(h);  penalty = sum_j a_j w_j,  w_j = |W_dec[j]| = 1 for an SAE.
// For a crosscoder w_j = |W_dec[j] of model A| + |W_dec[j] of model B| (Lindsey et al. 2024), which moves the decoder too:
//   dL/dh_j = dL/da_j + lambda/B w_j where a > 0;  dL/dW_dec[j] += lambda/B (sum over rows of a_j) dw_j/dW_dec[j].

#include "sae/kinds/kinds.hpp"
#include "sae/numbers/rows.hpp"
#include <cmath>

namespace concord::sae {
namespace {

/// Calls f(begin, norm) for the part of a decoder row that belongs to each model.
template <typename F>
void for_parts(const std::vector<Index>& parts, const float* row, const F& f) {
  Index begin = 0;
  for (const Index width : parts) {
    f(begin, width, std::sqrt(dot(row + begin, row + begin, width)));
    begin += width;
  }
}

class Relu final : public Architecture {
public:
  using Architecture::Architecture;
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  double backward(const FlatParameters& parameters, StepRows& rows, float warmth) override;
  void finish_gradients(const FlatParameters& parameters, Index j, float values, FlatParameters& gradients, Index i) const override;
  float decoder_penalty() const override { return settings_.parts.size() > 1 ? strength_ : 0; }
  void describe(const FlatParameters& parameters, Sae& sae) const override;

private:
  std::vector<float> weights(const FlatParameters& parameters) const;
  float strength_ = 0; ///< lambda/B of this step
};

void Relu::encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) {
  search().update(parameters.encoder(), parameters.b_enc(), {}, {});
  search().above(centred, 0.0F, codes);
  keep_positive(codes);
}

/// w_j of each latent.
std::vector<float> Relu::weights(const FlatParameters& parameters) const {
  if (settings_.parts.size() == 1) return std::vector<float>(at(settings_.latents), 1.0F);
  if (decoding() != nullptr) return decoding()->norms_by_model();
  std::vector<float> weights(at(settings_.latents), 0.0F);
  for (Index j = 0; j < settings_.latents; ++j)
    for_parts(settings_.parts, parameters.decoder().data() + j * parameters.d, [&](Index, Index, float norm) { weights[at(j)] += norm; });
  return weights;
}

double Relu::backward(const FlatParameters& parameters, StepRows& rows, float warmth) {
  strength_ = warmth * static_cast<float>(settings_.sparsity / static_cast<double>(settings_.batch));
  const std::vector<float> of_latents = weights(parameters);
  Codes& codes = rows.codes;
  std::vector<double> penalties(at(rows.count()), 0.0);
  for_rows(rows.count(), [&](Index r) {
    for (Index s = codes.begin(r); s < codes.end(r); ++s) {
      const float weight = of_latents[at(codes.index[at(s)])];
      codes.gradient[at(s)] += strength_ * weight;
      penalties[at(r)] += static_cast<double>(codes.value[at(s)]) * static_cast<double>(weight);
    }
  });
  return settings_.sparsity * sum_in_order(penalties);
}

void Relu::finish_gradients(const FlatParameters& parameters, Index j, float values, FlatParameters& gradients, Index i) const {
  if (settings_.parts.size() == 1) return; // along the row, which stays a unit vector
  const float* row = parameters.decoder().data() + j * parameters.d;
  float* gradient = gradients.decoder().data() + i * parameters.d;
  for_parts(settings_.parts, row, [&](Index begin, Index width, float norm) {
    if (norm > 0) add_scaled(gradient + begin, row + begin, strength_ * values / norm, width);
  });
}

void Relu::describe(const FlatParameters& /*parameters*/, Sae& sae) const {
  sae.architecture = Sae::Architecture::standard;
}

} // namespace

std::unique_ptr<Architecture> make_relu(const comm::Communicator& comm, const ArchitectureSettings& settings) {
  return std::make_unique<Relu>(comm, settings);
}

} // namespace concord::sae
