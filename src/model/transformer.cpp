#include "concord/model/transformer.hpp"

#include "concord/core/error.hpp"
#include "concord/model/family.hpp"

#include "model/allocator.hpp"
#include "model/cpu_kernels.hpp"
#include "model/loader.hpp"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numbers>

namespace concord::model {

using at::Tensor;

struct Transformer::Parameters {
  ModelConfig config;
  LayerRange range;
  at::ScalarType compute = at::kFloat;
  at::Device device = at::kCPU;
  std::unique_ptr<Weights> files; ///< mapped: the embedding is read in place
  Tensor embedding;               ///< [vocab, d] as in the file; on a GPU in the type of the forward pass
  Tensor positions;               ///< [longest, d], where they are learned
  Norm final_norm;
  Linear head;
  std::vector<Tensor> frequencies; ///< of each rope, [pairs]
  std::vector<std::unique_ptr<Block>> blocks;
};

/// A GPU reads the whole head for each piece, so its pieces are large: 2^28 logits, a GiB in f32.
Index loss_rows(Index vocabulary, bool on_gpu) {
  return on_gpu ? std::clamp<Index>((Index{1} << 28) / vocabulary, 256, 4096) : 256;
}

namespace {

constexpr Index slab_rows = 256; // enough for products at full speed, few enough for the caches

/// 1 / wavelength of each pair of columns, stretched as the config says.
Tensor inverse_frequencies(const Rope& rope) {
  std::vector<float> frequencies;
  for (Index i = 0; i < rope.columns; i += 2) {
    const auto base =
        static_cast<float>(std::pow(static_cast<float>(rope.theta), static_cast<float>(i) / static_cast<float>(rope.columns)));
    double f = 1.0F / base;
    const RopeScaling& s = rope.scaling;
    if (s.kind == RopeScaling::Kind::longrope) f /= s.factors[static_cast<std::size_t>(i / 2)];
    if (s.kind == RopeScaling::Kind::linear) f /= s.factor;
    if (s.kind == RopeScaling::Kind::llama3) {
      const double wavelength = 2 * std::numbers::pi / f;
      const double turns = s.original_context / wavelength;
      if (turns < s.low_frequency_factor)
        f /= s.factor;
      else if (turns <= s.high_frequency_factor) {
        const double smooth = (turns - s.low_frequency_factor) / (s.high_frequency_factor - s.low_frequency_factor);
        f = (1 - smooth) * f / s.factor + smooth * f;
      }
    }
    frequencies.push_back(static_cast<float>(f));
  }
  return at::tensor(frequencies);
}

/// A tied head whose file also holds another one: transformers before 5 tie it, later ones do not, so the loss would hang on the version.
void check_tied_head(Weights& files, const ModelConfig& c, const std::filesystem::path& folder) {
  const std::string name = c.names.head + ".weight";
  if (!files.has(name) || !files.has(c.names.embedding + ".weight")) return; // transformers ties either to the other
  const auto& head = files.tensor(name, {c.vocab, c.hidden});
  const auto& embedding = files.tensor(c.names.embedding + ".weight", {c.vocab, c.hidden});
  const bool same = head.dtype == embedding.dtype &&
                    std::memcmp(head.data, embedding.data, static_cast<std::size_t>(head.count()) * size_of(head.dtype)) == 0;
  files.forget(head);
  files.forget(embedding);
  require(same, ExitCode::bad_data,
          "{}: config.json says tie_word_embeddings, but {} differs from the embedding; set it to false to use {}", folder.string(), name,
          name);
}

} // namespace

Transformer::Transformer(const std::filesystem::path& folder, LayerRange range, at::ScalarType compute, at::Device device, Index rows,
                         std::optional<WeightFiles> files)
    : parameters_(std::make_unique<Parameters>()) {
  reuse_tensor_memory();
  const c10::InferenceMode no_gradients;
  Parameters& p = *parameters_;
  p.config = read_config(folder);
  p.range = range;
  p.compute = compute;
  p.device = device;
  const ModelConfig& c = p.config;
  require(range.first >= 0 && range.first <= range.end && range.end <= c.layers, ExitCode::config, "{} has layers 0 to {}, not [{}, {})",
          folder.string(), c.layers - 1, range.first, range.end);
  p.files = files ? std::make_unique<Weights>(folder, *files) : std::make_unique<Weights>(folder);
  Loader loader(*p.files, c, compute, device, rows);
  const OuterNames names = outer_names(*p.files, c);
  const Family& family = family_of(c.family, (folder / "config.json").string());
  for (int layer = range.first; layer < range.end; ++layer) p.blocks.push_back(family.load_block(loader, layer));
  if (range.head) {
    p.final_norm = loader.norm(c.names.final_norm);
    if (c.tied_head) check_tied_head(*p.files, c, folder);
    p.head = loader.linear({{names.head, c.vocab}}, c.hidden);
  }
  if (range.first == 0 && device.is_cpu())
    p.embedding = mapped(p.files->tensor(names.embedding + ".weight", {c.vocab, c.hidden}));
  else if (range.first == 0)
    p.embedding = range.head && c.tied_head ? p.head.plain_weight() : loader.linear({{names.embedding, c.vocab}}, c.hidden).plain_weight();
  if (range.first == 0 && c.positions > 0)
    p.positions = mapped(p.files->tensor(c.names.positions + ".weight", {c.positions, c.hidden})).to(device);
  if (!device.is_cpu()) // long sums of bf16 products stay in f32
    at::globalContext().setAllowBF16ReductionCuBLAS(false);
  for (const Rope& rope : c.ropes) p.frequencies.push_back(inverse_frequencies(rope));
}

Transformer::~Transformer() = default;

const ModelConfig& Transformer::config() const {
  return parameters_->config;
}

LayerRange Transformer::range() const {
  return parameters_->range;
}

at::ScalarType Transformer::compute() const {
  return parameters_->compute;
}

at::Device Transformer::device() const {
  return parameters_->device;
}

Contexts Transformer::contexts(std::vector<Index> offsets) const {
  const c10::InferenceMode no_gradients;
  Contexts contexts;
  contexts.offsets = std::move(offsets);
  for (Index c = 0; c < contexts.count(); ++c)
    contexts.longest =
        std::max(contexts.longest, contexts.offsets[static_cast<std::size_t>(c) + 1] - contexts.offsets[static_cast<std::size_t>(c)]);
  const Parameters& p = *parameters_;
  require_context(p.config, contexts.longest);
  for (std::size_t i = 0; i < p.frequencies.size(); ++i) {
    const double factor = p.config.ropes[i].scaling.attention_factor;
    const Tensor angles = at::outer(at::arange(contexts.longest, at::kFloat), p.frequencies[i]);
    contexts.rotary.push_back({angles.cos().mul_(factor).to(p.device), angles.sin().mul_(factor).to(p.device)});
  }
  if (!parameters_->device.is_cpu()) contexts.places = padded_places(contexts, parameters_->device); // once for all layers
  return contexts;
}

Tensor Transformer::embed(std::span<const std::int32_t> ids, const Contexts& contexts) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  require(p.embedding.defined(), ExitCode::internal, "this rank's layers do not begin with the embedding");
  const Tensor index = at::from_blob(const_cast<std::int32_t*>(ids.data()), {static_cast<Index>(ids.size())}, at::kInt);
  Tensor residual = at::embedding(p.embedding, index.to(p.embedding.device())).to(p.compute);
  if (p.positions.defined())
    for (Index c = 0; c < contexts.count(); ++c) {
      const Index begin = contexts.offsets[static_cast<std::size_t>(c)];
      const Index end = contexts.offsets[static_cast<std::size_t>(c) + 1];
      residual.slice(0, begin, end).add_(p.positions.slice(0, 0, end - begin).to(p.compute));
    }
  if (p.config.embedding_scale != 1) residual.mul_(at::tensor(p.config.embedding_scale).to(p.compute).to(p.device));
  return residual;
}

