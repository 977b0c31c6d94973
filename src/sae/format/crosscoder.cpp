/// Crosscoders of concord's own: the arrays of each model by themselves (docs/formats.md).
#include "concord/core/error.hpp"

#include "sae/format/format.hpp"
#include <algorithm>

namespace concord::sae {

Sae load_crosscoder(const std::filesystem::path& folder, const Fields& cfg) {
  cfg.check(
      {{"architecture", "activation", "d_sae", "d_in_parts", "k"}, {{"dtype", "float32", "another precision"}}, {"device", "metadata"}});
  require(cfg.get<std::string>("architecture") == "crosscoder", ExitCode::bad_data, "{}: architecture \"{}\" has no d_in_parts", cfg.file(),
          cfg.get<std::string>("architecture"));
  Sae sae;
  sae.architecture = architecture_named(cfg.get<std::string>("activation"), cfg, "activation");
  sae.latents = cfg.whole("d_sae", 1, Index{1} << 30);
  sae.parts = cfg.get<std::vector<Index>>("d_in_parts");
  require(sae.parts.size() >= 2 && sae.parts.size() <= 26, ExitCode::bad_data, "{}: d_in_parts has {} widths; a crosscoder has 2 to 26",
          cfg.file(), sae.parts.size());
  for (const Index width : sae.parts) {
    require(width >= 1 && width <= 1 << 24, ExitCode::bad_data, "{}: d_in_parts: the width {} is not possible", cfg.file(), width);
    sae.d += width;
  }
  if (sae.architecture == Sae::Architecture::topk) sae.k = read_k(cfg, sae.latents, "d_sae");
  const io::SafetensorsFile weights(folder / "sae_weights.safetensors");
  auto names = latent_arrays(sae.architecture);
  for (std::size_t part = 0; part < sae.parts.size(); ++part)
    for (const char* name : {"W_enc", "W_dec", "b_dec"}) names.push_back(part_name(name, sae, part));
  only_arrays(weights, names, names, fmt::format("activation {} and {} d_in_parts", name_of(sae.architecture), sae.parts.size()));
  for (std::size_t part = 0; part < sae.parts.size(); ++part) { // all of them, before memory is taken by their widths
    check_shape(weights, part_name("W_enc", sae, part), {sae.parts[part], sae.latents}, "d_in_parts and d_sae");
    check_shape(weights, part_name("W_dec", sae, part), {sae.latents, sae.parts[part]}, "d_in_parts and d_sae");
  }
  read_latent_arrays(weights, sae);
  std::vector<float> encoder(static_cast<std::size_t>(sae.latents * sae.d));
  std::vector<float> decoder(encoder.size());
  Index begin = 0;
  for (std::size_t part = 0; part < sae.parts.size(); ++part) {
    const Index width = sae.parts[part];
    const auto w_enc =
        transposed(floats_of(weights, part_name("W_enc", sae, part), {width, sae.latents}, "d_in_parts"), width, sae.latents);
    const auto w_dec = floats_of(weights, part_name("W_dec", sae, part), {sae.latents, width});
    const auto b_dec = floats_of(weights, part_name("b_dec", sae, part), {width});
    for (Index j = 0; j < sae.latents; ++j) {
      std::copy_n(w_enc.begin() + j * width, width, encoder.begin() + j * sae.d + begin);
      std::copy_n(w_dec.begin() + j * width, width, decoder.begin() + j * sae.d + begin);
    }
    sae.b_dec.insert(sae.b_dec.end(), b_dec.begin(), b_dec.end());
    begin += width;
  }
  sae.encoder = std::move(encoder);
  sae.decoder = std::move(decoder);
  return sae;
}

} // namespace concord::sae
