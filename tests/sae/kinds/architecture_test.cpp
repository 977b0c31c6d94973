// The hand-written steps of every kind of SAE against autograd in float64, each loss term included.
#include "concord/comm/session.hpp"
#include "concord/core/philox.hpp"

#include <torch/torch.h>

#include "sae/kinds/batch_top_k.hpp"
#include "sae/step/step.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <numeric>

namespace concord::sae {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// a = h [h > theta], with the straight-through estimator of jump_relu.hpp.
struct Jump : torch::autograd::Function<Jump> {
  static Tensor forward(AutogradContext* context, const Tensor& h, const Tensor& theta, double bandwidth) {
    context->save_for_backward({h, theta});
    context->saved_data["bandwidth"] = bandwidth;
    return h * (h > theta);
  }
  static variable_list backward(AutogradContext* context, variable_list gradient) {
    const auto saved = context->get_saved_variables();
    const double eps = context->saved_data["bandwidth"].toDouble();
    const auto near = ((saved[0] - saved[1]).abs() < eps / 2).to(torch::kFloat64);
    return {gradient[0] * (saved[0] > saved[1]), (-(saved[1] / eps) * near * gradient[0]).sum(0), Tensor()};
  }
};

/// [h > theta] alike.
struct Heaviside : torch::autograd::Function<Heaviside> {
  static Tensor forward(AutogradContext* context, const Tensor& h, const Tensor& theta, double bandwidth) {
    context->save_for_backward({h, theta});
    context->saved_data["bandwidth"] = bandwidth;
    return (h > theta).to(torch::kFloat64);
  }
  static variable_list backward(AutogradContext* context, variable_list gradient) {
    const auto saved = context->get_saved_variables();
    const double eps = context->saved_data["bandwidth"].toDouble();
    const auto near = ((saved[0] - saved[1]).abs() < eps / 2).to(torch::kFloat64);
    return {Tensor(), (-near * gradient[0] / eps).sum(0), Tensor()};
  }
};

struct Case {
  Kind kind = Kind::topk;
  bool aux = false;
  Penalty penalty = Penalty::step;
  bool crosscoder = false;
};

constexpr Index d = 40;
constexpr Index latents = 300; // more than one piece
constexpr Index rows = 70;     // more than one piece
constexpr Index k_aux = 9;
constexpr double alpha = 0.5;

ArchitectureSettings settings_of(const Case& c) {
  ArchitectureSettings s;
  s.kind = c.kind;
  s.d = d;
  s.latents = latents;
  s.batch = rows;
  s.k = 5;
  s.prefixes = 3;
  s.sparsity = 0.7;
  s.penalty = c.penalty;
  s.bandwidth = 0.4;
  s.threshold = 2.0;
  if (c.crosscoder) s.parts = {16, 24};
  return s;
}

/// The loss of each kind as its source writes it.
class Oracle {
public:
  explicit Oracle(const Case& c) : c_(c), s_(settings_of(c)) {
    torch::manual_seed(3);
    const auto random = [](at::IntArrayRef shape, double scale) { return (scale * torch::randn(shape, torch::kFloat64)).requires_grad_(); };
    encoder = random({latents, d}, 0.5);
    decoder = random({latents, d}, 0.3);
    for (int i = 0; i < 3; ++i) scalars.push_back(random({latents}, 0.3));
    if (c.kind == Kind::jumprelu) scalars[1] = (1.5 + torch::rand({latents}, torch::kFloat64)).requires_grad_(); // thresholds
    b_dec = random({d}, 1.0);
  }

