// What a training is told: options out of range, variants, the output it may replace, random streams, and rows that are too long.
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/sae/norm_limit.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/trainings.hpp"

#include "support/support.hpp"
#include <cmath>
#include <functional>
#include <limits>
#include <set>

namespace concord::sae {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

constexpr Index d = 16;

/// Rows that are sums of 3 of 32 random directions, keyed by `model`; every `sink`th row (0: none) is one direction 150 times as long.
std::string rows_file(const std::filesystem::path& folder, const std::string& name, Index rows, std::uint64_t model = 0, Index sink = 0) {
  if (world().rank() == 0) {
    const Philox random(1, "settings", model);
    const auto n = [&](Index i) { return static_cast<float>(random.normal(static_cast<std::uint64_t>(i))); };
    std::vector<float> x(static_cast<std::size_t>(rows * d), 0.5F);
    for (Index r = 0; r < rows; ++r)
      for (Index s = 0; s < 3; ++s) {
        const auto direction = static_cast<Index>(random.below(static_cast<std::uint64_t>((1 << 24) + 3 * r + s), 32));
        const float size = std::abs(n((1 << 22) + 3 * r + s));
        for (Index c = 0; c < d; ++c) x[static_cast<std::size_t>(r * d + c)] += size * n(direction * d + c);
      }
    for (Index r = sink; sink > 0 && r < rows; r += sink)
      for (Index c = 0; c < d; ++c) x[static_cast<std::size_t>(r * d + c)] = 150 * 1.9F * n((1 << 20) + c) + 40 * n((1 << 21) + r * d + c);
    auto file = io::File::create(folder / name);
    file.write("/layer_000/x", x, {rows, d});
    file.write("/row_kind", std::vector<std::uint8_t>(static_cast<std::size_t>(rows), 0));
    file.write_attribute("token_hash", "tokens");
    file.write_attribute("stage_digest", name); // keys the random numbers; without it the file's own bytes would, with their dates
    std::vector<Index> blocks;
    for (Index r = 0; r <= rows; r += rows / 20) blocks.push_back(r);
    file.write("/block_offsets", blocks);
    file.close();
  }
  world().barrier();
  return (folder / name).string() + ":/layer_000/x";
}

TrainOptions options_of(const std::filesystem::path& folder, const std::string& activations) {
  TrainOptions o;
  o.activations = activations;
  o.latents = 64;
  o.k = 3;
  o.steps = 20;
  o.batch = 128;
  o.learning_rate = 5e-3;
  o.dead_after = 2000;
  o.held_out = 0.1;
  o.out = folder / "saes" / "layer_000";
  return o;
}

nlohmann::json record(const std::filesystem::path& sae) {
  return nlohmann::json::parse(read_text(sae / "training.json", "record"));
}

std::string weights(const std::filesystem::path& sae) {
  return read_text(sae / "sae_weights.safetensors", "weights");
}

struct Bad {
  const char* part; ///< of the message
  std::function<void(TrainOptions&)> change;
};

TEST(TrainOptions, EveryOptionOutOfRangeIsRefusedByName) {
  const double nan = std::nan("");
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<Bad> all{
      {"sae.latents = 0", [](TrainOptions& o) { o.latents = 0; }},
      {"sae.latents = 4294967297", [](TrainOptions& o) { o.latents = (Index{1} << 32) + 1; }},
      {"sae.k = 0", [](TrainOptions& o) { o.k = 0; }},
      {"sae.prefixes = 31", [](TrainOptions& o) { o.prefixes = 31; }},
      {"sae.steps = -1", [](TrainOptions& o) { o.steps = -1; }},
      {"sae.rows = 0", [](TrainOptions& o) { o.rows = 0; }},
      {"sae.batch = 0", [](TrainOptions& o) { o.batch = 0; }},
      {"sae.warmup_steps = -1", [](TrainOptions& o) { o.warmup_steps = -1; }},
      {"sae.aux_k = -1", [](TrainOptions& o) { o.aux_k = -1; }},
      {"sae.dead_after = 0", [](TrainOptions& o) { o.dead_after = 0; }},
      {"sae.buffer_rows = 0", [](TrainOptions& o) { o.buffer_rows = 0; }},
      {"sae.clip = 0", [](TrainOptions& o) { o.clip = 0; }},
      {"sae.held_out = 0.9", [](TrainOptions& o) { o.held_out = 0.9; }},
      {"sae.max_norm = 1", [](TrainOptions& o) { o.max_norm = 1; }},
      {"sae.sparsity_warmup = 1.5", [](TrainOptions& o) { o.sparsity_warmup = 1.5; }},
      {"sae.decay_fraction = 1.5", [](TrainOptions& o) { o.decay_fraction = 1.5; }},
      {"--layer = -2", [](TrainOptions& o) { o.layer = -2; }},
  };
  const std::vector<std::pair<const char*, double TrainOptions::*>> numbers{
      {"sae.sparsity =", &TrainOptions::sparsity},
      {"sae.sparsity_warmup =", &TrainOptions::sparsity_warmup},
      {"sae.bandwidth =", &TrainOptions::bandwidth},
      {"sae.threshold =", &TrainOptions::threshold},
      {"sae.learning_rate =", &TrainOptions::learning_rate},
      {"sae.decay_fraction =", &TrainOptions::decay_fraction},
      {"sae.clip =", &TrainOptions::clip},
      {"sae.aux_weight =", &TrainOptions::aux_weight},
      {"sae.held_out =", &TrainOptions::held_out},
      {"sae.max_norm =", &TrainOptions::max_norm},
      {"sae.memory_gib =", &TrainOptions::memory_gib},
      {"sae.checkpoint_seconds =", &TrainOptions::checkpoint_seconds},
  };
  for (const auto& [part, number] : numbers)
    for (const double value : {nan, inf, -inf, -1.0}) all.push_back({part, [number, value](TrainOptions& o) { o.*number = value; }});
  check(TrainOptions{});
  for (const auto& bad : all) {
    TrainOptions o;
    bad.change(o);
    expect_error(ExitCode::config, bad.part, [&] { check(o); });
  }
}

TEST(Variants, NumbersAreReadWhole) {
  const auto folder = empty_folder("variant_numbers");
  const TrainOptions o = options_of(folder, "x");
  for (const char* variant :
       {"latents=1e5", "k=3x", "k=", "k=3.5", "seed=-1", "seed=1e3", "k=99999999999", "sparsity=0.1.2", "learning_rate=1e", "k=3 k=4", "k"})
    expect_error(ExitCode::config, "sae.variants", [&] { variant_of(o, variant); });
  EXPECT_EQ(variant_of(o, "latents=100000").latents, 100000);
  EXPECT_EQ(variant_of(o, "sparsity=1e-2").sparsity, 1e-2);
}

TEST(Variants, ASeedIsThatOfAnotherStudy) {
  const auto folder = empty_folder("variant_seeds");
  std::set<std::uint64_t> seeds;
  for (const int model : {0, 1}) {
    TrainOptions o = options_of(folder, "x");
    o.models = 2;
    o.model = model;
    o.seed = static_cast<std::uint64_t>(2 * 1 + model); // of study.seed = 1
    seeds.insert(o.seed);
    for (const char* variant : {"seed=2", "seed=3"}) seeds.insert(variant_of(o, variant).seed);
    EXPECT_EQ(variant_of(o, "seed=1").seed, o.seed);
  }
  EXPECT_EQ(seeds, (std::set<std::uint64_t>{2, 3, 4, 5, 6, 7}));
}

TEST(Variants, TheSameTrainingTwiceIsRefused) {
  const auto folder = empty_folder("variant_twins");
  auto o = options_of(folder, rows_file(folder, "acts.h5", 500));
  o.models = 2;
  o.seed = 2;
  for (const std::vector<std::string>& variants : std::vector<std::vector<std::string>>{
           {"k=2", "k=2"}, {"k=2 latents=70", "latents=70  k=2"}, {"k=3"}, {"seed=1"}, {"learning_rate=0.005"}})
    expect_error(ExitCode::config, "is the same training as", [&] { train_variants(world(), o, variants); });
  EXPECT_FALSE(std::filesystem::exists(folder / "saes"));
}

/// The decoder rows as they begin: a training of one step at a rate of almost 0.
std::vector<float> first_decoder(TrainOptions o, const std::filesystem::path& out) {
  o.out = out;
  o.steps = 1;
  o.learning_rate = 1e-12;
  train(world(), o);
  const Sae sae = load_sae(out);
  return {sae.decoder.begin(), sae.decoder.end()};
}

double largest_cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); i += d) {
    double cosine = 0;
    for (std::size_t c = i; c < i + d; ++c) cosine += static_cast<double>(a[c]) * static_cast<double>(b[c]);
    sum += cosine;
  }
  return std::abs(sum) / (static_cast<double>(a.size()) / d); // of unit rows: |mean| is about 1 / sqrt(F d) where they are unrelated
}

