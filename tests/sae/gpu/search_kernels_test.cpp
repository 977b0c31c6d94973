#include "concord/core/philox.hpp"

#include "sae/gpu/search_kernels.hpp"
#include "support/fiber_warp.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace concord::sae::search {
namespace {

std::vector<float> random_values(std::uint64_t seed, std::size_t count) {
  const Philox random(seed, "hidden");
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(random.normal(i));
  return values;
}

/// Lane by lane, and with lanes as a GPU has them.
const std::vector<std::function<void(const Kernel&)>> runners{
    [](const Kernel& kernel) { std::visit([](const auto& of) { run_in_loop(of); }, kernel); },
    [](const Kernel& kernel) { std::visit([](const auto& of) { test::run_in_fibers(of, test::FiberGroup::Order::ascending); }, kernel); },
    [](const Kernel& kernel) { std::visit([](const auto& of) { test::run_in_fibers(of, test::FiberGroup::Order::descending); }, kernel); }};

/// Widths around those of a warp and of what is read at once; many values are equal, so that ties lie on the border.
TEST(SearchKernels, LargestEqualsASort) {
  for (const Index latents : {Index{1}, Index{31}, Index{33}, Index{256}, Index{700}})
    for (const Index places : {Index{1}, Index{7}, Index{32}, Index{45}, Index{64}, Index{80}, most_places}) {
      if (places > latents) continue;
      const Index rows = 5;
      auto hidden = random_values(1, static_cast<std::size_t>(rows * latents));
      for (auto& h : hidden) h = std::round(4 * h);
      std::vector<std::vector<Index>> all;
      for (const auto& run_kernel : runners) {
        all.emplace_back(static_cast<std::size_t>(rows * places));
        run_kernel(Largest{{hidden.data(), rows, latents}, places, all.back().data()});
        EXPECT_EQ(all.back(), all.front());
      }
      const auto& got = all.front();
      for (Index r = 0; r < rows; ++r) {
        std::vector<Index> expected(static_cast<std::size_t>(latents));
        std::iota(expected.begin(), expected.end(), Index{0});
        std::stable_sort(expected.begin(), expected.end(), [&](Index i, Index j) {
          return hidden[static_cast<std::size_t>(r * latents + i)] > hidden[static_cast<std::size_t>(r * latents + j)];
        });
        expected.resize(static_cast<std::size_t>(places));
        EXPECT_EQ(expected, std::vector<Index>(got.begin() + r * places, got.begin() + (r + 1) * places)) << latents << " " << places;
      }
    }
}

/// A training whose numbers are lost must get to the check that says so.
TEST(SearchKernels, NansAreNoneOfTheLargestButLeaveLatents) {
  const std::vector<float> hidden{NAN, 2, NAN, 5};
  std::vector<Index> got(4);
  run_in_loop(Largest{{hidden.data(), 1, 4}, 4, got.data()});
  EXPECT_EQ(got[0], 3);
  EXPECT_EQ(got[1], 1);
  for (const Index latent : got) EXPECT_TRUE(latent >= 0 && latent < 4);
}

TEST(SearchKernels, AboveEqualsALoop) {
  const Index rows = 4;
  for (const Index latents : {Index{1}, Index{32}, Index{300}, Index{513}}) {
    const auto hidden = random_values(2, static_cast<std::size_t>(rows * latents));
    const auto floors = random_values(3, static_cast<std::size_t>(latents));
    const auto norms = random_values(4, static_cast<std::size_t>(latents));
    const auto slack = random_values(5, static_cast<std::size_t>(rows));
    for (const bool with_floor : {false, true})
      for (const bool with_slack : {false, true}) {
        const Bound bound{0.25F, with_floor ? floors.data() : nullptr, with_slack ? slack.data() : nullptr, norms.data()};
        std::vector<Index> counts, begin{0}, expected;
        std::vector<float> expected_values;
        for (const auto& run_kernel : runners) {
          std::vector<Index> again(rows);
          run_kernel(CountAbove{{hidden.data(), rows, latents}, bound, again.data()});
          if (&run_kernel == &runners.front()) counts = again;
          EXPECT_EQ(again, counts);
        }
        for (Index r = 0; r < rows; ++r) {
          for (Index j = 0; j < latents; ++j) {
            const float h = hidden[static_cast<std::size_t>(r * latents + j)];
            float limit = 0.25F;
            if (with_floor) limit += floors[static_cast<std::size_t>(j)];
            if (with_slack) limit -= slack[static_cast<std::size_t>(r)] * norms[static_cast<std::size_t>(j)];
            if (h < limit) continue;
            expected.push_back(j);
            expected_values.push_back(h);
          }
          begin.push_back(begin.back() + counts[static_cast<std::size_t>(r)]);
          ASSERT_EQ(begin.back(), static_cast<Index>(expected.size()));
        }
        for (const auto& run_kernel : runners) {
          std::vector<Index> got(expected.size());
          std::vector<float> values(expected.size());
          run_kernel(FillAbove{{hidden.data(), rows, latents}, bound, begin.data(), got.data(), values.data()});
          EXPECT_EQ(got, expected);
          EXPECT_EQ(values, expected_values);
        }
      }
  }
}

/// x with 10 bits behind the point, cut off as a tensor core may.
float tf32(float x) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0xFFFFE000U);
}

/// Random factors, and those that lose most: all of one sign, with ones in all bits that are cut off.
TEST(SearchKernels, TheSlackBoundsWhatRoundedProductsLose) {
  constexpr std::size_t d = 2304;
  auto x = random_values(6, d);
  auto w = random_values(7, d);
  for (const bool worst : {false, true}) {
    if (worst) {
      std::fill(x.begin(), x.end(), std::bit_cast<float>(0x3F801FFFU));
      std::fill(w.begin(), w.end(), std::bit_cast<float>(0x3F801FFFU));
    }
    double exact = 0, xx = 0, ww = 0;
    float rounded = 0;
    for (std::size_t c = 0; c < d; ++c) {
      exact += static_cast<double>(x[c]) * w[c];
      xx += static_cast<double>(x[c]) * x[c];
      ww += static_cast<double>(w[c]) * w[c];
      rounded += tf32(x[c]) * tf32(w[c]);
    }
    EXPECT_LE(std::abs(exact - rounded), tf32_slack * std::sqrt(xx * ww));
    if (worst) {
      EXPECT_GE(std::abs(exact - rounded), 0.7 * tf32_slack * std::sqrt(xx * ww)); // no wider than it must be
    }
  }
}

} // namespace
} // namespace concord::sae::search
