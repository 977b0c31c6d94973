// Changed copies of a context's last rows, taken through the later blocks behind rows that are kept, against whole runs with the change.
#include "concord/model/transformer.hpp"

#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <cstdlib>

namespace concord::model {
namespace {

using at::Tensor;

std::vector<std::int32_t> some_ids(Index count, Index vocabulary) {
  std::vector<std::int32_t> ids{2};
  for (Index i = 1; i < count; ++i) ids.push_back(static_cast<std::int32_t>((7 + 131 * i * i) % vocabulary));
  return ids;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

/// Copies of rows [first, end), each moved by its own amount behind layer `behind`.
void compare(const char* folder, Index length, Index first, int behind) {
  const std::filesystem::path path = std::filesystem::path(std::getenv("CONCORD_SOURCE")) / folder;
  const int layers = read_config(path).layers;
  const Transformer model(path, {0, layers, true}, at::kFloat, at::kCPU, length);
  const auto ids = some_ids(length, model.config().vocab);
  const Contexts context = model.contexts({0, length});
  Tensor clean = model.embed(ids, context);
  Tensor behind_layer;
  const auto kept = model.run_keeping(clean, context, [&](int layer, const Tensor& rows) {
    if (layer == behind) behind_layer = rows.clone();
  });
  constexpr Index count = 3;
  const Index n = length - first;
  const auto generator = at::detail::createCPUGenerator(5);
  const Tensor moves = behind_layer.std() * at::randn({count, n, model.config().hidden}, generator);
  Tensor copies = (behind_layer.slice(0, first, length).unsqueeze(0) + moves).reshape({count * n, -1}).contiguous();
  model.run_copies(copies, behind, first, kept, context);
  for (Index c = 0; c < count; ++c) {
    Tensor residual = model.embed(ids, context);
    model.run(residual, context, [&](int layer, const Tensor& rows) {
      if (layer == behind) rows.slice(0, first, length).add_(moves[c]);
    });
    EXPECT_LT(largest_difference(copies.slice(0, c * n, (c + 1) * n), residual.slice(0, first, length)), 2e-5) << folder << " " << first;
    Tensor probabilities;
    model.log_probabilities(residual, [&](Index begin, const Tensor& rows) {
      EXPECT_EQ(begin, probabilities.defined() ? probabilities.size(0) : 0);
      probabilities = probabilities.defined() ? at::cat({probabilities, rows}) : rows;
    });
    const Tensor targets = at::tensor(std::vector<Index>(static_cast<std::size_t>(length), 3));
    EXPECT_NEAR(-probabilities.select(1, 3).sum().item<double>(), model.loss_sum(residual, targets), 1e-3);
  }
}

TEST(Copies, EqualWholeRuns) {
  compare("data/demo/models/small", 100, 80, 2); // its window is 64
  compare("data/demo/models/small", 12, 5, -1);
  for (const char* family : {"gemma3", "gpt2", "olmo2", "phi3", "pythia", "qwen3"}) { // windows, positions, norms and rotation of their own
    compare((std::string("tests/golden/tiny_") + family).c_str(), 24, 15, 0);
    compare((std::string("tests/golden/tiny_") + family).c_str(), 24, 3, -1);
  }
  compare("data/demo/models/small", 12, 0, 1); // nothing in front
  compare("tests/golden/tiny_llama3", 40, 33, 0);
}

} // namespace
} // namespace concord::model
