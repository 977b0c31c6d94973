#pragma once
/// The search for active latents among the pre-activations of some rows, for GPUs (core/warp.hpp): a warp a row, which is read once. Local.

#include "concord/core/machine/warp.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <variant>

namespace concord::sae::search {

using Index = std::int64_t;

/// h [rows, latents].
struct Hidden {
  const float* values;
  Index rows;
  Index latents;
};

struct Found {
  float value;
  std::int32_t latent;
};
/// Larger value, then the smaller number.
CONCORD_ANYWHERE inline bool better(const Found& x, const Found& y) {
  return x.value > y.value || (x.value == y.value && x.latent < y.latent);
}

inline constexpr float no_value = -std::numeric_limits<float>::infinity();

/// The numbers of the `places` largest of each row, largest first: `latents` [rows, places], places <= latents of a row. NaNs are passed
/// by.
struct Largest {
  Hidden hidden;
  Index places;
  Index* latents;
  Index warps() const { return hidden.rows; }
  Index shared() const { return places * static_cast<Index>(sizeof(Found)); }
};
/// Beyond it libtorch sorts the rows. 64 latents and what screening adds need 80; where keeping a list costs more than sorting was not
/// measured on a GPU yet.
inline constexpr Index most_places = 160;

/// h >= floor + limit - slack, the slack being what rounding may have taken away: row_slack |w_j|.
struct Bound {
  float limit;
  const float* floor;     ///< [latents], or none
  const float* row_slack; ///< [rows], or none
  const float* norm;      ///< [latents] |w_j|
};

/// What x w with factors cut to TF32 may lie off by, of |x| |w|: 2^-10 of each factor, and the sum's own rounding.
inline constexpr float tf32_slack = 1.0F / 512 + 1.0F / 8192;

/// How many latents of each row reach the bound: `counts` [rows].
struct CountAbove {
  Hidden hidden;
  Bound bound;
  Index* counts;
  Index warps() const { return hidden.rows; }
  Index shared() const { return 0; }
};

/// Which, ascending, from place begin[row] on, and their h.
struct FillAbove {
  Hidden hidden;
  Bound bound;
  const Index* begin;
  Index* latents;
  float* values;
  Index warps() const { return hidden.rows; }
  Index shared() const { return 0; }
};

using Kernel = std::variant<Largest, CountAbove, FillAbove>;

/// Groups of 32 values that are on their way at once.
inline constexpr int ahead = 8;

/// Calls `look(first, values)` for 32 latents of a row after another; a lane beyond the row has no value.
template <typename Warp, typename Look>
CONCORD_DEVICE void for_each_group(const Warp& warp, const Hidden& hidden, Index row, const Look& look) {
  struct Ahead {
    float of[ahead];
  };
  typename Warp::template Lanes<Ahead> values;
  const float* of_row = hidden.values + row * hidden.latents;
  for (Index first = 0; first < hidden.latents; first += ahead * warp_lanes) {
    warp.each_alone([&](int lane) {
#pragma unroll
      for (int i = 0; i < ahead; ++i) {
        const Index j = first + i * warp_lanes + lane;
        values[lane].of[i] = j < hidden.latents ? of_row[j] : 0.0F;
      }
    });
#pragma unroll
    for (int i = 0; i < ahead; ++i) look(first + i * warp_lanes, [&](int lane) { return values[lane].of[i]; });
  }
}

template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const Largest& kernel, Index row, std::byte* shared) {
  auto* list = reinterpret_cast<Found*>(shared);
  const Index places = kernel.places;
  warp.each([&](int lane) {
    for (Index p = lane; p < places; p += warp_lanes) list[p] = {no_value, static_cast<std::int32_t>(kernel.hidden.latents + p)};
  });
  for_each_group(warp, kernel.hidden, row, [&](Index first, const auto& value) {
    const float floor = list[places - 1].value;
    std::uint32_t hits = warp.ballot([&](int lane) { return first + lane < kernel.hidden.latents && value(lane) >= floor; });
    for (; hits != 0; hits &= hits - 1) {
      const int lane = first_bit(hits);
      typename Warp::template Lanes<float> values;
      warp.each_alone([&](int own) { values[own] = value(own); });
      insert(warp, list, places, Found{warp.from(values, lane), static_cast<std::int32_t>(first + lane)});
    }
  });
  warp.each([&](int lane) {
    for (Index p = lane; p < places; p += warp_lanes) { // a place that NaNs left free names some latent
      const Index latent = list[p].latent;
      kernel.latents[row * places + p] = latent < kernel.hidden.latents ? latent : latent - kernel.hidden.latents;
    }
  });
}

CONCORD_DEVICE bool reaches(const Bound& bound, Index row, Index latent, float value) {
  float limit = bound.limit;
  if (bound.floor != nullptr) limit += bound.floor[latent];
  // One rounding, said: counting and filling must agree to the bit.
  if (bound.row_slack != nullptr) limit = fmaf(-bound.row_slack[row], bound.norm[latent], limit);
  return value >= limit;
}

template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const CountAbove& kernel, Index row, std::byte* /*shared*/) {
  Index count = 0;
  for_each_group(warp, kernel.hidden, row, [&](Index first, const auto& value) {
    count += count_bits(warp.ballot(
        [&](int lane) { return first + lane < kernel.hidden.latents && reaches(kernel.bound, row, first + lane, value(lane)); }));
  });
  warp.each([&](int lane) {
    if (lane == 0) kernel.counts[row] = count;
  });
}

template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const FillAbove& kernel, Index row, std::byte* /*shared*/) {
  Index place = kernel.begin[row];
  for_each_group(warp, kernel.hidden, row, [&](Index first, const auto& value) {
    const std::uint32_t hits = warp.ballot(
        [&](int lane) { return first + lane < kernel.hidden.latents && reaches(kernel.bound, row, first + lane, value(lane)); });
    if (hits == 0) return;
    warp.each([&](int lane) {
      if ((hits >> lane & 1U) == 0) return;
      const Index at = place + count_bits(hits & ((1U << lane) - 1));
      kernel.latents[at] = first + lane;
      kernel.values[at] = value(lane);
    });
    place += count_bits(hits);
  });
}

/// Launches a kernel on the current GPU, in its default stream. Returns a cudaError_t.
int launch_on_gpu(const Kernel& kernel);

} // namespace concord::sae::search
