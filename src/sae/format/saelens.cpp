/// SAE folders of SAELens: version 6, and versions 2 to 5, whose cfg.json is flat and has other keys. Source: sae_lens/saes/*.py and
/// `handle_config_defaulting`, `read_sae_components_from_disk` of loading/pretrained_sae_loaders.py.
#include "concord/core/error.hpp"

#include "sae/format/format.hpp"
#include <algorithm>
#include <charconv>
#include <cmath>

namespace concord::sae {

namespace {

/// What the model, the text and the training of an SAE were; codes of given rows depend on none of it.
const std::vector<std::string>& harmless_keys() {
  static const std::vector<std::string> keys{
      // of every version
      "dtype", "device", "metadata", "model_name", "model_class_name", "hook_layer", "hook_name_out", "hook_head_index_out", "hf_hook_name",
      "hf_hook_name_out", "prepend_bos", "exclude_special_tokens", "neuronpedia_id", "context_size", "seqpos_slice", "dataset_path",
      "dataset_trust_remote_code", "model_from_pretrained_kwargs", "model_kwargs", "sae_lens_version", "sae_lens_training_version",
      // of training
      "decoder_init_norm", "l1_coefficient", "lp_norm", "l1_warm_up_steps", "jumprelu_init_threshold", "jumprelu_bandwidth",
      "jumprelu_sparsity_loss_mode", "l0_coefficient", "l0_warm_up_steps", "pre_act_loss_coefficient", "jumprelu_tanh_scale",
      "jumprelu_ste_to_input", "target_l0", "use_sparse_activations", "aux_loss_coefficient", "topk_threshold_lr", "use_ghost_grads",
      "normalize_sae_decoder", "noise_scale", "decoder_orthogonal_init", "mse_loss_normalization", "decoder_heuristic_init",
      "decoder_heuristic_init_norm", "init_encoder_as_decoder_transpose", "scale_sparsity_penalty_by_decoder_norm"};
  return keys;
}

KeyTable keys_of_version(bool old) {
  KeyTable table;
  table.honoured = {"architecture",
                    "d_in",
                    "d_sae",
                    "k",
                    "apply_b_dec_to_input",
                    "normalize_activations",
                    "reshape_activations",
                    "rescale_acts_by_decoder_norm",
                    "finetuning_scaling_factor",
                    "hook_name"};
  table.fixed = {{"reshape_activations", "none", "activations of attention heads"},
                 {"hook_head_index", nullptr, "activations of one attention head"},
                 {"use_error_term", false, "reconstructions that add the error"}};
  if (old) {
    for (const char* key : {"activation_fn", "activation_fn_str", "activation_fn_kwargs", "hook_point"}) table.honoured.emplace_back(key);
    table.fixed.push_back({"hook_point_head_index", nullptr, "activations of one attention head"});
  }
  std::erase(table.honoured, "reshape_activations");
  table.harmless = harmless_keys();
  return table;
}

/// Whether cfg.json is read by the rules of the versions before 6: as SAELens, by the version that it names, or names not.
bool is_old(const Fields& cfg) {
  std::string version = cfg.get_unless_null<std::string>("sae_lens_version", "");
  if (version.empty() && cfg.has("metadata")) version = cfg.inside("metadata").get_unless_null<std::string>("sae_lens_version", "");
  int major = 0;
  const auto parsed = std::from_chars(version.data(), version.data() + version.size(), major);
  require(version.empty() || parsed.ec == std::errc(), ExitCode::bad_data, "{}: sae_lens_version \"{}\" is no version", cfg.file(),
          version);
  return major < 6;
}

/// Before version 6 a TopK SAE was "standard" with an activation function, and its k among the arguments of that.
bool old_topk(const Fields& cfg) {
  const auto function = cfg.get_or<std::string>("activation_fn_str", cfg.get_or<std::string>("activation_fn", "relu"));
  require(function == "relu" || function == "topk", ExitCode::bad_data,
          "{}: activation_fn \"{}\" is not supported; concord knows relu and topk", cfg.file(), function);
  return function == "topk";
}

void read_architecture(const Fields& cfg, bool old, Sae& sae) {
  const auto name = old ? cfg.get_or<std::string>("architecture", "standard") : cfg.get<std::string>("architecture");
  sae.architecture = architecture_named(name, cfg, "architecture");
  const bool by_function = old && old_topk(cfg);
  require(!by_function || name == "standard" || name == "topk", ExitCode::bad_data,
          "{}: activation_fn topk does not go with architecture \"{}\"", cfg.file(), name);
  if (by_function) sae.architecture = Sae::Architecture::topk;
  if (sae.architecture != Sae::Architecture::topk) return;
  if (!old || !cfg.has("activation_fn_kwargs")) {
    sae.k = read_k(cfg, sae.latents);
    return;
  }
  const Fields arguments = cfg.inside("activation_fn_kwargs");
  arguments.check({{"k"}, {{"signed", false, "codes of either sign"}}, {}});
  sae.k = read_k(arguments, sae.latents);
  require(!cfg.has("k") || cfg.get<Index>("k") == sae.k, ExitCode::bad_data, "{}: k and activation_fn_kwargs.k differ", cfg.file());
}

/// "expected_average_only_in" is a scale that SAELens folds into the weights when training ends; what it loads is never scaled.
void check_normalisation(const Fields& cfg) {
  if (!cfg.has("normalize_activations")) {
    require(!cfg.is_null("normalize_activations") || is_old(cfg), ExitCode::bad_data, "{}: normalize_activations is null", cfg.file());
    return;
  }
  if (is_old(cfg) && cfg.holds<bool>("normalize_activations")) return; // none, or expected_average_only_in
  const auto name = cfg.get<std::string>("normalize_activations");
  require(name == "none" || name == "expected_average_only_in", ExitCode::bad_data,
          "{}: normalize_activations \"{}\" depends on each row and cannot be folded into weights; concord does not read it", cfg.file(),
          name);
}

/// The SAE of one attention head's output is told by the name of its hook where there is no key for it.
void check_hook(const Fields& cfg) {
  for (const char* key : {"hook_name", "hook_point"})
    if (cfg.has(key) && !cfg.has("reshape_activations"))
      require(!cfg.get<std::string>(key).ends_with("hook_z"), ExitCode::bad_data,
              "{}: {} {} is of attention heads; concord reads the residual stream", cfg.file(), key, cfg.get<std::string>(key));
}

/// TopK that was selected by a |W_dec[j]|: the same with unit decoder rows.
void fold_decoder_norms(Sae& sae) {
  for (Index j = 0; j < sae.latents; ++j) {
    double squares = 0;
    for (Index c = 0; c < sae.d; ++c) squares += std::pow(sae.decoder[static_cast<std::size_t>(j * sae.d + c)], 2);
    const double norm = std::sqrt(squares);
    if (norm <= 0) continue;
    for (Index c = j * sae.d; c < (j + 1) * sae.d; ++c) {
      sae.encoder[static_cast<std::size_t>(c)] *= static_cast<float>(norm);
      sae.decoder[static_cast<std::size_t>(c)] /= static_cast<float>(norm);
    }
    sae.b_enc[static_cast<std::size_t>(j)] *= static_cast<float>(norm);
  }
}

/// What finetuning made: a factor of each latent that its code takes in decoding alone. All ones mean none, whatever cfg.json says.
void fold_scaling_factor(const io::SafetensorsFile& weights, const Fields& cfg, Sae& sae) {
  const bool wanted = cfg.get_or("finetuning_scaling_factor", false);
  if (!weights.has("scaling_factor")) return;
  const auto factors = floats_of(weights, "scaling_factor", {sae.latents});
  if (std::ranges::all_of(factors, [](float f) { return std::abs(f - 1) <= 1e-8 + 1e-5; })) return;
  require(wanted, ExitCode::bad_data, "{} holds a scaling_factor, but finetuning_scaling_factor of cfg.json is not true",
          weights.path().string());
  for (Index j = 0; j < sae.latents; ++j)
    for (Index c = j * sae.d; c < (j + 1) * sae.d; ++c) sae.decoder[static_cast<std::size_t>(c)] *= factors[static_cast<std::size_t>(j)];
}

} // namespace

Sae load_saelens(const std::filesystem::path& folder, const Fields& cfg) {
  const bool old = is_old(cfg);
  Sae sae;
  read_sizes(cfg, sae);
  read_architecture(cfg, old, sae); // first: transcoders and other kinds are named as what they are
  cfg.check(keys_of_version(old));
  if (cfg.has("metadata")) {
    const Fields metadata = cfg.inside("metadata");
    require(!metadata.has("hook_head_index"), ExitCode::bad_data, "{}: hook_head_index: activations of one attention head",
            metadata.file());
  }
  check_normalisation(cfg);
  if (old) check_hook(cfg);
  sae.subtract_b_dec = cfg.get_or("apply_b_dec_to_input", true);
  const bool rescale = cfg.get_or("rescale_acts_by_decoder_norm", false) && sae.architecture == Sae::Architecture::topk;

  const io::SafetensorsFile weights(folder / "sae_weights.safetensors");
  auto names = latent_arrays(sae.architecture);
  for (const char* name : {"W_enc", "W_dec", "b_dec", "scaling_factor"}) names.emplace_back(name);
  only_arrays(weights, names);
  sae.encoder = transposed(floats_of(weights, "W_enc", {sae.d, sae.latents}), sae.d, sae.latents);
  sae.decoder = floats_of(weights, "W_dec", {sae.latents, sae.d});
  sae.b_dec = floats_of(weights, "b_dec", {sae.d});
  read_latent_arrays(weights, sae);
  require(!rescale || !weights.has("scaling_factor"), ExitCode::bad_data,
          "{}: rescale_acts_by_decoder_norm with a scaling_factor: no version of SAELens has both", cfg.file());
  if (rescale) fold_decoder_norms(sae);
  fold_scaling_factor(weights, cfg, sae);
  return sae;
}

} // namespace concord::sae
