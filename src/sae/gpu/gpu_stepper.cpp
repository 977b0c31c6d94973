#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/gpu/gpu.hpp"
#include "concord/core/text.hpp"

#include "comm/gpu/gpu_memory.hpp"
#include "sae/gpu/device_step.hpp"
#include "sae/numbers/rows.hpp"
#include "sae/step/stepper.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {
namespace {

/// By DeviceStep; ranks share sums and weights through the host, or GPUs do by NCCL.
class GpuStepper final : public Stepper {
public:
  explicit GpuStepper(const Training& training) : training_(training) {
    const auto& o = training_.options;
    auto& exchange = training_.exchange;
    comm::Gpu gpu;
    if (o.device == Device::cuda) gpu = comm::bind_gpu(training_.comm, o.device, o.allow_shared_gpu);
    const bool one_each = comm::max_of(training_.comm, gpu.number >= 0 && gpu.sharing == 1 ? Index{0} : Index{1}) == 0;
    by_host_ = o.gpu_exchange == GpuExchange::host || (o.gpu_exchange == GpuExchange::automatic && !(one_each && comm::Nccl::built()));
    comm::agree(training_.comm, [&] {
      check(gpu);
      gpu_ = gpu.number;
      comm::begin_gpu_peak(gpu_);
      step_ = std::make_unique<DeviceStep>(training_.architecture, training_.k_aux(), o.aux_weight, gpu.number, exchange.first(),
                                           exchange.count(), architecture_kind(o.kind).beta1);
      if (by_host())
        gradients_ = std::make_unique<FlatParameters>(training_.state.parameters.d, exchange.count(), training_.architecture.scalars());
    });
    if (training_.comm.size() > 1 && !by_host()) nccl_ = std::make_unique<comm::Nccl>(training_.comm, gpu.number);
  }

  void load() override {
    if (loaded_) return;
    step_->load(training_.state.parameters);
    step_->load_moments(training_.state.adam);
    step_->set_scales(training_.parts, training_.state.scales);
    loaded_ = true;
  }

  void store() override {
    if (!loaded_) return;
    if (!by_host()) { // else they are there behind each step
      step_->store(training_.state.parameters);
      training_.exchange.spread();
    }
    step_->store_moments(training_.state.adam);
  }

  StepSeen make_gradients(Batch& batch, const std::vector<std::uint8_t>& dead, float warmth) override {
    const auto& [comm, options, parts, architecture, exchange, state] = training_;
    const double penalty = step_->forward(state.parameters, batch.rows, batch.positions, dead, warmth);
    StepMoments moments = step_->moments();
    comm::sum(comm, moments.sums);
    if (step_->has_dead() && moments.error_variance(options.batch) > 0) step_->backward_dead(moments.error_variance(options.batch));
    step_->make_gradients(state.parameters, architecture.settings().scale());
    sum_gradients();
    const double norm = std::sqrt(comm::sum_of(comm, step_->project_gradients()) + step_->b_dec_norm());
    return {&step_->rows(), moments, penalty, norm};
  }

  /// The scalars go through the host, where architectures use them.
  void move(double rate, double scale) override {
    auto& [comm, options, parts, architecture, exchange, state] = training_;
    step_->move(rate, scale, state.step + 1);
    by_host() ? step_->store(state.parameters) : step_->store_scalars(state.parameters);
    architecture.constrain(state.parameters, exchange.first(), exchange.count());
    by_host() ? exchange.spread() : exchange.spread_scalars();
    by_host() ? step_->load(state.parameters) : step_->load_scalars(state.parameters);
    if (nccl_) step_->share_matrices(*nccl_, exchange.firsts(), exchange.counts());
  }

  std::string gpu_memory() const override { return comm::gpu_memory_text(gpu_, bytes()); }

private:
  /// Of this rank's GPU.
  double bytes() const {
    return DeviceStep::bytes(training_.architecture, training_.exchange.count(), training_.options.batch / training_.comm.size() + 1,
                             training_.k_aux());
  }

  /// Whether sums and weights go through the host.
  bool by_host() const { return training_.comm.size() > 1 && by_host_; }

  void check(const comm::Gpu& gpu) const {
    const auto& o = training_.options;
    const double needed = bytes();
    require(gpu.number < 0 || needed <= gpu.memory, ExitCode::unavailable,
            "{} does not fit: this rank needs {} of its GPU, and may take {} of it, since {} ranks have it; give more ranks a GPU each, or "
            "lower sae.latents or sae.batch",
            o.stage_word, human_bytes(needed), human_bytes(gpu.memory), gpu.sharing);
    require(o.gpu_exchange != GpuExchange::nccl || gpu.number >= 0, ExitCode::config,
            "sae.gpu_exchange = \"nccl\" needs sae.device = \"cuda\"");
    require(o.gpu_exchange != GpuExchange::nccl || !o.allow_shared_gpu, ExitCode::config,
            "ranks that share a GPU need sae.gpu_exchange = \"host\"");
  }

  /// Through the host, each part travels while the next comes from the device.
  void sum_gradients() {
    auto& exchange = training_.exchange;
    if (training_.comm.size() == 1) return;
    if (nccl_) {
      step_->sum_gradients(*nccl_, exchange.firsts(), exchange.counts());
      return;
    }
    bool first_part = true;
    exchange.sum_parts(
        [&](Index first, FlatParameters& part) {
          step_->give_gradients(first, part);
          if (!first_part) std::fill(part.b_dec().begin(), part.b_dec().end(), 0.0F); // whole in the first part
          first_part = false;
        },
        *gradients_);
    step_->take_gradients(*gradients_);
  }

  Training training_;
  std::unique_ptr<DeviceStep> step_;
  std::unique_ptr<FlatParameters> gradients_; ///< of this rank's latents, where they go through the host
  std::unique_ptr<comm::Nccl> nccl_;
  bool by_host_ = true; ///< else NCCL, where there are several ranks
  int gpu_ = -1;
  bool loaded_ = false;
};

} // namespace

std::unique_ptr<Stepper> make_gpu_stepper(const Training& training) {
  return std::make_unique<GpuStepper>(training);
}

} // namespace concord::sae
