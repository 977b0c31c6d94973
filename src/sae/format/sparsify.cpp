/// SAE folders of sparsify: cfg.json, and sae.safetensors with encoder.weight [F, d], W_dec [F, d]. b_dec is always subtracted at the
/// input. Source: sparsify/sparse_coder.py, config.py.
#include "concord/core/error.hpp"

#include "sae/format/format.hpp"

namespace concord::sae {

Sae load_sparsify(const std::filesystem::path& folder) {
  const Fields cfg = Fields::read(folder / "cfg.json", "SAE config");
  cfg.check({{"activation", "d_in", "num_latents", "expansion_factor", "k"},
             {{"signed", false, "codes of either sign"},
              {"transcode", false, "one of the transcoders, not an SAE"},
              {"skip_connection", false, "a skip connection"}},
             {"normalize_decoder", "multi_topk"}}); // of training
  const auto activation = cfg.get_or<std::string>("activation", "topk");
  require(activation == "topk", ExitCode::bad_data, "{}: activation \"{}\" is another rule of selection; concord reads topk alone",
          cfg.file(), activation);
  constexpr Index most = Index{1} << 30;
  Sae sae;
  sae.d = cfg.whole("d_in", 1, most);
  sae.latents = cfg.whole_or("num_latents", 0, 0, most);
  const auto factor = cfg.get_or<Index>("expansion_factor", 32); // of SparseCoderConfig
  if (sae.latents == 0) {
    require(factor >= 1 && factor <= most, ExitCode::bad_data, "{}: expansion_factor is {}; it must be from 1 to {}", cfg.file(), factor,
            most);
    sae.latents = factor * sae.d;
  }
  sae.k = read_k(cfg, sae.latents, "num_latents, or expansion_factor times d_in");
  const io::SafetensorsFile weights(folder / "sae.safetensors");
  const std::vector<std::string> names{"encoder.weight", "encoder.bias", "W_dec", "b_dec"};
  only_arrays(weights, names, names, "sparsify");
  sae.encoder = floats_of(weights, "encoder.weight", {sae.latents, sae.d}, "num_latents or expansion_factor, and d_in");
  sae.decoder = floats_of(weights, "W_dec", {sae.latents, sae.d});
  sae.b_enc = floats_of(weights, "encoder.bias", {sae.latents});
  sae.b_dec = floats_of(weights, "b_dec", {sae.d});
  return sae;
}

} // namespace concord::sae
