#pragma once
/// How a training begins: scales, b_dec from a geometric median, random decoder, fitted encoder. Collective over `comm`; the same bits at
/// any number of ranks.

#include "concord/comm/session.hpp"
#include "concord/sae/rows/row_feed.hpp"

#include "sae/numbers/parameters.hpp"
#include "sae/step/exchange.hpp"
#include "sae/step/step.hpp"
#include <string>
#include <vector>

namespace concord::sae {

/// Mean norm of the rows behind it; 0 where it is not known.
double norm_after(Normalisation normalisation, Index d);

/// rows [n, cols of all parts] times the scale of their part. Local; threads share the work.
void scale_rows(std::span<float> rows, const std::vector<Index>& parts, const std::vector<double>& scales);

struct Start {
  Normalisation normalisation = Normalisation::sqrt_d;
  std::uint64_t seed = 0;
  int layer = 0;
  double max_norm = 0; ///< longer rows, in medians of the sample's norms, are left out of the sample; 0: none
};

struct Started {
  std::vector<double> scales;  ///< what rows are to be multiplied by, one a model
  std::vector<double> medians; ///< of the norms of the sample's rows, as stored, one a model
};

/// Sets all parameters from the feed's sample: b_dec its geometric median, decoder rows random of unit norm, the encoder the multiple
/// of their transpose for which the first reconstructions fit best. The random stream of a decoder row is keyed by the seed, the layer and
/// the identity of the rows: no two models share one, whatever their seeds.
/// @throws Error bad_data (all rows zero, not finite); agreed.
Started start(const comm::Communicator& comm, RowFeed& feed, const Start& how, Architecture& architecture, Step& step, Exchange& exchange,
              FlatParameters& parameters);

} // namespace concord::sae
