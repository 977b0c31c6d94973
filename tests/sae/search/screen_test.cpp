// The screened top k against all pre-activations computed plainly.
#include "concord/core/philox.hpp"
#include "concord/sae/search/screen.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace concord::sae {
namespace {

struct Problem {
  Index n, d, latents;
  std::vector<float> x, encoder, bias;
};

Problem random_problem(Index n, Index d, Index latents, std::uint64_t seed) {
  const Philox random(seed, "screen-test", 0, 0);
  std::uint64_t i = 0;
  const auto normal = [&] { return static_cast<float>(random.normal(i++)); };
  Problem p{n, d, latents, {}, {}, {}};
  for (Index e = 0; e < n * d; ++e) p.x.push_back(normal());
  for (Index e = 0; e < latents * d; ++e) p.encoder.push_back(normal() / std::sqrt(static_cast<float>(d)));
  for (Index j = 0; j < latents; ++j) p.bias.push_back(0.1F * normal());
  return p;
}

/// Positive entries in f64, largest first; ties by index.
std::vector<std::pair<double, std::int32_t>> plainly(const Problem& p, Index r, const std::vector<std::int32_t>& latents) {
  std::vector<std::pair<double, std::int32_t>> all;
  for (const auto j : latents) {
    double h = p.bias[static_cast<std::size_t>(j)];
    for (Index c = 0; c < p.d; ++c)
      h += static_cast<double>(p.x[static_cast<std::size_t>(r * p.d + c)]) *
           static_cast<double>(p.encoder[static_cast<std::size_t>(j * p.d + c)]);
    if (h > 0) all.emplace_back(h, j);
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  return all;
}

std::vector<std::int32_t> every(Index latents) {
  std::vector<std::int32_t> all;
  for (Index j = 0; j < latents; ++j) all.push_back(static_cast<std::int32_t>(j));
  return all;
}

/// f32 sums of d terms: what the plain f64 result may be off by.
constexpr double tolerance = 2e-5;

/// The chosen latents are the k largest, but for those that f32 cannot tell apart, and their values are exact.
void expect_top_k(const Problem& p, int k, Screen::Precision precision, const std::vector<std::int32_t>& subset) {
  Screen screen(p.d, precision);
  screen.update(p.encoder, p.bias, subset);
  Codes codes;
  screen.top_k(p.x, k, codes);
  ASSERT_EQ(codes.rows(), p.n);
  for (Index r = 0; r < p.n; ++r) {
    const auto want = plainly(p, r, subset.empty() ? every(p.latents) : subset);
    std::vector<std::int32_t> got;
    for (Index s = codes.begin(r); s < codes.end(r); ++s) got.push_back(codes.index[static_cast<std::size_t>(s)]);
    ASSERT_TRUE(std::is_sorted(got.begin(), got.end()));
    const std::size_t kept = std::min<std::size_t>(static_cast<std::size_t>(k), want.size());
    ASSERT_NEAR(static_cast<double>(got.size()), static_cast<double>(kept), want.empty() || want.back().first > tolerance ? 0.0 : 1.0)
        << "row " << r;
    if (kept == 0) continue;
    const double last = want[kept - 1].first;
    for (std::size_t s = 0; s < got.size(); ++s) {
      const auto found = std::find_if(want.begin(), want.end(), [&](const auto& w) { return w.second == got[s]; });
      ASSERT_NE(found, want.end());
      EXPECT_GE(found->first, last - tolerance) << "row " << r << " latent " << got[s];
      EXPECT_NEAR(codes.value[static_cast<std::size_t>(codes.begin(r)) + s], found->first, tolerance);
    }
  }
}

void expect_top_k(const Problem& p, int k, const std::vector<std::int32_t>& subset = {}) {
  for (const auto precision : {Screen::Precision::int8, Screen::Precision::bf16, Screen::Precision::f32}) {
    SCOPED_TRACE(static_cast<int>(precision));
    expect_top_k(p, k, precision, subset);
  }
}

} // namespace

TEST(Screen, EqualsThePlainTopK) {
  for (const Index d : {1, 7, 64, 300})
    for (const Index latents : {5, 32, 33, 700})
      for (const int k : {1, 5}) expect_top_k(random_problem(103, d, latents, static_cast<std::uint64_t>(d * latents)), k);
}

TEST(Screen, HoldsForRowsAndLatentsOfVeryDifferentSize) {
  auto p = random_problem(50, 96, 900, 3);
  for (Index r = 0; r < p.n; ++r)
    for (Index c = 0; c < p.d; ++c)
      p.x[static_cast<std::size_t>(r * p.d + c)] *= static_cast<float>(std::pow(10.0, static_cast<double>(r % 7) - 5));
  for (Index j = 0; j < p.latents; ++j)
    for (Index c = 0; c < p.d; ++c) p.encoder[static_cast<std::size_t>(j * p.d + c)] *= j % 50 == 0 ? 2.0F : 0.01F;
  std::fill(p.x.begin(), p.x.begin() + p.d, 0.0F);                             // a row of zeros: the biases alone
  for (Index c = 0; c < 3; ++c) p.x[static_cast<std::size_t>(p.d + c)] = 3.0F; // and one with columns that stand out
  expect_top_k(p, 8);
}

/// Latents that bf16 cannot tell apart: rounded, all of them score the same.
TEST(Screen, NearTiesAreDecidedInF32) {
  auto p = random_problem(40, 128, 400, 4);
  for (Index j = 1; j < p.latents; ++j)
    for (Index c = 0; c < p.d; ++c)
      p.encoder[static_cast<std::size_t>(j * p.d + c)] =
          p.encoder[static_cast<std::size_t>(c)] * (1 + 1e-3F * static_cast<float>((j * 37) % 400) / 400);
  std::fill(p.bias.begin(), p.bias.end(), 0.0F);
  expect_top_k(p, 4);
}

TEST(Screen, EqualLatentsGoToTheSmallerIndex) {
  auto p = random_problem(20, 16, 100, 5);
  for (Index j = 0; j < 100; ++j) std::copy_n(p.encoder.begin(), 16, p.encoder.begin() + j * 16);
  std::fill(p.bias.begin(), p.bias.end(), 10.0F);
  Screen screen(16);
  screen.update(p.encoder, p.bias);
  Codes codes;
  screen.top_k(p.x, 3, codes);
  for (Index r = 0; r < 20; ++r)
    for (Index s = 0; s < 3; ++s) EXPECT_EQ(codes.index[static_cast<std::size_t>(3 * r + s)], s);
}

TEST(Screen, ASubsetIsSearchedAlone) {
  const auto p = random_problem(60, 48, 500, 6);
  std::vector<std::int32_t> subset;
  for (std::int32_t j = 3; j < 500; j += 7) subset.push_back(j);
  expect_top_k(p, 6, subset);
  expect_top_k(p, 100, subset); // more than there are
}

/// All latents above a floor of each, from none to all of them.
TEST(Screen, FindsAllAboveAFloor) {
  auto p = random_problem(103, 64, 700, 9);
  std::vector<float> floors;
  for (Index j = 0; j < p.latents; ++j) floors.push_back(0.05F * static_cast<float>(j % 17));
  for (const auto precision : {Screen::Precision::int8, Screen::Precision::bf16, Screen::Precision::f32})
    for (const float limit : {-10.0F, 0.0F, 1.0F, 100.0F}) {
      Screen screen(p.d, precision);
      screen.update(p.encoder, p.bias, {}, floors);
      Codes codes;
      screen.above(p.x, limit, codes);
      ASSERT_EQ(codes.rows(), p.n);
      for (Index r = 0; r < p.n; ++r) {
        Index s = codes.begin(r);
        for (std::int32_t j = 0; j < p.latents; ++j) {
          double h = p.bias[static_cast<std::size_t>(j)];
          for (Index c = 0; c < p.d; ++c)
            h += static_cast<double>(p.x[static_cast<std::size_t>(r * p.d + c)]) *
                 static_cast<double>(p.encoder[static_cast<std::size_t>(j * p.d + c)]);
          const bool there = s < codes.end(r) && codes.index[static_cast<std::size_t>(s)] == j;
          const double above = h - static_cast<double>(floors[static_cast<std::size_t>(j)]) - static_cast<double>(limit);
          if (std::abs(above) > tolerance) {
            ASSERT_EQ(there, above > 0) << "row " << r << " latent " << j;
          }
          if (there) {
            EXPECT_NEAR(codes.value[static_cast<std::size_t>(s++)], h, tolerance);
          }
        }
        EXPECT_EQ(s, codes.end(r)) << "ascending by latent";
      }
    }
}

TEST(Screen, LooksAtFewLatentsInF32) {
  const auto p = random_problem(200, 256, 4096, 7);
  Screen screen(256);
  screen.update(p.encoder, p.bias);
  Codes codes;
  screen.top_k(p.x, 32, codes);
  EXPECT_LT(screen.computed_per_row(), 72);
  EXPECT_GE(screen.computed_per_row(), 32);
}

/// Rows with a column that stands out leave int8 nothing to tell the others by.
TEST(Screen, Int8GivesWayWhereItLeavesTooMany) {
  auto p = random_problem(200, 64, 4096, 8);
  for (Index r = 0; r < p.n; ++r) p.x[static_cast<std::size_t>(r * p.d)] = 300.0F;
  for (Index j = 0; j < p.latents; ++j) p.encoder[static_cast<std::size_t>(j * p.d)] *= 1e-3F;
  Screen screen(p.d);
  Codes codes;
  for (int round = 0; round < 2; ++round) {
    screen.update(p.encoder, p.bias);
    screen.top_k(p.x, 4, codes);
  }
  EXPECT_NE(screen.precision(), Screen::Precision::int8);
  expect_top_k(p, 4);
}

} // namespace concord::sae
