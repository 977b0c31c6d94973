#include "sae/step/step_rows.hpp"

#include "sae/kinds/architecture.hpp"
#include "sae/numbers/dense.hpp"
#include "sae/numbers/rows.hpp"
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
      for (Index s = rows.codes.begin(r); s < rows.codes.end(r); ++s) to[2 * d + 2] += rows.codes.value[at(s)] > 0 ? 1 : 0;
    }
  });
  StepMoments moments(d);
  add_pieces(sums, moments.sums.data(), width);
  return moments;
}

namespace {

/// The gradients of one latent while the entries of its codes pass by.
struct LatentSum {
  RowSum encoder, decoder;
  float through_encoder = 0; ///< dL/d(W_enc[j] (x - b_dec)) over rows
  float values = 0;

  LatentSum(FlatParameters& gradients, Index i, bool fresh = true)
      : encoder(gradients.encoder().data() + i * gradients.d, gradients.d, fresh),
        decoder(gradients.decoder().data() + i * gradients.d, gradients.d, fresh) {}

  /// Entries [begin, end): x on their rows goes to the encoder, `pull` (rows `stride` apart) to the decoder.
  void add(const std::vector<CodesByLatent::Entry>& entries, Index begin, Index end, const float* centred, Index d, const float* pull,
           Index stride, float scale) {
    for (Index e = begin; e < end; ++e) {
      const auto& entry = entries[at(e)];
      const auto ahead = at(std::min(e + 4, end - 1)); // sums take four rows at once
      prefetch_row(centred + entries[ahead].row * d, d);
      prefetch_row(pull + entries[ahead].row * stride, d);
      if (entry.gradient != 0) encoder.add(centred + entry.row * d, entry.gradient);
      if (entry.value != 0) decoder.add(pull + entry.row * stride, scale * entry.value);
      through_encoder += entry.gradient;
      values += entry.value;
    }
  }
  void finish() {
    encoder.finish();
    decoder.finish();
  }
};

/// A few latents at a time, so that their rows of gradients stay near while the rows of the batch pass by.
class LatentGradients {
public:
  LatentGradients(const StepRows& rows, const Architecture& architecture, const FlatParameters& parameters, Index first, float scale,
                  FlatParameters& gradients)
      : rows_(rows), architecture_(architecture), parameters_(parameters), first_(first), scale_(scale), gradients_(gradients) {
    order_ = rows.order();
    codes_.sort(rows.codes, order_, first, gradients.latents);
    if (rows.with_aux) aux_.sort(rows.aux, order_, first, gradients.latents);
    place_.resize(order_.size());
    for (std::size_t place = 0; place < order_.size(); ++place) place_[at(order_[place])] = static_cast<Index>(place);
  }

  /// Whether latents [begin, end) of the share are active on so many rows that run_dense() is faster.
  bool dense(Index begin, Index end) const {
    const auto entries = static_cast<double>(codes_.begin[at(end)] - codes_.begin[at(begin)]);
    return rows_.prefixes.size() == 1 && entries > dense_above * static_cast<double>((end - begin) * rows_.count());
  }

  /// run() as a product of matrices, to the same bits.
  void run_dense(Index begin, Index end, float* through_encoder) {
    thread_local DenseWeights of_encoder, of_decoder;
    const Index count = end - begin;
    std::vector<LatentSum> sums;
    std::vector<Index> next;
    std::vector<float*> encoder, decoder;
    for (Index i = begin; i < end; ++i) {
      sums.emplace_back(gradients_, i, /*fresh=*/false);
      next.push_back(codes_.begin[at(i)]);
      encoder.push_back(gradients_.encoder().data() + i * rows_.d);
      decoder.push_back(gradients_.decoder().data() + i * rows_.d);
    }
    std::vector<const float*> centred, pull;
    for (Index first = 0; first < rows_.count(); first += DenseWeights::most) {
      const Index last = std::min(rows_.count(), first + DenseWeights::most);
      centred.clear();
      pull.clear();
      for (Index place = first; place < last; ++place) {
        centred.push_back(rows_.centred.data() + order_[at(place)] * rows_.d);
        pull.push_back(rows_.pull(0) + order_[at(place)] * rows_.stride());
      }
      of_encoder.clear(count);
      of_decoder.clear(count);
      for (Index i = 0; i < count; ++i)
        for (Index& e = next[at(i)]; e < codes_.begin[at(begin + i + 1)] && place_[at(codes_.entries[at(e)].row)] < last; ++e) {
          const auto& entry = codes_.entries[at(e)];
          of_encoder.of(i, place_[at(entry.row)] - first) = entry.gradient;
          of_decoder.of(i, place_[at(entry.row)] - first) = scale_ * entry.value;
          sums[at(i)].through_encoder += entry.gradient;
          sums[at(i)].values += entry.value;
        }
      add_dense(of_encoder, centred, rows_.d, encoder, first == 0);
      add_dense(of_decoder, pull, rows_.d, decoder, first == 0);
    }
    for (Index i = begin; i < end; ++i) finish(i, sums[at(i - begin)], through_encoder);
  }

