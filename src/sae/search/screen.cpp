#include "concord/sae/search/screen.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/comm/node/node_array.hpp"
#include "concord/dist/partition.hpp"

#include "sae/numbers/rows.hpp"
#include "sae/search/screen_kernels.hpp"
#include "sae/search/screen_row.hpp"
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <memory>

namespace concord::sae {
namespace {

/// Part of |x| |w| that the sums of screening and of the f32 computation may be off by.
float sums_error(Index d) {
  return 4.0F * static_cast<float>(d) * 0x1p-24F;
}

} // namespace

/// The latents that are screened, as the screening product wants them: in panels.
struct Screen::Weights {
  Weights(Index width, const comm::Communicator* ranks) : d(width), comm(ranks) {}
  Index d;
  const comm::Communicator* comm;
  std::unique_ptr<comm::NodeArray> shared; ///< what is packed, or
  std::vector<float> own;
  std::span<const float> encoder;
  std::span<const float> bias_of_all;
  std::span<const float> floors;
  std::vector<std::int32_t> subset; ///< empty: all
  Index count = 0;
  Precision precision = Precision::f32; ///< of what is packed
  screen::Line* lines = nullptr;        ///< rounded
  float* f32 = nullptr;                 ///< of a subset, when the product is f32's
  // A number a latent, padded to whole panels.
  std::span<float> bias;   ///< less the floor; minus infinity behind the last
  std::span<float> scale;  ///< of a latent's integers
  std::span<float> offset; ///< what a score is too large by in units of scale: x is stored as x + 128
  std::span<float> norm;   ///< |w|
  std::span<float> loss;   ///< |w - w^|, or t D_w
  std::span<float> unit;   ///< of the error: |w|, or more where the loss is out of proportion
  float loss_of_unit = 0;
  std::int32_t latent(std::int32_t place) const { return subset.empty() ? place : subset[static_cast<std::size_t>(place)]; }
  Index panels() const { return (count + screen::panel - 1) / screen::panel; }
  float floor(std::int32_t j) const { return floors.empty() ? 0.0F : floors[static_cast<std::size_t>(j)]; }
  float pre_activation(const float* x, std::int32_t j) const { return dot(x, encoder.data() + j * d, d) + bias_of_all[at(j)]; }
  /// Of up to four latents.
  void pre_activations(const float* x, std::span<const std::int32_t> latents, float* h) const {
    std::array<const float*, 4> rows;
    for (std::size_t i = 0; i < latents.size(); ++i) rows[i] = encoder.data() + latents[i] * d;
    dots_of(x, {rows.data(), latents.size()}, d, h);
    for (std::size_t i = 0; i < latents.size(); ++i) h[i] += bias_of_all[at(latents[i])];
  }
  /// Computes the candidates of rows x [n, d] in a panel in f32, of which `reaching` has a bit each, and keeps those above the limit.
  /// Returns how many it computed.
  Index compute(const float* x, Index n, Index panel, std::span<const std::uint32_t> reaching, float limit, std::vector<Row>& rows) const {
    Index computed = 0;
    constexpr std::uint32_t near = (1U << near_rows) - 1;
    for (Index group = 0; group < screen::panel; group += near_rows)
      for (Index r = 0; r < n; ++r)
        for (std::uint32_t bits = reaching[at(r)] >> group & near; bits != 0;) {
          std::array<std::int32_t, 4> latents;
          std::array<float, 4> h;
          std::size_t found = 0;
          for (; bits != 0 && found < latents.size(); bits &= bits - 1)
            latents[found++] = latent(static_cast<std::int32_t>(panel + group) + std::countr_zero(bits));
          pre_activations(x + r * d, {latents.data(), found}, h.data());
          for (std::size_t i = 0; i < found; ++i)
            if (h[i] - floor(latents[i]) >= limit) rows[at(r)].chosen.emplace_back(h[i], latents[i]);
          computed += static_cast<Index>(found);
        }
    return computed;
  }

