#include "sae/step/stepper.hpp"

#include "concord/comm/gpu/gpu.hpp"

#include "sae/numbers/rows.hpp"
#include "sae/step/step.hpp"
#include "sae/training/start.hpp"
#include <cmath>

namespace concord::sae {
namespace {

/// By Step and the exchange of rows or gradients.
class HostStepper final : public Stepper {
public:
  explicit HostStepper(const Training& training)
      : training_(training), step_(training.architecture, training.k_aux(), training.options.aux_weight),
        gradients_(training.state.parameters.d, training.exchange.count(), training.architecture.scalars()) {}

  StepSeen make_gradients(Batch& batch, const std::vector<std::uint8_t>& dead, float warmth) override {
    auto& [comm, options, parts, architecture, exchange, state] = training_;
    scale_rows(batch.rows, parts, state.scales);
    const double penalty = step_.forward(state.parameters, batch.rows, batch.positions, dead, warmth);
    const StepRows* seen = &exchange.collect(step_.rows());
    const StepMoments moments = exchange.moments(*seen);
    if (step_.has_dead() && moments.error_variance(options.batch) > 0) {
      step_.backward_dead(state.parameters, moments.error_variance(options.batch));
      seen = &exchange.collect_dead(step_.rows());
    }
    std::vector<double> squares(at(exchange.count()));
    exchange.gradients(*seen, state.parameters, architecture.settings().scale(), gradients_, [&](Index i) {
      squares[at(i)] = project_decoder_gradient(training_.state.parameters, gradients_, training_.exchange.first(), i);
    });
    return {seen, moments, penalty, std::sqrt(exchange.sum_over_latents(squares) + squared_norm(gradients_.b_dec()))};
  }

  void move(double rate, double scale) override {
    auto& [comm, options, parts, architecture, exchange, state] = training_;
    state.adam.step(state.parameters, gradients_, exchange.first(), rate, static_cast<float>(scale), state.step + 1);
    architecture.constrain(state.parameters, exchange.first(), exchange.count());
    exchange.spread();
  }

private:
  Training training_;
  Step step_;
  FlatParameters gradients_;
};

} // namespace

std::unique_ptr<Stepper> make_host_stepper(const Training& training) {
  return std::make_unique<HostStepper>(training);
}

std::unique_ptr<Stepper> make_stepper(const Training& training) {
  if (training.options.device != Device::cpu) return make_gpu_stepper(training);
  comm::warn_of_idle_gpus(training.options.stage_word, "sae.device = \"cuda\" and sae.reduction = \"fast\"");
  return make_host_stepper(training);
}

} // namespace concord::sae
