// What takes long leaves off where a stop is asked for, on all ranks, whichever was asked.
#include "concord/subspaces/likeness/alike.hpp"
#include "concord/subspaces/spans/span_values.hpp"

#include "subspaces/worlds.hpp"
#include <csignal>

namespace concord::subspaces {
namespace {

using test::world;
using namespace worlds;

/// The last rank is asked to stop while it lives.
class Asked {
public:
  Asked() {
    comm::install_stop_flag(0);
    if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  }
  ~Asked() { comm::install_stop_flag(0); }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;
};

/// Two concepts of eight phrases with four spans each, and random ones beside them.
std::vector<Span> some_spans() {
  std::vector<Span> spans;
  for (int i = 0; i < 128; ++i) {
    Span span;
    span.begin = 10 * i;
    span.end = span.begin + 1;
    span.concept_number = i / 64;
    span.phrase = i / 8;
    span.phrase_half = static_cast<std::int8_t>(i / 8 % 2);
    span.document_half = static_cast<std::int8_t>(i % 2);
    span.random = i % 8 >= 4;
    spans.push_back(span);
  }
  return spans;
}

TEST(Stopped, ChoosingMembers) {
  const auto spans = some_spans();
  Dense dense(12, std::vector<float>(spans.size()));
  for (std::size_t f = 0; f < dense.size(); ++f)
    for (std::size_t i = 0; i < spans.size(); ++i)
      if (!spans[i].random && spans[i].concept_number == 0) dense[f][i] = 1 + static_cast<float>(f);
  const auto values = share_of(world(), dense);
  const std::vector<ConceptSpans> defined(2, ConceptSpans{32, 8, true});
  SubspacesSettings settings;
  settings.max_q = 1;
  const comm::StopWithin late(1000);
  const comm::StopWithin now(0);
  EXPECT_EQ(choose_members(world(), spans, defined, values, settings, 1, nullptr, now)[0].candidates, 12);
  const Asked asked;
  EXPECT_EQ(choose_members(world(), spans, defined, values, settings, 1, nullptr, late)[0].candidates, 12);
  test::expect_error(ExitCode::stopped, "subspaces stopped early",
                     [&] { choose_members(world(), spans, defined, values, settings, 1, nullptr, now); });
}

TEST(Stopped, ComparingConceptsLeavesOff) {
  const auto spans = some_spans();
  LayerMembers members;
  const Philox random(1, "members");
  std::vector<double> rows;
  members.of_concept.resize(2);
  for (Index f = 0; f < 24; ++f) {
    members.of_concept[at(f / 12)].push_back(f);
    members.values.emplace_back();
    for (std::int32_t i = 0; i < 128; ++i) {
      const auto draw = static_cast<std::uint64_t>(f * 128 + i);
      if (random.uniform(2 * draw) < 0.5) members.values.back().push_back({i, static_cast<float>(random.uniform(2 * draw + 1))});
    }
    for (Index j = 0; j < 6; ++j) rows.push_back(random.normal(static_cast<std::uint64_t>(1'000'000 + f * 6 + j)));
  }
  members.decoder = SmallSpace(rows, 24, 6);
  const comm::StopWithin now(0);
  comm::install_stop_flag(0);
  EXPECT_EQ(compare_concepts(spans, members, members, nullptr, nullptr, 0, 2, 3, 1, now).pairs[0], 12);
  std::raise(SIGUSR1); // local: each rank for itself
  EXPECT_EQ(compare_concepts(spans, members, members, nullptr, nullptr, 0, 2, 3, 1, now).pairs, std::vector<Index>(4));
  EXPECT_EQ(compare_concepts(spans, members, members, nullptr, nullptr, 0, 2, 3, 1).pairs[0], 12); // it has just begun
  comm::install_stop_flag(0);
}

} // namespace
} // namespace concord::subspaces
