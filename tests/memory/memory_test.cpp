// What stages allocate against the formulas of their plans, at 1 to 4 ranks and several sizes. Each formula must be within a tenth of what
// was counted, blocks below 32 KiB and what libraries keep for themselves apart.
#include "concord/comm/collectives.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/memory_plan.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/correlate/memory_plan.hpp"
#include "concord/features/memory_plan.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/npy/npy_rows.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/sae/memory_plan.hpp"
#include "concord/sae/training/trainings.hpp"
#include "concord/similarity/compare.hpp"
#include "concord/similarity/memory_plan.hpp"

#include "correlate/features/feature_source.hpp"
#include "memory/byte_counter.hpp"
#include "sae/rows/owned_rows.hpp"
#include "support/support.hpp"
#include <fstream>

namespace concord {
namespace {

using test::empty_folder;
using test::world;

struct Sizes {
  Index rows, d, latents;
  int k;
  Index batch;
};

/// Activations of one layer: sums of 8 of 512 random directions.
std::filesystem::path activations(const std::filesystem::path& folder, const Sizes& s, std::uint64_t model) {
  const auto path = folder / fmt::format("acts{}.h5", model);
  if (world().rank() == 0) {
    const Philox random(model, "memory");
    std::vector<float> directions(static_cast<std::size_t>(512 * s.d));
    for (std::size_t i = 0; i < directions.size(); ++i) directions[i] = static_cast<float>(random.normal(i));
    std::vector<float> x(static_cast<std::size_t>(s.rows * s.d), 0.0F);
    for (Index r = 0; r < s.rows; ++r)
      for (Index i = 0; i < 8; ++i) {
        const auto which = static_cast<Index>(random.below(static_cast<std::uint64_t>((1 << 26) + 8 * r + i), 512));
        for (Index c = 0; c < s.d; ++c) x[static_cast<std::size_t>(r * s.d + c)] += directions[static_cast<std::size_t>(which * s.d + c)];
      }
    auto file = io::File::create(path);
    file.write("/layer_000/x", x, {s.rows, s.d});
    file.write("/row_kind", std::vector<std::uint8_t>(static_cast<std::size_t>(s.rows), 0));
    std::vector<Index> blocks;
    for (Index row = 0; row < s.rows; row += 2048) blocks.push_back(row);
    blocks.push_back(s.rows);
    file.write("/block_offsets", blocks);
    file.write_attribute("layers", "[0]");
    file.write_attribute("token_hash", "t");
    file.write_attribute("stage_digest", fmt::format("memory{}", model));
    file.close();
  }
  world().barrier();
  return path;
}

/// Runs a stage and compares what the ranks of this node took with its plan.
void expect_as_planned(const MemoryPlan& bounds, const std::function<void()>& stage) {
  const MemoryPlan plan = bounds.without_upper_bounds();
  world().barrier();
  test::start_counting();
  const auto before = test::bytes_now();
  stage();
  const auto most = test::most_bytes();
  const double own = most.own - before.own;
  const double shared = most.shared - before.shared;
  const double planned = plan.of_rank(world().rank() == 0);
  constexpr double of_libraries = 3 << 20; // buffers of MPI and HDF5 that depend on no size
  const auto what =
      fmt::format("{} at {} ranks: rank {} took {}, planned {} ({} with upper bounds); shared {}, planned {} ({})", plan.stage(),
                  world().size(), world().rank(), human_bytes(own), human_bytes(planned), human_bytes(bounds.of_rank(world().rank() == 0)),
                  human_bytes(shared), human_bytes(plan.of_node()), human_bytes(bounds.of_node()));
  if (std::getenv("CONCORD_MEMORY_FIGURES") != nullptr) std::cout << what << std::endl;
  EXPECT_GE(own, 0.9 * planned - of_libraries) << what;
  EXPECT_LE(own, 1.1 * bounds.of_rank(world().rank() == 0) + of_libraries) << what;
  EXPECT_GE(shared, 0.9 * plan.of_node() - (1 << 16)) << what;
  EXPECT_LE(shared, 1.1 * bounds.of_node() + (1 << 16)) << what;
}

class Memory : public ::testing::TestWithParam<Sizes> {};

TEST_P(Memory, StagesTakeWhatTheirPlansSay) {
  const Sizes s = GetParam();
  if (world().size() == (s.rows > 8192 ? 2 : 3)) GTEST_SKIP() << "one of the sizes at 2 and 3 ranks, both at 1 and 4";
  const auto folder = empty_folder("memory");
  const auto acts_a = activations(folder, s, 1);
  const auto acts_b = activations(folder, s, 2);
  const int ranks = world().size();
  const auto f = static_cast<double>(s.latents);
  const auto train = [&](const std::filesystem::path& acts, const std::string& name, bool counted) {
    sae::TrainOptions o;
    o.activations = acts.string() + ":/layer_000/x";
    o.latents = s.latents;
    o.k = s.k;
    o.batch = s.batch;
    o.steps = 3;
    o.held_out = 0.1;
    o.out = folder / name / "layer_000";
    const auto plan = sae::training_memory(o, {.rows = static_cast<double>(s.rows), .d = s.d, .value = 4, .ranks = ranks});
    if (counted)
      expect_as_planned(plan, [&] { sae::train(world(), o); });
    else
      sae::train(world(), o);
  };
  train(acts_a, "a", true);
  train(acts_b, "b", false);
  const auto encode = [&](const std::filesystem::path& acts, const std::string& name, bool counted) {
    features::EncodeOptions o;
    o.activations = acts;
    o.saes = (folder / name).string();
    o.top = 8; // where features fire often each rank has as many: the lists of all ranks at once were too much
    o.out = folder / (name + ".h5");
    const auto plan = features::encode_memory(o, {.rows = static_cast<double>(s.rows),
                                                  .blocks = static_cast<double>(s.rows) / 2048,
                                                  .latents = f,
                                                  .d = static_cast<double>(s.d),
                                                  .value = 4,
                                                  .active = static_cast<double>(s.k),
                                                  .ranks = ranks});
    if (counted)
      expect_as_planned(plan, [&] { features::encode(world(), o); });
    else
      features::encode(world(), o);
  };
  encode(acts_a, "a", true);
  encode(acts_b, "b", false);
  correlate::CorrelateOptions c;
  c.a = folder / "a.h5";
  c.b = folder / "b.h5";
  c.best = 4;
  c.null_shifts = 1;
  c.rules.max_q = 1;
  c.rules.min_firings = 1;
  for (const Index null_features : {8, 0}) { // a sample, all
    c.null_features = null_features;
    c.out = folder / fmt::format("matches_{}.h5", null_features);
    expect_as_planned(correlate::correlate_memory(c, {.rows = static_cast<double>(s.rows),
                                                      .features_a = f,
                                                      .features_b = f,
                                                      .active_a = static_cast<double>(s.k),
                                                      .active_b = static_cast<double>(s.k),
                                                      .ranks = ranks,
                                                      .on_node = ranks}),
                      [&] { correlate::correlate(world(), c); });
  }
  similarity::CompareOptions m;
  m.matches = c.out;
  m.saes_a = (folder / "a").string();
  m.saes_b = (folder / "b").string();
  m.out = folder / "first.h5";
  m.settings.min_matches = 4;
  m.settings.spaces.permutations = 9;
  m.settings.spaces.stratified = 0;
  m.settings.spaces.subsets = 0;
  // MKL and ScaLAPACK keep the room of their first large products, 20 MiB with AVX-512: that is of a plan's "program and libraries".
  similarity::compare(world(), m);
  m.out = folder / "similarity.h5";
  const auto matched = static_cast<double>(correlate::read_matched_counts(c.out).front());
  expect_as_planned(similarity::compare_memory(m.settings.spaces, {.matches = matched,
                                                                   .features_a = f,
                                                                   .features_b = f,
                                                                   .d_a = static_cast<double>(s.d),
                                                                   .d_b = static_cast<double>(s.d),
                                                                   .ranks = ranks}),
                    [&] { similarity::compare(world(), m); });
}

INSTANTIATE_TEST_SUITE_P(Sizes, Memory, ::testing::Values(Sizes{8192, 192, 16384, 16, 1024}, Sizes{16384, 256, 8192, 32, 2048}));

/// `bytes` of text that tokenize reads: prose again and again, or letters of which each is a token, in documents of `line` bytes.
std::filesystem::path text_file(const std::filesystem::path& path, std::size_t bytes, std::size_t line) {
  if (world().rank() == 0) {
    const std::string source = std::getenv("CONCORD_SOURCE") != nullptr ? std::getenv("CONCORD_SOURCE") : ".";
    std::string text = read_text(source + "/data/demo/corpus/analysis.txt", "text") + "\n\n";
    if (line > 0) {
      text.clear();
      const Philox random(9, "letters");
      for (std::uint64_t i = 0; i < 1 << 20; ++i) {
        const bool end = i % (line + 2) >= line;
        text += end ? '\n' : static_cast<char>('A' + random.below(i, 26));
      }
    }
    std::ofstream out(path, std::ios::binary);
    for (std::size_t written = 0; written < bytes; written += text.size())
      out.write(text.data(), static_cast<std::streamsize>(std::min(text.size(), bytes - written)));
  }
  world().barrier();
  return path;
}

void expect_tokenizing_as_planned(const std::string& name, std::size_t bytes, std::size_t line, corpus::TokenizeOptions o) {
  SCOPED_TRACE(name);
  const auto folder = empty_folder("memory_" + name);
  const std::string source = std::getenv("CONCORD_SOURCE") != nullptr ? std::getenv("CONCORD_SOURCE") : ".";
  o.paths = {text_file(folder / "text.txt", bytes, line).string()};
  o.tokenizer = source + "/data/demo/tokenizer.model";
  o.out = folder / "tokens.h5";
  const double longest = o.documents == corpus::DocumentEnd::file ? static_cast<double>(bytes) : 0;
  expect_as_planned(corpus::tokenize_memory(o.piece_bytes, static_cast<double>(bytes), 4096, longest),
                    [&] { corpus::tokenize(world(), o); });
}

TEST(Memory, TokenizingTakesWhatItsPlanSays) {
  if (world().size() == 2 || world().size() == 3) GTEST_SKIP() << "at 1 and 4 ranks";
  corpus::TokenizeOptions o;
  expect_tokenizing_as_planned("prose", std::size_t{20} << 20, 0, o);
  expect_tokenizing_as_planned("letters", std::size_t{5} << 20, 400, o);
  expect_tokenizing_as_planned("lines", std::size_t{5} << 20, 1, o);
  corpus::TokenizeOptions whole = o;
  whole.documents = corpus::DocumentEnd::file; // longer than a piece
  expect_tokenizing_as_planned("whole", std::size_t{8} << 20, 400, whole);
  o.context = 2;
  expect_tokenizing_as_planned("contexts", std::size_t{5} << 20, 400, o);
}

/// Half of the latents are active at the start, and each rank gathers the codes of all rows.
TEST(Memory, PenalisedKindsTakeWhatTheirPlanSays) {
  const Sizes s{.rows = 8192, .d = 64, .latents = 4096, .k = 0, .batch = 2048};
  const auto folder = empty_folder("memory_penalised");
  const auto acts = activations(folder, s, 1);
  for (const auto kind : {sae::Kind::relu, sae::Kind::gated, sae::Kind::jumprelu}) {
    SCOPED_TRACE(settings::word_of(kind));
    sae::TrainOptions o;
    o.activations = acts.string() + ":/layer_000/x";
    o.kind = kind;
    o.latents = s.latents;
    o.batch = s.batch;
    o.steps = 2;
    o.held_out = 0.1;
    o.out = folder / settings::word_of(kind);
    expect_as_planned(sae::training_memory(o, {.rows = static_cast<double>(s.rows), .d = s.d, .value = 4, .ranks = world().size()}),
                      [&] { sae::train(world(), o); });
  }
}

/// Many latents of few rows: what threads hold of the rows that they search is more than all else but codes.
TEST(Memory, RowsThatThreadsSearchAreInThePlan) {
  const Sizes s{.rows = 128, .d = 16, .latents = 16384, .k = 512, .batch = 96};
  const auto folder = empty_folder("memory_search");
  const auto acts = activations(folder, s, 1);
  for (const auto kind : {sae::Kind::topk, sae::Kind::relu}) {
    SCOPED_TRACE(settings::word_of(kind));
    sae::TrainOptions o;
    o.activations = acts.string() + ":/layer_000/x";
    o.kind = kind;
    o.latents = s.latents;
    o.k = s.k;
    o.batch = s.batch;
    o.steps = 2;
    o.held_out = 0.1;
    o.out = folder / settings::word_of(kind);
    const sae::TrainingSize size{
        .rows = static_cast<double>(s.rows), .d = s.d, .value = 4, .ranks = world().size(), .threads = thread_count()};
    expect_as_planned(sae::training_memory(o, size), [&] { sae::train(world(), o); });
  }
}

/// [rows, cols] of f32, without rows that are alike.
std::filesystem::path npy_file(const std::filesystem::path& path, Index rows, Index cols) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  header.resize(117, ' ');
  header += '\n';
  if (world().rank() == 0) {
    std::ofstream out(path, std::ios::binary);
    out << std::string("\x93NUMPY\x01\x00v\x00", 10) << header;
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (Index r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < row.size(); ++c) row[c] = c % 8 == 0 ? static_cast<float>(r + static_cast<Index>(c)) : 0.0F;
      out.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
    }
  }
  world().barrier();
  return path;
}

