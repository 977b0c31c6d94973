/// SAE folders of sparsify: cfg.json, and sae.safetensors with encoder.weight [F, d], W_dec [F, d]. b_dec is always subtracted at the
/// input. Source: sparsify/sparse_coder.py, config.py.
#include "concord/core/error.hpp"

#include "sae/format/format.hpp"

namespace concord::sae {

Sae load_sparsify(const std::filesystem::path& folder) {
  const Fields cfg = Fields::read(folder / "cfg.json", "SAE config");
  cfg.check({{"d_in", "num_latents", "expansion_factor", "k"},
             {{"activation", "topk", "another rule of selection"},
              {"signed", false, "codes of either sign"},
              {"transcode", false, "one of the transcoders, not an SAE"},
              {"skip_connection", false, "a skip connection"}},
             {"normalize_decoder", "multi_topk"}}); // of training
  constexpr Index most = Index{1} << 30;
  Sae sae;
  sae.d = cfg.whole("d_in", 1, most);
  sae.latents = cfg.whole_or("num_latents", 0, 0, most);
  if (sae.latents == 0) sae.latents = cfg.whole("expansion_factor", 1, most) * sae.d;
  sae.k = read_k(cfg, sae.latents);
  const io::SafetensorsFile weights(folder / "sae.safetensors");
  only_arrays(weights, {"encoder.weight", "encoder.bias", "W_dec", "b_dec"});
  sae.encoder = floats_of(weights, "encoder.weight", {sae.latents, sae.d});
  sae.decoder = floats_of(weights, "W_dec", {sae.latents, sae.d});
  sae.b_enc = floats_of(weights, "encoder.bias", {sae.latents});
  sae.b_dec = floats_of(weights, "b_dec", {sae.d});
  return sae;
}

} // namespace concord::sae