TEST(RandomStreams, NoTwoTrainingsOfAStudyBeginAlike) {
  const auto folder = empty_folder("streams");
  const auto a = rows_file(folder, "a.h5", 500, 1);
  const auto b = rows_file(folder, "b.h5", 500, 2);
  std::vector<std::vector<float>> decoders;
  for (const auto& activations : {a, b}) {
    TrainOptions o = options_of(folder, activations); // both by themselves, with seed 0 and layer 0
    o.latents = 512;
    decoders.push_back(first_decoder(o, folder / std::to_string(decoders.size())));
    o.models = 2; // of a study of seed 1
    o.model = activations == a ? 0 : 1;
    o.seed = 2 + o.model;
    decoders.push_back(first_decoder(o, folder / std::to_string(decoders.size())));
    for (const char* variant : {"seed=2", "seed=3", "seed=9"})
      decoders.push_back(first_decoder(variant_of(o, variant), folder / std::to_string(decoders.size())));
    o.layer = 1;
    decoders.push_back(first_decoder(o, folder / std::to_string(decoders.size())));
  }
  for (std::size_t i = 0; i < decoders.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) EXPECT_LT(largest_cosine(decoders[i], decoders[j]), 0.06) << i << " and " << j; // 5 / sqrt(512 16)
}