TEST(Memory, RowsOfAnArrayAreReadByRanges) {
  constexpr Index rows = 16384, cols = 512; // 32 MiB
  const auto path = npy_file(empty_folder("memory_npy") / "x.npy", rows, cols);
  test::start_counting();
  const auto before = test::bytes_now();
  const io::RowSource source(path.string());
  std::vector<float> row(cols);
  for (Index r = 0; r < rows; r += 97) {
    source.read_float(r, 1, row);
    EXPECT_EQ(row[8], static_cast<float>(r + 8));
  }
  EXPECT_LE(test::most_bytes().own - before.own, 2 << 20);
}

/// A rank knows where its own rows lie, 8 bytes each, not where those of all ranks do.
TEST(Memory, NoRankListsAllRows) {
  constexpr Index rows = 4'000'000; // 32 MB of such numbers
  constexpr int parts = 64;
  const auto path = npy_file(empty_folder("memory_rows") / "x.npy", rows, 1);
  const io::RowSource source(path.string());
  test::start_counting();
  const auto before = test::bytes_now();
  const sae::OwnedRows owned(source, false, 0, parts, 0);
  EXPECT_LE(test::most_bytes().own - before.own, 2 << 20);
  EXPECT_EQ(owned.usable(), rows);
  const std::vector<Index> wanted{rows / parts - 1, 17};
  std::vector<float> got(2);
  owned.gather(wanted, got);
  EXPECT_EQ(got, (std::vector<float>{rows / parts - 1, 17}));
}

