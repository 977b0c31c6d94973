// The constants of the training rules, each against a few steps computed in plain double arithmetic.
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/training/train.hpp"
#include "concord/sae/training/trainings.hpp"

#include "sae/kinds/batch_top_k.hpp"
#include "sae/step/optimizer.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <cmath>
#include <sstream>

namespace concord::sae {
namespace {

using test::empty_folder;
using test::world;

constexpr Index d = 16;

float normal(const Philox& random, Index i) {
  return static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
}

std::vector<float> normals(std::uint64_t seed, Index count) {
  const Philox random(seed, "rules");
  std::vector<float> x;
  for (Index i = 0; i < count; ++i) x.push_back(normal(random, i));
  return x;
}

TEST(BatchTopKRule, ThresholdIsTheMeanOfAHundredStepsAndThenAMovingAverage) {
  constexpr Index latents = 32, batch = 6;
  const auto alone = world().split(world().rank());
  ArchitectureSettings s;
  s.kind = Kind::batch_topk;
  s.d = d;
  s.latents = latents;
  s.batch = batch;
  s.k = 3;
  BatchTopK kind(alone, s);
  FlatParameters p(d, latents, 1);
  const auto encoder = normals(1, latents * d);
  std::copy(encoder.begin(), encoder.end(), p.encoder().begin());
  double threshold = 0;
  std::vector<double> history;
  for (Index step = 0; step < 140; ++step) {
    auto x = normals(100 + static_cast<std::uint64_t>(step), batch * d);
    for (float& v : x) v *= 1 + 0.02F * static_cast<float>(step); // a mean over ten steps is far from one over a hundred
    std::vector<double> hidden;
    for (Index r = 0; r < batch; ++r)
      for (Index j = 0; j < latents; ++j) {
        double h = 0;
        for (Index c = 0; c < d; ++c)
          h += static_cast<double>(x[static_cast<std::size_t>(r * d + c)]) *
               static_cast<double>(encoder[static_cast<std::size_t>(j * d + c)]);
        hidden.push_back(h);
      }
    std::sort(hidden.rbegin(), hidden.rend());
    const double smallest = hidden[3 * batch - 1];
    history.push_back(smallest);
    if (step < 100) {
      threshold = 0;
      for (const double one : history) threshold += one / static_cast<double>(history.size());
    } else {
      threshold = 0.99 * threshold + 0.01 * smallest;
    }
    Codes codes;
    kind.encode(p, x, codes);
    EXPECT_EQ(codes.entries(), 3 * batch);
    const auto state = kind.state();
    ASSERT_NEAR(state[2], threshold, 1e-5 * threshold) << "step " << step;
    ASSERT_NEAR(state[1], 0.92 * smallest, 1e-5 * smallest) << "step " << step; // what the next step looks for entries from
  }
}

TEST(AdamRule, StepsAreThoseOfThePaper) {
  for (const auto& [kind, beta1] : {std::pair{Kind::topk, 0.9}, std::pair{Kind::batch_topk, 0.9}, std::pair{Kind::matryoshka, 0.9},
                                    std::pair{Kind::relu, 0.9}, std::pair{Kind::gated, 0.9}, std::pair{Kind::jumprelu, 0.0}}) {
    EXPECT_EQ(architecture_kind(kind).beta1, beta1) << settings::word_of(kind);
    FlatParameters p(1, 1, 1), g(1, 1, 1);
    p.decoder()[0] = 1;
    Adam adam(1, 1, 1, beta1);
    double value = 0, m = 0, v = 0;
    const std::vector<double> gradients{2e-4, -1e-4, 3e-7, 5e-4, 0.0, 1e-4}; // small enough for epsilon to count
    for (std::size_t t = 1; t <= gradients.size(); ++t) {
      g.b_enc()[0] = static_cast<float>(gradients[t - 1] / 1e-3);
      adam.step(p, g, 0, 0.01, 1e-3F, static_cast<Index>(t));
      m = beta1 * m + (1 - beta1) * gradients[t - 1];
      v = 0.999 * v + 0.001 * gradients[t - 1] * gradients[t - 1];
      value -= 0.01 * m / (1 - std::pow(beta1, t)) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
      ASSERT_NEAR(p.b_enc()[0], value, 3e-7) << settings::word_of(kind) << " step " << t;
    }
  }
  FlatParameters p(1, 1, 1), g(1, 1, 1); // epsilon: a first step with the gradient e is lr / 2 where epsilon = e
  g.b_enc()[0] = 1e-8F;
  Adam(1, 1, 1, 0.9).step(p, g, 0, 0.01, 1, 1);
  EXPECT_NEAR(p.b_enc()[0], -0.005, 1e-6);
}

TEST(KindRule, DefaultsAreTheDocumentedMultiplesOfTheNorm) {
  const auto with = [](Kind kind, Penalty penalty) {
    ArchitectureSettings s;
    s.kind = kind;
    s.penalty = penalty;
    s.d = 64;
    return with_defaults(s, 8);
  };
  for (const Kind kind : {Kind::relu, Kind::gated}) EXPECT_DOUBLE_EQ(with(kind, Penalty::step).sparsity, 0.08 * 8);
  EXPECT_DOUBLE_EQ(with(Kind::jumprelu, Penalty::step).sparsity, 6e-4 * 64);
  EXPECT_DOUBLE_EQ(with(Kind::jumprelu, Penalty::step).bandwidth, 1e-3 * 8);
  EXPECT_DOUBLE_EQ(with(Kind::jumprelu, Penalty::step).threshold, 1e-3 * 8);
  EXPECT_DOUBLE_EQ(with(Kind::jumprelu, Penalty::tanh).sparsity, 2.5e-3 * 64);
  EXPECT_DOUBLE_EQ(with(Kind::jumprelu, Penalty::tanh).bandwidth, 0.03 * 8);
  EXPECT_DOUBLE_EQ(with(Kind::jumprelu, Penalty::tanh).threshold, 1.5e-3 * 8);
  for (const auto& kind : architecture_kinds())
    EXPECT_EQ(kind.learning_rate, kind.kind == Kind::jumprelu ? 7e-5 : 2e-4) << settings::word_of(kind.kind);
}

/// Whole trainings on 400 random rows.
class TrainingRule : public testing::Test {
protected:
  void use(const std::string& name) {
    folder_ = empty_folder("rule_" + name);
    rows_ = normals(7, 400 * d);
    for (float& x : rows_) x = 3 * x + 0.4F;
    if (world().rank() == 0) {
      auto file = io::File::create(folder_ / "acts.h5");
      file.write("/layer_000/x", rows_, {400, d});
      file.write("/row_kind", std::vector<std::uint8_t>(400, 0));
      file.write_attribute("stage_digest", "rules");
      file.close();
    }
    world().barrier();
    o_.activations = (folder_ / "acts.h5").string() + ":/layer_000/x";
    o_.latents = 64;
    o_.k = 2;
    o_.batch = 40;
    o_.steps = 30;
  }
  nlohmann::json train_into(const std::string& name) {
    o_.out = folder_ / name;
    train(world(), o_);
    return nlohmann::json::parse(read_text(o_.out / "training.json", "record"));
  }
  std::vector<nlohmann::json> log() const {
    std::vector<nlohmann::json> lines;
    std::istringstream text(read_text(o_.out / "training.jsonl", "log"));
    for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
  std::filesystem::path folder_;
  std::vector<float> rows_;
  TrainOptions o_;
};

TEST_F(TrainingRule, WhatDependsOnTheDataHasItsDefault) {
  use("defaults");
  const auto settings = train_into("sae")["settings"];
  EXPECT_EQ(settings["aux_k"], d / 2);
  EXPECT_EQ(settings["warmup_steps"], 3); // a tenth of the steps
  EXPECT_DOUBLE_EQ(settings["learning_rate"].get<double>(), 2e-4 / std::sqrt(64.0 / 16384));
  EXPECT_DOUBLE_EQ(settings["aux_weight"].get<double>(), 1.0 / 32);
  EXPECT_DOUBLE_EQ(settings["decay_fraction"].get<double>(), 0.2);
  EXPECT_DOUBLE_EQ(settings["clip"].get<double>(), 1);
  EXPECT_DOUBLE_EQ(settings["max_norm"].get<double>(), 10);
  EXPECT_EQ(settings["dead_after"], 10'000'000);
  EXPECT_EQ(o_.sparsity_warmup, 0.05);
}

TEST_F(TrainingRule, TheLearningRateRisesStaysAndFalls) {
  use("rate");
  o_.learning_rate = 1e-3;
  o_.steps = 40;
  o_.warmup_steps = 3;
  train_into("sae");
  for (const auto& line : log()) { // each names the rate of the step behind it
    const auto step = line["step"].get<double>();
    const double expected = 1e-3 * std::min({1.0, (step + 1) / 3, (40 - step) / 8}); // 8: a fifth of the steps
    EXPECT_NEAR(line["learning_rate"].get<double>(), expected, 1e-12) << step;
  }
}

TEST_F(TrainingRule, ALatentIsDeadAfterSoManyRowsWithoutFiring) {
  use("dead");
  o_.latents = 600; // of which 40 rows with one latent each leave most silent
  o_.k = 1;
  o_.dead_after = 5 * o_.batch - 1;
  train_into("sae");
  for (const auto& line : log())
    EXPECT_EQ(line["dead"].get<Index>() > 0, line["step"].get<Index>() > 5) << line; // seen before a step, told behind it
}

TEST_F(TrainingRule, ScalesGiveTheNormsThatTheirNamesSay) {
  use("scales");
  o_.held_out = 0; // the sample is all rows
  o_.steps = 1;
  double norm = 0, square = 0;
  for (std::size_t r = 0; r < 400; ++r) {
    double s = 0;
    for (std::size_t c = 0; c < d; ++c) s += static_cast<double>(rows_[r * d + c]) * static_cast<double>(rows_[r * d + c]);
    norm += std::sqrt(s) / 400;
    square += s / 400;
  }
  for (const auto& [normalisation, scale] :
       {std::pair{Normalisation::sqrt_d, std::sqrt(16.0) / norm}, std::pair{Normalisation::unit_square, 1 / std::sqrt(square)},
        std::pair{Normalisation::none, 1.0}}) {
    o_.normalise = normalisation;
    const auto name = settings::word_of(normalisation);
    EXPECT_NEAR(train_into(name)["scale"][0].get<double>(), scale, 1e-9 * scale) << name;
  }
  o_.normalise = Normalisation::sqrt_d;
  o_.with = o_.activations;
  EXPECT_NEAR(train_into("pair")["scale"][1].get<double>(), std::sqrt(16.0) / norm, 1e-9); // sqrt of half of 32
}

TEST_F(TrainingRule, SparsityWarmsUpOverItsShareOfTheSteps) {
  use("warmup");
  o_.kind = Kind::relu;
  o_.sparsity = 1e6; // alone in the gradient
  std::vector<double> norms;
  for (const double share : {0.0, 1.0, 0.5}) {
    o_.sparsity_warmup = share;
    train_into("sae" + std::to_string(share));
    norms.push_back(log().at(0)["gradient_norm"].get<double>());
  }
  EXPECT_NEAR(norms[1] / norms[0], 1.0 / 30, 1e-4);
  EXPECT_NEAR(norms[2] / norms[0], 1.0 / 15, 1e-4);
}

TEST_F(TrainingRule, GradientsAreClippedToTheirNorm) {
  use("clip");
  o_.steps = 1;
  o_.learning_rate = 1; // of Adam's first step only epsilon shows the size: 1e-8 against a gradient clipped to 1e-8
  o_.decay_fraction = 0;
  o_.aux_weight = 0;
  o_.clip = 1e-8;
  o_.normalise = Normalisation::none;
  train_into("sae");
  const auto sae = load_sae(o_.out);
  double squares = 0; // b_enc moves by g / (|g| + 1e-8), less than 1/2 where |g| < 1e-8
  for (const float b : sae.b_enc) squares += static_cast<double>(b) * b;
  EXPECT_GT(squares, 0);
  for (const float b : sae.b_enc) EXPECT_LT(std::abs(b), 0.5);
}

} // namespace
} // namespace concord::sae