  Index lines_a_panel() const { return 2 * screen::groups(d, precision == Precision::int8 ? 4 : 2); }

  /// Memory for `floats` numbers that begins at a whole line.
  float* memory(Index floats) {
    constexpr Index line = sizeof(screen::Line) / sizeof(float);
    const auto wanted = static_cast<std::size_t>(floats + line);
    if (comm != nullptr && (!shared || shared->values().size() < wanted)) {
      const std::size_t before = shared ? shared->values().size() : 0;
      shared.reset(); // the old one first: it may be large
      shared = std::make_unique<comm::NodeArray>(*comm, static_cast<Index>(std::max(wanted, before + before / 4)));
    }
    if (comm == nullptr && own.size() < wanted) own.resize(wanted);
    void* begin = comm != nullptr ? shared->values().data() : own.data();
    std::size_t space = wanted * sizeof(float);
    return static_cast<float*>(std::align(alignof(screen::Line), static_cast<std::size_t>(floats) * sizeof(float), begin, space));
  }

  void lay_out() {
    const Index places = panels() * screen::panel;
    const bool rounded = precision != Precision::f32;
    const Index floats = rounded ? panels() * lines_a_panel() * static_cast<Index>(sizeof(screen::Line) / sizeof(float))
                                 : static_cast<Index>(subset.size()) * d;
    float* next = memory(floats + 6 * places);
    lines = reinterpret_cast<screen::Line*>(next);
    f32 = next;
    next += floats;
    for (auto* numbers : {&bias, &scale, &offset, &norm, &loss, &unit}) {
      *numbers = {next, at(places)};
      next += places;
    }
  }

  /// Calls f(begin, end) for this rank's panels among those of the ranks that share them, in pieces, and waits for the others.
  template <typename F>
  void for_my_panels(const F& f) const {
    const dist::Partition parts{panels(), shared ? shared->ranks_a_copy() : 1};
    const int part = shared ? shared->rank_in_copy() : 0;
    for_pieces(parts.end(part) - parts.begin(part), [&](Index piece) { f(parts.begin(part) + piece); });
    if (shared) shared->sync();
  }

  void pack_panel(Index q) {
    for (Index i = q * screen::panel; i < (q + 1) * screen::panel; ++i) {
      for (const auto& numbers : {scale, offset, norm, loss, unit}) numbers[at(i)] = 0;
      bias[at(i)] = minus_infinity;
      if (i < count) pack(i);
    }
  }

