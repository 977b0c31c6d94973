#include "concord/sae/training/metrics.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/sae/search/encoder.hpp"

#include "sae/numbers/decode.hpp"
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace concord::sae {
namespace {

constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

double share(double part, double whole) {
  return whole > 0 ? part / whole : undefined;
}

/// Sums over rows.
class Sums {
public:
  Sums(const Sae& sae, Encoder& encoder) : sae_(sae), encoder_(encoder), columns_(at(4 * sae.d), 0.0), firings_(at(sae.latents), 0) {}

  void add(std::span<const float> x) {
    codes_.clear();
    encoder_.encode(x, codes_, /*before_top_k=*/false); // how good the SAE is, whatever is asked of its codes
    const Index d = sae_.d;
    const Index n = static_cast<Index>(x.size()) / d;
    reconstruction_.resize(x.size());
    const Index pieces = (n + row_piece - 1) / row_piece;
    std::vector<double> columns(at(pieces * 4 * d), 0.0);
    std::vector<double> scalars(at(pieces * 4), 0.0);
    for_row_pieces(n, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) std::copy(sae_.b_dec.begin(), sae_.b_dec.end(), reconstruction_.begin() + r * d);
      decode_rows(codes_, codes_.value.data(), sae_.decoder.data(), d, 0, static_cast<std::int32_t>(sae_.latents), begin, end,
                  reconstruction_.data());
      const Index piece = begin / row_piece;
      for (Index r = begin; r < end; ++r)
        add_row(x.data() + r * d, reconstruction_.data() + r * d, columns.data() + piece * 4 * d, scalars.data() + piece * 4);
    });
    for (std::size_t i = 0; i < columns.size(); ++i) columns_[i % columns_.size()] += columns[i];
    for (std::size_t i = 0; i < scalars.size(); ++i) scalars_[i % 4] += scalars[i];
    for (const float a : codes_.value) scalars_[4] += static_cast<double>(a);
    for (const auto j : codes_.index) ++firings_[at(j)];
  }

  void sum_over(const comm::Communicator& comm) {
    comm::sum(comm, columns_);
    comm::sum(comm, scalars_);
    comm::sum(comm, firings_);
  }

  void add(const Sums& others) {
    for (std::size_t i = 0; i < columns_.size(); ++i) columns_[i] += others.columns_[i];
    for (std::size_t i = 0; i < scalars_.size(); ++i) scalars_[i] += others.scalars_[i];
    for (std::size_t j = 0; j < firings_.size(); ++j) firings_[j] += others.firings_[j];
  }

  Index rows() const { return static_cast<Index>(scalars_[0]); }

  Metrics metrics() const {
    Metrics m;
    m.rows = rows();
    m.firings = firings_;
    const double n = scalars_[0] > 0 ? scalars_[0] : undefined;
    m.cosine = scalars_[1] / n;
    m.relative_norm = scalars_[2] / n;
    m.l1 = scalars_[4] / n;
    m.l0 = static_cast<double>(std::accumulate(firings_.begin(), firings_.end(), Index{0})) / n;
    const auto whole = variances(0, sae_.d, n);
    m.fvu = share(whole.squared_error, whole.rows);
    m.fvu_all_rows = m.fvu;
    m.explained_variance = 1 - share(whole.errors, whole.rows);
    Index begin = 0;
    for (const Index width : sae_.parts) {
      const auto part = variances(begin, begin + width, n);
      m.part_fvu.push_back(share(part.squared_error, part.rows));
      begin += width;
    }
    return m;
  }

private:
  /// columns [4, d]: sums of x, x^2, e, e^2; scalars: rows, cosine, relative norm.
  void add_row(const float* x, const float* reconstruction, double* columns, double* scalars) const {
    const Index d = sae_.d;
    double across = 0, xx = 0, rr = 0;
    for (Index c = 0; c < d; ++c) {
      const double v = x[c], w = reconstruction[c], e = v - w;
      columns[c] += v;
      columns[d + c] += v * v;
      columns[2 * d + c] += e;
      columns[3 * d + c] += e * e;
      across += v * w;
      xx += v * v;
      rr += w * w;
    }
    scalars[0] += 1;
    if (xx > 0) scalars[1] += rr > 0 ? across / std::sqrt(xx * rr) : 0.0;
    if (xx > 0) scalars[2] += std::sqrt(rr / xx);
  }

  struct Variances {
    double rows = 0, errors = 0, squared_error = 0;
  };
  Variances variances(Index begin, Index end, double n) const {
    Variances v;
    const auto d = at(sae_.d);
    for (std::size_t c = at(begin); c < at(end); ++c) {
      v.rows += columns_[d + c] - columns_[c] * columns_[c] / n;
      v.errors += columns_[3 * d + c] - columns_[2 * d + c] * columns_[2 * d + c] / n;
      v.squared_error += columns_[3 * d + c];
    }
    return v;
  }

  const Sae& sae_;
  Encoder& encoder_;
  Codes codes_;
  std::vector<float> reconstruction_;
  std::vector<double> columns_;
  std::vector<double> scalars_ = std::vector<double>(5, 0.0);
  std::vector<Index> firings_;
};

} // namespace