/// However many ranks a node has.
TEST(Memory, AMatrixOfFeaturesIsOneCopyANode) {
  constexpr Index rows = 16384, cols = 512;
  const auto path = npy_file(empty_folder("memory_matrix") / "x.npy", rows, cols);
  test::start_counting();
  const auto before = test::bytes_now();
  const correlate::MatrixSource source(world(), [&] { return correlate::csr_of(io::NpyRows(path), "x.npy"); });
  const auto most = test::most_bytes();
  EXPECT_EQ(source.entries(), rows * cols / 8 - 1); // the first of the first row is 0
  EXPECT_EQ(source.read(7, 8).values[1], 15.0F);
  const double matrix = 8.0 * (rows * cols / 8 - 1) + 8.0 * (rows + 1);
  EXPECT_NEAR(most.shared - before.shared, matrix, 1 << 16);
  EXPECT_LE(test::bytes_now().own - before.own, 1 << 20);
  if (world().rank() != 0) {
    EXPECT_LE(most.own - before.own, 1 << 20);
  }
}

/// Features of which each fires on two rows, the same in all layers.
std::filesystem::path sparse_features(const std::filesystem::path& path, Index rows, Index features, int layers) {
  if (world().rank() == 0) {
    const auto f = static_cast<std::size_t>(features);
    const Index a_row = 2 * features / rows;
    std::vector<Index> indptr(static_cast<std::size_t>(rows) + 1);
    std::vector<std::int32_t> indices(2 * f);
    for (std::size_t r = 0; r < indptr.size(); ++r) indptr[r] = static_cast<Index>(r) * a_row;
    for (std::size_t e = 0; e < indices.size(); ++e) indices[e] = static_cast<std::int32_t>(e % f);
    auto file = io::File::create(path);
    file.write_attribute("concord_stage", "encode");
    file.write_attribute("token_hash", "t");
    file.write_attribute("stage_digest", "s");
    file.write_attribute("counted_rows", std::to_string(rows));
    file.write("/row_kind", std::vector<std::uint8_t>(static_cast<std::size_t>(rows), 0));
    std::string names;
    for (int layer = 0; layer < layers; ++layer) {
      const std::string at = "/" + layer_name(layer) + "/";
      names += (layer > 0 ? "," : "") + std::to_string(layer);
      file.write(at + "indptr", indptr);
      file.write(at + "indices", indices);
      file.write(at + "data", std::vector<float>(2 * f, 1.0F));
      file.write(at + "count", std::vector<Index>(f, 2));
      file.write(at + "sum", std::vector<double>(f, 2.0));
      file.write(at + "sum_squares", std::vector<double>(f, 2.0));
      file.write(at + "max", std::vector<float>(f, 1.0F));
      file.write(at + "top_rows", std::vector<Index>(f, -1), {features, 1});
      file.write(at + "top_values", std::vector<float>(f, 0.0F), {features, 1});
    }
    file.write_attribute("layers", "[" + names + "]");
    file.close();
  }
  world().barrier();
  return path;
}