namespace {

/// Each row attends to the earlier ones of its context.
Attend within(const Contexts& contexts) {
  return [&contexts](const Tensor& qkv, const AttentionSettings& settings) { return attend(qkv, contexts, settings); };
}

/// Whole contexts that one thread takes through a block alone.
struct Slab {
  Index first_row = 0;
  Contexts contexts;
};

/// Slabs of at least slab_rows rows, but for the last.
std::vector<Slab> cut_into_slabs(const Contexts& contexts) {
  std::vector<Slab> slabs;
  for (Index c = 0; c < contexts.count(); ++c) {
    const Index begin = contexts.offsets[static_cast<std::size_t>(c)];
    const Index end = contexts.offsets[static_cast<std::size_t>(c) + 1];
    if (slabs.empty() || slabs.back().contexts.rows() >= slab_rows) slabs.push_back({begin, {{0}, 0, contexts.rotary, {}}});
    Slab& slab = slabs.back();
    slab.contexts.offsets.push_back(end - slab.first_row);
    slab.contexts.longest = std::max(slab.contexts.longest, end - begin);
  }
  return slabs;
}

/// Contexts know nothing of each other, so each thread takes its own through the whole block and waits for the others
/// but once, instead of at every operation. The next free thread takes the next slab.
void run_slabs(const Block& block, Tensor& residual, const std::vector<Slab>& slabs) {
  std::atomic<std::size_t> next = 0;
  at::parallel_for(0, at::get_num_threads(), 1, [&](Index, Index) {
    const c10::InferenceMode no_gradients; // a thread's own setting
    for (std::size_t i = next++; i < slabs.size(); i = next++) {
      Tensor rows = residual.slice(0, slabs[i].first_row, slabs[i].first_row + slabs[i].contexts.rows());
      block.run(rows, within(slabs[i].contexts));
    }
  });
}

} // namespace