  /// Latents [begin, end) of the share; adds to `through_encoder` [d].
  void run(Index begin, Index end, float* through_encoder) {
    std::vector<LatentSum> sums;
    for (Index i = begin; i < end; ++i) sums.emplace_back(gradients_, i);
    // Latents that are active on many rows take them by turns: rows that one has fetched are near for the next.
    const Index rounds = 1 + (codes_.begin[at(end)] - codes_.begin[at(begin)]) / ((end - begin) * row_piece);
    for (Index round = 0; round < rounds; ++round)
      for (Index i = begin; i < end; ++i) {
        const Index from = codes_.begin[at(i)];
        const Index entries = codes_.begin[at(i + 1)] - from;
        const std::size_t g = prefix_of(first_ + i);
        sums[at(i - begin)].add(codes_.entries, from + entries * round / rounds, from + entries * (round + 1) / rounds,
                                rows_.centred.data(), rows_.d, rows_.pull(g), rows_.stride(), scale_);
      }
    for (Index i = begin; i < end; ++i) finish(i, sums[at(i - begin)], through_encoder);
  }

private:
  std::size_t prefix_of(Index latent) const {
    return static_cast<std::size_t>(std::upper_bound(rows_.prefixes.begin(), rows_.prefixes.end() - 1, latent) - rows_.prefixes.begin());
  }

  void finish(Index i, LatentSum& sum, float* through_encoder) {
    const float values = sum.values; // AuxK's codes are not penalised
    if (rows_.with_aux)
      sum.add(aux_.entries, aux_.begin[at(i)], aux_.begin[at(i + 1)], rows_.centred.data(), rows_.d, rows_.aux_gradient.data(), rows_.d,
              1.0F);
    sum.finish();
    gradients_.b_enc()[at(i)] = sum.through_encoder;
    for (Index x = 0; x < codes_.extras; ++x) {
      float of_scalar = 0;
      for (Index e = codes_.begin[at(i)]; e < codes_.begin[at(i + 1)]; ++e) of_scalar += codes_.extra[at(e * codes_.extras + x)];
      gradients_.scalar(x + 1)[at(i)] = of_scalar;
    }
    const Index j = first_ + i;
    if (sum.through_encoder != 0) add_scaled(through_encoder, parameters_.encoder().data() + j * rows_.d, -sum.through_encoder, rows_.d);
    architecture_.finish_gradients(parameters_, j, values, gradients_, i);
  }

  const StepRows& rows_;
  const Architecture& architecture_;
  const FlatParameters& parameters_;
  Index first_;
  float scale_;
  FlatParameters& gradients_;
  std::vector<Index> order_; ///< of rows
  std::vector<Index> place_; ///< of each row in it
  CodesByLatent codes_;
  CodesByLatent aux_;
};

constexpr Index latents_together = 16, dense_latents_together = 64;

} // namespace

SharedSums weight_gradients(const StepRows& rows, const Architecture& architecture, const FlatParameters& parameters, Index first,
                            float scale, FlatParameters& gradients, const std::function<void(Index)>& each) {
  const Index d = rows.d;
  const Index pieces = (gradients.latents + latent_piece - 1) / latent_piece;
  SharedSums sums{std::vector<float>(at(pieces * d), 0.0F), std::vector<float>(at(d), 0.0F)};
  LatentGradients latents(rows, architecture, parameters, first, scale, gradients);
  for_pieces(pieces, [&](Index piece) {
    const Index piece_end = std::min(gradients.latents, (piece + 1) * latent_piece);
    float* through_encoder = sums.through_encoder.data() + piece * d;
    for (Index begin = piece * latent_piece; begin < piece_end; begin += dense_latents_together) {
      const Index end = std::min(piece_end, begin + dense_latents_together);
      if (latents.dense(begin, end))
        latents.run_dense(begin, end, through_encoder);
      else
        for (Index here = begin; here < end; here += latents_together)
          latents.run(here, std::min(end, here + latents_together), through_encoder);
      for (Index i = begin; each && i < end; ++i) each(i);
    }
  });
  const auto order = rows.order();
  const Index row_pieces = (rows.count() + row_piece - 1) / row_piece;
  std::vector<float> errors(at(row_pieces * d), 0.0F);
  for_pieces(row_pieces, [&](Index piece) {
    for (Index i = piece * row_piece; i < std::min(rows.count(), (piece + 1) * row_piece); ++i)
      add_scaled(errors.data() + piece * d, rows.pull(0) + order[at(i)] * rows.stride(), scale, d);
  });
  add_pieces(errors, sums.error.data(), d);
  return sums;
}

} // namespace concord::sae