/// Rank 0 holds those of one group at a time.
TEST(Memory, ResultsOfGroupsAreWrittenOneByOne) {
  const auto folder = empty_folder("memory_groups");
  constexpr Index rows = 128, features = 4096;
  correlate::CorrelateOptions c;
  c.a = c.b = sparse_features(folder / "x.h5", rows, features, 4);
  c.layers_a = {0};
  c.best = 32;
  c.null_shifts = 8;
  c.groups = 4;
  c.rules.max_q = 1;
  c.rules.min_firings = 1;
  c.out = folder / "matches.h5";
  const auto plan = correlate::correlate_memory(
      c,
      {.rows = rows, .features_a = features, .features_b = features, .active_a = 2.0 * features / rows, .active_b = 2.0 * features / rows});
  test::start_counting();
  const auto before = test::bytes_now();
  correlate::correlate(world(), c);
  const double own = test::most_bytes().own - before.own;
  if (world().rank() == 0) {
    EXPECT_LE(own, 1.1 * plan.of_rank(true) + (3 << 20));
  }
}

/// 16 nodes of 64 ranks, 1e9 rows, 131,072 latents, Gemma-2-9B's width, 26 x 42 layers.
struct Large {
  static constexpr double rows = 1e9, latents = 131072, d = 3584, active = 100;
  static constexpr int ranks = 1024, on_node = 64;
};

