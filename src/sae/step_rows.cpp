#include "concord/sae/step_rows.hpp"

#include "sae/rows.hpp"
#include <algorithm>
#include <numeric>

namespace concord::sae {
namespace {

/// [pieces, width] sums into one row, in the order of the pieces.
template <typename T>
void add_pieces(const std::vector<T>& pieces, T* to, Index width) {
  for (std::size_t i = 0; i < pieces.size(); ++i) to[i % at(width)] += pieces[i];
}

} // namespace

std::vector<Index> StepRows::order() const {
  std::vector<Index> rows(positions.size());
  std::iota(rows.begin(), rows.end(), Index{0});
  std::sort(rows.begin(), rows.end(), [&](Index a, Index b) { return positions[at(a)] < positions[at(b)]; });
  return rows;
}

double StepMoments::variance(std::size_t first, double squares, Index rows) const {
  double of_mean = 0;
  for (std::size_t c = first; c < first + (sums.size() - 3) / 2; ++c) of_mean += sums[c] * sums[c];
  return squares - of_mean / static_cast<double>(rows);
}

StepMoments moments_of(const StepRows& rows) {
  const Index d = rows.d;
  const auto order = rows.order();
  const Index pieces = (rows.count() + row_piece - 1) / row_piece;
  const Index width = 2 * d + 3;
  std::vector<double> sums(at(pieces * width), 0.0);
  const auto add = [d](const float* row, double* sum, double& squares) {
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (Index c = 0; c < d; ++c) {
      const double x = row[c];
      sum[c] += x;
      s += x * x;
    }
    squares += s;
  };
  for_pieces(pieces, [&](Index piece) {
    double* to = sums.data() + piece * width;
    for (Index i = piece * row_piece; i < std::min(rows.count(), (piece + 1) * row_piece); ++i) {
      const Index r = order[at(i)];
      add(rows.error.data() + r * d, to, to[2 * d]);
      add(rows.centred.data() + r * d, to + d, to[2 * d + 1]);
      for (Index s = r * rows.codes.slots; s < (r + 1) * rows.codes.slots; ++s) to[2 * d + 2] += rows.codes.index[at(s)] >= 0 ? 1 : 0;
    }
  });
  StepMoments moments(d);
  add_pieces(sums, moments.sums.data(), width);
  return moments;
}

namespace {

/// Latent by latent, so that its two rows of gradients stay near while the rows of the batch pass by.
class LatentGradients {
public:
  LatentGradients(const StepRows& rows, const FlatParameters& parameters, Index first, float scale, FlatParameters& gradients)
      : rows_(rows), parameters_(parameters), first_(first), scale_(scale), gradients_(gradients) {
    const auto order = rows.order();
    codes_.sort(rows.codes, order, first, gradients.latents);
    if (with_aux()) aux_.sort(rows.aux, order, first, gradients.latents);
  }

  /// Latent `i` of the share; adds to `through_encoder` [d].
  void run(Index i, float* through_encoder) {
    const Index d = rows_.d;
    float* encoder = gradients_.encoder().data() + i * d;
    float* decoder = gradients_.decoder().data() + i * d;
    float bias = sum(codes_, i, rows_.error, scale_, encoder, decoder, /*fresh=*/true);
    if (with_aux()) bias += sum(aux_, i, rows_.aux_gradient, 1.0F, encoder, decoder, /*fresh=*/false);
    gradients_.b_enc()[at(i)] = bias;
    if (bias != 0) add_scaled(through_encoder, parameters_.encoder().data() + (first_ + i) * d, -bias, d);
  }

private:
  bool with_aux() const { return !rows_.aux_gradient.empty(); }

  float sum(const CodesByLatent& codes, Index i, const std::vector<float>& error_gradient, float scale, float* encoder, float* decoder,
            bool fresh) const {
    float bias = 0;
    RowSum to_encoder(encoder, rows_.d, fresh);
    RowSum to_decoder(decoder, rows_.d, fresh);
    for (Index e = codes.begin[at(i)]; e < codes.begin[at(i + 1)]; ++e) {
      const auto& entry = codes.entries[at(e)];
      const auto ahead = at(std::min(e + 4, codes.begin[at(i + 1)] - 1)); // sums take four rows at once
      prefetch_row(rows_.centred.data() + codes.entries[ahead].row * rows_.d, rows_.d);
      prefetch_row(error_gradient.data() + codes.entries[ahead].row * rows_.d, rows_.d);
      to_encoder.add(rows_.centred.data() + entry.row * rows_.d, entry.gradient);
      to_decoder.add(error_gradient.data() + entry.row * rows_.d, scale * entry.value);
      bias += entry.gradient;
    }
    return bias;
  }

  const StepRows& rows_;
  const FlatParameters& parameters_;
  Index first_;
  float scale_;
  FlatParameters& gradients_;
  CodesByLatent codes_;
  CodesByLatent aux_;
};

} // namespace

SharedSums weight_gradients(const StepRows& rows, const FlatParameters& parameters, Index first, float scale, FlatParameters& gradients,
                            const std::function<void(Index)>& each) {
  const Index d = rows.d;
  const Index pieces = (gradients.latents + latent_piece - 1) / latent_piece;
  SharedSums sums{std::vector<float>(at(pieces * d), 0.0F), std::vector<float>(at(d), 0.0F)};
  LatentGradients latents(rows, parameters, first, scale, gradients);
  for_pieces(pieces, [&](Index piece) {
    for (Index i = piece * latent_piece; i < std::min(gradients.latents, (piece + 1) * latent_piece); ++i) {
      latents.run(i, sums.through_encoder.data() + piece * d);
      if (each) each(i);
    }
  });
  const auto order = rows.order();
  const Index row_pieces = (rows.count() + row_piece - 1) / row_piece;
  std::vector<float> errors(at(row_pieces * d), 0.0F);
  for_pieces(row_pieces, [&](Index piece) {
    for (Index i = piece * row_piece; i < std::min(rows.count(), (piece + 1) * row_piece); ++i)
      add_scaled(errors.data() + piece * d, rows.error.data() + order[at(i)] * d, scale, d);
  });
  add_pieces(errors, sums.error.data(), d);
  return sums;
}

} // namespace concord::sae
