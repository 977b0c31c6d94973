#include "concord/core/at.hpp"
#include "concord/core/text.hpp"
#include "concord/io/safetensors.hpp"
#include "concord/model/transformer.hpp"

#include "cost/calibrate/probe.hpp"
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

namespace concord::cost {

namespace {

/// Blocks of a model of the Gemma-2 family with weights that mean nothing.
struct RandomModel {
  Index width;
  int layers;
  int heads;
  Index head_dim;
  Index inner; ///< width of the MLP

  nlohmann::json config() const {
    return {{"architectures", {"Gemma2ForCausalLM"}},
            {"model_type", "gemma2"},
            {"vocab_size", vocabulary},
            {"hidden_size", width},
            {"intermediate_size", inner},
            {"num_hidden_layers", layers},
            {"num_attention_heads", heads},
            {"num_key_value_heads", heads / 2},
            {"head_dim", head_dim},
            {"query_pre_attn_scalar", head_dim},
            {"tie_word_embeddings", true}};
  }

  void write(const std::filesystem::path& folder) const {
    make_folder(folder);
    write_text_atomic(folder / "config.json", config().dump());
    const auto numbers = some_normals(width * std::max({inner, heads * head_dim, vocabulary}), 1);
    std::vector<float> small(numbers.size());
    std::transform(numbers.begin(), numbers.end(), small.begin(), [](float x) { return 0.02F * x; });
    std::map<std::string, io::TensorView> tensors;
    const auto add = [&](const std::string& name, std::vector<Index> shape) {
      tensors["model." + name + ".weight"] = {Dtype::f32, std::move(shape), small.data()};
    };
    add("embed_tokens", {vocabulary, width});
    add("norm", {width});
    for (int l = 0; l < layers; ++l) {
      const std::string layer = fmt::format("layers.{}.", l);
      for (const char* norm : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"})
        add(layer + norm, {width});
      add(layer + "self_attn.q_proj", {heads * head_dim, width});
      for (const char* name : {"self_attn.k_proj", "self_attn.v_proj"}) add(layer + name, {heads / 2 * head_dim, width});
      add(layer + "self_attn.o_proj", {width, heads * head_dim});
      for (const char* name : {"mlp.gate_proj", "mlp.up_proj"}) add(layer + name, {inner, width});
      add(layer + "mlp.down_proj", {width, inner});
    }
    io::write_safetensors(folder / "model.safetensors", tensors);
  }

  static constexpr Index vocabulary = 128;
};

constexpr Index context = 128;

Probe probe_of(const std::filesystem::path& work, const RandomModel& model, Index contexts, Dtype compute) {
  const auto folder = work / fmt::format("model_{}", model.width);
  if (!std::filesystem::exists(folder)) model.write(folder);
  const Index rows = contexts * context;
  const auto type = model::torch_dtype(compute);
  const auto transformer =
      std::make_shared<model::Transformer>(folder, model::LayerRange{0, model.layers, false}, type, at::Device(at::kCPU), rows);
  double flops = 0;
  for (int l = 0; l < model.layers; ++l) flops += static_cast<double>(rows) * model::block_flops(transformer->config(), l, context);
  std::vector<Index> offsets;
  for (Index c = 0; c <= contexts; ++c) offsets.push_back(c * context);
  const c10::InferenceMode no_gradients;
  auto values = some_normals(rows * model.width, 2);
  const at::Tensor start = at::from_blob(values.data(), {rows, model.width}, at::kFloat).to(type).clone();
  return {fmt::format("forward pass, {}, width {}", compute == Dtype::bf16 ? "bf16" : "f32", model.width),
          {{compute == Dtype::bf16 ? Work::product_bf16 : Work::product_f32, flops, static_cast<double>(model.width)}},
          [transformer, offsets, start] {
            const c10::InferenceMode quiet;
            at::Tensor residual = start.clone();
            transformer->run(residual, transformer->contexts(offsets), [](int, const at::Tensor&) {});
          }};
}

} // namespace

void add_forward_families(const std::filesystem::path& work, double part, std::vector<Family>& families) {
  const auto n = [part](Index size) { return part_of(size, part, 32) / 16 * 16; };
  for (const auto& [compute, product] : {std::pair{Dtype::f32, Work::product_f32}, std::pair{Dtype::bf16, Work::product_bf16}})
    families.push_back({"forward", {product}, [work, n, part, compute = compute] {
                          return std::vector<Probe>{probe_of(work, {n(128), 4, 4, n(128) / 4, 4 * n(128)}, part_of(32, part, 2), compute),
                                                    probe_of(work, {n(768), 1, 12, 64, 4 * n(768)}, part_of(8, part, 1), compute),
                                                    probe_of(work, {n(2048), 1, 2, n(256), n(1024)}, part_of(4, part, 1), compute)};
                        }});
}

} // namespace concord::cost