void Transformer::run(Tensor& residual, const Contexts& contexts, const ResidualTap& tap) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  if (p.range.first == 0) tap(-1, residual);
  const auto slabs = p.device.is_cpu() ? cut_into_slabs(contexts) : std::vector<Slab>{};
  const bool by_slabs = slabs.size() >= 2 && static_cast<int>(slabs.size()) >= at::get_num_threads();
  int layer = p.range.first;
  for (const auto& block : p.blocks) {
    if (by_slabs)
      run_slabs(*block, residual, slabs);
    else
      block->run(residual, within(contexts));
    tap(layer++, residual);
  }
}

std::vector<Tensor> Transformer::run_keeping(Tensor& residual, const Contexts& context, const ResidualTap& tap) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  std::vector<Tensor> kept;
  if (p.range.first == 0) tap(-1, residual);
  int layer = p.range.first;
  for (const auto& block : p.blocks) {
    block->run(residual, [&](const Tensor& qkv, const AttentionSettings& settings) {
      kept.push_back(qkv);
      return attend(qkv, context, settings);
    });
    tap(layer++, residual);
  }
  return kept;
}

void Transformer::run_copies(Tensor& copies, int behind, Index first, const std::vector<Tensor>& kept, const Contexts& context,
                             const ResidualTap& tap) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  for (int layer = std::max(behind + 1, p.range.first); layer < p.range.end; ++layer) {
    const auto block = static_cast<std::size_t>(layer - p.range.first);
    const Tensor earlier = kept[block].slice(0, 0, first);
    p.blocks[block]->run(
        copies, [&](const Tensor& qkv, const AttentionSettings& settings) { return attend_behind(earlier, qkv, context, settings); });
    if (tap) tap(layer, copies);
  }
}

void Transformer::log_probabilities(const Tensor& residual, const std::function<void(Index begin, const Tensor& rows)>& take) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  require(p.head.defined(), ExitCode::internal, "probabilities need the head of the model");
  const Index at_once = loss_rows(p.config.vocab, !p.device.is_cpu());
  for (Index begin = 0; begin < residual.size(0); begin += at_once)
    take(begin, at::log_softmax(logits(residual.slice(0, begin, std::min(residual.size(0), begin + at_once))).to(at::kFloat), -1));
}

Tensor Transformer::logits(const Tensor& residual) const {
  const Parameters& p = *parameters_;
  Tensor logits = p.head(p.final_norm(residual.contiguous())); // the kernel reads rows one behind the other
  return p.config.final_softcap > 0 ? logits.div_(p.config.final_softcap).tanh_().mul_(p.config.final_softcap) : logits;
}

