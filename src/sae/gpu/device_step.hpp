#pragma once
/// A step of training on a GPU: what Step, step_rows.hpp and optimizer.hpp do on the CPU, by libtorch's kernels. Local, but for the choice
/// of codes (architecture.hpp).
///
/// Weights, gradients and Adam's moments stay on the device. Codes come to the host, where the architecture sees to them (some MB a step);
/// everything behind them touches active latents alone: sums of rows with weights (embedding bags) decode, and sorted by latent they make
/// the gradients of both matrices, without atomics. Pre-activations exist for some rows at a time; those of the TopK kinds are screened in
/// TF32 and computed again in f32.
/// Formulas: step.hpp, optimizer.hpp. The Trainer calls it where sae.device is not "cpu". Errors are libtorch's own (a GPU without memory)
/// and end the job.

#include "concord/comm/gpu/nccl.hpp"

#include "sae/kinds/architecture.hpp"
#include "sae/step/optimizer.hpp"
#include "sae/step/step_rows.hpp"
#include <memory>
#include <span>
#include <vector>

namespace concord::sae {

class DeviceStep {
public:
  /// This rank owns latents [first, first + count). `gpu`: its number, or -1 for the same code on the CPU.
  DeviceStep(Architecture& architecture, Index k_aux, double alpha, int gpu, Index first, Index count, double beta1);
  ~DeviceStep();
  DeviceStep(const DeviceStep&) = delete;
  DeviceStep& operator=(const DeviceStep&) = delete;

  /// Bytes on the device for batches of `rows` rows of which `k_aux` dead latents each may join. Local.
  static double bytes(const Architecture& architecture, Index count, Index rows, Index k_aux);
  /// All weights, from the host.
  void load(const FlatParameters& parameters);
  /// The scalars alone.
  void load_scalars(const FlatParameters& parameters);
  /// This rank's latents, and b_dec, to the host.
  void store(FlatParameters& parameters) const;
  void store_scalars(FlatParameters& parameters) const;
  void load_moments(const Adam& adam);
  void store_moments(Adam& adam) const;

  /// What rows are multiplied by: `parts` columns each by its scale.
  void set_scales(const std::vector<Index>& parts, const std::vector<double>& scales);

  /// As Step::forward(): rows [n, d] as stored, `dead` [F] or empty. Of `parameters` the scalars are read.
  double forward(const FlatParameters& parameters, std::span<const float> rows, std::vector<Index> positions,
                 const std::vector<std::uint8_t>& dead, float warmth);
  bool has_dead() const;
  /// As Step::backward_dead().
  double backward_dead(double error_variance);
  /// Of this rank's rows.
  StepMoments moments() const;
  /// Codes and positions; the large arrays are on the device.
  const StepRows& rows() const;

  /// Gradients of all latents and of b_dec from this rank's rows. Of `parameters` the scalars are read. `scale` = 2/B.
  void make_gradients(const FlatParameters& parameters, float scale);
  /// Those of latents [first, first + part.latents), and of b_dec, to the host.
  void give_gradients(Index first, FlatParameters& part) const;
  /// What the ranks' gradients of this rank's latents, and of b_dec, add up to.
  void take_gradients(const FlatParameters& share);
  /// Both without the host: sums of all ranks' gradients at the owners of latents [firsts[r], firsts[r] + counts[r]), b_dec's everywhere;
  /// and the owners' matrices to all. Collective over the ranks of `nccl`.
  void sum_gradients(comm::Nccl& nccl, const std::vector<Index>& firsts, const std::vector<Index>& counts);
  void share_matrices(comm::Nccl& nccl, const std::vector<Index>& firsts, const std::vector<Index>& counts);
  /// Takes the parts along the decoder's rows out of this rank's gradients. Returns the squared norm of what is left, b_dec aside.
  double project_gradients();
  /// Squared norm of b_dec's gradient.
  double b_dec_norm() const;
  /// Adam (optimizer.hpp) on this rank's latents and b_dec, with gradients times `scale`.
  void move(double rate, double scale, Index t);

private:
  void decode();
  void finish_scalars(const FlatParameters& parameters);
  struct Tensors;
  Architecture& architecture_;
  Index k_aux_;
  double alpha_;
  bool has_dead_ = false;
  bool penalised_ = false;
  StepRows rows_;
  std::unique_ptr<Tensors> tensors_;
};

} // namespace concord::sae
