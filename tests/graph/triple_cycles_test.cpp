// Cycles through the layers of three models against those of each three layers by themselves, and how often links are read.
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/run/spent.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/dist/partition.hpp"

#include "graph/triple_cycles.hpp"
#include "support/support.hpp"
#include <set>

namespace concord::graph {
namespace {

using test::world;

/// Layers of a model with features of each.
const std::vector<Index> models[] = {{40, 30, 50}, {35, 45}, {60, 25, 30, 20}};
constexpr Index places = 3;

/// Random best partners and thresholds of every pair of layers of two models.
void write_pair(const std::filesystem::path& path, int one, int other, std::uint64_t seed) {
  auto file = io::File::create(path);
  const auto list = [](std::size_t n) {
    nlohmann::json layers = nlohmann::json::array();
    for (std::size_t i = 0; i < n; ++i) layers.push_back(i);
    return layers.dump();
  };
  file.write_attribute("layers_a", list(models[one].size()));
  file.write_attribute("layers_b", list(models[other].size()));
  file.write_attribute("stage_digest", "none");
  file.write_attribute("token_hash", "none");
  file.write_attribute("inputs", nlohmann::json{{"a", std::to_string(one)}, {"b", std::to_string(other)}}.dump());
  const Philox random(seed, "pairs");
  std::uint64_t draw = 0;
  for (std::size_t a = 0; a < models[one].size(); ++a)
    for (std::size_t b = 0; b < models[other].size(); ++b)
      for (const bool of_a : {true, false}) {
        const Index from = of_a ? models[one][a] : models[other][b], to = of_a ? models[other][b] : models[one][a];
        std::vector<std::int32_t> partner(at(from * places), -1);
        std::vector<double> r(at(from * places), 0.0);
        for (Index i = 0; i < from; ++i) { // most lead to where they would lead in a common order, so that many close
          const double u = random.uniform(draw++);
          const Index there = u < 0.6 ? i % to : static_cast<Index>(random.uniform(draw++) * static_cast<double>(to));
          if (u < 0.9) partner[at(i * places)] = static_cast<std::int32_t>(there);
          r[at(i * places)] = random.uniform(draw++);
        }
        const std::string group = correlate::pair_group(static_cast<int>(a), static_cast<int>(b)) + (of_a ? "/a_to_b/" : "/b_to_a/");
        file.write(group + "partner", partner, {from, places});
        file.write(group + "r", r, {from, places});
        file.write(group + "count", std::vector<Index>(at(from), 1));
        file.write(group + "threshold", std::vector<double>(at(from), 0.1));
      }
}

/// Of the files of some pairs of layers.
Index bytes_of(int one, int other, const std::function<Index(std::size_t a, std::size_t b)>& times) {
  Index bytes = 0;
  for (std::size_t a = 0; a < models[one].size(); ++a)
    for (std::size_t b = 0; b < models[other].size(); ++b)
      bytes += times(a, b) * (models[one][a] + models[other][b]) * (places * (4 + 8) + 8);
  return bytes;
}

class Triple : public ::testing::Test {
protected:
  void SetUp() override {
    const auto folder = test::empty_folder("triple_cycles");
    if (world().rank() == 0) {
      write_pair(folder / "ab.h5", 0, 1, 1);
      write_pair(folder / "bc.h5", 1, 2, 2);
      write_pair(folder / "ac.h5", 0, 2, 3);
    }
    world().barrier();
    ab.emplace(PairFiles{0, 1, folder / "ab.h5", {}});
    bc.emplace(PairFiles{1, 2, folder / "bc.h5", {}});
    ac.emplace(PairFiles{0, 2, folder / "ac.h5", {}});
  }
  TripleCycles all(Index room) const { return triple_cycles(world(), {&*ab, true}, {&*bc, true}, {&*ac, false}, room); }
  std::optional<PairLinks> ab, bc, ac;
};

TEST_F(Triple, AreThoseOfEachThreeLayers) {
  std::vector<Index> best, mutual;
  const auto put = [](std::vector<Index>& to, const Cycles& cycles) {
    to.push_back(cycles.begun);
    to.push_back(cycles.closed);
  };
  for (std::size_t a = 0; a < models[0].size(); ++a)
    for (std::size_t b = 0; b < models[1].size(); ++b)
      for (std::size_t c = 0; c < models[2].size(); ++c) {
        const auto to_b = ab->links(a, b, false), to_c = bc->links(b, c, false), to_a = ac->links(a, c, false);
        put(best, cycles(to_b.best.to_b, to_c.best.to_b, to_a.best.to_a));
        put(mutual, cycles(to_b.mutual.to_b, to_c.mutual.to_b, to_a.mutual.to_a));
      }
  Index closed = 0;
  for (std::size_t i = 1; i < mutual.size(); i += 2) closed += mutual[i];
  EXPECT_GT(closed, 10); // else equal numbers would say little
  for (const Index room : {room_for_links, Index{1000}, Index{0}}) {
    const auto found = all(room);
    EXPECT_EQ(found.best, best) << room;
    EXPECT_EQ(found.mutual, mutual) << room;
    EXPECT_TRUE(found.shifted_best.empty());
  }
}

TEST(PairLinks, OfADamagedFileAreRefused) {
  const auto path = test::empty_folder("pair_links") / fmt::format("x{}.h5", world().rank());
  const auto write = [&](const char* shorter) {
    auto file = io::File::create(path);
    file.write_attribute("layers_a", "[0]");
    file.write_attribute("layers_b", "[0]");
    file.write_attribute("stage_digest", "none");
    file.write_attribute("token_hash", "none");
    file.write_attribute("inputs", R"({"a": "a", "b": "b"})");
    for (const std::string side : {"/a_to_b/", "/b_to_a/"}) {
      const auto of = [&](const char* name) { return Index{side + name == shorter ? 2 : 3}; };
      const std::string group = correlate::pair_group(0, 0) + side;
      file.write(group + "partner", std::vector<std::int32_t>(at(of("partner")), 2), {of("partner"), 1});
      file.write(group + "r", std::vector<double>(at(of("r")), 0.5), {of("r"), 1});
      file.write(group + "count", std::vector<Index>(3, 1));
      file.write(group + "threshold", std::vector<double>(at(of("threshold")), 0.1));
    }
    file.close();
  };
  write("");
  EXPECT_EQ(PairLinks({0, 1, path, {}}).links(0, 0, false).best.to_b, (std::vector<std::int32_t>{2, 2, 2}));
  for (const char* name : {"/a_to_b/partner", "/a_to_b/r", "/a_to_b/threshold", "/b_to_a/threshold"}) {
    write(name);
    const PairLinks links({0, 1, path, {}});
    test::expect_error(ExitCode::bad_data, "does not fit the rest", [&] { links.links(0, 0, false); });
  }
}

TEST_F(Triple, LinksAreReadOnce) {
  const Index before = spent().bytes;
  all(room_for_links);
  const Index read = comm::sum_of(world(), spent().bytes - before);
  // Of the layers of B that a rank has pairs of, it reads A's links.
  const Index layers_c = static_cast<Index>(models[2].size());
  const dist::Partition deal{static_cast<Index>(models[1].size()) * layers_c, world().size()};
  const auto ranks_with = [&](std::size_t b) {
    std::set<int> ranks;
    for (Index c = 0; c < layers_c; ++c) ranks.insert(deal.owner(static_cast<Index>(b) * layers_c + c));
    return static_cast<Index>(ranks.size());
  };
  const auto once = [](std::size_t, std::size_t) { return Index{1}; };
  EXPECT_EQ(read, bytes_of(1, 2, once) + bytes_of(0, 2, once) + bytes_of(0, 1, [&](std::size_t, std::size_t b) { return ranks_with(b); }));
}

} // namespace
} // namespace concord::graph
