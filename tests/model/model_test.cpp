// The hand-written CPU kernels of a block against plain ATen, and the arithmetic of layer shards' memory.
#include "concord/model/ops.hpp"
#include "concord/model/transformer.hpp"

#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <atomic>

using namespace concord;
using namespace concord::model;
using at::Tensor;

namespace {

Tensor random_tensor(at::IntArrayRef shape, int seed, at::ScalarType type = at::kFloat) {
  return at::randn(shape, at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed))).to(type);
}

/// Largest difference relative to the largest value.
double error(const Tensor& got, const Tensor& want) {
  const Tensor g = got.to(at::kDouble);
  const Tensor w = want.to(at::kDouble);
  return ((g - w).abs().max() / w.abs().max()).item<double>();
}

/// @param columns  of a head that are rotated
Contexts ragged(std::vector<Index> offsets, Index columns) {
  Contexts contexts;
  contexts.offsets = std::move(offsets);
  for (Index c = 0; c < contexts.count(); ++c)
    contexts.longest =
        std::max(contexts.longest, contexts.offsets[static_cast<std::size_t>(c) + 1] - contexts.offsets[static_cast<std::size_t>(c)]);
  const Tensor angles = at::outer(at::arange(contexts.longest, at::kFloat),
                                  at::pow(at::full({1}, 100.0F), at::arange(0, columns, 2, at::kFloat) / -static_cast<double>(columns)));
  contexts.rotary = {{angles.cos(), angles.sin()}};
  return contexts;
}

/// Attention from its definition, one query at a time, in f64.
Tensor attend_plainly(const Tensor& qkv, const Contexts& contexts, const AttentionSettings& s) {
  const Tensor wide = qkv.to(at::kDouble).view({qkv.size(0), s.heads + 2 * s.kv_heads, s.head_dim});
  Tensor out = at::zeros({qkv.size(0), s.heads, s.head_dim}, at::kDouble);
  const auto rotated = [&](const Tensor& x, Index position) {
    const RotaryTable& table = contexts.rotary[s.rope];
    const auto parts = x.split_with_sizes({table.pairs(), table.pairs(), s.head_dim - 2 * table.pairs()});
    const Tensor c = table.cosine[position].to(at::kDouble);
    const Tensor n = table.sine[position].to(at::kDouble);
    return at::cat({parts[0] * c - parts[1] * n, parts[1] * c + parts[0] * n, parts[2]});
  };
  for (std::size_t c = 0; c + 1 < contexts.offsets.size(); ++c)
    for (Index h = 0; h < s.heads; ++h)
      for (Index q = contexts.offsets[c]; q < contexts.offsets[c + 1]; ++q) {
        const Index kv = h / (s.heads / s.kv_heads);
        const Index first = contexts.offsets[c];
        const Index begin = s.window > 0 ? std::max(first, q - s.window + 1) : first;
        const Tensor query = rotated(wide[q][h], q - first);
        std::vector<Tensor> scores;
        for (Index k = begin; k <= q; ++k) scores.push_back((query * rotated(wide[k][s.heads + kv], k - first)).sum() * s.scale);
        Tensor all = at::stack(scores);
        if (s.softcap > 0) all = (all / s.softcap).tanh() * s.softcap;
        const Tensor weights = at::softmax(all, 0);
        out[q][h].copy_(at::matmul(weights, wide.slice(0, begin, q + 1).select(1, s.heads + s.kv_heads + kv)));
      }
  return out.view({qkv.size(0), s.heads * s.head_dim});
}

} // namespace

TEST(Ops, ParallelForUsesTheThreadsItIsGiven) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::atomic<int> pieces = 0;
  at::parallel_for(0, 2, 1, [&](Index, Index) { ++pieces; });
  at::set_num_threads(before);
  EXPECT_EQ(pieces, 2) << "compiled without OpenMP: every kernel runs on one thread";
}

TEST(Ops, RmsNormAndAddNormedEqualTheirDefinition) {
  for (const Index d : {7, 64, 192}) {
    const Tensor x = random_tensor({9, d}, 1) * 3;
    const Tensor w = random_tensor({d}, 2);
    const Tensor want = x / (x.square().mean(-1, true) + 1e-5).sqrt() * w;
    EXPECT_LT(error(rms_norm(x, w, 1e-5), want), 2e-6);
    Tensor residual = random_tensor({9, d}, 3);
    const Tensor sum = residual + want;
    add_normed(residual, x, w, 1e-5);
    EXPECT_LT(error(residual, sum), 2e-6);
    const Tensor narrow = rms_norm(x.to(at::kBFloat16), w, 1e-5);
    EXPECT_LT(error(narrow, want), 1.0 / 128);
  }
}