  void pack(Index i) {
    const std::int32_t j = latent(static_cast<std::int32_t>(i));
    const float* row = encoder.data() + j * d;
    auto* to = lines + i / screen::panel * lines_a_panel();
    norm[at(i)] = std::sqrt(dot(row, row, d));
    bias[at(i)] = bias_of_all[at(j)] - floor(j);
    if (precision == Precision::int8) {
      const screen::Int8Row rounded = screen::round_weights(row, d, i % screen::panel, to);
      scale[at(i)] = rounded.step;
      offset[at(i)] = 128.0F * static_cast<float>(rounded.sum);
      loss[at(i)] = hoeffding * rounded.step;
    } else if (precision == Precision::bf16) {
      loss[at(i)] = screen::round_weights_bf16(row, d, i % screen::panel, to);
    } else if (!subset.empty()) {
      std::copy_n(row, d, f32 + i * d);
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
    for_my_panels([&](Index q) {
      for (Index i = q * screen::panel; i < std::min(count, (q + 1) * screen::panel); ++i)
        unit[at(i)] = loss_of_unit > 0 ? std::max(norm[at(i)], loss[at(i)] / loss_of_unit) : norm[at(i)];
    });
  }

  Index groups() const { return screen::groups(d, precision == Precision::int8 ? 4 : 2); }

  /// Rounds rows x [n, d] into tiles of words, and sets their scales and errors.
  void round(const float* x, Index n, std::vector<Row>& rows, std::vector<std::uint32_t>& words) const {
    if (precision != Precision::f32) words.assign(at(screen::whole_tiles(n) * groups()), 0);
    for (Index r = 0; r < n; ++r) {
      const float* row = x + r * d;
      std::uint32_t* to = words.data() + r / screen::tile_rows * screen::tile_rows * groups() + r % screen::tile_rows;
      const float length = std::sqrt(dot(row, row, d));
      float lost = 0;
      rows[at(r)].scale = 1;
      if (precision == Precision::int8) {
        rows[at(r)].scale = screen::round_row(row, d, to);
        lost = hoeffding * rows[at(r)].scale;
      } else if (precision == Precision::bf16) {
        lost = screen::round_row_bf16(row, d, to);
      }
      // |x^| at most: d entries, each off by less than a step, are off by less than sqrt(d) steps together.
      const float rounded_length = length + (precision == Precision::int8 ? std::sqrt(static_cast<float>(d)) * rows[at(r)].scale : lost);
      rows[at(r)].error = 1.01F * (lost + sums_error(d) * length + rounded_length * loss_of_unit);
    }
  }

  /// Calls take(r, first, scores) with the scores of each row of x [n, d] and each panel of latents from `first`, ascending.
  template <typename Take>
  void for_scores(const float* x, Index n, std::vector<Row>& rows, const Take& take) const {
    thread_local std::vector<std::uint32_t> words;
    round(x, n, rows, words);
    if (precision == Precision::f32) {
      screen::for_scores_f32(x, n, subset.empty() ? encoder.data() : f32, count, d, bias.data(), take);
      return;
    }
    alignas(64) float scores[screen::tile_rows * screen::panel];
    for (Index q = 0; q < panels(); ++q)
      for (Index t = 0; t < n; t += screen::tile_rows) {
        const Index in_tile = std::min(screen::tile_rows, n - t);
        score_tile(words.data() + t * groups(), rows.data() + t, in_tile, q, scores);
        for (Index r = 0; r < in_tile; ++r) take(t + r, q * screen::panel, scores + r * screen::panel);
      }
  }

  /// Panel q with a tile of rows.
  void score_tile(const std::uint32_t* words, const Row* rows, Index in_tile, Index q, float* scores) const {
    const auto* panel_lines = lines + q * lines_a_panel();
    const Index first = q * screen::panel;
    if (precision == Precision::bf16) {
      screen::score_tile_bf16(words, groups(), panel_lines, bias.data() + first, scores);
      return;
    }
    float scales[screen::tile_rows] = {};
    for (Index r = 0; r < in_tile; ++r) scales[r] = rows[r].scale;
    screen::score_tile_int8(words, scales, groups(), panel_lines, scale.data() + first, offset.data() + first, bias.data() + first, scores);
  }

  /// Computes the candidates of a row in f32, the best scores first, and keeps the k largest, ascending by latent. Returns how
  /// many it computed.
  Index choose(const float* x, Row& row, std::size_t k) const {
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
        prefetch_row(encoder.data() + latent(row.candidates[c + 1].latent) * d, d);
      if (too_low(candidate)) continue;
      const std::int32_t j = latent(candidate.latent);
      const float h = pre_activation(x, j);
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
    return computed;
  }
};

Screen::Screen(Index d, Precision roughest, const comm::Communicator* comm, Counting counting)
    : d_(d), precision_(roughest), comm_(comm), counting_(counting), weights_(std::make_unique<Weights>(d, comm)) {
  set_precision(roughest);
}

Screen::~Screen() = default;

double Screen::bytes_a_weight(Precision roughest) {
  while (!can(roughest)) roughest = finer(roughest);
  return roughest == Precision::int8 ? 1 : roughest == Precision::bf16 ? 2 : 0;
}

void Screen::set_precision(Precision precision) {
  precision_ = precision;
  while (!can(precision_)) precision_ = finer(precision_);
}

void Screen::update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset,
                    std::span<const float> floors) {
  Weights& w = *weights_;
  w.encoder = encoder;
  w.bias_of_all = bias;
  w.floors = floors;
  w.subset.assign(subset.begin(), subset.end());
  w.count = subset.empty() ? static_cast<Index>(bias.size()) : static_cast<Index>(subset.size());
  w.precision = precision_;
  w.lay_out();
  w.for_my_panels([&](Index q) { w.pack_panel(q); });
  w.set_units();
}

void Screen::top_k(std::span<const float> x, int k, Codes& codes) {
  const Weights& w = *weights_;
  const Index n = static_cast<Index>(x.size()) / d_;
  std::atomic<Index> computed = 0;
  std::atomic<Index> candidates = 0;
  parts_.resize(at((n + block_rows - 1) / block_rows));
  for_pieces(static_cast<Index>(parts_.size()), [&](Index block) {
    thread_local std::vector<Row> rows(at(block_rows));
    const float* first = x.data() + block * block_rows * d_;
    const Index in_block = std::min(block_rows, n - block * block_rows);
    for (Row& row : rows) {
      row.candidates.clear();
      row.threshold = 0; // h must be positive
      row.limit = 8 * static_cast<std::size_t>(k);
    }
    w.for_scores(first, in_block, rows, [&](Index r, Index place, const float* scores) {
      rows[at(r)].take(scores, w.unit.data() + place, static_cast<std::int32_t>(place), k);
    });
    parts_[at(block)].clear();
    for (Index r = 0; r < in_block; ++r) {
      computed += w.choose(first + r * d_, rows[at(r)], static_cast<std::size_t>(k));
      candidates += static_cast<Index>(rows[at(r)].candidates.size());
      rows[at(r)].give(parts_[at(block)]);
    }
  });
  join_parts(parts_, codes);
  count(n, n * k, computed, candidates);
}

void Screen::above(std::span<const float> x, float limit, Codes& codes) {
  const Weights& w = *weights_;
  const Index n = static_cast<Index>(x.size()) / d_;
  std::atomic<Index> computed = 0;
  parts_.resize(at((n + block_rows - 1) / block_rows));
  for_pieces(static_cast<Index>(parts_.size()), [&](Index block) {
    thread_local std::vector<Row> rows(at(block_rows));
    const float* first = x.data() + block * block_rows * d_;
    const Index in_block = std::min(block_rows, n - block * block_rows);
    for (Row& row : rows) row.chosen.clear();
    // When a panel has been screened for all rows, its candidates are computed: so its weights are near, however many there are.
    std::array<std::uint32_t, at(block_rows)> reaching{};
    Index panel = 0;
    const auto compute = [&] {
      computed += w.compute(first, in_block, panel, reaching, limit, rows);
      reaching.fill(0);
    };
    w.for_scores(first, in_block, rows, [&](Index r, Index place, const float* scores) {
      if (place != panel) {
        compute();
        panel = place;
      }
      reaching[at(r)] = screen::reaching(scores, w.unit.data() + place, rows[at(r)].error, limit);
    });
    compute();
    SparseRows& part = parts_[at(block)];
    part.clear();
    std::size_t entries = 0;
    for (Index r = 0; r < in_block; ++r) entries += rows[at(r)].chosen.size();
    part.index.reserve(entries); // no place to spare
    part.value.reserve(entries);
    for (Index r = 0; r < in_block; ++r) rows[at(r)].give(part);
  });
  join_parts(parts_, codes);
  count(n, codes.entries(), computed, computed);
}

/// Eight times as many candidates as it takes cost more than the finer product. All ranks decide alike.
void Screen::count(Index rows, Index wanted, Index computed, Index candidates) {
  std::vector<Index> sums{rows, wanted, computed, candidates};
  if (comm_ != nullptr && counting_ == Counting::together) comm::sum(*comm_, sums);
  computed_per_row_ = static_cast<double>(sums[2]) / static_cast<double>(std::max<Index>(1, sums[0]));
  if (sums[0] > 0 && weights_->precision == Precision::int8 && sums[3] > 8 * (sums[1] + 8 * sums[0]))
    set_precision(can(Precision::bf16) ? Precision::bf16 : Precision::f32);
}

} // namespace concord::sae
