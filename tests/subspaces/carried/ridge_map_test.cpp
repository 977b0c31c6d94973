// Maps between two residual streams: ridge regression against ATen's solver and plain loops over rows; planted maps; the rows they are made
// of.
#include "concord/subspaces/carried/carried.hpp"

#include <fmt/format.h>

#include "concepts/token_file.hpp"
#include "subspaces/carried/map_rows.hpp"
#include "subspaces/worlds.hpp"
#include <ATen/ATen.h>
#include <map>
#include <numeric>
#include <set>

namespace concord::subspaces {
namespace {

using at::Tensor;
using test::world;

std::size_t place(Index i) {
  return static_cast<std::size_t>(i);
}

std::vector<double> normals(std::uint64_t seed, Index n, Index d, double ratio = 1, double mean = 0) {
  const Philox random(seed, "rows");
  std::vector<double> rows;
  double scale = 1;
  for (Index i = 0; i < n * d; ++i) {
    scale = i % d == 0 ? 1 : scale * ratio;
    rows.push_back(mean + scale * random.normal(static_cast<std::uint64_t>(i)));
  }
  return rows;
}

Tensor matrix(const std::vector<double>& values, Index n, Index d) {
  return at::tensor(values, at::kDouble).view({n, d});
}

std::vector<double> values_of(const Tensor& x) {
  const Tensor flat = x.contiguous().view({-1});
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

PairMoments moments_of(const std::vector<double>& x, const std::vector<double>& y, Index n) {
  PairMoments moments(static_cast<Index>(x.size()) / n, static_cast<Index>(y.size()) / n);
  moments.add(x, y, n);
  return moments;
}

/// y = W x + b + noise, with x of very unequal variances and a mean far from 0.
struct Planted {
  static constexpr Index dx = 12, dy = 17;
  Tensor w = matrix(normals(1, dy, dx), dy, dx);
  std::vector<double> x, y;
  Planted(std::uint64_t seed, Index n, double noise) : x(normals(seed, n, dx, 0.7, 3)) {
    const Tensor clean = matrix(x, n, dx).matmul(w.t()) + 5;
    y = values_of(clean + noise * matrix(normals(seed + 100, n, dy), n, dy));
  }
};

TEST(RidgeMap, EqualsAPlainSolve) {
  constexpr Index n = 90;
  const Planted rows(2, n, 0.5);
  const auto moments = moments_of(rows.x, rows.y, n);
  const Ridge ridge(moments);
  const Tensor x = matrix(rows.x, n, rows.dx);
  const Tensor y = matrix(rows.y, n, rows.dy);
  const Tensor xc = x - x.mean(0, true);
  const Tensor yc = y - y.mean(0, true);
  for (const double strength : {0.0, 1e-4, 0.3}) {
    const Tensor sxx = xc.t().matmul(xc) / n;
    const Tensor added = strength * sxx.trace() / rows.dx * at::eye(rows.dx, at::kDouble);
    const Tensor m = at::linalg_solve(sxx + added, xc.t().matmul(yc) / n).t();
    const Tensor b = y.mean(0) - m.matmul(x.mean(0));
    const auto map = ridge.map(strength);
    const auto expected = values_of(m);
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(map.m[i], expected[i], 1e-9) << strength;
    const auto offset = values_of(b);
    for (std::size_t i = 0; i < offset.size(); ++i) EXPECT_NEAR(map.b[i], offset[i], 1e-8) << strength;
    const Planted others(7, 40, 0.5); // R^2 on rows that it was not made of, row by row
    const Tensor ox = matrix(others.x, 40, rows.dx);
    const Tensor oy = matrix(others.y, 40, rows.dy);
    const double error = (oy - ox.matmul(m.t()) - b).square().sum().item<double>();
    const double variance = (oy - oy.mean(0, true)).square().sum().item<double>();
    EXPECT_NEAR(r_squared(map, moments_of(others.x, others.y, 40)), 1 - error / variance, 1e-10);
  }
}

TEST(RidgeMap, OfFewerRowsThanColumns) {
  const Planted rows(3, 5, 0);
  const auto moments = moments_of(rows.x, rows.y, 5);
  const auto map = Ridge(moments).map(0); // the pseudo-inverse
  EXPECT_NEAR(r_squared(map, moments), 1, 1e-9);
  for (const double value : map.m) EXPECT_TRUE(std::isfinite(value));
  test::expect_error(ExitCode::bad_data, "needs rows", [] { Ridge ridge(PairMoments(3, 4)); });
  EXPECT_TRUE(std::isnan(r_squared(map, PairMoments(rows.dx, rows.dy))));
  // Constant rows: nothing can be mapped, and nothing is.
  const auto constant = Ridge(moments_of(std::vector<double>(30, 2.0), normals(4, 10, 2), 10)).map(1e-3);
  for (const double value : constant.m) EXPECT_EQ(value, 0);
}

TEST(RidgeMap, StrengthIsThatOfTheLargestR2OnOtherRows) {
  std::set<double> chosen;
  for (const double noise : {0.0, 3.0, 30.0}) {
    const Planted fit(6, 40, noise);
    const Planted choose(8, 300, noise);
    const auto of_fit = moments_of(fit.x, fit.y, 40);
    const auto of_choose = moments_of(choose.x, choose.y, 300);
    const auto found = choose_map(of_fit, of_choose);
    chosen.insert(found.strength);
    for (const double strength : ridge_strengths)
      EXPECT_LE(r_squared(Ridge(of_fit).map(strength), of_choose), r_squared(found.map, of_choose));
    EXPECT_EQ(found.map.m, Ridge(of_fit).map(found.strength).m);
  }
  EXPECT_GT(chosen.size(), 1U) << "the strengths differ in what they are good for";
  const Planted rows(9, 40, 1);
  EXPECT_EQ(choose_map(moments_of(rows.x, rows.y, 40), PairMoments(rows.dx, rows.dy)).strength, usual_strength);
}

/// A basis carried by a planted map spans W U; by a map of shuffled rows it spans anything.
TEST(CarriedBasis, OfAPlantedMapIsFound) {
  constexpr Index n = 4000;
  const Planted fit(10, n, 0.01);
  const Planted held(11, n, 0.01);
  auto moved = fit.y;
  std::rotate(moved.begin(), moved.begin() + 37 * Planted::dy, moved.end());
  const Planted choose(13, n, 0.01);
  const auto of_choose = moments_of(choose.x, choose.y, n);
  const auto of_held = moments_of(held.x, held.y, n);
  const auto map = choose_map(moments_of(fit.x, fit.y, n), of_choose);
  const auto shuffled = choose_map(moments_of(fit.x, moved, n), of_choose);
  EXPECT_GT(r_squared(map.map, of_held), 0.9999);
  EXPECT_LT(r_squared(shuffled.map, of_held), 0.08) << "4 standard deviations: 0.020 over 200 such worlds, mean -0.002";
  const auto columns = normals(12, Planted::dx, 3);
  const Basis basis = agreement::leading_subspace(columns, Planted::dx, 3, 3);
  const Basis expected = agreement::leading_subspace(values_of(fit.w.matmul(matrix(columns, Planted::dx, 3))), Planted::dy, 3, 3);
  const Basis found = carried(map.map, basis);
  ASSERT_EQ(found.k, 3);
  EXPECT_LT(agreement::principal_angles(found, expected).front(), 0.05);
  EXPECT_GT(agreement::principal_angles(carried(shuffled.map, basis), expected).front(), 0.5);
  EXPECT_EQ(carried(map.map, {Planted::dx, 0, {}, 0}).k, 0);
  AffineMap of_rank_one = map.map; // what the map does not tell apart is one direction
  for (Index i = 0; i < of_rank_one.dy; ++i)
    for (Index j = 0; j < of_rank_one.dx; ++j) of_rank_one.m[place(i * of_rank_one.dx + j)] = static_cast<double>((i + 1) * (j + 1));
  EXPECT_EQ(carried(of_rank_one, basis).k, 1);
}

// --- Rows -------------------------------------------------------------------------------------------------------------

constexpr Index contexts_there = 60;

std::vector<Index> offsets_of_contexts() {
  std::vector<Index> offsets{0};
  for (Index c = 0; c < contexts_there; ++c) offsets.push_back(offsets.back() + 90 + c % 7);
  return offsets;
}

/// Three contexts a document; spans in those of two out of three documents.
std::vector<Span> spans_of_documents(bool by_context) {
  const auto offsets = offsets_of_contexts();
  std::vector<Span> spans;
  for (Index c = 0; c < contexts_there; ++c) {
    const Index document = by_context ? c : c / 3;
    if (document % 3 == 2) continue;
    Span span;
    span.begin = offsets[place(c)] + 5;
    span.end = span.begin + 1;
    span.document = document;
    span.document_half = static_cast<std::int8_t>(document / 3 % 2);
    spans.push_back(span);
  }
  return spans;
}

TEST(MapContextsDrawn, KeepTheHalvesOfTheDocuments) {
  const auto offsets = offsets_of_contexts();
  std::vector<Index> document;
  for (Index c = 0; c < contexts_there; ++c) document.push_back(c / 3);
  for (const bool by_context : {false, true}) {
    const auto spans = spans_of_documents(by_context);
    const auto drawn = draw_map_contexts(spans, {offsets, document}, 1'000'000, 3);
    std::map<Index, MapPart> part_of;
    std::size_t all = 0;
    for (int part = 0; part < map_parts; ++part)
      for (const Index context : drawn[place(part)]) {
        ++all;
        const Index number = by_context ? context : context / 3;
        const auto [found, fresh] = part_of.emplace(number, static_cast<MapPart>(part));
        EXPECT_EQ(found->second, static_cast<MapPart>(part)) << "a document is of one part";
        if (number % 3 != 2) {
          EXPECT_EQ(part == static_cast<int>(MapPart::held), number / 3 % 2 == 1);
        }
      }
    EXPECT_EQ(all, place(contexts_there)) << "room for all";
    double choose = 0;
    double fit = 0;
    for (const auto& [number, part] : part_of) {
      choose += part == MapPart::choose ? 1 : 0;
      fit += part == MapPart::fit ? 1 : 0;
    }
    EXPECT_EQ(choose, std::floor((choose + fit) / 5));
    EXPECT_GE(choose, 1);
  }
}

TEST(MapContextsDrawn, AreNoMoreThanWantedAndRandom) {
  const auto offsets = offsets_of_contexts();
  const auto spans = spans_of_documents(true);
  std::map<Index, double> taken;
  constexpr double seeds = 300;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const auto drawn = draw_map_contexts(spans, {offsets, {}}, 1000, seed);
    std::array<Index, 2> rows{};
    for (int part = 0; part < map_parts; ++part)
      for (const Index context : drawn[place(part)]) {
        rows[part == static_cast<int>(MapPart::held) ? 1 : 0] += offsets[place(context) + 1] - offsets[place(context)];
        ++taken[context];
      }
    EXPECT_LE(rows[0], 1000);
    EXPECT_LE(rows[1], 1000);
    EXPECT_GE(rows[0], 900) << "as many as fit";
    EXPECT_GE(rows[1], 900);
  }
  for (Index context = 0; context < contexts_there; ++context) EXPECT_GT(taken[context], 0) << context;
  const auto none = draw_map_contexts(spans, {offsets, {}}, 50, 1);
  EXPECT_TRUE(none[0].empty() && none[1].empty() && none[2].empty());
}

/// Files of two residual streams over contexts of which some are opened by a mark.
struct Files {
  std::filesystem::path tokens;
  std::string x, y;
  std::vector<float> rows_x, rows_y;
};

Files files_of(const std::string& name, const std::vector<float>& rows_x, const std::vector<float>& rows_y) {
  const auto offsets = offsets_of_contexts();
  std::vector<test::PieceContext> contexts;
  for (Index c = 0; c < contexts_there; ++c) {
    test::PieceContext context{c, std::vector<std::string>(place(offsets[place(c) + 1] - offsets[place(c)]), "a")};
    if (c % 4 != 3) context.pieces[0] = "<bos>";
    contexts.push_back(context);
  }
  const auto tokens = test::token_file(name, contexts);
  const auto path = test::empty_folder("rows_" + name) / "rows.h5";
  if (world().rank() == 0) {
    auto file = io::File::create(path);
    file.write("/x", rows_x, {offsets.back(), static_cast<Index>(rows_x.size()) / offsets.back()});
    file.write("/y", rows_y, {offsets.back(), static_cast<Index>(rows_y.size()) / offsets.back()});
    file.close();
  }
  world().barrier();
  return {tokens, path.string() + ":/x", path.string() + ":/y", rows_x, rows_y};
}

std::vector<float> floats(std::uint64_t seed, Index count) {
  const auto values = normals(seed, count, 1);
  return {values.begin(), values.end()};
}

TEST(MomentsOfRows, EqualAPlainLoop) {
  const auto offsets = offsets_of_contexts();
  constexpr Index dx = 5, dy = 3;
  const auto files = files_of("plain", floats(1, offsets.back() * dx), floats(2, offsets.back() * dy));
  const io::RowSource x(files.x);
  const io::RowSource y(files.y);
  const corpus::TokenReader tokens(files.tokens);
  std::vector<Index> most;
  for (Index c = contexts_there - 1; c > 0; --c) most.push_back(c);
  for (const auto& contexts : {std::vector<Index>{}, std::vector<Index>{7}, std::vector<Index>{9, 3, 4}, most}) {
    std::vector<double> rows_x;
    std::vector<double> rows_y;
    for (const Index c : contexts)
      for (Index row = offsets[place(c)] + (c % 4 != 3 ? 1 : 0); row < offsets[place(c) + 1]; ++row) {
        for (Index j = 0; j < dx; ++j) rows_x.push_back(static_cast<double>(files.rows_x[place(row * dx + j)]));
        for (Index j = 0; j < dy; ++j) rows_y.push_back(static_cast<double>(files.rows_y[place(row * dy + j)]));
      }
    PairMoments expected(dx, dy);
    expected.add(rows_x, rows_y, static_cast<Index>(rows_x.size()) / dx);
    const auto found = map_moments(world(), {x, y, tokens}, contexts, false, 1);
    EXPECT_EQ(found.n, expected.n);
    for (const auto& [a, b] : {std::pair{&found.x, &expected.x}, std::pair{&found.y, &expected.y}, std::pair{&found.xx, &expected.xx},
                               std::pair{&found.xy, &expected.xy}, std::pair{&found.yy, &expected.yy}})
      for (std::size_t i = 0; i < a->size(); ++i) EXPECT_NEAR((*a)[i], (*b)[i], 1e-9);
  }
}

/// A row that is too long in one of the two models is left out of both.
TEST(MomentsOfRows, LeaveOutRowsThatAreTooLong) {
  const auto offsets = offsets_of_contexts();
  constexpr Index dx = 5, dy = 3;
  auto rows_x = floats(1, offsets.back() * dx);
  auto rows_y = floats(2, offsets.back() * dy);
  const auto length = [](const std::vector<float>& rows, Index row, Index d) {
    double squares = 0;
    for (Index j = row * d; j < (row + 1) * d; ++j) squares += static_cast<double>(rows[place(j)]) * static_cast<double>(rows[place(j)]);
    return std::sqrt(squares);
  };
  const auto files = files_of("long", rows_x, rows_y);
  const io::RowSource x(files.x);
  const io::RowSource y(files.y);
  const corpus::TokenReader tokens(files.tokens);
  std::vector<Index> contexts;
  for (Index c = 0; c < contexts_there; ++c) contexts.push_back(c);
  const double longest_x = 3;
  const double longest_y = 2.5;
  std::vector<double> kept_x;
  std::vector<double> kept_y;
  Index left_out = 0;
  std::vector<Index> of_blocks{0}; // rows that are kept
  Index in_block = 0;
  for (const Index c : contexts) {
    if (in_block >= map_block_rows) {
      of_blocks.push_back(0);
      in_block = 0;
    }
    in_block += offsets[place(c) + 1] - offsets[place(c)];
    for (Index row = offsets[place(c)] + (c % 4 != 3 ? 1 : 0); row < offsets[place(c) + 1]; ++row) {
      if (length(rows_x, row, dx) > longest_x || length(rows_y, row, dy) > longest_y) {
        ++left_out;
        continue;
      }
      ++of_blocks.back();
      for (Index j = 0; j < dx; ++j) kept_x.push_back(static_cast<double>(rows_x[place(row * dx + j)]));
      for (Index j = 0; j < dy; ++j) kept_y.push_back(static_cast<double>(rows_y[place(row * dy + j)]));
    }
  }
  EXPECT_GT(left_out, 100);
  PairMoments expected(dx, dy);
  expected.add(kept_x, kept_y, static_cast<Index>(kept_x.size()) / dx);
  const auto found = map_moments(world(), {x, y, tokens, longest_x, longest_y}, contexts, false, 1);
  EXPECT_EQ(found.n, expected.n);
  for (std::size_t i = 0; i < found.xy.size(); ++i) EXPECT_NEAR(found.xy[i], expected.xy[i], 1e-9);
  const auto shuffled = map_moments(world(), {x, y, tokens, longest_x, longest_y}, contexts, true, 1);
  ASSERT_GT(of_blocks.size(), 2U);
  double meeting = 0; // a block and the next one
  for (std::size_t i = 0; i < of_blocks.size(); ++i)
    meeting += static_cast<double>(std::min(of_blocks[i], of_blocks[(i + 1) % of_blocks.size()]));
  EXPECT_EQ(shuffled.n, meeting);
}

/// Rows that name their context: the product counts how often a row of the one context meets one of the other.
TEST(MomentsOfRows, ShuffledMeetRowsOfOtherBlocks) {
  const auto offsets = offsets_of_contexts();
  std::vector<float> names(place(offsets.back() * contexts_there));
  for (Index c = 0; c < contexts_there; ++c)
    for (Index row = offsets[place(c)]; row < offsets[place(c) + 1]; ++row) names[place(row * contexts_there + c)] = 1;
  const auto files = files_of("shuffled", names, names);
  const io::RowSource x(files.x);
  const io::RowSource y(files.y);
  const corpus::TokenReader tokens(files.tokens);
  std::vector<Index> contexts;
  for (Index c = 0; c < contexts_there; ++c) contexts.push_back((c * 7) % contexts_there);
  const auto found = map_moments(world(), {x, y, tokens}, contexts, true, 1);
  double met = 0;
  for (Index c = 0; c < contexts_there; ++c) {
    EXPECT_EQ(found.xy[place(c * contexts_there + c)], 0);
    for (Index other = 0; other < contexts_there; ++other) met += found.xy[place(c * contexts_there + other)] > 0 ? 1 : 0;
  }
  EXPECT_EQ(std::accumulate(found.xy.begin(), found.xy.end(), 0.0), found.n);
  EXPECT_GT(met, 8 * contexts_there) << "rows of a context meet those of many";
  EXPECT_GT(found.n, 0.8 * static_cast<double>(offsets.back() - contexts_there));
  const auto again = map_moments(worlds::alone(), {x, y, tokens}, contexts, true, 1);
  EXPECT_EQ(found.xy, again.xy) << "at any number of ranks";
  EXPECT_NE(map_moments(world(), {x, y, tokens}, contexts, true, 2).xy, found.xy);
  const auto of_one_block = map_moments(world(), {x, y, tokens}, {0, 1, 2}, true, 1);
  EXPECT_EQ(of_one_block.n, 90 + 91 + 92 - 3) << "all but what opens contexts";
}

TEST(MomentsOfRows, ShuffledSayNothing) {
  const auto offsets = offsets_of_contexts();
  constexpr Index d = 8;
  const auto rows_x = floats(5, offsets.back() * d);
  std::vector<float> rows_y(rows_x);
  for (float& value : rows_y) value = 2 * value + 1;
  const auto files = files_of("nothing", rows_x, rows_y);
  const io::RowSource x(files.x);
  const io::RowSource y(files.y);
  const corpus::TokenReader tokens(files.tokens);
  MapContexts contexts;
  for (Index c = 0; c < contexts_there; ++c) contexts[place(c % 3)].push_back(c);
  std::array<double, 2> r2{};
  for (const bool shuffled : {false, true}) {
    std::array<PairMoments, map_parts> moments;
    for (int part = 0; part < map_parts; ++part)
      moments[place(part)] = map_moments(world(), {x, y, tokens}, contexts[place(part)], shuffled, 1);
    r2[shuffled ? 1 : 0] = r_squared(choose_map(moments[0], moments[1]).map, moments[2]);
  }
  EXPECT_GT(r2[0], 0.9999);
  EXPECT_LT(r2[1], 0.07) << "4 standard deviations of a chance likeness to the true map, 2 / sqrt(n d)";
}

} // namespace
} // namespace concord::subspaces
