#include "concord/sae/screen.hpp"

#include "sae/rows.hpp"
#include "sae/screen_kernels.hpp"
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace concord::sae {
namespace {

constexpr Index block_rows = 96;  ///< rows that one thread screens at once: they and a panel of weights fit its cache
constexpr float hoeffding = 3.0F; ///< t
constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

bool can(Screen::Precision precision) {
  return precision == Screen::Precision::f32 || (precision == Screen::Precision::bf16 ? screen::has_bf16 : screen::has_int8);
}

Screen::Precision finer(Screen::Precision precision) {
  return precision == Screen::Precision::int8 ? Screen::Precision::bf16 : Screen::Precision::f32;
}

/// Part of |x| |w| that the sums of screening and of the f32 computation may be off by.
float sums_error(Index d) {
  return 4.0F * static_cast<float>(d) * 0x1p-24F;
}

} // namespace

/// A row while its latents are screened.
struct Screen::Row {
  struct Candidate {
    float score;
    float error;
    std::int32_t latent; ///< place among the weights
  };
  std::vector<Candidate> candidates;
  float threshold = 0; ///< of score + error
  float error = 0;     ///< of a latent of error unit 1
  float scale = 1;     ///< of scores
  std::size_t limit = 0;
  std::vector<std::pair<float, std::int32_t>> chosen;

  void begin(float error_of_unit, int k) {
    candidates.clear();
    error = error_of_unit;
    threshold = 0; // h must be positive
    limit = 8 * static_cast<std::size_t>(k);
  }

  /// Takes scores of a panel of latents from `first`.
  void take(const float* scores, const float* units, std::int32_t first, int k) {
    for (std::uint32_t bits = screen::reaching(scores, units, error, threshold); bits != 0; bits &= bits - 1) {
      const int i = std::countr_zero(bits);
      candidates.push_back({scores[i], error * units[i], first + i});
    }
    if (candidates.size() <= limit) return;
    shrink(k);
    limit = std::max(limit, 2 * candidates.size());
  }

  /// Drops what is surely below k others.
  void shrink(int k) {
    if (static_cast<int>(candidates.size()) <= k) return;
    const auto kth = candidates.begin() + (k - 1);
    std::nth_element(candidates.begin(), kth, candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score - a.error > b.score - b.error; });
    threshold = std::max(threshold, kth->score - kth->error);
    std::erase_if(candidates, [&](const Candidate& c) { return c.score + c.error < threshold; });
  }
};

/// The latents that are screened, as the screening product wants them: in panels, with zeros behind the last.
struct Screen::Weights {
  std::span<const float> encoder;
  std::span<const float> bias_of_all;
  std::vector<std::int32_t> subset; ///< empty: all
  Index count = 0;
  Precision precision = Precision::f32; ///< of what is packed
  std::vector<screen::Line> lines;
  std::vector<float> f32;    ///< of a subset, when the product is f32's
  std::vector<float> bias;   ///< minus infinity behind the last
  std::vector<float> scale;  ///< of a latent's integers
  std::vector<float> offset; ///< what a score is too large by in units of scale: x is stored as x + 128
  std::vector<float> norm;   ///< |w|
  std::vector<float> loss;   ///< |w - w^|, or t D_w
  std::vector<float> unit;   ///< of the error: |w|, or more where the loss is out of proportion
  float loss_of_unit = 0;
  std::int32_t latent(std::int32_t place) const { return subset.empty() ? place : subset[static_cast<std::size_t>(place)]; }
  Index panels() const { return (count + screen::panel - 1) / screen::panel; }
  Index lines_a_panel(Index d) const { return 2 * screen::groups(d, precision == Precision::int8 ? 4 : 2); }

  void pack(Index i, Index d) {
    const std::int32_t j = latent(static_cast<std::int32_t>(i));
    const float* row = encoder.data() + j * d;
    auto* to = lines.data() + i / screen::panel * lines_a_panel(d);
    norm[at(i)] = std::sqrt(dot(row, row, d));
    bias[at(i)] = bias_of_all[at(j)];
    if (precision == Precision::int8) {
      const screen::Int8Row rounded = screen::round_weights(row, d, i % screen::panel, to);
      scale[at(i)] = rounded.step;
      offset[at(i)] = 128.0F * static_cast<float>(rounded.sum);
      loss[at(i)] = hoeffding * rounded.step;
    } else if (precision == Precision::bf16) {
      loss[at(i)] = screen::round_weights_bf16(row, d, i % screen::panel, to);
    } else if (!subset.empty()) {
      std::copy_n(row, d, f32.begin() + i * d);
    }
  }

