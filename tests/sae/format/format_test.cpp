// SAE folders of others, changed key by key: a key is honoured with its library's meaning, cannot change the codes, or is refused by name.
// What the libraries themselves make of right files stands in tests/cli/test_sae_formats.py.
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/io/safetensors.hpp"
#include "concord/sae/sae.hpp"

#include "support/support.hpp"

namespace concord::sae {
namespace {

using nlohmann::json;
using test::expect_error;

constexpr Index d = 4;
constexpr Index latents = 6;

std::vector<float> numbers(std::uint64_t seed, Index count) {
  const Philox random(seed, "format");
  std::vector<float> values;
  for (Index i = 0; i < count; ++i) values.push_back(static_cast<float>(random.normal(static_cast<std::uint64_t>(i))));
  return values;
}

using Arrays = std::map<std::string, std::pair<std::vector<Index>, std::vector<float>>>;

/// An SAE folder of these arrays and this cfg.json; every rank makes its own.
std::filesystem::path folder_of(const json& cfg, const Arrays& arrays, const std::string& file = "sae_weights.safetensors") {
  const auto folder = std::filesystem::path("scratch") / fmt::format("format{}", test::world().rank());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::map<std::string, io::TensorView> tensors;
  for (const auto& [name, array] : arrays) tensors[name] = {Dtype::f32, array.first, array.second.data()};
  io::write_safetensors(folder / file, tensors, {});
  write_text_atomic(folder / "cfg.json", cfg.dump());
  return folder;
}

Arrays saelens_arrays() {
  return {{"W_enc", {{d, latents}, numbers(1, d * latents)}},
          {"W_dec", {{latents, d}, numbers(2, d * latents)}},
          {"b_enc", {{latents}, numbers(3, latents)}},
          {"b_dec", {{d}, numbers(4, d)}}};
}

json saelens_cfg() {
  return {{"architecture", "topk"},
          {"d_in", d},
          {"d_sae", latents},
          {"k", 2},
          {"dtype", "float32"},
          {"device", "cpu"},
          {"apply_b_dec_to_input", true},
          {"normalize_activations", "none"},
          {"reshape_activations", "none"},
          {"rescale_acts_by_decoder_norm", false},
          {"metadata", {{"hook_name", "blocks.3.hook_resid_post"}, {"sae_lens_version", "6.0.0"}}}};
}

Arrays sparsify_arrays() {
  return {{"encoder.weight", {{latents, d}, numbers(1, d * latents)}},
          {"encoder.bias", {{latents}, numbers(3, latents)}},
          {"W_dec", {{latents, d}, numbers(2, d * latents)}},
          {"b_dec", {{d}, numbers(4, d)}}};
}

json sparsify_cfg() {
  return {{"activation", "topk"},   {"d_in", d}, {"expansion_factor", 32}, {"normalize_decoder", true},
          {"num_latents", latents}, {"k", 2},    {"multi_topk", false},    {"skip_connection", false},
          {"transcode", false}};
}

TEST(Formats, KIsAWholeNumberFromOneToTheLatents) {
  for (const auto& [cfg, arrays, file] : {std::tuple{saelens_cfg(), saelens_arrays(), "sae_weights.safetensors"},
                                          std::tuple{sparsify_cfg(), sparsify_arrays(), "sae.safetensors"}}) {
    EXPECT_EQ(load_sae(folder_of(cfg, arrays, file)).k, 2);
    for (const json& k : {json(0), json(-1), json(latents + 1), json(1.5), json("2"), json(true), json(nullptr), json(1ULL << 40)}) {
      auto wrong = cfg;
      wrong["k"] = k;
      expect_error(ExitCode::bad_data, "k", [&] { load_sae(folder_of(wrong, arrays, file)); });
    }
    auto none = cfg;
    none.erase("k");
    expect_error(ExitCode::bad_data, "has no key k", [&] { load_sae(folder_of(none, arrays, file)); });
  }
  auto old = saelens_cfg(); // of SAELens 3: k among the arguments of an activation function
  old.erase("k");
  old["architecture"] = "standard";
  old["activation_fn_str"] = "topk";
  old["activation_fn_kwargs"] = json::object();
  old["metadata"] = json::object();
  expect_error(ExitCode::bad_data, "k", [&] { load_sae(folder_of(old, saelens_arrays())); });
  old["activation_fn_kwargs"] = {{"k", 3}};
  EXPECT_EQ(load_sae(folder_of(old, saelens_arrays())).k, 3);
}

TEST(Formats, RefuseKeysThatTheyDoNotKnowAndValuesThatMeanAnotherFunction) {
  const auto refused = [](json cfg, const char* key, const json& value, const Arrays& arrays, const char* file) {
    cfg[key] = value;
    expect_error(ExitCode::bad_data, key, [&] { load_sae(folder_of(cfg, arrays, file)); });
  };
  const char* saelens = "sae_weights.safetensors";
  refused(saelens_cfg(), "activation_noise", 1, saelens_arrays(), saelens);
  refused(saelens_cfg(), "normalize_activations", "layer_norm", saelens_arrays(), saelens);
  refused(saelens_cfg(), "normalize_activations", "constant_norm_rescale", saelens_arrays(), saelens);
  refused(saelens_cfg(), "reshape_activations", "hook_z", saelens_arrays(), saelens);
  refused(saelens_cfg(), "architecture", "temporal", saelens_arrays(), saelens);
  refused(saelens_cfg(), "architecture", "transcoder", saelens_arrays(), saelens);
  const char* sparsify = "sae.safetensors";
  refused(sparsify_cfg(), "signed", true, sparsify_arrays(), sparsify);
  refused(sparsify_cfg(), "skip_connection", true, sparsify_arrays(), sparsify);
  refused(sparsify_cfg(), "transcode", true, sparsify_arrays(), sparsify);
  refused(sparsify_cfg(), "activation", "groupmax", sparsify_arrays(), sparsify);
  refused(sparsify_cfg(), "new_setting", 0, sparsify_arrays(), sparsify);
  auto arrays = saelens_arrays();
  arrays["W_skip"] = {{d, d}, numbers(5, d * d)};
  expect_error(ExitCode::bad_data, "W_skip", [&] { load_sae(folder_of(saelens_cfg(), arrays)); });
}

TEST(Formats, ScalingFactorsOfSaelensScaleDecodingAlone) {
  const Sae plain = load_sae(folder_of(saelens_cfg(), saelens_arrays()));
  auto arrays = saelens_arrays();
  const std::vector<float> factors{2, 0.5, 1, 3, 1, 4};
  arrays["scaling_factor"] = {{latents}, factors};
  auto cfg = saelens_cfg();
  expect_error(ExitCode::bad_data, "finetuning_scaling_factor", [&] { load_sae(folder_of(cfg, arrays)); });
  cfg["finetuning_scaling_factor"] = true;
  const Sae scaled = load_sae(folder_of(cfg, arrays));
  EXPECT_EQ(scaled.encoder, plain.encoder);
  EXPECT_EQ(scaled.b_enc, plain.b_enc);
  EXPECT_EQ(scaled.b_dec, plain.b_dec);
  for (std::size_t j = 0; j < factors.size(); ++j)
    for (std::size_t c = 0; c < static_cast<std::size_t>(d); ++c)
      EXPECT_EQ(scaled.decoder[j * d + c], plain.decoder[j * d + c] * factors[j]);
  arrays["scaling_factor"] = {{latents}, std::vector<float>(latents, 1.0F)}; // what SAELens drops when it saves
  EXPECT_EQ(load_sae(folder_of(saelens_cfg(), arrays)).decoder, plain.decoder);
}

TEST(Formats, KeysOfTrainingChangeNothing) {
  const Sae plain = load_sae(folder_of(saelens_cfg(), saelens_arrays()));
  const json of_training =
      json{{"model_name", "gpt2"}, {"prepend_bos", false}, {"context_size", 7}, {"dataset_path", "x"}, {"l1_coefficient", 3.5}};
  for (const auto& [key, value] : of_training.items()) {
    auto cfg = saelens_cfg();
    cfg[key] = value;
    const Sae same = load_sae(folder_of(cfg, saelens_arrays()));
    EXPECT_EQ(same.encoder, plain.encoder) << key;
    EXPECT_EQ(same.k, plain.k) << key;
  }
}

TEST(Formats, AVersionOfAnyLengthIsRefusedByName) {
  std::string version = "6";
  for (int i = 0; i < 200000; ++i) version += ".0";
  const json cfg{{"architecture", "topk"}, {"d_in", d}, {"d_sae", latents}, {"k", 2}, {"dtype", "float32"}, {"sae_lens_version", version}};
  expect_error(ExitCode::bad_data, "sae_lens_version", [&] { load_sae(folder_of(cfg, saelens_arrays())); });
}

TEST(Formats, ACrosscodersWidthsAreThoseOfItsArrays) {
  Arrays arrays{{"b_enc", {{latents}, numbers(3, latents)}}};
  for (const char* part : {"_a", "_b"})
    for (const auto& [name, array] : saelens_arrays())
      if (name != "b_enc") arrays[name + part] = array;
  json cfg{{"architecture", "crosscoder"}, {"activation", "topk"}, {"d_sae", latents}, {"k", 2}, {"d_in_parts", {d, d}}};
  EXPECT_EQ(load_sae(folder_of(cfg, arrays)).d, 2 * d);
  for (const auto& widths : {json{d, 1 << 24}, json{1 << 24, d}, json{d, 1}}) { // the first would take 2^26 x latents numbers
    cfg["d_in_parts"] = widths;
    expect_error(ExitCode::bad_data, "has shape", [&] { load_sae(folder_of(cfg, arrays)); });
  }
  cfg["d_in_parts"] = {d, d, 1 << 24, 1 << 24, 1 << 24};
  expect_error(ExitCode::bad_data, "has no array W_enc_c", [&] { load_sae(folder_of(cfg, arrays)); });
}

/// Every key with every kind of value: the loader refuses it with its own error, or gives an SAE in which all sizes fit.
TEST(Formats, SurviveEveryMutationOfAConfig) {
  const std::vector<json> values{
      nullptr, -1, 0, 7, 2.5, 1e308, true, "x", "", json::array(), json::array({1, 2}), json::object(), std::string(100000, 'y')};
  int loaded = 0;
  int refused = 0;
  for (const auto& [cfg, arrays, file] : {std::tuple{saelens_cfg(), saelens_arrays(), "sae_weights.safetensors"},
                                          std::tuple{sparsify_cfg(), sparsify_arrays(), "sae.safetensors"}})
    for (const auto& [key, was] : cfg.items()) {
      for (std::size_t v = 0; v <= values.size(); ++v) {
        auto changed = cfg;
        if (v == values.size())
          changed.erase(key);
        else
          changed[key] = values[v];
        try {
          const Sae sae = load_sae(folder_of(changed, arrays, file));
          EXPECT_EQ(sae.encoder.size(), static_cast<std::size_t>(d * latents));
          EXPECT_GE(sae.k, sae.architecture == Sae::Architecture::topk ? 1 : 0);
          ++loaded;
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::bad_data) << key << ": " << error.what();
          ++refused;
        }
      }
    }
  EXPECT_GT(loaded, 20);
  EXPECT_GT(refused, 60);
}

} // namespace
} // namespace concord::sae