TEST(Ops, AttentionEqualsItsDefinition) {
  struct Case {
    AttentionSettings settings;
    std::vector<Index> offsets;
  };
  const std::vector<Case> cases{{{4, 2, 8, 0.3, 5.0, 0}, {0, 13, 14, 40}}, // grouped, soft-capped, contexts of 13, 1 and 26
                                {{4, 4, 16, 0.25, 0, 0}, {0, 70}},         // more queries than one tile
                                {{6, 2, 8, 0.5, 20.0, 9}, {0, 150, 181}},  // window
                                {{2, 1, 4, 0.5, 0, 1}, {0, 5, 11}}};       // sees itself alone
  int seed = 10;
  for (const auto& [settings, offsets] : cases) {
    const Contexts contexts = ragged(offsets, settings.head_dim);
    const Tensor qkv = random_tensor({offsets.back(), (settings.heads + 2 * settings.kv_heads) * settings.head_dim}, seed++) * 1.5;
    const Tensor want = attend_plainly(qkv, contexts, settings);
    EXPECT_LT(error(attend(qkv, contexts, settings), want), 3e-6) << "window " << settings.window;
    EXPECT_LT(error(attend_by_aten(qkv, contexts, settings), want), 3e-6);
    EXPECT_LT(error(attend(qkv.to(at::kBFloat16), contexts, settings), want), 0.03);
  }
}

TEST(Ops, AttentionRotatesAPartOfEachHeadByTheTableThatIsNamed) {
  const std::vector<Index> offsets{0, 13, 14, 40};
  int seed = 50;
  for (const Index columns : {6, 2, 0}) {
    Contexts contexts = ragged(offsets, columns);
    contexts.rotary.insert(contexts.rotary.begin(), ragged(offsets, 8).rotary[0]); // of other layers
    const AttentionSettings settings{4, 2, 8, 0.3, 0, 7, 1};
    const Tensor qkv = random_tensor({offsets.back(), 64}, seed++) * 1.5;
    const Tensor want = attend_plainly(qkv, contexts, settings);
    EXPECT_LT(error(attend(qkv, contexts, settings), want), 3e-6) << columns;
    EXPECT_LT(error(attend_by_aten(qkv, contexts, settings), want), 3e-6) << columns;
    const Contexts one{{0, 26}, 26, contexts.rotary, {}};
    const Tensor last = qkv.slice(0, 14, 40);
    EXPECT_LT(error(attend_behind(last.slice(0, 0, 20), last.slice(0, 20), one, settings), want.slice(0, 34)), 3e-6) << columns;
  }
}

TEST(Ops, NormsOfColumnsAndLayerNormEqualTheirDefinition) {
  const Tensor x = random_tensor({9, 40}, 60) * 3;
  const Tensor w = random_tensor({8}, 61);
  Tensor want = x.clone();
  Tensor vectors = want.slice(1, 16, 32).view({9, 2, 8});
  vectors.copy_(vectors / (vectors.square().mean(-1, true) + 1e-5).sqrt() * w);
  Tensor got = x.clone();
  rms_norm_columns(got, 16, 2, w, 1e-5);
  EXPECT_LT(error(got, want), 2e-6);
  Tensor wide = x.to(at::kDouble); // by ATen
  rms_norm_columns(wide, 16, 2, w, 1e-5);
  EXPECT_LT(error(wide, want), 2e-6);
  const Norm norm{random_tensor({40}, 62), random_tensor({40}, 63), 1e-5};
  const Tensor middle = x - x.mean(-1, true);
  const Tensor normed = middle / (middle.square().mean(-1, true) + 1e-5).sqrt() * norm.weight + norm.bias;
  EXPECT_LT(error(norm(x), normed), 2e-6);
  Tensor residual = random_tensor({9, 40}, 64);
  const Tensor sum = residual + normed;
  norm.add_to(residual, x);
  EXPECT_LT(error(residual, sum), 2e-6);
  EXPECT_EQ(error(Norm{}(x), x), 0) << "no norm";
}

TEST(Ops, LongContextsInPiecesEqualAten) {
  const AttentionSettings settings{2, 1, 8, 0.35, 30.0, 700};
  const Contexts contexts = ragged({0, 2500, 3600}, 8);
  const Tensor qkv = random_tensor({3600, 32}, 20);
  EXPECT_LT(error(attend(qkv, contexts, settings), attend_by_aten(qkv, contexts, settings)), 3e-6);
}