  /// e <= unit_j (error of the row with weights of norm 1 + |x^| loss_of_unit): one number a latent instead of two.
  void set_units() {
    double losses = 0;
    double norms = 0;
    for (Index i = 0; i < count; ++i) {
      losses += loss[at(i)];
      norms += norm[at(i)];
    }
    loss_of_unit = norms > 0 ? static_cast<float>(1.2 * losses / norms) : 0;
    for (Index i = 0; i < count; ++i) unit[at(i)] = loss_of_unit > 0 ? std::max(norm[at(i)], loss[at(i)] / loss_of_unit) : norm[at(i)];
  }
};

Screen::Screen(Index d, Precision roughest) : d_(d), precision_(roughest), weights_(std::make_unique<Weights>()) {
  while (!can(precision_)) precision_ = finer(precision_);
}

Screen::~Screen() = default;

void Screen::update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset) {
  Weights& w = *weights_;
  w.encoder = encoder;
  w.bias_of_all = bias;
  w.subset.assign(subset.begin(), subset.end());
  w.count = subset.empty() ? static_cast<Index>(bias.size()) : static_cast<Index>(subset.size());
  w.precision = precision_;
  const auto places = at(w.panels() * screen::panel);
  w.bias.assign(places, minus_infinity);
  for (auto* numbers : {&w.scale, &w.offset, &w.norm, &w.loss, &w.unit}) numbers->assign(places, 0.0F);
  if (precision_ == Precision::f32)
    w.f32.resize(at(static_cast<Index>(subset.size()) * d_));
  else
    w.lines.resize(at(w.panels() * w.lines_a_panel(d_)));
  for_pieces(w.panels(), [&](Index q) {
    for (Index i = q * screen::panel; i < std::min(w.count, (q + 1) * screen::panel); ++i) w.pack(i, d_);
  });
  w.set_units();
}

void Screen::screen_rows(std::span<const float> x, Index begin, Index end, int k, std::vector<Row>& rows) const {
  const Weights& w = *weights_;
  const Index n = end - begin;
  thread_local std::vector<std::uint32_t> rounded;
  const Index groups = screen::groups(d_, w.precision == Precision::int8 ? 4 : 2);
  if (w.precision != Precision::f32) rounded.assign(at(screen::whole_tiles(n) * groups), 0);
  for (Index r = 0; r < n; ++r) {
    const float* row = x.data() + (begin + r) * d_;
    std::uint32_t* to = rounded.data() + r / screen::tile_rows * screen::tile_rows * groups + r % screen::tile_rows;
    const float norm = std::sqrt(dot(row, row, d_));
    float lost = 0;
    rows[at(r)].scale = 1;
    if (w.precision == Precision::int8) {
      rows[at(r)].scale = screen::round_row(row, d_, to);
      lost = hoeffding * rows[at(r)].scale;
    } else if (w.precision == Precision::bf16) {
      lost = screen::round_row_bf16(row, d_, to);
    }
    // |x^| at most: d entries, each off by less than a step, are off by less than sqrt(d) steps together.
    const float rounded_norm = norm + (w.precision == Precision::int8 ? std::sqrt(static_cast<float>(d_)) * rows[at(r)].scale : lost);
    rows[at(r)].begin(1.01F * (lost + sums_error(d_) * norm + rounded_norm * w.loss_of_unit), k);
  }
  if (w.precision == Precision::f32) {
    const float* encoder = w.subset.empty() ? w.encoder.data() : w.f32.data();
    screen::for_scores_f32(x.data() + begin * d_, n, encoder, w.count, d_, w.bias.data(), [&](Index r, Index first, const float* scores) {
      rows[at(r)].take(scores, w.unit.data() + first, static_cast<std::int32_t>(first), k);
    });
    return;
  }
  alignas(64) float scores[screen::tile_rows * screen::panel];
  for (Index q = 0; q < w.panels(); ++q) {
    const Index first = q * screen::panel;
    const auto* lines = w.lines.data() + q * w.lines_a_panel(d_);
    for (Index t = 0; t < n; t += screen::tile_rows) {
      const Index in_tile = std::min(screen::tile_rows, n - t);
      if (w.precision == Precision::int8) {
        float scales[screen::tile_rows] = {};
        for (Index r = 0; r < in_tile; ++r) scales[r] = rows[at(t + r)].scale;
        screen::score_tile_int8(rounded.data() + t * groups, scales, groups, lines, w.scale.data() + first, w.offset.data() + first,
                                w.bias.data() + first, scores);
      } else {
        screen::score_tile_bf16(rounded.data() + t * groups, groups, lines, w.bias.data() + first, scores);
      }
      for (Index r = 0; r < in_tile; ++r)
        rows[at(t + r)].take(scores + r * screen::panel, w.unit.data() + first, static_cast<std::int32_t>(first), k);
    }
  }
}