TEST(Output, OnlyWhatATrainingWroteIsReplaced) {
  const auto folder = empty_folder("output");
  auto o = options_of(folder, rows_file(folder, "acts.h5", 500));
  o.steps = 2;
  const auto make = [&](const char* name, const char* file, const std::string& text) {
    o.out = folder / name;
    if (world().rank() == 0) {
      std::filesystem::create_directories(o.out);
      write_text_atomic(o.out / file, text);
    }
    world().barrier();
  };
  for (const bool force : {false, true}) {
    o.force = force;
    make("thesis", "thesis.tex", "precious");
    expect_error(ExitCode::config, "holds thesis.tex, which no training writes", [&] { train(world(), o); });
    EXPECT_EQ(read_text(o.out / "thesis.tex", "text"), "precious");
    for (const char* text : {"[1, 2]", "{}", "", "{\"stage_digest\": 3, \"settings\": 1, \"inputs\": 2}"}) {
      make("foreign", "training.json", text);
      expect_error(ExitCode::config, "holds no SAE that concord trained", [&] { train(world(), o); });
    }
    make("converted", "cfg.json", "{}");
    expect_error(ExitCode::config, "holds no SAE that concord trained", [&] { train(world(), o); });
    o.out = folder / "foreign" / "training.json";
    expect_error(ExitCode::config, "is no folder", [&] { train(world(), o); });
  }
  make("mine", "nothing", "");
  world().barrier();
  if (world().rank() == 0) std::filesystem::remove(o.out / "nothing");
  world().barrier();
  train(world(), o); // into an empty folder
  const std::string first = weights(o.out);
  o.seed = 5;
  train(world(), o); // force
  EXPECT_NE(weights(o.out), first);
}