TEST(Ops, LinearEqualsAtenForAnyRows) {
  const Tensor w = random_tensor({65, 48}, 30);
  for (const Index rows : {1, 3, 64, 130}) {
    const Tensor x = random_tensor({rows, 48}, 31);
    EXPECT_LT(error(Linear(w, 64)(x), at::matmul(x, w.t())), 2e-6);
    EXPECT_LT(error(Linear(w.to(at::kBFloat16), 64)(x.to(at::kBFloat16)), at::matmul(x, w.t())), 0.02);
    const Tensor b = random_tensor({65}, 32);
    const Tensor y = at::linear(x, w, b);
    const Linear biased(w, 64, b);
    EXPECT_LT(error(biased(x), y), 2e-6);
    EXPECT_LT(error(biased.times(x, y), y * y), 2e-6);
    EXPECT_LT(error(biased.activated(x, Activation::gelu), at::gelu(y)), 3e-6);
    EXPECT_LT(error(biased.activated(x, Activation::gelu_tanh), at::gelu(y, "tanh")), 3e-6);
    EXPECT_LT(error(biased.activated(x, Activation::silu), at::silu(y)), 3e-6);
  }
}

TEST(Ops, GatedMlpEqualsAtenWholeAndInPieces) {
  const Tensor gate = random_tensor({40, 24}, 40);
  const Tensor up = random_tensor({40, 24}, 41);
  const Tensor down = random_tensor({24, 40}, 42);
  const Tensor x = random_tensor({2 * mlp_rows + 17, 24}, 43) * 2; // far into both tails of the activation
  for (const auto activation : {Activation::gelu_tanh, Activation::silu})
    for (const Index rows : {5L, x.size(0)}) {
      const Tensor some = x.slice(0, 0, rows);
      const Tensor g = at::linear(some, gate);
      const Tensor want =
          at::linear((activation == Activation::gelu_tanh ? at::gelu(g, "tanh") : at::silu(g)) * at::linear(some, up), down);
      Tensor got = at::zeros_like(some);
      const Mlp mlp{Linear(gate, mlp_rows), Linear(up, mlp_rows), Linear(down, mlp_rows), activation};
      mlp(some, [&](Index begin, Index end, const Tensor& result) { got.slice(0, begin, end).copy_(result); });
      EXPECT_LT(error(got, want), 3e-6);
    }
}

TEST(Ops, MlpWithoutAGateEqualsAten) {
  const Tensor up = random_tensor({40, 24}, 44);
  const Tensor down = random_tensor({24, 40}, 45);
  const Tensor x = random_tensor({mlp_rows + 17, 24}, 46);
  Tensor got = at::zeros_like(x);
  const Mlp mlp{{}, Linear(up, mlp_rows), Linear(down, mlp_rows), Activation::gelu};
  mlp(x, [&](Index begin, Index end, const Tensor& result) { got.slice(0, begin, end).copy_(result); });
  EXPECT_LT(error(got, at::linear(at::gelu(at::linear(x, up)), down)), 3e-6);
}

/// Eight heads, two on a key head.
ModelConfig config_of(Index hidden, Index intermediate, Index head_dim, Index vocab) {
  ModelConfig c;
  c.hidden = hidden;
  c.intermediate = intermediate;
  c.heads = 8;
  c.kv_heads = 4;
  c.head_dim = head_dim;
  c.vocab = vocab;
  return c;
}

/// Gemma-2-2B: a GPU takes all rows of a batch through the MLP at once, and keeps the embedding.
TEST(Transformer, MemoryOfAGpuCountsWhatTheCpuDoesInPieces) {
  ModelConfig c = config_of(2304, 9216, 256, 256000);
  c.tied_head = true;
  const LayerRange all{0, 26, true};
  const Index rows = Index{32} * 1024;
  const double working = gpu_working_bytes(c, all, Dtype::bf16, rows, 32, 1024);
  const double wide = 2.0 * 2 * static_cast<double>(rows * c.intermediate);
  EXPECT_GT(working, wide + 2.0 * static_cast<double>(rows * c.hidden));
  EXPECT_LT(working, 4.5e9);
  EXPECT_GT(gpu_working_bytes(c, all, Dtype::bf16, 8 * rows, 256, 1024), 4 * working);
  // Short contexts are padded to the longest.
  EXPECT_GT(gpu_working_bytes(c, all, Dtype::bf16, rows, 128, 1024), 1.5 * working);
  const double embedding = 2.0 * static_cast<double>(c.vocab * c.hidden);
  // Tied, it is the head; without a head it lies there by itself.
  EXPECT_EQ(weight_bytes(c, all, Dtype::bf16, true), weight_bytes(c, {0, 26, false}, Dtype::bf16, true));
  EXPECT_EQ(weight_bytes(c, {0, 26, false}, Dtype::bf16, true), weight_bytes(c, {1, 27, false}, Dtype::bf16, true) + embedding);
}

TEST(Transformer, WorkingMemoryIsLinearInTheContext) {
  const ModelConfig c = config_of(256, 1024, 32, 1000);
  const double at_4k = working_bytes(c, {0, 2, false}, Dtype::f32, 4096, 4096, 2);
  const double at_8k = working_bytes(c, {0, 2, false}, Dtype::f32, 8192, 8192, 2);
  EXPECT_LT(at_8k, 2.01 * at_4k);
  EXPECT_GT(at_8k, 1.5 * at_4k);
}
