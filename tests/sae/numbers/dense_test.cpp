#include "concord/core/philox.hpp"

#include <gtest/gtest.h>

#include "sae/numbers/decode.hpp"
#include "support/support.hpp"

namespace concord::sae {
namespace {

std::vector<float> random_values(const char* name, Index count, double zeros = 0) {
  const Philox random(5, name);
  std::vector<float> values(at(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = random.uniform(3 * i) < zeros ? 0.0F : static_cast<float>(random.normal(3 * i + 1));
  return values;
}

/// The sums that RowSum makes row after row, bit for bit, whatever does not fill a tile.
TEST(Dense, SumsAreThoseOfRowAfterRow) {
  for (const Index n : {1, 31, 32, 70})
    for (const Index rows : {1, 7, 256})
      for (const Index sums : {1, 8, 19})
        for (const bool fresh : {false, true}) {
          const auto from = random_values("rows", rows * n);
          const auto weight = random_values("weights", sums * rows, 0.5);
          auto expected = random_values("before", sums * n);
          auto got = expected;
          DenseWeights weights;
          weights.clear(sums);
          std::vector<const float*> of_rows;
          std::vector<float*> to;
          for (Index r = 0; r < rows; ++r) of_rows.push_back(from.data() + r * n);
          for (Index s = 0; s < sums; ++s) {
            to.push_back(got.data() + s * n);
            RowSum sum(expected.data() + s * n, n, fresh);
            for (Index r = 0; r < rows; ++r) {
              weights.of(s, r) = weight[at(s * rows + r)];
              if (weight[at(s * rows + r)] != 0) sum.add(of_rows[at(r)], weight[at(s * rows + r)]);
            }
            sum.finish();
          }
          add_dense(weights, of_rows, n, to, fresh);
          EXPECT_EQ(got, expected) << n << " columns, " << rows << " rows, " << sums << " sums";
        }
}

TEST(Dense, ProductsOfSomeAreThoseOfEachAlone) {
  for (const Index n : {3, 64, 130, 768}) {
    const auto a = random_values("a", n);
    const auto b = random_values("b", 4 * n);
    double exact = 0;
    for (Index c = 0; c < n; ++c) exact += static_cast<double>(a[at(c)]) * static_cast<double>(b[at(c)]);
    EXPECT_NEAR(dot(a.data(), b.data(), n), exact, 1e-5 * static_cast<double>(n));
    for (std::size_t count = 1; count <= 4; ++count) {
      std::array<const float*, 4> rows;
      std::array<float, 4> products;
      for (std::size_t i = 0; i < count; ++i) rows[i] = b.data() + static_cast<Index>(i) * n;
      dots_of(a.data(), {rows.data(), count}, n, products.data());
      for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(products[i], dot(a.data(), rows[i], n));
    }
  }
}

/// Rows of codes that are dense or not, in one piece or one after another: every row's reconstruction and products have the same bits.
TEST(Dense, DecodingDependsOnTheRowAlone) {
  const Index d = 40;
  const Index latents = 600;
  const Index rows = row_piece;
  const auto decoder = random_values("decoder", latents * d);
  const auto values = random_values("codes", rows * latents, 0.6);
  Codes codes;
  for (Index r = 0; r < rows; ++r) {
    for (Index j = 0; j < latents; ++j) {
      if (values[at(r * latents + j)] == 0 || (r % 7 == 3 && j % 50 != 0)) continue; // some rows are sparse
      codes.index.push_back(static_cast<std::int32_t>(j));
      codes.value.push_back(values[at(r * latents + j)]);
    }
    codes.ends.push_back(codes.entries());
  }
  codes.begin_gradients();
  ASSERT_GT(static_cast<double>(codes.entries()), dense_above * static_cast<double>(rows * latents));
  const auto before = random_values("errors", rows * d);
  auto together = before;
  decode_rows(codes, codes.value.data(), decoder.data(), d, 0, latents, 0, rows, together.data());
  auto products = codes.gradient;
  add_products(codes, before.data(), d, decoder.data(), d, 0.5F, 0, latents, 0, rows, products.data());
  for (Index r = 0; r < rows; ++r) {
    auto alone = before;
    RowSum sum(alone.data() + r * d, d);
    for (Index s = codes.begin(r); s < codes.end(r); ++s) {
      sum.add(decoder.data() + codes.index[at(s)] * d, codes.value[at(s)]);
      EXPECT_EQ(products[at(s)], 0.5F * dot(before.data() + r * d, decoder.data() + codes.index[at(s)] * d, d));
    }
    sum.finish();
    for (Index c = 0; c < d; ++c) ASSERT_EQ(together[at(r * d + c)], alone[at(r * d + c)]) << "row " << r;
  }
}

} // namespace
} // namespace concord::sae