  Tensor loss(const Tensor& x, const std::vector<std::uint8_t>& dead) const {
    const auto centred = x - b_dec;
    const auto h = centred.mm(encoder.t()) + scalars[0];
    auto penalty = torch::zeros({}, torch::kFloat64);
    const auto a = codes(h, penalty);
    const auto reconstruction = a.mm(decoder) + b_dec;
    auto error = (reconstruction - x).square().sum();
    if (c_.kind == Kind::matryoshka) {
      error = torch::zeros({}, torch::kFloat64);
      for (const Index end : {latents / 4, latents / 2, latents})
        error = error + (a.slice(1, 0, end).mm(decoder.slice(0, 0, end)) + b_dec - x).square().sum() / 3.0;
    }
    if (c_.kind == Kind::gated) error = error + (torch::relu(h).mm(decoder.detach()) + b_dec.detach() - x).square().sum();
    auto loss = (error + s_.sparsity * penalty) / static_cast<double>(rows);
    const auto n_dead = std::count(dead.begin(), dead.end(), 1);
    if (n_dead == 0) return loss;
    auto mask = torch::zeros({latents}, torch::kFloat64);
    for (std::size_t j = 0; j < dead.size(); ++j) mask[static_cast<Index>(j)] = dead[j];
    const auto left = (x - reconstruction).detach();
    const auto aux = largest(torch::relu(h) * mask, std::min<Index>(k_aux, n_dead)).mm(decoder);
    return loss + alpha * (aux - left).square().sum() / (left - left.mean(0)).square().sum();
  }

  Tensor encoder, decoder, b_dec;
  std::vector<Tensor> scalars;

private:
  static Tensor largest(const Tensor& h, Index k) {
    const auto top = h.topk(k, 1);
    return torch::zeros_like(h).scatter(1, std::get<1>(top), std::get<0>(top));
  }

  Tensor codes(const Tensor& h, Tensor& penalty) const {
    if (c_.kind == Kind::topk) return largest(torch::relu(h), s_.k);
    if (c_.kind == Kind::batch_topk || c_.kind == Kind::matryoshka) {
      const auto smallest = std::get<0>(torch::relu(h).flatten().topk(s_.k * rows)).min();
      return torch::relu(h) * (h >= smallest);
    }
    if (c_.kind == Kind::relu) {
      auto norms = torch::ones({latents}, torch::kFloat64);
      if (c_.crosscoder) norms = decoder.slice(1, 0, 16).norm(2, 1) + decoder.slice(1, 16, d).norm(2, 1);
      penalty = (torch::relu(h) * norms).sum();
      return torch::relu(h);
    }
    if (c_.kind == Kind::gated) {
      penalty = torch::relu(h).sum();
      const auto magnitude = torch::exp(scalars[2]) * (h - scalars[0]) + scalars[1];
      return torch::relu(magnitude) * (h > 0);
    }
    const auto a = Jump::apply(h, scalars[1], s_.bandwidth);
    penalty = c_.penalty == Penalty::tanh ? torch::tanh(4 * a).sum() : Heaviside::apply(h, scalars[1], s_.bandwidth).sum();
    return a;
  }

