#include "sae/training/start.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/error.hpp"
#include "concord/core/philox.hpp"
#include "concord/sae/rows/norm_limit.hpp"

#include "sae/numbers/rows.hpp"
#include "sae/step/optimizer.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {
namespace {

/// Numbers as multiples of a power of two, so that their sum is the same in any order: up to `terms` of them, none larger
/// than `largest` in size.
class FixedPoint {
public:
  FixedPoint(double largest, Index terms)
      : unit_(std::exp2(std::ceil(std::log2(std::max(largest, 1e-300) * static_cast<double>(std::max<Index>(terms, 1)))) - 62)) {}
  Index operator()(double x) const { return static_cast<Index>(x / unit_); }
  double back(Index sum) const { return static_cast<double>(sum) * unit_; }

private:
  double unit_;
};

class Beginning {
public:
  Beginning(const comm::Communicator& comm, RowFeed& feed, const Start& how) : comm_(comm), feed_(feed), how_(how), d_(feed.cols()) {
    comm::agree(comm_, [&] { feed_.sample(sample_); });
    medians_ = median_norms(comm_, feed_.parts(), sample_.rows);
    NormLimit(feed_.parts(), medians_, how_.max_norm).thin(sample_);
    total_ = comm::sum_of(comm_, static_cast<Index>(sample_.positions.size()));
  }

  const std::vector<double>& medians() const { return medians_; }

  /// Of the sample, which is scaled by them.
  std::vector<double> scales() {
    std::vector<double> scales;
    Index begin = 0;
    for (const Index width : feed_.parts()) {
      scales.push_back(scale_of(begin, width));
      begin += width;
    }
    scale_rows(sample_.rows, feed_.parts(), scales);
    return scales;
  }

  /// Weiszfeld's iteration over all ranks.
  std::vector<double> geometric_median() const {
    float largest = 0;
    for (const float x : sample_.rows) largest = std::max(largest, std::abs(x));
    const double bound = comm::max_of(comm_, static_cast<double>(largest));
    std::vector<double> centre(at(d_), 0.0);
    std::vector<double> weights(rows(), 1.0); // the mean first
    for (int iteration = 0; iteration < 30; ++iteration) {
      if (iteration > 0) inverse_distances(centre, weights);
      const double heaviest = comm::max_of(comm_, weights.empty() ? 0.0 : *std::max_element(weights.begin(), weights.end()));
      const FixedPoint fixed(heaviest * bound, total_);
      const FixedPoint fixed_weight(heaviest, total_);
      std::vector<Index> sums(at(d_ + 1), 0); // weighted sum and weight
      for (std::size_t r = 0; r < weights.size(); ++r) {
        const float* row = sample_.rows.data() + r * at(d_);
        for (Index c = 0; c < d_; ++c) sums[at(c)] += fixed(weights[r] * static_cast<double>(row[c]));
        sums[at(d_)] += fixed_weight(weights[r]);
      }
      comm::sum(comm_, sums);
      for (Index c = 0; c < d_; ++c) centre[at(c)] = fixed.back(sums[at(c)]) / fixed_weight.back(sums[at(d_)]);
    }
    return centre;
  }

  /// The best multiple of the first reconstructions for the first rows of the sample: without it the sum of many unit vectors overshoots
  /// where rows lie in few dimensions. 1 where nothing fires yet.
  float encoder_factor(const FlatParameters& parameters, Step& step) {
    constexpr Index wanted = 4096;
    const auto mine =
        static_cast<std::size_t>(std::lower_bound(sample_.positions.begin(), sample_.positions.end(), wanted) - sample_.positions.begin());
    sample_.positions.resize(mine);
    step.forward(parameters, std::span<const float>(sample_.rows).first(mine * at(d_)), sample_.positions, {}, 0.0F);
    std::vector<double> across(mine, 0.0);
    std::vector<double> along(mine, 0.0);
    double largest = 0;
    for (std::size_t r = 0; r < mine; ++r) {
      for (std::size_t i = r * at(d_); i < (r + 1) * at(d_); ++i) {
        const double decoded = static_cast<double>(step.rows().error[i]) + static_cast<double>(step.rows().centred[i]);
        across[r] += decoded * static_cast<double>(step.rows().centred[i]);
        along[r] += decoded * decoded;
      }
      largest = std::max({largest, std::abs(across[r]), along[r]});
    }
    const FixedPoint fixed(comm::max_of(comm_, largest), std::min(wanted, total_));
    std::vector<Index> sums(2, 0);
    for (std::size_t r = 0; r < mine; ++r) {
      sums[0] += fixed(across[r]);
      sums[1] += fixed(along[r]);
    }
    comm::sum(comm_, sums);
    return sums[0] > 0 && sums[1] > 0 ? static_cast<float>(fixed.back(sums[0]) / fixed.back(sums[1])) : 1.0F;
  }

private:
  std::size_t rows() const { return sample_.rows.size() / at(d_); }