std::vector<MemoryPlan> large_plans(int ranks) {
  sae::TrainOptions t;
  t.latents = static_cast<Index>(Large::latents);
  t.k = static_cast<int>(Large::active);
  std::vector<MemoryPlan> plans;
  const sae::TrainingSize training{.rows = Large::rows, .d = static_cast<Index>(Large::d), .ranks = ranks};
  plans.push_back(sae::training_memory(t, training));
  t.order = sae::Order::buffer;
  plans.push_back(sae::training_memory(t, training));
  plans.push_back(features::encode_memory({}, {.rows = Large::rows,
                                               .blocks = Large::rows / 32768,
                                               .latents = Large::latents,
                                               .d = Large::d,
                                               .active = Large::active,
                                               .ranks = ranks}));
  plans.push_back(correlate::correlate_memory({}, {.rows = Large::rows,
                                                   .features_a = Large::latents,
                                                   .features_b = Large::latents,
                                                   .active_a = Large::active,
                                                   .active_b = Large::active,
                                                   .ranks = ranks,
                                                   .on_node = Large::on_node,
                                                   .threads = 1}));
  const auto groups = similarity::groups_for(26 * 42, ranks);
  plans.push_back(similarity::compare_memory({}, {.matches = Large::latents,
                                                  .features_a = Large::latents,
                                                  .features_b = Large::latents,
                                                  .d_a = 2304,
                                                  .d_b = Large::d,
                                                  .ranks = std::max(1, ranks / groups)}));
  return plans;
}

