// Training on planted sparse data at any number of ranks: quality, held-out rows, and continuation to the bit.
#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/safetensors.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/training/trainings.hpp"

#include "sae/rows/owned_rows.hpp"
#include "support/support.hpp"
#include <csignal>
#include <set>
#include <span>

namespace concord::sae {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

/// Rows that are sums of 3 of 32 random directions, every tenth row marked as BOS and far off.
std::string planted(const std::filesystem::path& folder, Index rows, Index d) {
  const auto path = folder / "acts.h5";
  if (world().rank() == 0) {
    const Philox random(1, "planted");
    const auto n = [&](Index i) { return static_cast<float>(random.normal(static_cast<std::uint64_t>(i))); };
    std::vector<float> x(static_cast<std::size_t>(rows * d), 0.5F);
    std::vector<std::uint8_t> kinds(static_cast<std::size_t>(rows), 0);
    for (Index r = 0; r < rows; ++r) {
      if (r % 10 == 0) {
        kinds[static_cast<std::size_t>(r)] = 1;
        std::fill_n(x.begin() + r * d, d, 1e6F);
        continue;
      }
      for (Index s = 0; s < 3; ++s) {
        const Index direction = static_cast<Index>(random.below(static_cast<std::uint64_t>((1 << 24) + 3 * r + s), 32));
        for (Index c = 0; c < d; ++c) x[static_cast<std::size_t>(r * d + c)] += std::abs(n((1 << 22) + 3 * r + s)) * n(direction * d + c);
      }
    }
    auto file = io::File::create(path);
    file.write("/layer_000/x", x, {rows, d});
    file.write("/row_kind", kinds);
    file.write_attribute("stage_digest", "planted"); // keys the random numbers; without it the file's own bytes would, with their dates
    file.close();
  }
  world().barrier();
  return path.string() + ":/layer_000/x";
}

TrainOptions small_options(const std::filesystem::path& folder, const std::string& activations) {
  TrainOptions o;
  o.activations = activations;
  o.latents = 64;
  o.k = 3;
  o.steps = 300;
  o.batch = 128;
  o.learning_rate = 5e-3;
  o.dead_after = 2000;
  o.held_out = 0.1;
  o.out = folder / "sae";
  return o;
}

nlohmann::json record(const std::filesystem::path& sae) {
  return nlohmann::json::parse(read_text(sae / "training.json", "record"));
}

TEST(Train, LearnsPlantedFeaturesAndLeavesBosOut) {
  const auto folder = empty_folder("planted");
  const auto o = small_options(folder, planted(folder, 3000, 16));
  train(world(), o);
  const auto result = record(o.out);
  EXPECT_LT(result["fvu"].get<double>(), 0.15); // the mean alone has 1; BOS rows of 1e6 would ruin it
  EXPECT_EQ(result["held_out_rows"].get<Index>(), 270);
  EXPECT_LE(result["l0"].get<double>(), 3.0);
  EXPECT_FALSE(std::filesystem::exists(o.out / "checkpoint.safetensors"));
}

TEST(Train, StoppedAndContinuedEndsInTheSameBits) {
  const auto folder = empty_folder("continued");
  auto o = small_options(folder, planted(folder, 1000, 16));
  train(world(), o);
  const std::string undisturbed = read_text(o.out / "sae_weights.safetensors", "weights");
  world().barrier();
  o.out = folder / "stopped";
  comm::install_stop_flag(1e-9); // out of time at once: one checkpoint, then stop
  expect_error(ExitCode::stopped, "run the same command to go on", [&] { train(world(), o); });
  EXPECT_TRUE(std::filesystem::exists(folder / "stopped.partial" / "checkpoint.safetensors"));
  comm::install_stop_flag(0);
  o.checkpoint_seconds = 0;
  train(world(), o);
  EXPECT_EQ(read_text(o.out / "sae_weights.safetensors", "weights"), undisturbed);
}

/// The last step is in a checkpoint before the evaluation, which may take as long as many steps.
TEST(Train, AStopBehindTheLastStepLosesNoStep) {
  const auto folder = empty_folder("stopped_behind");
  auto o = small_options(folder, planted(folder, 1000, 16));
  o.steps = 1; // no look between steps
  train(world(), o);
  const std::string undisturbed = read_text(o.out / "sae_weights.safetensors", "weights");
  world().barrier();
  o.out = folder / "stopped";
  o.checkpoint_seconds = 1e9;
  ::setenv("CONCORD_STOP_GRACE", "0", 1);
  comm::install_stop_flag(0);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  expect_error(ExitCode::stopped, "run the same command to go on", [&] { train(world(), o); });
  comm::install_stop_flag(0);
  ::unsetenv("CONCORD_STOP_GRACE");
  const io::SafetensorsFile checkpoint(folder / "stopped.partial" / "checkpoint.safetensors");
  EXPECT_EQ(*static_cast<const std::int64_t*>(checkpoint.tensor("step").data), 1);
  train(world(), o);
  EXPECT_EQ(read_text(o.out / "sae_weights.safetensors", "weights"), undisturbed);
}

/// The weights that one rank makes alone, and those of all ranks together.
void expect_same_bits_alone(const TrainOptions& options, const std::filesystem::path& folder) {
  train(world(), options);
  const std::string together = read_text(options.out / "sae_weights.safetensors", "weights");
  auto alone = options;
  alone.out = folder / ("alone" + std::to_string(world().rank()));
  train(world().split(world().rank()), alone);
  EXPECT_EQ(read_text(alone.out / "sae_weights.safetensors", "weights"), together);
}

TEST(Train, ReproducibleSumsGiveTheSameBitsAtAnyNumberOfRanks) {
  const auto folder = empty_folder("reproducible");
  auto o = small_options(folder, planted(folder, 1000, 16));
  o.latents = 700; // three pieces: a fourth rank owns none
  o.steps = 60;
  o.dead_after = 1000; // AuxK at work
  expect_same_bits_alone(o, folder);
}

/// What was trained into o.out, and the same with a stop and a restart on its way, have the same bits.
void expect_stop_changes_nothing(TrainOptions o, const std::filesystem::path& folder) {
  const std::string undisturbed = read_text(o.out / "sae_weights.safetensors", "weights");
  o.out = folder / "stopped";
  comm::install_stop_flag(1e-9);
  expect_error(ExitCode::stopped, "run the same command to go on", [&] { train(world(), o); });
  comm::install_stop_flag(0);
  train(world(), o);
  EXPECT_EQ(read_text(o.out / "sae_weights.safetensors", "weights"), undisturbed);
}

/// Thresholds of a jumprelu SAE that learn within few steps.
void learn_thresholds(TrainOptions& o) {
  if (o.kind != Kind::jumprelu) return;
  o.sparsity = 0.3;
  o.bandwidth = 0.5;
  o.threshold = 0.3;
}

/// Every kind learns, and its weights depend on ranks no more than TopK's; a stop and a restart change nothing.
class TrainKind : public testing::TestWithParam<Kind> {};

TEST_P(TrainKind, LearnsTheSameBitsAtAnyNumberOfRanksAndAcrossAStop) {
  const auto folder = empty_folder("kind_" + settings::word_of(GetParam()));
  auto o = small_options(folder, planted(folder, 1000, 16));
  o.kind = GetParam();
  o.latents = 700;
  o.steps = 120;
  o.dead_after = 1000;
  learn_thresholds(o);
  expect_same_bits_alone(o, folder);
  EXPECT_LT(record(o.out)["fvu"].get<double>(), 0.5);
  expect_stop_changes_nothing(o, folder);
}
INSTANTIATE_TEST_SUITE_P(Kinds, TrainKind, testing::Values(Kind::batch_topk, Kind::matryoshka, Kind::relu, Kind::gated, Kind::jumprelu));

/// The saved SAE, in its inference form and on unscaled rows, reconstructs as well as training did: nothing was lost in folding.
TEST_P(TrainKind, IsFoldedForUnscaledRows) {
  const auto folder = empty_folder("folded_" + settings::word_of(GetParam()));
  auto o = small_options(folder, planted(folder, 2000, 16));
  o.kind = GetParam();
  o.steps = 200;
  if (o.kind == Kind::jumprelu) o.sparsity = 0.3;
  std::map<std::string, double> of_scale;
  for (const Normalisation normalisation : {Normalisation::sqrt_d, Normalisation::unit_square}) {
    const auto normalise = settings::word_of(normalisation);
    o.normalise = normalisation;
    o.out = folder / normalise;
    train(world(), o);
    const auto result = record(o.out);
    const auto log = read_text(o.out / "training.jsonl", "log");
    const auto last = nlohmann::json::parse(log.substr(log.rfind('\n', log.size() - 2) + 1));
    EXPECT_NEAR(result["fvu"].get<double>(), last["fvu"].get<double>(), 0.05 + 0.3 * last["fvu"].get<double>()) << normalise;
    EXPECT_NEAR(result["l0"].get<double>(), last["l0"].get<double>(), 0.2 + 0.15 * last["l0"].get<double>()) << normalise;
    of_scale[normalise] = result["scale"][0].get<double>();
  }
  EXPECT_GT(of_scale["sqrt-d"], 3.5 * of_scale["unit-square"]); // by sqrt(16), and the spread of norms
  EXPECT_LT(of_scale["sqrt-d"], 6 * of_scale["unit-square"]);
}

TEST(Train, VariantsShareRowsAndEqualTrainingsByThemselves) {
  const auto folder = empty_folder("variants");
  auto o = small_options(folder, planted(folder, 1000, 16));
  o.steps = 40;
  o.out = folder / "saes" / "layer_000";
  train_variants(world(), o, {"k=2", "kind=batch-topk latents=100 seed=5"});
  const auto weights = [](const std::filesystem::path& sae) { return read_text(sae / "sae_weights.safetensors", "weights"); };
  const std::string first = weights(folder / "saes@k=2" / "layer_000");
  const std::string second = weights(folder / "saes@kind=batch-topk,latents=100,seed=5" / "layer_000");
  const std::string main = weights(o.out);
  auto alone = o;
  alone.out = folder / "alone";
  train(world(), alone);
  EXPECT_EQ(weights(alone.out), main);
  alone.k = 2;
  alone.out = folder / "alone_k2";
  train(world(), alone);
  EXPECT_EQ(weights(alone.out), first);
  alone = o;
  alone.kind = Kind::batch_topk;
  alone.latents = 100;
  alone.seed = 5;
  alone.order_seed = o.seed;
  alone.out = folder / "alone_seed";
  train(world(), alone);
  EXPECT_EQ(weights(alone.out), second);
  expect_error(ExitCode::config, "is not one of k, kind, latents", [&] { train_variants(world(), o, {"width=3"}); });
  expect_error(ExitCode::config, "k: \"many\" is no whole number", [&] { train_variants(world(), o, {"k=many"}); });
}

/// Two models of the same tokens: 16 directions that both have, 8 that only A and 8 that only B has.
std::pair<std::string, std::string> planted_pair(const std::filesystem::path& folder, Index rows) {
  constexpr Index d_a = 16, d_b = 24;
  if (world().rank() == 0) {
    const Philox random(4, "planted-pair");
    const auto n = [&](Index i) { return static_cast<float>(random.normal(static_cast<std::uint64_t>(i))); };
    std::vector<float> a(static_cast<std::size_t>(rows * d_a), 0.0F);
    std::vector<float> b(static_cast<std::size_t>(rows * d_b), 0.0F);
    for (Index r = 0; r < rows; ++r)
      for (Index s = 0; s < 3; ++s) {
        const Index direction = static_cast<Index>(random.below(static_cast<std::uint64_t>((1 << 24) + 3 * r + s), 32));
        const float size = 1 + std::abs(n((1 << 22) + 3 * r + s));
        for (Index c = 0; c < d_a && direction < 24; ++c) a[static_cast<std::size_t>(r * d_a + c)] += size * n(direction * 64 + c);
        for (Index c = 0; c < d_b && (direction < 16 || direction >= 24); ++c)
          b[static_cast<std::size_t>(r * d_b + c)] += 30 * size * n(direction * 64 + d_a + c); // in another scale
      }
    for (const auto& [name, x, d] : {std::tuple{"a.h5", &a, d_a}, std::tuple{"b.h5", &b, d_b}}) {
      auto file = io::File::create(folder / name);
      file.write("/layer_000/x", *x, {rows, d});
      file.write("/row_kind", std::vector<std::uint8_t>(static_cast<std::size_t>(rows), 0));
      file.write_attribute("token_hash", "tokens");
      file.write_attribute("stage_digest", name);
      file.close();
    }
  }
  world().barrier();
  return {(folder / "a.h5").string() + ":/layer_000/x", (folder / "b.h5").string() + ":/layer_000/x"};
}

TEST(Crosscoder, FindsWhatBothModelsHaveAndWhatOneHas) {
  const auto folder = empty_folder("crosscoder");
  const auto [a, b] = planted_pair(folder, 3000);
  auto o = small_options(folder, a);
  o.with = b;
  o.kind = Kind::batch_topk;
  o.latents = 40;
  o.steps = 1500;
  train(world(), o);
  const auto result = record(o.out);
  EXPECT_LT(result["part_fvu"][0].get<double>(), 0.25);
  EXPECT_LT(result["part_fvu"][1].get<double>(), 0.25);
  int only_a = 0, only_b = 0, both = 0;
  for (const auto& share : result["relative_decoder_norms"]) {
    const auto s = share.get<double>();
    only_a += s < 0.1 ? 1 : 0;
    only_b += s > 0.9 ? 1 : 0;
    both += s > 0.3 && s < 0.7 ? 1 : 0;
  }
  EXPECT_GE(only_a, 4);
  EXPECT_GE(only_b, 4);
  EXPECT_GE(both, 12);
  const Sae back = load_sae(o.out);
  EXPECT_EQ(back.parts, (std::vector<Index>{16, 24}));
  EXPECT_EQ(back.encoder.size(), 40U * 40U);
}

TEST(Crosscoder, VariantsEqualTrainingsByThemselves) {
  const auto folder = empty_folder("crosscoder_variants");
  const auto [a, b] = planted_pair(folder, 1000);
  for (const double memory : {4.0, 0.0}) { // rows in memory, and read as they are asked for
    auto o = small_options(folder, a);
    o.with = b;
    o.steps = 40;
    o.memory_gib = memory;
    const auto at = folder / fmt::format("{}", memory);
    o.out = at / "saes" / "layer_000";
    train_variants(world(), o, {"k=2", "k=4"});
    for (const int k : {2, 3, 4}) {
      auto alone = o;
      alone.k = k;
      alone.out = at / fmt::format("alone_{}", k);
      train(world(), alone);
      const auto shared = k == 3 ? o.out : at / fmt::format("saes@k={}", k) / "layer_000";
      EXPECT_EQ(read_text(shared / "sae_weights.safetensors", "weights"), read_text(alone.out / "sae_weights.safetensors", "weights")) << k;
    }
  }
}

TEST(Crosscoder, GivesTheSameBitsAtAnyNumberOfRanks) {
  const auto folder = empty_folder("crosscoder_bits");
  const auto [a, b] = planted_pair(folder, 500);
  auto o = small_options(folder, a);
  o.with = b;
  o.kind = Kind::relu;
  o.sparsity = 0.2;
  o.steps = 40;
  expect_same_bits_alone(o, folder);
}

TEST(Crosscoder, RefusesRowsOfOtherTokens) {
  const auto folder = empty_folder("crosscoder_refusal");
  const auto [a, b] = planted_pair(folder, 100);
  auto o = small_options(folder, planted(folder, 90, 16));
  o.with = b;
  expect_error(ExitCode::bad_data, "for the same tokens", [&] { train(world(), o); });
}

TEST(Train, LayersSideBySideEqualLayersInTurn) {
  const auto folder = empty_folder("side_by_side");
  const auto activations = planted(folder, 1000, 16);
  std::vector<TrainOptions> layers;
  for (int layer = 0; layer < 3; ++layer) {
    auto o = small_options(folder, activations);
    o.steps = 30;
    o.layer = layer;
    o.out = folder / "in_turn" / layer_name(layer);
    layers.push_back(o);
  }
  train_side_by_side(world(), layers, 1, {});
  for (auto& o : layers) o.out = folder / "side_by_side" / layer_name(o.layer);
  train_side_by_side(world(), layers, 2, {});
  for (const auto& o : layers)
    EXPECT_EQ(read_text(o.out / "sae_weights.safetensors", "weights"),
              read_text(folder / "in_turn" / layer_name(o.layer) / "sae_weights.safetensors", "weights"));
}

/// The group of the rank that is asked stops within 8 steps. The other one does as well: it would end in SAEs if it did not hear of it.
TEST(Train, AStopOfOneGroupStopsAll) {
  const auto folder = empty_folder("stop_side_by_side");
  const auto activations = planted(folder, 1000, 16);
  std::vector<TrainOptions> layers;
  for (int layer = 0; layer < 3; ++layer) {
    auto o = small_options(folder, activations);
    o.steps = 4000;
    o.layer = layer;
    o.out = folder / layer_name(layer);
    layers.push_back(o);
  }
  comm::install_stop_flag(0);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  expect_error(ExitCode::stopped, "run the same command", [&] { train_side_by_side(world(), layers, 2, {}); });
  for (const auto& o : layers) EXPECT_FALSE(std::filesystem::exists(o.out)) << o.out;
  comm::install_stop_flag(0);
}

TEST(Train, FastSumsTrainAsWell) {
  const auto folder = empty_folder("fast");
  auto o = small_options(folder, planted(folder, 3000, 16));
  o.reduction = Reduction::fast;
  train(world(), o);
  EXPECT_LT(record(o.out)["fvu"].get<double>(), 0.15);
}

/// The GPU's code, here on the CPU, against the CPU's own: the same steps but for rounding, AuxK among them.
class DeviceKind : public testing::TestWithParam<Kind> {};

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double largest = a.size() == b.size() ? 0 : 1e9;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

/// The GPU's code on the CPU, and on the GPU that all ranks share, where there is one.
std::vector<Device> devices() {
  if (comm::bind_gpu(world(), Device::automatic, true).number < 0) return {Device::torch};
  return {Device::torch, Device::cuda};
}

void expect_same_steps(TrainOptions o, const std::filesystem::path& folder) {
  o.reduction = Reduction::fast;
  o.out = folder / "cpu";
  train(world(), o);
  const Sae expected = load_sae(o.out);
  const auto of_cpu = record(o.out);
  for (const auto& device : devices()) {
    const auto word = settings::word_of(device);
    SCOPED_TRACE(word);
    o.out = folder / word;
    o.device = device;
    o.allow_shared_gpu = true;
    train(world(), o);
    const Sae got = load_sae(o.out);
    EXPECT_LT(largest_difference(got.encoder.values(), expected.encoder.values()), 2e-3);
    EXPECT_LT(largest_difference(got.decoder.values(), expected.decoder.values()), 2e-3);
    EXPECT_LT(largest_difference(got.b_enc, expected.b_enc), 5e-3);
    EXPECT_LT(largest_difference(got.b_dec, expected.b_dec), 5e-3);
    EXPECT_LT(largest_difference(got.threshold, expected.threshold), 5e-3);
    EXPECT_NEAR(record(o.out)["fvu"].get<double>(), of_cpu["fvu"].get<double>(), 2e-3);
    EXPECT_EQ(record(o.out)["dead"], of_cpu["dead"]);
  }
}

TEST_P(DeviceKind, TakesTheStepsOfTheCpu) {
  const auto folder = empty_folder("device_" + settings::word_of(GetParam()));
  auto o = small_options(folder, planted(folder, 1000, 16));
  o.kind = GetParam();
  o.latents = 700; // a fourth rank owns none
  o.steps = 30;
  o.learning_rate = 1e-3;
  o.dead_after = 1000;
  learn_thresholds(o);
  expect_same_steps(o, folder);
}
INSTANTIATE_TEST_SUITE_P(Kinds, DeviceKind,
                         testing::Values(Kind::topk, Kind::batch_topk, Kind::matryoshka, Kind::relu, Kind::gated, Kind::jumprelu));

/// The penalty of relu looks at the decoder of each model.
TEST(Device, TakesTheStepsOfTheCpuForACrosscoder) {
  for (const Kind kind : {Kind::topk, Kind::relu}) {
    const auto folder = empty_folder("device_crosscoder_" + settings::word_of(kind));
    const auto [a, b] = planted_pair(folder, 500);
    auto o = small_options(folder, a);
    o.with = b;
    o.kind = kind;
    o.steps = 10; // Adam turns rounding of gradients near 0 into steps, the more the longer
    o.learning_rate = 1e-3;
    expect_same_steps(o, folder);
  }
}

TEST(Device, StoppedAndContinuedEndsInTheSameBits) {
  const auto folder = empty_folder("device_continued");
  auto o = small_options(folder, planted(folder, 1000, 16));
  o.kind = Kind::batch_topk;
  o.reduction = Reduction::fast;
  o.device = devices().back();
  o.allow_shared_gpu = true;
  o.steps = 60;
  train(world(), o);
  expect_stop_changes_nothing(o, folder);
}

TEST(Device, RefusesWhatItCannotDo) {
  const auto folder = empty_folder("device_refusal");
  auto o = small_options(folder, planted(folder, 300, 16));
  o.device = Device::torch;
  expect_error(ExitCode::config, "needs sae.reduction = \"fast\"", [&] { train(world(), o); });
  o.reduction = Reduction::fast;
  o.gpu_exchange = GpuExchange::nccl;
  expect_error(ExitCode::config, "needs sae.device = \"cuda\"", [&] { train(world(), o); });
  o.gpu_exchange = GpuExchange::host;
  o.device = Device::emulated; // of another stage
  expect_error(ExitCode::config, "sae.device = \"emulated\" must be", [&] { train(world(), o); });
#ifndef CONCORD_CUDA
  o.device = Device::cuda;
  expect_error(ExitCode::unavailable, "no GPU", [&] { train(world(), o); });
#endif
}

/// A checkpoint belongs to no number of ranks.
TEST(Train, ContinuedOnOtherRanksEndsInTheSameBits) {
  const auto folder = empty_folder("other_ranks");
  auto o = small_options(folder, planted(folder, 1000, 16));
  o.latents = 700;
  o.steps = 100;
  train(world(), o);
  const std::string undisturbed = read_text(o.out / "sae_weights.safetensors", "weights");
  world().barrier();
  o.out = folder / "stopped";
  comm::install_stop_flag(1e-9);
  expect_error(ExitCode::stopped, "run the same command to go on", [&] { train(world(), o); });
  comm::install_stop_flag(0);
  const auto alone = world().split(world().rank() == 0 ? 0 : 1);
  if (world().rank() == 0) train(alone, o);
  world().barrier();
  EXPECT_EQ(read_text(o.out / "sae_weights.safetensors", "weights"), undisturbed);
}

/// A tensor of another type or size is refused before a byte beyond it is read; the whole file is good still.
TEST(Train, ADamagedCheckpointIsRefused) {
  const auto folder = empty_folder("damaged_checkpoint");
  auto o = small_options(folder, planted(folder, 300, 16));
  o.kind = Kind::batch_topk; // whose rule has a state
  o.steps = 20;
  comm::install_stop_flag(1e-9);
  expect_error(ExitCode::stopped, "run the same command to go on", [&] { train(world(), o); });
  comm::install_stop_flag(0);
  const auto checkpoint = folder / "sae.partial" / "checkpoint.safetensors";
  const auto whole = folder / "whole.safetensors";
  if (world().rank() == 0) std::filesystem::copy_file(checkpoint, whole);
  world().barrier();
  const std::vector<double> numbers{-1, 7, 7, 7}; // no precision of a search; as a whole number it is below 0
  const std::vector<std::tuple<std::string, Dtype, Index>> others{
      {"architecture", Dtype::f64, 1}, {"architecture", Dtype::f32, 4}, {"architecture", Dtype::u8, 4}, {"architecture", Dtype::f64, 4},
      {"scales", Dtype::f32, 1},       {"medians", Dtype::f64, 2},      {"step", Dtype::i32, 1},        {"step", Dtype::f64, 1},
      {"step", Dtype::i64, 1},         {"left_out", Dtype::u8, 1},      {"left_out", Dtype::i64, 0}};
  for (const auto& [name, dtype, count] : others) {
    SCOPED_TRACE(fmt::format("{}: {} of {}", name, count, name_of(dtype)));
    if (world().rank() == 0) {
      const io::SafetensorsFile file(whole);
      auto tensors = file.tensors();
      tensors[name] = {dtype, {count}, numbers.data()};
      io::write_safetensors(checkpoint, tensors);
    }
    world().barrier();
    const bool of_rule = name == "architecture" && dtype == Dtype::f64 && count == 4;
    expect_error(ExitCode::bad_data, of_rule ? "names the precision -1" : ": " + name, [&] { train(world(), o); });
  }
  if (world().rank() == 0) std::filesystem::copy_file(whole, checkpoint, std::filesystem::copy_options::overwrite_existing);
  world().barrier();
  train(world(), o);
  EXPECT_TRUE(std::filesystem::exists(o.out / "sae_weights.safetensors"));
}

TEST(Train, RowsOnDemandEqualRowsInMemory) {
  const auto folder = empty_folder("on_demand");
  auto o = small_options(folder, planted(folder, 600, 16));
  o.steps = 20;
  train(world(), o);
  const std::string in_memory = read_text(o.out / "sae_weights.safetensors", "weights");
  world().barrier();
  o.out = folder / "on_demand";
  o.memory_gib = 0;
  train(world(), o);
  EXPECT_EQ(read_text(o.out / "sae_weights.safetensors", "weights"), in_memory);
}

TEST(Train, RefusesOtherSettingsAndBadRows) {
  const auto folder = empty_folder("refusals");
  auto o = small_options(folder, planted(folder, 200, 16));
  o.steps = 2;
  train(world(), o);
  o.k = 4;
  expect_error(ExitCode::config, "setting k: 3 -> 4", [&] { train(world(), o); });
  o.k = 65;
  expect_error(ExitCode::config, "sae.k = 65", [&] { train(world(), o); });
  o = small_options(folder, folder.string() + "/acts.h5:/layer_009/x");
  expect_error(ExitCode::bad_data, "no dataset /layer_009/x", [&] { train(world(), o); });
  if (world().rank() == 0) {
    auto file = io::File::open(folder / "acts.h5", io::File::Mode::write);
    const std::vector<float> row(16, std::nanf(""));
    file.dataset("/layer_000/x").write_rows(5, 1, row.data());
  }
  world().barrier();
  o = small_options(folder, folder.string() + "/acts.h5:/layer_000/x");
  o.out = folder / "nan";
  expect_error(ExitCode::bad_data, "row 5 holds nan in column 0", [&] { train(world(), o); });
}

TEST(RowOrder, EveryPassVisitsEveryTrainingRowOnceAndNoHeldOutOne) {
  RowOrder order(103, 10, 7, 2);
  std::set<Index> held_out;
  for (Index i = 0; i < 10; ++i) held_out.insert(order.held_out_row(i));
  EXPECT_EQ(held_out.size(), 10U);
  for (Index pass = 0; pass < 3; ++pass) {
    std::set<Index> seen;
    for (Index p = 0; p < 93; ++p) seen.insert(order.training_row(pass * 93 + p));
    EXPECT_EQ(seen.size(), 93U);
    for (const Index row : held_out) EXPECT_FALSE(seen.contains(row));
  }
}

} // namespace
} // namespace concord::sae
