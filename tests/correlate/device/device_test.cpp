/// The GPU's kernels with lanes as a GPU has them (support/fiber_warp.hpp), against the CPU's. That the emulated device, which Pearson's
/// tests compare everywhere, gives the same follows.
#include "concord/core/philox.hpp"

#include "correlate/device/device_sweep.hpp"
#include "correlate/shares/row_pieces.hpp"
#include "correlate/sums/sweep.hpp"
#include "support/fiber_warp.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <cmath>

namespace concord::correlate {
namespace {

using test::FiberGroup;

class FiberDevice final : public device::Device {
public:
  explicit FiberDevice(FiberGroup::Order order) : order_(order) {}
  void* allocate(std::size_t bytes) override { return std::memset(::operator new(bytes), 0xA5, bytes); }
  void release(void* memory) noexcept override { ::operator delete(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void launch(const device::Kernel& kernel) override {
    std::visit([&](const auto& of) { test::run_in_fibers(of, order_); }, kernel);
  }

private:
  FiberGroup::Order order_;
};

/// Features from always on to rare, so that some are dense; the last third is dead.
io::CsrMatrix matrix(std::uint64_t seed, Index rows, Index features) {
  const Philox random(seed, "device");
  io::CsrMatrix m{rows, features, {0}, {}, {}};
  for (Index r = 0; r < rows; ++r) {
    for (Index f = 0; f < features / 3 * 2; ++f) {
      const auto at = static_cast<std::uint64_t>(r * features + f);
      if (random.uniform(2 * at) > 1.0 / (1.0 + 0.25 * static_cast<double>(f))) continue;
      m.indices.push_back(static_cast<std::int32_t>(f));
      m.values.push_back(static_cast<float>(std::exp(random.normal(2 * at + 1))));
    }
    m.indptr.push_back(m.nnz());
  }
  return m;
}

/// A pair on one rank, whole in memory.
struct Pair {
  comm::Communicator alone = test::world().split(test::world().rank());
  MatrixSource a{matrix(1, 40, 60)};
  MatrixSource b{matrix(2, 40, 130)};
  ShareGrid grid{1, 1};
  Deal deal_a{a, 1, dense_work_a};
  Deal deal_b{b, 1, dense_work_b, 50};
  PairRows rows{a,
                b,
                deal_a,
                deal_b,
                std::make_shared<const Whole<PostingShare>>(load_postings(alone, grid, a, deal_a, 0, a.rows())),
                std::make_shared<const Whole<RowShare>>(load_rows(alone, alone, grid, b, deal_b))};
};

using Best = std::vector<std::tuple<double, std::int32_t, std::int32_t>>;

Best best_of(const BestTable& table) {
  Best all;
  std::vector<Partner> partners;
  for (Index feature = 0; feature < table.features(); ++feature) {
    table.best(feature, partners);
    for (const auto& partner : partners) all.emplace_back(partner.r, partner.feature, partner.cofire);
  }
  return all;
}

TEST(Device, FindsWhatTheCpuFinds) {
  if (test::world().size() > 1) GTEST_SKIP() << "on one rank";
  const Pair pair;
  const std::vector<Index> shifts{0, 23};
  const Index best = 5;
  Sweep sweep(pair.alone, pair.alone, 1, pair.grid, pair.rows, 1e9, 1);
  const auto found_by = [&](PairSums& sums) {
    Found found(sums.features_a().size(), sums.features_b().size(), best, 1, 1);
    sums.find_best(shifts, best, found);
    return found;
  };
  const Found expected = found_by(sweep);
  for (const auto order : {FiberGroup::Order::ascending, FiberGroup::Order::descending})
    for (const double sums : {1e9, 50000.0}) { // all in one chunk, or in some
      FiberDevice fibers(order);
      device::KeptOnDevice kept(fibers, 1e9);
      device::DeviceSweep on_device(pair.alone, pair.alone, 1, pair.grid, pair.rows, fibers, kept, {1e9, 1e9, sums});
      const Found found = found_by(on_device);
      EXPECT_EQ(best_of(found.best_of_a), best_of(expected.best_of_a));
      EXPECT_EQ(best_of(found.best_of_b.front()), best_of(expected.best_of_b.front()));
      EXPECT_EQ(found.largest_a, expected.largest_a);
      EXPECT_EQ(found.largest_b.front(), expected.largest_b.front());
    }
}

/// Of the features that are wanted at each shift, in one chunk or in some.
TEST(Device, FindsTheLargestOfSome) {
  if (test::world().size() > 1) GTEST_SKIP() << "on one rank";
  const Pair pair;
  const std::vector<Index> shifts{11, 23};
  Sweep sweep(pair.alone, pair.alone, 1, pair.grid, pair.rows, 1e9, 1);
  std::vector<Wanted> wanted(shifts.size(), Wanted(sweep.features_a().size(), 0));
  for (std::size_t i = 0; i < wanted[0].size(); ++i) wanted[i % 3 == 0 ? 0 : 1][i] = i % 3 != 2 ? 1 : 0;
  const auto of_wanted = [&](PairSums& sums) {
    auto largest = sums.find_largest(shifts, wanted);
    for (std::size_t s = 0; s < shifts.size(); ++s)
      for (std::size_t i = 0; i < wanted[s].size(); ++i) largest[s * wanted[s].size() + i] *= wanted[s][i];
    return largest;
  };
  const auto expected = of_wanted(sweep);
  EXPECT_GT(std::count_if(expected.begin(), expected.end(), [](double r) { return r > 0; }), 20);
  for (const double sums : {1e9, 50000.0}) {
    FiberDevice fibers(FiberGroup::Order::ascending);
    device::KeptOnDevice kept(fibers, 1e9);
    device::DeviceSweep on_device(pair.alone, pair.alone, 1, pair.grid, pair.rows, fibers, kept, {1e9, 1e9, sums});
    EXPECT_EQ(of_wanted(on_device), expected);
  }
}

TEST(Device, FindsWhatExceedsBounds) {
  if (test::world().size() > 1) GTEST_SKIP() << "on one rank";
  const Pair pair;
  Sweep sweep(pair.alone, pair.alone, 1, pair.grid, pair.rows, 1e9, 1);
  const std::vector<double> limit_a(sweep.features_a().size(), 0.03), limit_b(sweep.features_b().size(), 0.02);
  const std::vector<std::uint8_t> wanted(sweep.features_a().size(), 1);
  const auto pairs_of = [&](PairSums& sums) {
    std::vector<std::tuple<std::int32_t, std::int32_t, double, std::int32_t>> pairs;
    for (const auto& found : sums.find_exceeding(limit_a, limit_b, wanted)) pairs.emplace_back(found.a, found.b, found.r, found.cofire);
    std::sort(pairs.begin(), pairs.end());
    return pairs;
  };
  const auto expected = pairs_of(sweep);
  EXPECT_GT(expected.size(), 100U);
  for (const auto order : {FiberGroup::Order::ascending, FiberGroup::Order::descending}) {
    FiberDevice fibers(order);
    device::KeptOnDevice kept(fibers, 1e9);
    device::DeviceSweep on_device(pair.alone, pair.alone, 1, pair.grid, pair.rows, fibers, kept, {1e9, 1e9, 1e9});
    EXPECT_EQ(pairs_of(on_device), expected);
  }
}

TEST(Device, KeepsWhatHasRoomWhileTheHostHasIt) {
  const Pair pair;
  const auto load = [&] {
    return std::make_shared<const Whole<PostingShare>>(load_postings(pair.alone, pair.grid, pair.a, pair.deal_a, 0, pair.a.rows()));
  };
  auto first = load();
  auto second = load();
  FiberDevice fibers(FiberGroup::Order::ascending);
  device::KeptOnDevice kept(fibers, 100);
  std::weak_ptr<const void> of_first = kept.postings(first, 60);
  EXPECT_EQ(kept.postings(first, 60), of_first.lock());
  std::weak_ptr<const void> of_second = kept.postings(second, 60); // both are too much
  EXPECT_TRUE(of_first.expired());
  second.reset();
  of_first = kept.postings(first, 30); // both would have room
  EXPECT_TRUE(of_second.expired());
  EXPECT_FALSE(of_first.expired());
}

} // namespace
} // namespace concord::correlate
