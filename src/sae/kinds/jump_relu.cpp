// JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435; tanh: Anthropic, January 2025 update). Local.
//   a = h where h > theta, else 0, with a threshold theta >= 0 a latent;
//   penalty: step  sum_j [h_j > theta_j]      (their L0)
//            tanh  sum_j tanh(4 a_j)
// The threshold learns through straight-through estimators with a rectangle of width eps about it, K = [|h - theta| < eps / 2]:
//   da/dtheta = -theta/eps K,  d[h > theta]/dtheta = -1/eps K;  to h the jump passes nothing but dL/da where h > theta.
// So latents within the rectangle below their threshold are entries too, with a = 0. The scalars of a latent: b_enc, theta.

#include "sae/kinds/kinds.hpp"
#include "sae/numbers/rows.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {
namespace {

constexpr Index theta = 1;
constexpr float tanh_slope = 4;

class JumpRelu final : public Architecture {
public:
  using Architecture::Architecture;
  Index scalars() const override { return 2; }
  void initialise(FlatParameters& parameters, Index first, Index count) const override;
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  double backward(const FlatParameters& parameters, StepRows& rows, float warmth) override;
  void constrain(FlatParameters& parameters, Index first, Index count) const override;
  void describe(const FlatParameters& parameters, Sae& sae) const override;

private:
  std::vector<float> hidden_; ///< h of each entry
};

void JumpRelu::initialise(FlatParameters& parameters, Index first, Index count) const {
  const auto thresholds = parameters.scalar(theta).subspan(at(first), at(count));
  std::fill(thresholds.begin(), thresholds.end(), static_cast<float>(settings_.threshold));
}

void JumpRelu::encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) {
  const auto thresholds = parameters.scalar(theta);
  std::vector<float> floors(thresholds.begin(), thresholds.end());
  for (float& floor : floors) floor -= static_cast<float>(settings_.bandwidth / 2);
  search().update(parameters.encoder(), parameters.b_enc(), {}, floors);
  search().above(centred, 0.0F, codes);
  codes.extras = 1;
  hidden_ = codes.value;
  for_rows(codes.rows(), [&](Index r) {
    for (Index s = codes.begin(r); s < codes.end(r); ++s)
      if (codes.value[at(s)] <= thresholds[at(codes.index[at(s)])]) codes.value[at(s)] = 0;
  });
}

double JumpRelu::backward(const FlatParameters& parameters, StepRows& rows, float warmth) {
  const auto bandwidth = static_cast<float>(settings_.bandwidth);
  const float strength = warmth * static_cast<float>(settings_.sparsity / static_cast<double>(settings_.batch));
  const bool smooth = settings_.penalty == Penalty::tanh;
  const auto thresholds = parameters.scalar(theta);
  Codes& codes = rows.codes;
  std::vector<double> penalties(at(rows.count()), 0.0);
  for_rows(rows.count(), [&](Index r) {
    for (Index s = codes.begin(r); s < codes.end(r); ++s) {
      const float threshold = thresholds[at(codes.index[at(s)])];
      const bool active = codes.value[at(s)] > 0;
      const bool near = std::abs(hidden_[at(s)] - threshold) < bandwidth / 2;
      const float t = smooth ? std::tanh(tanh_slope * codes.value[at(s)]) : 0.0F;
      const float of_value = codes.gradient[at(s)] + (smooth ? strength * tanh_slope * (1 - t * t) : 0.0F);
      const float of_jump = smooth ? 0.0F : strength;
      codes.gradient[at(s)] = active ? of_value : 0.0F;
      codes.extra[at(s)] = near ? -(threshold * of_value + of_jump) / bandwidth : 0.0F;
      penalties[at(r)] += smooth ? static_cast<double>(t) : static_cast<double>(active);
    }
  });
  return settings_.sparsity * sum_in_order(penalties);
}

void JumpRelu::constrain(FlatParameters& parameters, Index first, Index count) const {
  for (float& threshold : parameters.scalar(theta).subspan(at(first), at(count))) threshold = std::max(threshold, 0.0F);
}

void JumpRelu::describe(const FlatParameters& parameters, Sae& sae) const {
  sae.architecture = Sae::Architecture::jumprelu;
  sae.threshold.assign(parameters.scalar(theta).begin(), parameters.scalar(theta).end());
}

} // namespace

std::unique_ptr<Architecture> make_jump_relu(const comm::Communicator& comm, const ArchitectureSettings& settings) {
  return std::make_unique<JumpRelu>(comm, settings);
}

} // namespace concord::sae
