// Span values against a dense loop over the rows of a small features.h5.
#include "concord/comm/collectives.hpp"
#include "concord/subspaces/spans/span_values.hpp"

#include "subspaces/features_file.hpp"
#include "subspaces/worlds.hpp"
#include <algorithm>
#include <csignal>
#include <map>

namespace concord::subspaces {
namespace {

using test::world;
using namespace worlds;

constexpr Index rows = 18000; // more than are read at once
constexpr Index features = 23;

/// Few features a row, or many, in any order; every ninth row is left out. Feature 5 never fires.
test::Codes some_codes(double density = 0.12) {
  const Philox random(3, "codes");
  test::Codes codes;
  std::uint64_t draw = 0;
  for (Index row = 0; row < rows; ++row) {
    codes.row_kind.push_back(row % 9 == 0 ? 1 : 0);
    std::vector<std::int32_t> here;
    if (row % 9 != 0)
      for (std::int32_t f = 0; f < features; ++f)
        if (f != 5 && random.uniform(draw++) < density) here.push_back(f);
    if (row % 2 == 1) std::reverse(here.begin(), here.end());
    for (const auto f : here) {
      codes.indices.push_back(f);
      codes.data.push_back(0.1F + 3 * static_cast<float>(random.uniform(draw++)));
    }
    codes.indptr.push_back(static_cast<Index>(codes.indices.size()));
  }
  return codes;
}

Span span_of(Index begin, Index length, bool random = false) {
  Span span;
  span.begin = begin;
  span.end = begin + length;
  span.random = random;
  return span;
}

/// Adjacent ones, such that overlap, a chain with gaps that are read over for longer than is read at once, lone ones, the file's ends.
std::vector<Span> some_spans() {
  std::vector<Span> spans{span_of(0, 2), span_of(2, 1),       span_of(2, 3, true), span_of(3, 1),
                          span_of(5, 4), span_of(6, 1, true), span_of(8, 2)};
  for (Index begin = 500; begin < rows - 400; begin += 57) spans.push_back(span_of(begin, 1 + begin % 4));
  spans.push_back(span_of(rows - 200, 90)); // ends behind the next one, which nothing follows for long
  spans.push_back(span_of(rows - 190, 1, true));
  spans.push_back(span_of(rows - 3, 3));
  spans.push_back(span_of(rows - 1, 1, true));
  return spans;
}

/// [features][spans]
Dense slow_values(const test::Codes& codes, const std::vector<Span>& spans, SpanValue value) {
  std::vector<float> dense(at(rows * features));
  for (Index row = 0; row < rows; ++row)
    for (Index i = codes.indptr[at(row)]; i < codes.indptr[at(row) + 1]; ++i)
      dense[at(row * features + codes.indices[at(i)])] = codes.data[at(i)];
  Dense values(at(features), std::vector<float>(spans.size()));
  for (Index f = 0; f < features; ++f)
    for (std::size_t i = 0; i < spans.size(); ++i) {
      float sum = 0;
      float most = 0;
      float last = 0;
      for (Index row = spans[i].begin; row < spans[i].end; ++row) {
        last = dense[at(row * features + f)];
        sum += last;
        most = std::max(most, last);
      }
      values[at(f)][i] = value == SpanValue::max    ? most
                         : value == SpanValue::sum  ? sum
                         : value == SpanValue::last ? last
                                                    : sum / static_cast<float>(spans[i].length());
    }
  return values;
}

struct Found {
  Index feature;
  SpanEntry entry;
};

/// Every rank's in rank order.
std::vector<Found> gathered(const SpanValues& values) {
  std::vector<Found> mine;
  for (Index i = 0; i < values.count(); ++i)
    for (const SpanEntry& entry : values.of(i)) mine.push_back({values.begin() + i, entry});
  return comm::all_gather(world(), mine);
}

TEST(SpanValuesOfFeatures, EqualADenseLoop) {
  const test::Codes codes = some_codes();
  const auto path = test::features_file("span_values", codes, features);
  const features::FeaturesFile file(path);
  const auto spans = some_spans();
  for (const SpanValue value : {SpanValue::max, SpanValue::mean, SpanValue::sum, SpanValue::last}) {
    const auto mine = span_values(world(), file, 2, spans, value);
    const dist::Partition owners{features, world().size()};
    EXPECT_EQ(mine.begin(), owners.begin(world().rank()));
    EXPECT_EQ(mine.count(), owners.size(world().rank()));
    const auto found = gathered(mine);
    const Dense slow = slow_values(codes, spans, value);
    std::size_t next = 0;
    for (Index f = 0; f < features; ++f)
      for (const SpanEntry& entry : entries_of(slow[at(f)])) {
        ASSERT_LT(next, found.size());
        EXPECT_EQ(std::tuple(found[next].feature, found[next].entry.span, found[next].entry.value), std::tuple(f, entry.span, entry.value))
            << static_cast<int>(value);
        ++next;
      }
    EXPECT_EQ(next, found.size());
    EXPECT_GT(next, spans.size());
  }
}

/// Some 600,000 values: several pieces on each rank, unequally many.
TEST(SpanValuesOfFeatures, EqualADenseLoopWhereThereAreMany) {
  const test::Codes codes = some_codes(0.95);
  const features::FeaturesFile file(test::features_file("span_values", codes, features));
  std::vector<Span> spans;
  for (Index begin = 0; begin + 3 <= rows; ++begin) {
    spans.push_back(span_of(begin, begin > rows / 2 ? 1 : 1 + begin % 3));
    if (begin > rows / 3) spans.push_back(span_of(begin, 1, true));
  }
  const auto found = gathered(span_values(world(), file, 2, spans, SpanValue::max));
  ASSERT_GT(found.size(), 4 * (std::size_t{1} << 17));
  const Dense slow = slow_values(codes, spans, SpanValue::max);
  std::size_t next = 0;
  for (Index f = 0; f < features; ++f)
    for (const SpanEntry& entry : entries_of(slow[at(f)])) {
      ASSERT_LT(next, found.size());
      ASSERT_EQ(std::tuple(found[next].feature, found[next].entry.span, found[next].entry.value), std::tuple(f, entry.span, entry.value));
      ++next;
    }
  EXPECT_EQ(next, found.size());
}

TEST(SpanValuesOfFeatures, OfNoSpansAndOfFewerThanRanks) {
  const test::Codes codes = some_codes();
  const features::FeaturesFile file(test::features_file("span_values", codes, features));
  EXPECT_TRUE(gathered(span_values(world(), file, 2, {}, SpanValue::max)).empty());
  const std::vector<Span> one{span_of(40, 5)};
  Index active = 0;
  for (const auto& of : slow_values(codes, one, SpanValue::max)) active += of[0] > 0 ? 1 : 0;
  EXPECT_EQ(static_cast<Index>(gathered(span_values(world(), file, 2, one, SpanValue::max)).size()), active);
  test::expect_error(ExitCode::bad_data, "layer_007", [&] { span_values(world(), file, 7, one, SpanValue::max); });
}

TEST(SpanValuesOfFeatures, AreNotReadToTheEndWhereAStopIsWanted) {
  const features::FeaturesFile file(test::features_file("span_values", some_codes(), features));
  comm::install_stop_flag(0);
  const comm::StopWithin now(0);
  EXPECT_NO_THROW(span_values(world(), file, 2, {span_of(40, 5)}, SpanValue::max, now));
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  EXPECT_NO_THROW(span_values(world(), file, 2, {span_of(40, 5)}, SpanValue::max)); // it has just begun
  test::expect_error(ExitCode::stopped, "subspaces stopped early",
                     [&] { span_values(world(), file, 2, {span_of(40, 5)}, SpanValue::max, now); });
  comm::install_stop_flag(0);
}

} // namespace
} // namespace concord::subspaces
