#include "concord/core/philox.hpp"
#include "concord/dist/partition.hpp"

#include <gtest/gtest.h>

#include "features/exact_sums.hpp"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace concord;

namespace {

struct Entry {
  std::int32_t feature;
  float value;
};

/// Values over many powers of two, with signs.
std::vector<Entry> entries(Index count, std::int32_t features) {
  Philox random(7, "exact-sums-test");
  std::vector<Entry> result;
  for (Index i = 0; i < count; ++i) {
    const auto feature = static_cast<std::int32_t>(random.bits(3 * i) % static_cast<std::uint64_t>(features));
    const auto exponent = static_cast<int>(random.bits(3 * i + 1) % 30) - 15;
    const float value = std::ldexp(static_cast<float>(random.bits(3 * i + 2) % 16777216U), exponent - 24);
    result.push_back({feature, i % 5 == 0 ? -value : value});
  }
  return result;
}

features::ExactSums added(const comm::Communicator& comm, const std::vector<Entry>& all, const std::vector<float>& largest) {
  features::ExactSums sums(largest);
  const dist::Partition share{static_cast<Index>(all.size()), comm.size()};
  for (Index i = share.begin(comm.rank()); i < share.end(comm.rank()); ++i)
    sums.add(all[static_cast<std::size_t>(i)].feature, all[static_cast<std::size_t>(i)].value);
  sums.sum_over(comm);
  return sums;
}

} // namespace

TEST(ExactSums, HaveTheSameBitsInAnyOrderAtAnyRanks) {
  const comm::Communicator world;
  const comm::Communicator self(MPI_COMM_SELF, boost::mpi::comm_attach);
  constexpr std::int32_t features = 17;
  auto all = entries(20000, features);
  std::vector<float> largest(features + 1, 0.0F); // the last one has none
  for (const auto& e : all)
    largest[static_cast<std::size_t>(e.feature)] = std::max(largest[static_cast<std::size_t>(e.feature)], std::abs(e.value));
  const auto of_all_ranks = added(world, all, largest);
  std::reverse(all.begin(), all.end());
  const auto backwards = added(self, all, largest);
  EXPECT_EQ(of_all_ranks.sums(), backwards.sums());
  EXPECT_EQ(of_all_ranks.squares(), backwards.squares());
  for (std::int32_t j = 0; j <= features; ++j) {
    long double sum = 0;
    long double squares = 0;
    for (const auto& e : all) {
      if (e.feature != j) continue;
      sum += e.value;
      squares += static_cast<long double>(e.value) * e.value;
    }
    EXPECT_NEAR(backwards.sums()[static_cast<std::size_t>(j)], static_cast<double>(sum), 1e-15 * static_cast<double>(squares) + 1e-14);
    EXPECT_NEAR(backwards.squares()[static_cast<std::size_t>(j)], static_cast<double>(squares), 2e-16 * static_cast<double>(squares));
  }
}

TEST(ExactSums, TakeTheLargestAndTheSmallestFloats) {
  const comm::Communicator self(MPI_COMM_SELF, boost::mpi::comm_attach);
  const float large = std::numeric_limits<float>::max();
  const float small = std::numeric_limits<float>::denorm_min();
  features::ExactSums sums({large, small});
  for (int i = 0; i < 3; ++i) {
    sums.add(0, large);
    sums.add(1, -small);
  }
  sums.sum_over(self);
  EXPECT_EQ(sums.sums(), (std::vector<double>{3.0 * static_cast<double>(large), -3.0 * static_cast<double>(small)}));
  EXPECT_EQ(sums.squares()[1], 3.0 * static_cast<double>(small) * static_cast<double>(small));
}
