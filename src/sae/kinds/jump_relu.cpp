#include "sae/kinds/jump_relu.hpp"

#include "sae/numbers/rows.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {
namespace {

constexpr Index theta = 1;
constexpr float tanh_slope = 4;

} // namespace

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

} // namespace concord::sae
