// SAE folders that concord writes itself; those of other programs are read in tests/cli/test_sae_formats.py.
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/search/encoder.hpp"

#include "support/support.hpp"

namespace concord::sae {
namespace {

TEST(Saelens, RoundTripsAndEncodesTheSame) {
  const auto folder = test::empty_folder("saelens");
  const Philox random(2, "sae");
  Sae sae;
  sae.d = 6;
  sae.latents = 11;
  sae.k = 3;
  std::uint64_t i = 0;
  for (auto* weights : {&sae.encoder, &sae.decoder}) {
    std::vector<float> values;
    for (Index j = 0; j < 66; ++j) values.push_back(static_cast<float>(random.normal(i++)));
    *weights = values;
  }
  for (Index j = 0; j < 11; ++j) sae.b_enc.push_back(static_cast<float>(random.normal(i++)));
  for (Index j = 0; j < 6; ++j) sae.b_dec.push_back(static_cast<float>(random.normal(i++)));
  save_sae(folder / "sae", sae, {{"hook_name", "x"}});
  const Sae back = load_sae(folder / "sae");
  EXPECT_EQ(back.encoder, sae.encoder);
  EXPECT_EQ(back.decoder, sae.decoder);
  EXPECT_EQ(back.b_enc, sae.b_enc);
  EXPECT_EQ(back.b_dec, sae.b_dec);
  EXPECT_EQ(back.k, 3);
  EXPECT_TRUE(back.subtract_b_dec);

  std::vector<float> x(12);
  for (auto& v : x) v = static_cast<float>(random.normal(i++));
  SparseRows codes;
  Encoder(back).encode(x, codes);
  ASSERT_EQ(codes.ends.size(), 2U);
  for (std::size_t e = 0; e < codes.index.size(); ++e) {
    const std::size_t row = static_cast<Index>(e) < codes.ends[0] ? 0 : 1;
    const auto j = static_cast<std::size_t>(codes.index[e]);
    double h = sae.b_enc[j];
    for (std::size_t c = 0; c < 6; ++c) h += (x[row * 6 + c] - sae.b_dec[c]) * static_cast<double>(sae.encoder[j * 6 + c]);
    EXPECT_NEAR(codes.value[e], h, 1e-5);
  }
}

TEST(SaeOnNodes, IsTheSaeOfTheFileOnEveryRank) {
  const auto folder = test::empty_folder("sae_on_nodes");
  Sae sae;
  sae.architecture = Sae::Architecture::jumprelu;
  sae.d = 3;
  sae.latents = 4;
  sae.encoder = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  sae.decoder = {-1, 2, 3, -4, 5, 6, -7, 8, 9, -10, 11, 12};
  sae.b_enc = {1, 0, -1, 2};
  sae.b_dec = {1, 2, 3};
  sae.threshold = {0.5F, 0, 1, 2};
  if (test::world().rank() == 0) save_sae(folder / "sae", sae, {});
  test::world().barrier();
  const Sae all = load_sae_on_nodes(test::world(), folder / "sae");
  EXPECT_TRUE(all.encoder.on_node());
  EXPECT_EQ(all.architecture, sae.architecture);
  EXPECT_EQ(all.d, 3);
  EXPECT_EQ(all.latents, 4);
  EXPECT_EQ(all.encoder, sae.encoder);
  EXPECT_EQ(all.decoder, sae.decoder);
  EXPECT_EQ(all.b_enc, sae.b_enc);
  EXPECT_EQ(all.b_dec, sae.b_dec);
  EXPECT_EQ(all.threshold, sae.threshold);
  const Sae part = load_sae_on_nodes(test::world(), folder / "sae", SaePart::decoder);
  EXPECT_TRUE(part.encoder.empty());
  EXPECT_EQ(part.decoder, sae.decoder);

  const std::vector<float> rows{1, 2, 3, 0, 1, -1};
  SparseRows alone;
  SparseRows sharing;
  Encoder(sae).encode(rows, alone);
  Encoder encoder(all, /*before_top_k=*/false, &test::world());
  for (int times = 0; times <= test::world().rank(); ++times) { // searches are each rank's own
    sharing.clear();
    encoder.encode(rows, sharing);
  }
  EXPECT_EQ(sharing.index, alone.index);
  EXPECT_EQ(sharing.value, alone.value);
  test::expect_error(ExitCode::input_missing, "no SAE", [&] { load_sae_on_nodes(test::world(), folder / "none"); });
}

TEST(Saelens, RefusesSizesThatDoNotFit) {
  const auto folder = test::empty_folder("saelens_bad");
  Sae sae;
  sae.d = 2;
  sae.latents = 3;
  sae.k = 1;
  sae.encoder = sae.decoder = std::vector<float>(6, 1.0F);
  sae.b_enc = std::vector<float>(3, 0.0F);
  sae.b_dec = std::vector<float>(2, 0.0F);
  save_sae(folder / "sae", sae, {});
  auto cfg = nlohmann::json::parse(read_text(folder / "sae" / "cfg.json", "cfg"));
  cfg["d_sae"] = 4;
  write_text_atomic(folder / "sae" / "cfg.json", cfg.dump());
  test::expect_error(ExitCode::bad_data, "W_enc has shape [2, 3]", [&] { load_sae(folder / "sae"); });
  cfg["architecture"] = "transformer";
  write_text_atomic(folder / "sae" / "cfg.json", cfg.dump());
  test::expect_error(ExitCode::bad_data, "is not supported", [&] { load_sae(folder / "sae"); });
  test::expect_error(ExitCode::input_missing, "no SAE", [&] { load_sae(folder / "none"); });
}

} // namespace
} // namespace concord::sae