/// Computes the candidates in f32, the best scores first, and keeps the k largest, ascending by latent. Returns how many.
Index Screen::choose(const float* x, Row& row, Index r, Codes& codes) const {
  const Weights& w = *weights_;
  const auto k = at(codes.slots);
  row.shrink(static_cast<int>(k));
  std::sort(row.candidates.begin(), row.candidates.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  // A heap whose front is the first to lose: the smallest value, of equals the largest index.
  const auto keeps_longer = [](const auto& a, const auto& b) { return a.first > b.first || (a.first == b.first && a.second < b.second); };
  auto& heap = row.chosen;
  heap.clear();
  Index computed = 0;
  for (std::size_t c = 0; c < row.candidates.size(); ++c) {
    const auto& candidate = row.candidates[c];
    const auto too_low = [&](const Row::Candidate& other) { return heap.size() == k && other.score + other.error < heap.front().first; };
    if (c + 1 < row.candidates.size() && !too_low(row.candidates[c + 1]))
      prefetch_row(w.encoder.data() + w.latent(row.candidates[c + 1].latent) * d_, d_);
    if (too_low(candidate)) continue;
    const std::int32_t j = w.latent(candidate.latent);
    const float h = dot(x, w.encoder.data() + j * d_, d_) + w.bias_of_all[at(j)];
    ++computed;
    if (h <= 0) continue;
    if (heap.size() == k) {
      if (!keeps_longer(std::pair{h, j}, heap.front())) continue;
      std::pop_heap(heap.begin(), heap.end(), keeps_longer);
      heap.pop_back();
    }
    heap.emplace_back(h, j);
    std::push_heap(heap.begin(), heap.end(), keeps_longer);
  }
  std::sort(heap.begin(), heap.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  for (std::size_t s = 0; s < heap.size(); ++s) {
    codes.index[at(r * codes.slots) + s] = heap[s].second;
    codes.value[at(r * codes.slots) + s] = heap[s].first;
  }
  return computed;
}

void Screen::top_k(std::span<const float> x, Codes& codes) {
  const Index n = static_cast<Index>(x.size()) / d_;
  codes.resize(n);
  if (codes.slots == 0 || weights_->count == 0) return;
  std::atomic<Index> computed = 0;
  std::atomic<Index> candidates = 0;
  for_pieces((n + block_rows - 1) / block_rows, [&](Index block) {
    thread_local std::vector<Row> rows(at(block_rows));
    const Index begin = block * block_rows;
    const Index end = std::min(n, begin + block_rows);
    screen_rows(x, begin, end, static_cast<int>(codes.slots), rows);
    for (Index r = begin; r < end; ++r) {
      computed += choose(x.data() + r * d_, rows[at(r - begin)], r, codes);
      candidates += static_cast<Index>(rows[at(r - begin)].candidates.size());
    }
  });
  computed_per_row_ = static_cast<double>(computed) / static_cast<double>(std::max<Index>(1, n));
  // Eight times as many candidates as it takes cost more than the finer product.
  if (n > 0 && weights_->precision == Precision::int8 && candidates > 8 * n * (codes.slots + 8))
    precision_ = can(Precision::bf16) ? Precision::bf16 : Precision::f32;
}

} // namespace concord::sae