TEST(MemoryAtScale, NoRankHoldsMoreThanFourGiB) {
  for (const auto& plan : large_plans(Large::ranks)) {
    for (const auto& item : plan.items()) {
      if (item.holder == MemoryItem::Holder::node) continue;
      EXPECT_LE(item.bytes, 0x1p32) << plan.stage() << ": " << item.what << " = " << item.formula;
    }
    EXPECT_LE(plan.of_rank(false), 4.5 * 0x1p30) << plan.stage();
  }
}

/// Half of the latents active on each of 4,096 rows: 3 GiB a rank. Fast sums need gradients of all latents instead: more in wide models.
TEST(MemoryAtScale, CodesOfAllRowsAreNamedWhereTheyAreMost) {
  sae::TrainOptions o;
  o.latents = static_cast<Index>(Large::latents);
  o.batch = 4096;
  const auto advice = [&](sae::Kind kind, Index d) {
    o.kind = kind;
    const sae::TrainingSize size{.rows = Large::rows, .d = d, .ranks = Large::ranks};
    const auto plan = sae::training_memory(o, size);
    for (const auto& item : plan.items()) {
      if (item.holder != MemoryItem::Holder::node) {
        EXPECT_LE(item.bytes, kind == sae::Kind::gated ? 5 * 0x1p30 : 0x1p32) << item.what << " = " << item.formula;
      }
    }
    return sae::training_advice(o, size, plan.without_upper_bounds().largest(Large::on_node));
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  for (const auto kind : {sae::Kind::relu, sae::Kind::gated, sae::Kind::jumprelu}) {
    EXPECT_TRUE(has(advice(kind, 768), "sae.batch")) << advice(kind, 768);
    EXPECT_TRUE(has(advice(kind, 768), "sae.reduction = \"fast\"")) << advice(kind, 768);
    EXPECT_TRUE(has(advice(kind, 5120), "sae.batch")) << advice(kind, 5120);
    EXPECT_FALSE(has(advice(kind, 5120), "sae.reduction")) << advice(kind, 5120);
  }
  EXPECT_FALSE(has(advice(sae::Kind::topk, 768), "sae.batch"));
  EXPECT_TRUE(has(advice(sae::Kind::topk, 768), "sae.memory_gib"));
}

/// Of each array that may be the largest, a setting that it depends on and no other array's.
TEST(MemoryAtScale, AdviceIsOfTheArrayThatTakesMost) {
  sae::TrainOptions o;
  o.latents = static_cast<Index>(Large::latents);
  o.order = sae::Order::buffer;
  const sae::TrainingSize size{.rows = 1e6, .d = 768, .ranks = 64};
  const auto plan = sae::training_memory(o, size);
  EXPECT_EQ(plan.largest(1).what, "weights"); // 0.8 GB a node
  const auto words = [&](const std::string& what) {
    const auto item = std::find_if(plan.items().begin(), plan.items().end(), [&](const auto& i) { return i.what == what; });
    return item == plan.items().end() ? "no array " + what : sae::training_advice(o, size, *item);
  };
  EXPECT_TRUE(words("weights").starts_with("lower sae.latents")) << words("weights");
  EXPECT_TRUE(words("window of rows").starts_with("lower sae.buffer_rows")) << words("window of rows");
  EXPECT_TRUE(words("codes by latent").starts_with("lower sae.batch")) << words("codes by latent");
  o.order = sae::Order::global;
  EXPECT_TRUE(sae::training_advice(o, size, {"rows in memory", "", 1}).starts_with("lower sae.memory_gib"));
}

TEST(MemoryAtScale, NothingOnARankGrowsWithTheirNumber) {
  const auto few = large_plans(256);
  const auto many = large_plans(Large::ranks);
  for (std::size_t i = 0; i + 1 < few.size(); ++i) { // groups of compare are of another size
    for (std::size_t j = 0; j < few[i].items().size(); ++j) {
      const auto& item = many[i].items()[j];
      if (item.holder == MemoryItem::Holder::node) continue; // the room for B's rows there is what its ranks have left
      EXPECT_LE(item.bytes, few[i].items()[j].bytes) << many[i].stage() << ": " << item.what;
    }
  }
}

} // namespace
} // namespace concord
