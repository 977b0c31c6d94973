#pragma once
/// BatchTopK (Bussmann et al. 2024, arXiv 2412.06410): a = the k B largest of relu(h) of the B rows of a batch, over all ranks; entries
/// equal to the smallest kept one are all kept. dL/dh = dL/da where a > 0.
/// A row by itself has no batch: the saved SAE is a JumpReLU whose threshold is the moving average, in f64, of the smallest kept
/// entry: the mean of the first hundred steps, then 0.99 of it and 0.01 of the step's.

#include "sae/kinds/architecture.hpp"

namespace concord::sae {

/// The n-th largest of positive numbers that are spread over ranks, exactly; 0 when there are fewer. Collective over `comm`.
float nth_largest(const comm::Communicator& comm, std::span<const float> mine, Index n);

class BatchTopK : public Architecture {
public:
  using Architecture::Architecture;
  /// Collective over the communicator.
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  void describe(const FlatParameters& parameters, Sae& sae) const override;
  std::vector<double> state() const override;
  void set_state(std::span<const double> state) override;

private:
  float find_floor(std::span<const float> centred, Codes& codes);
  float floor_ = -1; ///< entries below it are not looked for; < 0: not known yet
  double threshold_ = 0;
  double steps_ = 0; ///< that the average is of
};

} // namespace concord::sae
