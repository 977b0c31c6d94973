// The hand-written step against autograd in float64, the selection against sorting, and the file formats.
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/sae/encoder.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/top_k_step.hpp"

#include <torch/torch.h>

#include "support/support.hpp"
#include <algorithm>
#include <numeric>

namespace concord::sae {
namespace {

TEST(SelectTopK, EqualsASortWithTies) {
  const Philox random(1, "select");
  for (int round = 0; round < 200; ++round) {
    const Index n = 1 + static_cast<Index>(random.below(static_cast<std::uint64_t>(round), 150));
    const int k = 1 + round % 12;
    std::vector<float> values;
    for (Index i = 0; i < n; ++i) // few distinct values: many ties, and negatives that must not be selected
      values.push_back(static_cast<float>(static_cast<int>(random.below(static_cast<std::uint64_t>(1000 * round + i), 9)) - 3));
    std::vector<std::int32_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)]; });
    order.resize(std::min<std::size_t>(order.size(), static_cast<std::size_t>(k)));
    std::erase_if(order, [&](int i) { return values[static_cast<std::size_t>(i)] <= 0; });
    std::sort(order.begin(), order.end());
    std::vector<std::int32_t> indices;
    std::vector<float> selected;
    select_top_k(values, k, indices, selected);
    EXPECT_EQ(indices, order) << "round " << round;
  }
}

/// Loss of top_k_step.hpp in autograd, float64.
struct Oracle {
  torch::Tensor encoder, decoder, b_enc, b_dec;
  torch::Tensor loss(const torch::Tensor& x, const StepSettings& s, const std::vector<std::uint8_t>& dead) const {
    const auto hidden = torch::relu((x - b_dec).mm(encoder.t()) + b_enc);
    const auto keep = [&](const torch::Tensor& h, Index k) {
      const auto top = h.topk(k, 1);
      return torch::zeros_like(h).scatter(1, std::get<1>(top), std::get<0>(top));
    };
    const auto reconstruction = keep(hidden, s.k).mm(decoder) + b_dec;
    auto loss = (reconstruction - x).square().sum() / static_cast<double>(s.batch);
    const auto n_dead = std::count(dead.begin(), dead.end(), 1);
    if (n_dead == 0) return loss;
    auto mask = torch::zeros({encoder.size(0)}, torch::kFloat64);
    for (std::size_t j = 0; j < dead.size(); ++j) mask[static_cast<Index>(j)] = dead[j];
    const auto error = (x - reconstruction).detach();
    const auto aux = keep(hidden * mask, std::min<Index>(s.k_aux, n_dead)).mm(decoder);
    return loss + s.alpha * (aux - error).square().sum() / (error - error.mean(0)).square().sum();
  }
};

class StepGradient : public testing::TestWithParam<bool> {};

TEST_P(StepGradient, EqualsAutograd) {
  const Index d = 40;
  const Index latents = 300; // more than one piece
  const Index rows = 33;
  const StepSettings settings{5, 9, 0.5, rows};
  std::vector<std::uint8_t> dead(static_cast<std::size_t>(latents), 0);
  if (GetParam())
    for (Index j = 0; j < latents; j += 3) dead[static_cast<std::size_t>(j)] = 1;
  torch::manual_seed(3);
  Oracle oracle;
  oracle.encoder = torch::randn({latents, d}, torch::kFloat64).requires_grad_();
  oracle.decoder = (0.3 * torch::randn({latents, d}, torch::kFloat64)).requires_grad_();
  oracle.b_enc = torch::randn({latents}, torch::kFloat64).requires_grad_();
  oracle.b_dec = torch::randn({d}, torch::kFloat64).requires_grad_();
  const auto x = torch::randn({rows, d}, torch::kFloat64);
  const auto expected_loss = oracle.loss(x, settings, dead);
  expected_loss.backward();

  FlatParameters parameters(d, latents);
  const auto copy = [](const torch::Tensor& from, std::span<float> to) {
    const auto flat = from.detach().to(torch::kFloat32).contiguous();
    std::copy_n(flat.data_ptr<float>(), to.size(), to.begin());
  };
  copy(oracle.encoder, parameters.encoder());
  copy(oracle.decoder, parameters.decoder());
  copy(oracle.b_enc, parameters.b_enc());
  copy(oracle.b_dec, parameters.b_dec());
  std::vector<float> data(static_cast<std::size_t>(rows * d));
  copy(x, data);
  TopKStep step(d, settings);
  std::vector<Index> positions(static_cast<std::size_t>(rows));
  std::iota(positions.begin(), positions.end(), Index{0});
  step.forward(parameters, data, positions, dead);
  const auto moments = moments_of(step.rows());
  const double aux_error = GetParam() ? step.backward_dead(parameters, moments.error_variance(rows)) : 0.0;
  const double aux = GetParam() ? settings.alpha * aux_error / moments.error_variance(rows) : 0.0;
  EXPECT_NEAR(moments.squared_error() / static_cast<double>(rows) + aux, expected_loss.item<double>(), 1e-4 * expected_loss.item<double>());
  FlatParameters gradients(d, latents);
  const SharedSums sums = weight_gradients(step.rows(), parameters, 0, settings.scale(), gradients);
  for (std::size_t i = 0; i < sums.error.size(); ++i) gradients.b_dec()[i] = sums.error[i];
  for (std::size_t i = 0; i < sums.through_encoder.size(); ++i)
    gradients.b_dec()[i % static_cast<std::size_t>(d)] += sums.through_encoder[i];
  const auto compare = [](const torch::Tensor& expected, std::span<const float> got, const char* name) {
    const auto got_tensor = torch::from_blob(const_cast<float*>(got.data()), expected.sizes(), torch::kFloat32).to(torch::kFloat64);
    EXPECT_LT((got_tensor - expected).abs().max().item<double>(), 2e-5 * expected.abs().max().item<double>()) << name;
  };
  compare(oracle.encoder.grad(), gradients.encoder(), "encoder");
  compare(oracle.decoder.grad(), gradients.decoder(), "decoder");
  compare(oracle.b_enc.grad(), gradients.b_enc(), "b_enc");
  compare(oracle.b_dec.grad(), gradients.b_dec(), "b_dec");
}
INSTANTIATE_TEST_SUITE_P(AuxK, StepGradient, testing::Values(false, true));

