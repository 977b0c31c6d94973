// SAE configs changed key by key against the answers of SAELens 3, 5 and 6, sparsify and Gemma Scope's loader (tests/golden/mutations).
#include "concord/sae/sae.hpp"
#include "concord/sae/search/encoder.hpp"

#include "support/mutations.hpp"
#include "support/npy.hpp"
#include <fstream>

namespace concord::sae {
namespace {

using nlohmann::json;
using test::expect_error;

constexpr Index rows = 3; // of saes/x.npy, as in make_mutation_golden.py

/// Codes of the rows, then their reconstructions.
std::vector<double> answer_of(const Sae& sae) {
  const auto x = test::read_npy(test::golden_folder() / "saes" / "x.npy");
  const auto wide = x.as_double();
  std::vector<float> some(wide.begin(), wide.begin() + rows * sae.d);
  SparseRows codes;
  Encoder(sae).encode(some, codes);
  std::vector<double> answer(static_cast<std::size_t>(rows * sae.latents));
  Index begin = 0;
  for (Index r = 0; r < rows; ++r) {
    for (; begin < codes.ends[static_cast<std::size_t>(r)]; ++begin)
      answer[static_cast<std::size_t>(r * sae.latents + codes.index[static_cast<std::size_t>(begin)])] =
          codes.value[static_cast<std::size_t>(begin)];
  }
  for (Index r = 0; r < rows; ++r) {
    std::vector<float> row(static_cast<std::size_t>(sae.d));
    decode_row(sae, codes, r, row);
    answer.insert(answer.end(), row.begin(), row.end());
  }
  return answer;
}

/// The golden SAE of a name under a changed config, which lies beside links to its weights.
test::Answer with_config(const std::string& file) {
  return [file, last = std::string()](const std::string& weights, const json& cfg) mutable {
    const auto folder = std::filesystem::path("scratch") / "mutations";
    if (weights != last) {
      std::filesystem::remove_all(folder);
      std::filesystem::create_directories(folder);
    }
    for (const auto& entry : std::filesystem::directory_iterator(test::golden_folder() / "saes" / weights))
      if (weights != last && entry.path().filename() != file)
        std::filesystem::create_symlink(std::filesystem::absolute(entry.path()), folder / entry.path().filename());
    last = weights;
    std::ofstream(folder / file) << cfg.dump();
    return answer_of(load_sae(folder));
  };
}

TEST(FormatMutations, Saelens) {
  const test::Leave leave{
      {"k", "architecture", "activation_fn", "activation_fn_str", "activation_fn_kwargs", "hook_head_index", "hook_point_head_index",
       "hook_name", "hook_point", "metadata", "normalize_activations", "reshape_activations", "sae_lens_version", "use_error_term"},
      {"model_name", "hook_name", "hook_layer", "hook_head_index", "dataset_path", "context_size", "seqpos_slice", "device",
       "dataset_trust_remote_code", "prepend_bos", "sae_lens_training_version", "model_from_pretrained_kwargs"}};
  test::Mutations("saelens", leave, with_config("cfg.json")).check();
}

TEST(FormatMutations, Sparsify) {
  test::Mutations("sparsify", {{"activation", "k", "signed", "transcode"}, {"normalize_decoder", "multi_topk"}}, with_config("cfg.json"))
      .check();
}

TEST(FormatMutations, GemmaScope2) {
  test::Mutations("gemma_scope_2", {{"type", "affine_connection", "hf_hook_point_out"}, {"model_name"}}, with_config("config.json"))
      .check();
}

/// Crosscoders are concord's own, so there is no other library to ask: a key means what docs/formats.md says, or is refused by name.
TEST(FormatMutations, Crosscoder) {
  const auto folder = std::filesystem::path("scratch") / "crosscoder";
  Sae sae = load_sae(test::golden_folder() / "saes" / "saelens_topk");
  sae.parts = {7, 5};
  save_sae(folder, sae, {{"model_name", "demo"}});
  const json cfg = json::parse(read_text(folder / "cfg.json", "cfg"));
  const auto changed = [&](const std::string& key, const json& value) {
    json other = cfg;
    other[key] = value;
    write_text_atomic(folder / "cfg.json", other.dump());
    return answer_of(load_sae(folder));
  };
  const auto plain = changed("k", sae.k);
  EXPECT_EQ(plain, answer_of(sae));
  for (const char* key : {"device", "metadata"})
    for (const json& value : {json("x"), json(3), json(nullptr), json::array(), json::object()})
      EXPECT_EQ(changed(key, value), plain) << key;
  sae.k = 2;
  EXPECT_EQ(changed("k", 2), answer_of(sae));
  const std::map<std::string, std::vector<json>> wrong{
      {"architecture", {nullptr, "sum", 3, json::array()}},
      {"activation", {nullptr, "relu", "gated", "jumprelu", 3, json::array()}},
      {"d_sae", {nullptr, "40", 39, 41, 0, -1, 2.5, true, json::array()}},
      {"d_in_parts",
       {nullptr, "x", 12, json::array(), json::array({12}), json::array({5, 7}), json::array({7, 6}), json::array({7, -5}),
        json::array({7, "5"}), json::array({7, 5, 1})}},
      {"k", {nullptr, "5", 0, 41, -1, 2.5, true}},
      {"dtype", {"bfloat16", "x", 3}},
      {"d_in", {12}},
      {"normalize_activations", {"none"}},
      {"key_that_nobody_knows", {0, "x", true}}};
  for (const auto& [key, values] : wrong)
    for (const json& value : values) {
      SCOPED_TRACE(key + " " + value.dump());
      expect_error(ExitCode::bad_data, key, [&] { changed(key, value); });
    }
  for (const char* key : {"architecture", "activation", "d_sae", "d_in_parts", "k"}) {
    json other = cfg;
    other.erase(key);
    write_text_atomic(folder / "cfg.json", other.dump());
    SCOPED_TRACE(key);
    expect_error(ExitCode::bad_data, key, [&] { load_sae(folder); });
  }
}

} // namespace
} // namespace concord::sae