TEST(Metrics, WithoutHeldOutRowsThereAreNone) {
  const auto folder = empty_folder("none_held_out");
  auto o = options_of(folder, rows_file(folder, "acts.h5", 500));
  o.held_out = 0;
  o.steps = 2;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  train(world(), o);
  const std::string said = testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr();
  if (world().rank() == 0) {
    EXPECT_NE(said.find("fvu=none l0=none"), std::string::npos) << said;
  }
  const auto result = record(o.out);
  EXPECT_EQ(result["held_out_rows"], 0);
  for (const char* key : {"fvu", "fvu_all_rows", "explained_variance", "l0", "l1", "cosine", "relative_norm", "silent", "dense", "density"})
    EXPECT_TRUE(result.at(key).is_null()) << key;
}

TEST(TrainingRecord, PathsNeedNotBeUtf8) {
  const auto folder = empty_folder("d\xe9");
  auto o = options_of(folder, rows_file(folder, "acts.h5", 500));
  o.steps = 2;
  if (world().rank() == 0) {
    auto file = io::File::open(folder / "acts.h5", io::File::Mode::write);
    file.write_attribute("model", "models/d\xe9");
    file.close();
  }
  world().barrier();
  train(world(), o);
  EXPECT_GT(record(o.out)["held_out_rows"].get<Index>(), 0);
}

TEST(Relu, ZeroRowsPenaliseNothing) {
  // Rows that equal b_dec have h = b_enc = 0 everywhere: no latent is active and none is pushed.
  for (const Kind kind : {Kind::relu, Kind::gated}) {
    const auto folder = empty_folder("zero_" + settings::word_of(kind));
    const auto path = folder / "acts.h5";
    if (world().rank() == 0) {
      std::vector<float> x(200 * d, 1.0F);
      for (Index r = 0; r < 200; r += 20) x[static_cast<std::size_t>(r * d)] = 2.0F; // so that the median is a row
      auto file = io::File::create(path);
      file.write("/layer_000/x", x, {200, d});
      file.write("/row_kind", std::vector<std::uint8_t>(200, 0));
      file.write_attribute("stage_digest", "zeros");
      file.close();
    }
    world().barrier();
    auto o = options_of(folder, path.string() + ":/layer_000/x");
    o.kind = kind;
    o.steps = 1;
    o.sparsity_warmup = 0;
    o.sparsity = 1;
    train(world(), o);
    const Sae sae = load_sae(o.out);
    double pushed = 0;
    for (const float b : sae.b_enc) pushed += b != 0 ? 1 : 0;
    EXPECT_LT(pushed, 0.8 * static_cast<double>(o.latents)) << settings::word_of(kind); // those that the few other rows do not reach stay
  }
}

// --- rows that are too long ---------------------------------------------------------------------------------------------

TEST(NormLimit, KeepsWhatIsWithinTheMultipleOfEachPartsMedian) {
  const std::vector<float> rows{3, 4, 0, 1, /**/ 0, 5, 1, 0, /**/ 30, 41, 1, 0, /**/ 3, 4, 0, 11};
  const bool root = world().rank() == 0;
  const auto medians = median_norms(world(), {2, 2}, std::span(rows).first(root ? rows.size() : 0)); // other ranks have none
  EXPECT_EQ(medians, (std::vector<double>{5, 1}));
  Batch batch;
  batch.rows.assign(rows.begin(), rows.end());
  batch.positions = {1, 4, 6, 9};
  Batch all = batch;
  EXPECT_EQ(NormLimit({2, 2}, medians, 0).thin(all), 0);
  EXPECT_EQ(NormLimit({2, 2}, medians, 10).thin(batch), 2);
  EXPECT_EQ(batch.positions, (std::vector<Index>{1, 4}));
  EXPECT_EQ(std::vector<float>(batch.rows.begin(), batch.rows.end()), std::vector<float>(rows.begin(), rows.begin() + 8));
}