Index Metrics::silent() const {
  return std::count(firings.begin(), firings.end(), Index{0});
}

Index Metrics::dense() const {
  return std::count_if(firings.begin(), firings.end(), [&](Index count) { return 10 * count > rows; });
}

nlohmann::json Metrics::json() const {
  constexpr double lowest = -6, width = 0.5;
  std::vector<double> edges;
  for (double edge = lowest; edge <= 0.0; edge += width) edges.push_back(edge);
  std::vector<Index> histogram(edges.size(), 0); // the last: always active
  for (const Index count : firings)
    if (count > 0) {
      const double place = (std::log10(static_cast<double>(count) / static_cast<double>(std::max<Index>(1, rows))) - lowest) / width;
      ++histogram[std::min(histogram.size() - 1, static_cast<std::size_t>(std::max(0.0, place)))];
    }
  nlohmann::json record{{"held_out_rows", rows}, // NaN becomes null
                        {"held_out_rows_left_out", left_out},
                        {"fvu", fvu},
                        {"fvu_all_rows", fvu_all_rows},
                        {"explained_variance", explained_variance},
                        {"l0", l0},
                        {"l1", l1},
                        {"cosine", cosine},
                        {"relative_norm", relative_norm},
                        {"silent", nullptr},
                        {"dense", nullptr},
                        {"density", nullptr}};
  if (rows > 0) record.update({{"silent", silent()}, {"dense", dense()}, {"density", {{"log10_edges", edges}, {"latents", histogram}}}});
  if (!part_fvu.empty()) record["part_fvu"] = part_fvu;
  return record;
}

Metrics evaluate(const comm::Communicator& comm, const Sae& sae, RowFeed& feed, const NormLimit& limit) {
  Encoder encoder(sae, /*before_top_k=*/false, &comm);
  Sums sums(sae, encoder);
  Sums of_others(sae, encoder);
  std::vector<float> kept;
  std::vector<float> others;
  const comm::StopWithin stop; // the training itself is safe in its checkpoint
  bool stopped = false;
  const auto add = [&](std::span<const float> x) {
    stopped = stopped || stop.wanted_here();
    if (stopped) return;
    kept.clear();
    others.clear();
    for (std::size_t i = 0; i < x.size(); i += at(sae.d)) {
      auto& to = limit.keeps(x.data() + i) ? kept : others;
      to.insert(to.end(), x.begin() + static_cast<Index>(i), x.begin() + static_cast<Index>(i) + sae.d);
    }
    sums.add(kept);
    if (!others.empty()) of_others.add(others);
  };
  comm::agree(comm, [&] { feed.held_out(add); });
  if (comm::max_of(comm, Index{stopped}) > 0) comm::throw_stopped("train-sae");
  sums.sum_over(comm);
  of_others.sum_over(comm);
  Metrics metrics = sums.metrics();
  metrics.left_out = of_others.rows();
  if (metrics.left_out == 0) return metrics;
  of_others.add(sums);
  metrics.fvu_all_rows = of_others.metrics().fvu;
  return metrics;
}

Fit fit_of(const Sae& sae, Encoder& encoder, std::span<const float> rows) {
  Sums sums(sae, encoder);
  sums.add(rows);
  const Metrics metrics = sums.metrics();
  return {metrics.fvu, metrics.l0};
}

std::vector<double> relative_decoder_norms(const Sae& crosscoder, const std::vector<double>& scales) {
  std::vector<double> shares;
  const Index d_a = crosscoder.parts.at(0);
  for (Index j = 0; j < crosscoder.latents; ++j) {
    const float* row = crosscoder.decoder.data() + j * crosscoder.d;
    const double a = scales.at(0) * std::sqrt(squared_norm({row, at(d_a)}));
    const double b = scales.at(1) * std::sqrt(squared_norm({row + d_a, at(crosscoder.d - d_a)}));
    shares.push_back(a + b > 0 ? b / (a + b) : 0.5);
  }
  return shares;
}

} // namespace concord::sae
