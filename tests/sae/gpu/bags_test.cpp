// Sums of rows by bags, and products in as many pieces as a device may be given at once.
#include <gtest/gtest.h>

#include "sae/gpu/bags.hpp"
#include <ATen/detail/CUDAHooksInterface.h>

namespace concord::sae {
namespace {

Bags some_bags(Index table_rows) {
  const std::vector<Index> ends{0, 0, 3, 4, 4, 11};
  const std::vector<Index> bag{1, 1, 1, 2, 4, 4, 4, 4, 4, 4, 4};
  Bags bags{at::tensor(ends, at::kLong), at::empty({11}, at::kLong), at::tensor(bag, at::kLong)};
  for (Index i = 0; i < 11; ++i) bags.index[i] = i * 5 % table_rows;
  return bags;
}

TEST(Bags, ProductsInPiecesAreTheProducts) {
  at::manual_seed(3);
  const auto table = at::randn({7, 4});
  const auto of_bags = at::randn({5, 4});
  const Bags bags = some_bags(7);
  const auto expected = of_bags.index_select(0, bags.bag).mul(table.index_select(0, bags.index)).sum(1);
  for (const Index at_once : {Index{1}, Index{3}, Index{10}, Index{11}, Index{12}}) {
    const auto products = bags.products(of_bags, table, at_once);
    ASSERT_EQ(products.sizes(), expected.sizes());
    EXPECT_LT((products - expected).abs().max().item<float>(), 1e-5F) << at_once << " at once";
  }
}

/// Twice as many as libtorch's kernel takes at once: it numbers threads in 32 bits.
TEST(Bags, ProductsOfManyEntriesOnAGpu) {
  if (!at::hasCUDA() || at::detail::getCUDAHooks().deviceCount() == 0) GTEST_SKIP() << "no GPU here";
  const Index entries = (Index{1} << 26) + 16;
  const Index width = 4;
  const auto there = at::TensorOptions(at::kFloat).device(at::kCUDA);
  const auto table = at::randn({64, width}, there);
  const auto of_bags = at::randn({2, width}, there);
  const auto index = at::arange(entries, there.dtype(at::kLong)).remainder(64);
  const auto bag = at::arange(entries, there.dtype(at::kLong)).ge(entries / 2).to(at::kLong);
  const Bags bags{at::tensor(std::vector<Index>{0, entries / 2, entries}, at::kLong).to(at::kCUDA), index, bag};
  const auto products = bags.products(of_bags, table);
  const auto all = of_bags.matmul(table.t()); // [2, 64]
  EXPECT_LT((products - all.view({-1}).index_select(0, bag.mul(64).add(index))).abs().max().item<float>(), 1e-4F);
}

TEST(Bags, SumsAreSumsAndEmptyBagsZero) {
  at::manual_seed(4);
  const auto table = at::randn({7, 4});
  const auto weights = at::randn({11});
  const Bags bags = some_bags(7);
  const auto expected = at::zeros({5, 4}).index_add(0, bags.bag, table.index_select(0, bags.index).mul(weights.unsqueeze(1)));
  EXPECT_LT((bags.sum(table, weights) - expected).abs().max().item<float>(), 1e-5F);
  const Bags none{at::zeros({3}, at::kLong), at::empty({0}, at::kLong), at::empty({0}, at::kLong)};
  EXPECT_EQ(none.sum(table, at::empty({0})).abs().sum().item<float>(), 0);
  EXPECT_EQ(none.products(at::zeros({2, 4}), table).numel(), 0);
}

} // namespace
} // namespace concord::sae
