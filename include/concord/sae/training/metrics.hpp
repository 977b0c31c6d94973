#pragma once
/// How good an SAE is on rows it was not trained on.

#include "concord/comm/session.hpp"
#include "concord/sae/rows/norm_limit.hpp"
#include "concord/sae/rows/row_feed.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/search/encoder.hpp"

#include <nlohmann/json.hpp>

#include <vector>

namespace concord::sae {

/// Over the rows of all ranks, in f64; means are over rows, variances about the mean over all rows. What has no value is NaN: all without a
/// row, shares of a variance where that is 0.
struct Metrics {
  Index rows = 0;
  Index left_out = 0;            ///< further rows, beyond the limit of norms; they count in fvu_all_rows alone
  double fvu_all_rows = 0;       ///< fvu with them
  double fvu = 0;                ///< sum |x - x^|^2 / sum |x - mean x|^2
  double explained_variance = 0; ///< 1 - sum |e - mean e|^2 / sum |x - mean x|^2, e = x - x^: a constant error does not count
  double l0 = 0;                 ///< active latents a row
  double l1 = 0;                 ///< sum of codes a row
  double cosine = 0;             ///< of x and x^
  double relative_norm = 0;      ///< |x^| / |x|
  std::vector<double> part_fvu;  ///< of each model, for a crosscoder
  std::vector<Index> firings;    ///< rows on which each latent fires, [F]
  Index silent() const;          ///< latents that fire on no row
  Index dense() const;           ///< latents that fire on more than a tenth of the rows
  /// All of the above, null for what has no value; the firings as a histogram: latents whose log10 of the share of rows lies in [edges[i],
  /// edges[i + 1]).
  nlohmann::json json() const;
};

/// On the held-out rows of a feed that `limit` keeps; all ranks have the same SAE. Collective over `comm`. @throws Error bad_data, or
/// stopped when it takes long; agreed.
Metrics evaluate(const comm::Communicator& comm, const Sae& sae, RowFeed& feed, const NormLimit& limit);

/// FVU and L0 of rows [n, d] that are at hand, by an encoder of the SAE. Local.
struct Fit {
  double fvu = 0;
  double l0 = 0;
};
Fit fit_of(const Sae& sae, Encoder& encoder, std::span<const float> rows);

/// Of each latent of a crosscoder, |W_dec of model B| / (|W_dec of model A| + |W_dec of model B|), each on its model's training scale
/// (`scales`, which the weights are free of): near 1/2 it is in both models, near 0 in A alone, near 1 in B alone (Lindsey et al. 2024).
/// Local.
std::vector<double> relative_decoder_norms(const Sae& crosscoder, const std::vector<double>& scales);

} // namespace concord::sae
