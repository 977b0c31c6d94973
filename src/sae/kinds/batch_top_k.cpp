#include "sae/kinds/batch_top_k.hpp"

#include "concord/comm/collectives.hpp"

#include "sae/kinds/kinds.hpp"
#include "sae/numbers/rows.hpp"
#include <algorithm>
#include <bit>

namespace concord::sae {

float nth_largest(const comm::Communicator& comm, std::span<const float> mine, Index n) {
  // Positive floats are ordered as their bits are: three rounds fix 11, 10 and 10 of them.
  std::uint32_t prefix = 0;
  int fixed_below = 31; // bits [fixed_below, 31) are known
  for (const int bits : {11, 10, 10}) {
    const int shift = fixed_below - bits;
    std::vector<Index> counts(std::size_t{1} << bits, 0);
    for (const float value : mine) {
      const auto word = std::bit_cast<std::uint32_t>(value);
      if (value > 0 && (word >> fixed_below) == (prefix >> fixed_below)) ++counts[(word >> shift) & ((1U << bits) - 1)];
    }
    comm::sum(comm, counts);
    std::size_t bin = counts.size();
    while (bin > 0 && n > 0) n -= counts[--bin];
    if (n > 0) return 0; // only in the first round: there are fewer
    n += counts[bin];
    prefix |= static_cast<std::uint32_t>(bin) << shift;
    fixed_below = shift;
  }
  return std::bit_cast<float>(prefix);
}

/// A number that the smallest kept entry cannot lie below: among a few times k of each row it can only be smaller.
float BatchTopK::find_floor(std::span<const float> centred, Codes& codes) {
  search().top_k(centred, static_cast<int>(std::min<Index>(settings_.latents, 4 * Index{settings_.k})), codes);
  return nth_largest(comm_, codes.value, settings_.k * settings_.batch);
}

void BatchTopK::encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) {
  search().update(parameters.encoder(), parameters.b_enc(), {}, {});
  const Index wanted = settings_.k * settings_.batch;
  if (floor_ < 0) floor_ = find_floor(centred, codes);
  search().above(centred, floor_, codes);
  while (floor_ > 0 && comm::sum_of(comm_, codes.entries()) < wanted) { // the floor of the step before was too high
    floor_ *= floor_ > 1e-6F ? 0.8F : 0.0F;
    search().above(centred, floor_, codes);
  }
  const float smallest = nth_largest(comm_, codes.value, wanted);
  keep_if(codes, [&](Index s) { return codes.value[at(s)] > 0 && codes.value[at(s)] >= smallest; });
  steps_ += 1;
  threshold_ += (static_cast<double>(smallest) - threshold_) / std::min(steps_, 100.0);
  floor_ = 0.92F * smallest;
}

void BatchTopK::describe(const FlatParameters& /*parameters*/, Sae& sae) const {
  sae.architecture = Sae::Architecture::jumprelu;
  sae.threshold.assign(at(settings_.latents), static_cast<float>(threshold_));
}

std::vector<double> BatchTopK::state() const {
  auto state = Architecture::state();
  state.insert(state.end(), {static_cast<double>(floor_), threshold_, steps_});
  return state;
}

void BatchTopK::set_state(std::span<const double> state) {
  Architecture::set_state(state);
  floor_ = static_cast<float>(state[1]);
  threshold_ = state[2];
  steps_ = state[3];
}

std::unique_ptr<Architecture> make_batch_top_k(const comm::Communicator& comm, const ArchitectureSettings& settings) {
  return std::make_unique<BatchTopK>(comm, settings);
}

} // namespace concord::sae