  Case c_;
  ArchitectureSettings s_;
};

void copy(const Tensor& from, std::span<float> to) {
  const auto flat = from.detach().to(torch::kFloat32).contiguous();
  std::copy_n(flat.data_ptr<float>(), to.size(), to.begin());
}

void expect_near(const Tensor& expected, std::span<const float> got, const std::string& name) {
  const auto got_tensor = torch::from_blob(const_cast<float*>(got.data()), expected.sizes(), torch::kFloat32).to(torch::kFloat64);
  EXPECT_LT((got_tensor - expected).abs().max().item<double>(), 2e-5 * expected.abs().max().item<double>()) << name;
}

class ArchitectureGradient : public testing::TestWithParam<Case> {};

TEST_P(ArchitectureGradient, EqualsAutograd) {
  const Case& c = GetParam();
  std::vector<std::uint8_t> dead(static_cast<std::size_t>(latents), 0);
  if (c.aux)
    for (Index j = 0; j < latents; j += 3) dead[static_cast<std::size_t>(j)] = 1;
  const Oracle oracle(c);
  const auto x = torch::randn({rows, d}, torch::kFloat64);
  const auto expected_loss = oracle.loss(x, dead);
  expected_loss.backward();

  const auto architecture = make_architecture(test::world(), settings_of(c));
  FlatParameters parameters(d, latents, architecture->scalars());
  copy(oracle.encoder, parameters.encoder());
  copy(oracle.decoder, parameters.decoder());
  for (Index s = 0; s < parameters.scalars; ++s) copy(oracle.scalars[static_cast<std::size_t>(s)], parameters.scalar(s));
  copy(oracle.b_dec, parameters.b_dec());
  std::vector<float> data(static_cast<std::size_t>(rows * d));
  copy(x, data);
  std::vector<Index> positions(static_cast<std::size_t>(rows));
  std::iota(positions.begin(), positions.end(), Index{0});
  Step step(*architecture, k_aux, alpha);
  const double penalty = step.forward(parameters, data, positions, dead, 1.0F);
  const auto moments = moments_of(step.rows());
  double loss = (penalty + moments.squared_error()) / static_cast<double>(rows);
  if (c.aux) {
    ASSERT_TRUE(step.has_dead());
    loss += alpha * step.backward_dead(parameters, moments.error_variance(rows)) / moments.error_variance(rows);
  }
  if (c.kind != Kind::matryoshka) { // whose step has no need of the errors of single prefixes
    EXPECT_NEAR(loss, expected_loss.item<double>(), 1e-4 * expected_loss.item<double>());
  }

  FlatParameters gradients(d, latents, parameters.scalars);
  const SharedSums sums = weight_gradients(step.rows(), *architecture, parameters, 0, architecture->settings().scale(), gradients);
  for (std::size_t i = 0; i < sums.error.size(); ++i) gradients.b_dec()[i] = sums.error[i];
  for (std::size_t i = 0; i < sums.through_encoder.size(); ++i)
    gradients.b_dec()[i % static_cast<std::size_t>(d)] += sums.through_encoder[i];
  expect_near(oracle.encoder.grad(), gradients.encoder(), "encoder");
  expect_near(oracle.decoder.grad(), gradients.decoder(), "decoder");
  for (Index s = 0; s < gradients.scalars; ++s)
    expect_near(oracle.scalars[static_cast<std::size_t>(s)].grad(), gradients.scalar(s), "scalar " + std::to_string(s));
  expect_near(oracle.b_dec.grad(), gradients.b_dec(), "b_dec");
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const bool aux : {false, true}) {
    for (const auto& kind : architecture_kinds()) all.push_back({kind.kind, aux});
    all.push_back({Kind::jumprelu, aux, Penalty::tanh});
    all.push_back({Kind::relu, aux, Penalty::step, true});
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Kinds, ArchitectureGradient, testing::ValuesIn(cases()), [](const auto& one) {
  std::string name = settings::word_of(one.param.kind) + (one.param.penalty == Penalty::tanh ? "_tanh" : "") +
                     (one.param.crosscoder ? "_crosscoder" : "") + (one.param.aux ? "_AuxK" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Architecture, DefaultsNeedAKnownNorm) {
  ArchitectureSettings s;
  s.kind = Kind::jumprelu;
  s.d = 64;
  test::expect_error(ExitCode::config, "needs sae.sparsity, sae.bandwidth", [&] { with_defaults(s, 0); });
  EXPECT_NEAR(with_defaults(s, 8).sparsity, 6e-4 * 64, 1e-12);
  s.kind = Kind::topk;
  EXPECT_EQ(with_defaults(s, 0).sparsity, 0);
}

TEST(NthLargest, EqualsASort) {
  const Philox random(9, "nth");
  std::vector<float> numbers;
  for (std::uint64_t i = 0; i < 5000; ++i) // many scales, ties, zeros and negative numbers
    numbers.push_back(i % 7 == 0 ? 0.25F : static_cast<float>(random.normal(i) * std::pow(10.0, static_cast<double>(i % 13) - 8)));
  auto sorted = numbers;
  std::sort(sorted.rbegin(), sorted.rend());
  const auto positive = std::count_if(sorted.begin(), sorted.end(), [](float x) { return x > 0; });
  for (const Index n : {Index{1}, Index{2}, Index{100}, Index{700}, Index{1500}, Index{positive}})
    EXPECT_EQ(nth_largest(test::world(), numbers, n), sorted[static_cast<std::size_t>(n - 1)]) << n;
  EXPECT_EQ(nth_largest(test::world(), numbers, positive + 1), 0.0F);
}

} // namespace
} // namespace concord::sae