/// How far the FVUs of three seeds lie apart, of the largest.
double spread_of_seeds(TrainOptions o, const std::filesystem::path& folder) {
  std::vector<double> fvu;
  for (const std::uint64_t seed : {1, 2, 3}) {
    o.seed = seed;
    o.out = folder / std::to_string(o.max_norm) / std::to_string(seed);
    train(world(), o);
    const auto result = record(o.out);
    fvu.push_back(result["fvu"].get<double>());
    const auto held_out = result["held_out_rows"].get<Index>();
    const auto left_out = result["held_out_rows_left_out"].get<Index>();
    EXPECT_EQ(held_out + left_out, 3600);
    EXPECT_EQ(result["rows"].get<Index>(), o.steps * o.batch);
    EXPECT_EQ(result["rows_left_out"].get<Index>() + left_out, o.max_norm > 0 ? 3 : 0); // the steps are one pass
    EXPECT_EQ(result["fvu_all_rows"] == result["fvu"], left_out == 0);
  }
  return 1 - *std::min_element(fvu.begin(), fvu.end()) / *std::max_element(fvu.begin(), fvu.end());
}

/// 3 of 12,000 rows, about the share that a real model had, with norms of 150 medians: most of the energy.
TEST(NormLimit, SeedsAgreeWhereFewRowsCarryMostOfTheEnergy) {
  const auto folder = empty_folder("sinks");
  auto o = options_of(folder, rows_file(folder, "acts.h5", 12000, 0, 3500));
  o.held_out = 0.3;
  o.batch = 120;
  o.steps = 70;
  o.latents = 512; // enough for seeds to differ little where all rows are alike
  o.k = 4;
  EXPECT_LT(spread_of_seeds(o, folder), 0.05);
  o.max_norm = 0;
  EXPECT_GT(spread_of_seeds(o, folder), 0.1);
}

/// Without any sink the limit changes no bit; with some, the order of rows, ranks, and stops do not matter.
TEST(NormLimit, GivesTheSameBitsAtAnyNumberOfRanksAndAcrossAStop) {
  const auto folder = empty_folder("sink_bits");
  const auto clean = rows_file(folder, "clean.h5", 1000);
  const auto a = rows_file(folder, "a.h5", 1000, 1, 90);
  const auto b = rows_file(folder, "b.h5", 1000, 2, 110);
  int number = 0;
  for (const auto& [with, order] : {std::pair{"", Order::global}, std::pair{"", Order::buffer}, std::pair{b.c_str(), Order::global}}) {
    auto o = options_of(folder, a);
    o.with = with;
    o.order = order;
    o.buffer_rows = 400;
    o.out = folder / ("together" + std::to_string(number));
    train(world(), o);
    EXPECT_GT(record(o.out)["rows_left_out"].get<Index>(), 0);
    auto alone = o;
    alone.out = folder / ("alone" + std::to_string(number++) + "_" + std::to_string(world().rank()));
    train(world().split(world().rank()), alone);
    EXPECT_EQ(weights(alone.out), weights(o.out)) << with << settings::word_of(order);
    EXPECT_EQ(record(alone.out)["rows_left_out"], record(o.out)["rows_left_out"]);
    EXPECT_EQ(record(alone.out)["median_norm"], record(o.out)["median_norm"]);
  }
  auto o = options_of(folder, clean);
  o.out = folder / "limited";
  train(world(), o);
  o.max_norm = 0;
  o.out = folder / "unlimited";
  train(world(), o);
  EXPECT_EQ(weights(folder / "limited"), weights(folder / "unlimited"));
}

} // namespace
} // namespace concord::sae