  double scale_of(Index begin, Index width) const {
    if (how_.normalisation == Normalisation::none) return 1;
    const bool squares = how_.normalisation == Normalisation::unit_square;
    std::vector<double> sizes; // |x| or |x|^2
    for (std::size_t r = 0; r < rows(); ++r) {
      const double square = squared_norm({sample_.rows.data() + r * at(d_) + begin, at(width)});
      sizes.push_back(squares ? square : std::sqrt(square));
    }
    const FixedPoint fixed(comm::max_of(comm_, sizes.empty() ? 0.0 : *std::max_element(sizes.begin(), sizes.end())), total_);
    Index sum = 0;
    for (const double size : sizes) sum += fixed(size);
    const double mean = fixed.back(comm::sum_of(comm_, sum)) / static_cast<double>(total_);
    comm::agree(comm_, [&] { require(mean > 0, ExitCode::bad_data, "{}: all rows are zero", feed_.location()); });
    return squares ? 1 / std::sqrt(mean) : std::sqrt(static_cast<double>(d_) / static_cast<double>(feed_.parts().size())) / mean;
  }

  void inverse_distances(const std::vector<double>& centre, std::vector<double>& weights) const {
    const std::size_t d = centre.size();
    for (std::size_t r = 0; r < weights.size(); ++r) {
      const float* row = sample_.rows.data() + r * d;
      double distance = 0;
#pragma omp simd reduction(+ : distance)
      for (std::size_t c = 0; c < d; ++c) distance += (row[c] - centre[c]) * (row[c] - centre[c]);
      weights[r] = 1.0 / std::max(std::sqrt(distance), 1e-9);
    }
  }

  const comm::Communicator& comm_;
  RowFeed& feed_;
  const Start& how_;
  Index d_;
  Index total_ = 0; ///< rows of the sample, of all ranks
  Batch sample_;    ///< this rank's
  std::vector<double> medians_;
};

} // namespace

double norm_after(Normalisation normalisation, Index d) {
  if (normalisation == Normalisation::none) return 0;
  return normalisation == Normalisation::sqrt_d ? std::sqrt(static_cast<double>(d)) : 1.0;
}

void scale_rows(std::span<float> rows, const std::vector<Index>& parts, const std::vector<double>& scales) {
  Index d = 0;
  for (const Index width : parts) d += width;
  for_rows(static_cast<Index>(rows.size()) / d, [&](Index r) {
    float* x = rows.data() + r * d;
    for (std::size_t part = 0; part < parts.size(); ++part) {
      const auto scale = static_cast<float>(scales[part]);
      for (Index c = 0; c < parts[part]; ++c) *x++ *= scale;
    }
  });
}

Started start(const comm::Communicator& comm, RowFeed& feed, const Start& how, Architecture& architecture, Step& step, Exchange& exchange,
              FlatParameters& parameters) {
  Beginning beginning(comm, feed, how);
  Started started{beginning.scales(), beginning.medians()};
  const auto centre = beginning.geometric_median();
  std::copy(centre.begin(), centre.end(), parameters.b_dec().begin());
  const Index d = parameters.d;
  const auto mine = [&](std::span<float> rows) { return rows.subspan(at(exchange.first() * d), at(exchange.count() * d)); };
  const auto decoder = mine(parameters.decoder());
  const std::string stream = "sae-init " + feed.digest();
  for_rows(exchange.count(), [&](Index i) {
    const Philox random(how.seed, stream, static_cast<std::uint64_t>(how.layer), static_cast<std::uint64_t>(exchange.first() + i));
    for (Index c = 0; c < d; ++c) decoder[at(i * d + c)] = static_cast<float>(random.normal(static_cast<std::uint64_t>(c)));
    unit_row(decoder.data() + i * d, d);
  });
  std::copy(decoder.begin(), decoder.end(), mine(parameters.encoder()).begin());
  architecture.initialise(parameters, exchange.first(), exchange.count());
  exchange.spread();
  const auto state = architecture.state();
  const float factor = beginning.encoder_factor(parameters, step);
  architecture.set_state(state); // as if the sample had not been seen
  for (float& w : mine(parameters.encoder())) w *= factor;
  exchange.spread();
  return started;
}

} // namespace concord::sae
