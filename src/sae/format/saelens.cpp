/// SAE folders of SAELens: version 6, and versions 2 to 5, whose cfg.json is flat and has other keys. Source: sae_lens/saes/*.py and
/// `handle_config_defaulting`, `read_sae_components_from_disk` of loading/pretrained_sae_loaders.py.
#include "concord/core/dtype.hpp"
#include "concord/core/error.hpp"

#include "sae/format/format.hpp"
#include <algorithm>
#include <cmath>
#include <regex>

namespace concord::sae {

namespace {

/// What the model, the text and the training of an SAE were; codes of given rows depend on none of it.
const std::vector<std::string>& harmless_keys() {
  static const std::vector<std::string> keys{
      // of every version
      "device", "metadata", "model_name", "model_class_name", "hook_layer", "hook_point_layer", "hook_name_out", "hook_head_index_out",
      "hf_hook_name", "hf_hook_name_out", "prepend_bos", "exclude_special_tokens", "neuronpedia_id", "context_size", "seqpos_slice",
      "dataset_path", "dataset_trust_remote_code", "model_from_pretrained_kwargs", "model_kwargs", "sae_lens_version",
      "sae_lens_training_version",
      // of training
      "decoder_init_norm", "l1_coefficient", "lp_norm", "l1_warm_up_steps", "jumprelu_init_threshold", "jumprelu_bandwidth",
      "jumprelu_sparsity_loss_mode", "l0_coefficient", "l0_warm_up_steps", "pre_act_loss_coefficient", "jumprelu_tanh_scale",
      "jumprelu_ste_to_input", "target_l0", "use_sparse_activations", "aux_loss_coefficient", "topk_threshold_lr", "use_ghost_grads",
      "normalize_sae_decoder", "noise_scale", "decoder_orthogonal_init", "mse_loss_normalization", "decoder_heuristic_init",
      "decoder_heuristic_init_norm", "init_encoder_as_decoder_transpose", "scale_sparsity_penalty_by_decoder_norm",
      // of the settings of a whole training run, which versions before 4 save in cfg.json
      "hook_eval", "streaming", "is_dataset_tokenized", "use_cached_activations", "cached_activations_path", "b_dec_init_method",
      "expansion_factor", "from_pretrained_path", "n_batches_in_buffer", "training_tokens", "total_training_tokens", "finetuning_tokens",
      "store_batch_size", "store_batch_size_prompts", "train_batch_size", "train_batch_size_tokens", "act_store_device", "seed", "autocast",
      "autocast_lm", "compile_llm", "llm_compilation_mode", "compile_sae", "sae_compilation_mode", "adam_beta1", "adam_beta2", "lr",
      "lr_scheduler_name", "lr_warm_up_steps", "lr_end", "lr_decay_steps", "n_restart_cycles", "finetuning_method",
      "feature_sampling_window", "feature_sampling_method", "resample_batches", "feature_reinit_scale", "dead_feature_window",
      "dead_feature_estimation_method", "dead_feature_threshold", "n_eval_batches", "eval_batch_size_prompts", "log_to_wandb",
      "log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "wandb_project", "wandb_id", "run_name", "wandb_entity",
      "wandb_log_frequency", "eval_every_n_wandb_logs", "resume", "n_checkpoints", "checkpoint_path", "verbose"};
  return keys;
}

KeyTable keys_of_version(bool old) {
  KeyTable table;
  table.honoured = {"architecture",
                    "d_in",
                    "d_sae",
                    "dtype",
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

/// A release or release candidate of SAELens, as "6.0.0-rc.2"; others (6.0.0a1) are too close to the change of rules to be sure.
int major_version(const std::string& version, const std::string& file) {
  static const std::regex form(R"((\d{1,4})(\.\d+)*([-_.]?rc[-_.]?\d*)?([-_.]?post[-_.]?\d*)?)");
  constexpr std::size_t longest = 64; // std::regex goes down by calls, one a letter
  std::smatch parts;
  require(version.size() <= longest && std::regex_match(version, parts, form), ExitCode::bad_data,
          "{}: sae_lens_version \"{}\" is no release of SAELens", file, version.substr(0, longest));
  return std::stoi(parts[1]);
}

/// Whether cfg.json is read by the rules of the versions before 6: as SAELens, by the version that it names, or names not.
bool is_old(const Fields& cfg) {
  require(!cfg.is_null("metadata"), ExitCode::bad_data, "{}: metadata is null", cfg.file());
  std::string version = cfg.get_unless_null<std::string>("sae_lens_version", "");
  if (version.empty() && cfg.has("metadata")) version = cfg.inside("metadata").get_unless_null<std::string>("sae_lens_version", "");
  return version.empty() || major_version(version, cfg.file()) < 6;
}

/// The name under which a file has the activation function.
const char* function_key(const Fields& cfg) {
  return cfg.has("activation_fn_str") ? "activation_fn_str" : "activation_fn";
}

/// Before version 6 a TopK SAE was "standard" with an activation function, which has had two names. With both, SAELens 6 takes the one that
/// stands later in the file, SAELens 5 activation_fn_str.
bool old_topk(const Fields& cfg) {
  std::string function = "relu";
  for (const char* key : {"activation_fn", "activation_fn_str"}) {
    function = cfg.get_or<std::string>(key, function);
    require(function == "relu" || function == "topk", ExitCode::bad_data, "{}: {} \"{}\" is not supported; concord knows relu and topk",
            cfg.file(), key, function);
  }
  require(cfg.get_or("activation_fn", function) == function, ExitCode::bad_data,
          "{}: activation_fn and activation_fn_str are two names of one key and differ; remove the wrong one", cfg.file());
  return function == "topk";
}

/// A function topk makes a TopK SAE of a "standard" one.
Sae::Architecture architecture_of(const Fields& cfg, bool old) {
  require(old || cfg.has("architecture"), ExitCode::bad_data, "{} has no key architecture, which SAELens 6 needs (sae_lens_version)",
          cfg.file());
  const auto name = cfg.get_or<std::string>("architecture", "standard");
  const auto architecture = architecture_named(name, cfg, "architecture");
  if (!old || !old_topk(cfg)) return architecture;
  require(name == "standard" || name == "topk", ExitCode::bad_data, "{}: {} topk does not go with architecture \"{}\"", cfg.file(),
          function_key(cfg), name);
  return Sae::Architecture::topk;
}

/// k of an older TopK SAE: among the arguments of its function. A file that names no function and no arguments is read as SAELens 6 does;
/// of an architecture topk with relu SAELens 5 makes ReLU and 6 TopK.
int read_old_k(const Fields& cfg, Index latents) {
  const bool named = cfg.has("activation_fn_str") || cfg.has("activation_fn");
  if (!named && !cfg.has("activation_fn_kwargs")) return read_k(cfg, latents, "d_sae");
  require(!named || old_topk(cfg), ExitCode::bad_data, "{}: {} relu does not go with architecture topk", cfg.file(), function_key(cfg));
  require(cfg.has("activation_fn_kwargs"), ExitCode::bad_data, "{}: {} topk needs activation_fn_kwargs", cfg.file(), function_key(cfg));
  const Fields arguments = cfg.inside("activation_fn_kwargs");
  arguments.check({{"k"}, {{"signed", false, "codes of either sign"}}, {}});
  require(arguments.has("k"), ExitCode::bad_data, "{} has no key k, which {} topk needs", arguments.file(), function_key(cfg));
  const int k = read_k(arguments, latents, "d_sae");
  require(!cfg.has("k") || cfg.get<Index>("k") == k, ExitCode::bad_data, "{}: k and activation_fn_kwargs.k differ", cfg.file());
  return k;
}

/// k of a TopK SAE.
int read_saelens_k(const Fields& cfg, bool old, Index latents) {
  if (old) return read_old_k(cfg, latents);
  require(cfg.has("k"), ExitCode::bad_data, "{} has no key k, which architecture topk needs", cfg.file());
  return read_k(cfg, latents, "d_sae");
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
  for (const char* key : {"hook_name", "hook_point"}) {
    const auto hook = cfg.get_or<std::string>(key, "");
    require(cfg.has("reshape_activations") || hook.find("hook_z") == std::string::npos, ExitCode::bad_data,
            "{}: {} {} is of attention heads; concord reads the residual stream", cfg.file(), key, hook);
  }
}

/// SAELens brings every array to this type when it loads; names as in its DTYPE_MAP.
Dtype dtype_of_cfg(const Fields& cfg) {
  auto name = cfg.get<std::string>("dtype");
  if (name.starts_with("torch.")) name = name.substr(6);
  if (name == "float32" || name == "float64") return Dtype::f32; // concord computes in f32
  if (name == "bfloat16") return Dtype::bf16;
  require(name == "float16", ExitCode::bad_data, "{}: dtype \"{}\" is not one of float32, float64, bfloat16, float16", cfg.file(),
          cfg.get<std::string>("dtype"));
  return Dtype::f16;
}

void round_to(Dtype dtype, std::span<float> values, const std::string& file) {
  if (dtype == Dtype::f32) return;
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  from_float(values, dtype, bytes.data());
  to_float(bytes.data(), dtype, values);
  for (const float v : values)
    require(std::isfinite(v), ExitCode::bad_data, "{} holds a value that the dtype of cfg.json cannot hold", file);
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
void fold_scaling_factor(const io::SafetensorsFile& weights, const Fields& cfg, Dtype dtype, Sae& sae) {
  const bool wanted = cfg.get_or("finetuning_scaling_factor", false);
  if (!weights.has("scaling_factor")) return;
  auto factors = floats_of(weights, "scaling_factor", {sae.latents});
  round_to(dtype, factors, weights.path().string());
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
  sae.architecture = architecture_of(cfg, old); // first: transcoders and other kinds are named as what they are
  cfg.check(keys_of_version(old), old ? " of SAELens before 6 (sae_lens_version)" : " of SAELens 6 (sae_lens_version)");
  read_sizes(cfg, sae);
  if (sae.architecture == Sae::Architecture::topk) sae.k = read_saelens_k(cfg, old, sae.latents);
  if (old && cfg.has("activation_fn_kwargs")) cfg.inside("activation_fn_kwargs"); // of the right type, whatever the function
  if (cfg.has("metadata")) {
    const Fields metadata = cfg.inside("metadata");
    require(!metadata.has("hook_head_index"), ExitCode::bad_data, "{}: hook_head_index: activations of one attention head",
            metadata.file());
  }
  check_normalisation(cfg);
  if (old) check_hook(cfg);
  sae.subtract_b_dec = cfg.get_or("apply_b_dec_to_input", true);
  const bool rescale = cfg.get_or("rescale_acts_by_decoder_norm", false) && sae.architecture == Sae::Architecture::topk;

  const Dtype dtype = dtype_of_cfg(cfg);
  const io::SafetensorsFile weights(folder / "sae_weights.safetensors");
  auto names = latent_arrays(sae.architecture);
  for (const char* name : {"W_enc", "W_dec", "b_dec"}) names.emplace_back(name);
  const auto needed = names;
  names.emplace_back("scaling_factor");
  only_arrays(weights, names, needed, "architecture " + name_of(sae.architecture));
  sae.encoder = transposed(floats_of(weights, "W_enc", {sae.d, sae.latents}, "d_in and d_sae"), sae.d, sae.latents);
  sae.decoder = floats_of(weights, "W_dec", {sae.latents, sae.d});
  sae.b_dec = floats_of(weights, "b_dec", {sae.d});
  read_latent_arrays(weights, sae);
  for (const std::span<float> values : {sae.encoder.values(), sae.decoder.values()}) round_to(dtype, values, weights.path().string());
  for (auto* values : {&sae.b_dec, &sae.b_enc, &sae.threshold, &sae.b_mag, &sae.r_mag}) round_to(dtype, *values, weights.path().string());
  require(!rescale || !weights.has("scaling_factor"), ExitCode::bad_data,
          "{}: rescale_acts_by_decoder_norm with a scaling_factor: no version of SAELens has both", cfg.file());
  if (rescale) fold_decoder_norms(sae);
  fold_scaling_factor(weights, cfg, dtype, sae);
  return sae;
}

} // namespace concord::sae