TEST(Saelens, RoundTripsAndEncodesTheSame) {
  const auto folder = test::empty_folder("saelens");
  const Philox random(2, "sae");
  Sae sae;
  sae.d = 6;
  sae.latents = 11;
  sae.k = 3;
  std::uint64_t i = 0;
  for (auto* values : {&sae.encoder, &sae.decoder})
    for (Index j = 0; j < 66; ++j) values->push_back(static_cast<float>(random.normal(i++)));
  for (Index j = 0; j < 11; ++j) sae.b_enc.push_back(static_cast<float>(random.normal(i++)));
  for (Index j = 0; j < 6; ++j) sae.b_dec.push_back(static_cast<float>(random.normal(i++)));
  save_saelens(folder / "sae", sae, {{"hook_name", "x"}});
  const Sae back = load_sae(folder / "sae");
  EXPECT_EQ(back.encoder, sae.encoder);
  EXPECT_EQ(back.decoder, sae.decoder);
  EXPECT_EQ(back.b_enc, sae.b_enc);
  EXPECT_EQ(back.b_dec, sae.b_dec);
  EXPECT_EQ(back.k, 3);
  EXPECT_TRUE(back.subtract_b_dec);

  std::vector<float> x(12);
  for (auto& v : x) v = static_cast<float>(random.normal(i++));
  SparseRows codes;
  Encoder(back).encode(x, codes);
  ASSERT_EQ(codes.row_ends.size(), 2U);
  for (std::size_t e = 0; e < codes.indices.size(); ++e) {
    const std::size_t row = static_cast<Index>(e) < codes.row_ends[0] ? 0 : 1;
    const auto j = static_cast<std::size_t>(codes.indices[e]);
    double h = sae.b_enc[j];
    for (std::size_t c = 0; c < 6; ++c) h += (x[row * 6 + c] - sae.b_dec[c]) * static_cast<double>(sae.encoder[j * 6 + c]);
    EXPECT_NEAR(codes.values[e], h, 1e-5);
  }
}

TEST(Saelens, RefusesSizesThatDoNotFit) {
  const auto folder = test::empty_folder("saelens_bad");
  Sae sae;
  sae.d = 2;
  sae.latents = 3;
  sae.k = 1;
  sae.encoder = sae.decoder = std::vector<float>(6, 1.0F);
  sae.b_enc = std::vector<float>(3, 0.0F);
  sae.b_dec = std::vector<float>(2, 0.0F);
  save_saelens(folder / "sae", sae, {});
  auto cfg = nlohmann::json::parse(read_text(folder / "sae" / "cfg.json", "cfg"));
  cfg["d_sae"] = 4;
  write_text_atomic(folder / "sae" / "cfg.json", cfg.dump());
  test::expect_error(ExitCode::bad_data, "W_enc has shape [2, 3]", [&] { load_sae(folder / "sae"); });
  cfg["architecture"] = "transformer";
  write_text_atomic(folder / "sae" / "cfg.json", cfg.dump());
  test::expect_error(ExitCode::bad_data, "is not supported", [&] { load_sae(folder / "sae"); });
  test::expect_error(ExitCode::input_missing, "no SAE", [&] { load_sae(folder / "none"); });
}

} // namespace
} // namespace concord::sae