double Transformer::loss_sum(const Tensor& residual, const Tensor& targets) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  require(p.head.defined(), ExitCode::internal, "the loss needs the head of the model");
  const Tensor on_device = targets.to(p.device);
  const bool on_gpu = !p.device.is_cpu();
  const Index at_once = loss_rows(p.config.vocab, on_gpu);
  double sum = 0;
  Tensor sum_there = on_gpu ? at::zeros({}, on_device.options().dtype(at::kDouble)) : Tensor();
  for (Index begin = 0; begin < residual.size(0); begin += at_once) {
    const Index end = std::min(residual.size(0), begin + at_once);
    const Tensor loss = at::cross_entropy_loss(logits(residual.slice(0, begin, end)).to(at::kFloat), on_device.slice(0, begin, end),
                                               /*weight=*/{}, at::Reduction::Sum,
                                               /*ignore_index=*/-1);
    if (on_gpu)
      sum_there.add_(loss); // asking for it would wait for the GPU
    else
      sum += loss.item<double>();
  }
  return on_gpu ? sum_there.item<double>() : sum;
}

double weight_bytes(const ModelConfig& c, LayerRange range, Dtype compute, bool on_gpu) {
  const auto blocks = static_cast<double>(range.end - range.first) * static_cast<double>(c.block_parameters());
  const auto table = static_cast<double>(c.vocab * c.hidden);
  const double head = range.head ? table : 0;
  const auto element = static_cast<double>(size_of(compute));
  double embedding = 0;
  if (range.first == 0)
    embedding = on_gpu ? (range.head && c.tied_head ? 0 : element * table) : 2 * table; // mapped, as far as its rows occur
  return element * (blocks + head) + embedding;
}

double working_bytes(const ModelConfig& c, LayerRange range, Dtype compute, Index rows, Index longest, int threads) {
  const auto element = static_cast<double>(size_of(compute));
  const auto n = static_cast<double>(rows);
  const auto piece = static_cast<double>(std::min(rows, mlp_rows));
  const auto d = static_cast<double>(c.hidden);
  const double attention = n * static_cast<double>(c.qkv_width() + c.heads * c.head_dim) + (c.parallel ? 3 : 2) * n * d;
  const double mlp = n * d + piece * (2.0 * static_cast<double>(c.intermediate) + d);
  const AttentionSettings settings{c.heads, c.kv_heads, c.head_dim, 1, 0, 0, 0};
  const double logits = range.head ? static_cast<double>(loss_rows(c.vocab, false) * c.vocab) * (4 + 4 + element) : 0;
  return element * (n * d + std::max(attention, mlp)) + threads * cpu::attend_scratch_bytes(settings, longest) + logits;
}

double gpu_working_bytes(const ModelConfig& c, LayerRange range, Dtype compute, Index rows, Index contexts, Index longest) {
  const auto element = static_cast<double>(size_of(compute));
  const auto n = static_cast<double>(rows);
  const auto d = static_cast<double>(c.hidden);
  const AttentionSettings settings{c.heads, c.kv_heads, c.head_dim, 1, 0, 0, 0};
  const double norm = n * d * (3 * 4 + element); // in f32: the rows, their squares or what they are multiplied by, the result
  const double attention = element * n * (static_cast<double>(c.qkv_width()) + (c.parallel ? 2 : 1) * d) +
                           attend_by_aten_bytes(settings, contexts, longest, element);
  const double mlp = element * n * (2.0 * static_cast<double>(c.intermediate) + 2 * d);
  const double logits = range.head ? static_cast<double>(loss_rows(c.vocab, true) * c.vocab) * (4 + 4 + 2 * element) : 0;
  constexpr double workspace = 64 << 20; // of cuBLAS
  return element * n * d + std::max({norm, attention, mlp + element * n * d, logits + element * n * d}) + workspace;
}

double block_flops(const ModelConfig& c, int layer, Index longest) {
  const Index window = c.sliding[static_cast<std::size_t>(layer)] ? c.sliding_window : longest;
  const auto keys = static_cast<double>(std::min(longest, window)) * (window < longest ? 1.0 : 0.5);
  return 2.0 * static_cast<double>(c.block_parameters()) + 4.0 * static_cast<double>(c.heads * c.head_dim) * keys;
}

double head_flops(const ModelConfig& c) {
  return 2.0 * static_cast<double>(c.vocab * c.hidden);
}

} // namespace concord::model
