// matches.h5, by each of its readers: verify, compare, graph, the text of all matches.
#include "concord/correlate/correlate.hpp"

#include "app/results/checks/checks.hpp"
#include "correlate/matches_csv.hpp"
#include "graph/pair_links.hpp"
#include "hdf5_parts.hpp"
#include <cmath>
#include <tuple>

namespace {

using namespace concord;

/// Features of A 2, of B 3; two partners each.
void write(const std::filesystem::path& path, std::string_view bytes) {
  fuzz::Hdf5Parts parts(path, bytes);
  parts.attribute("layers_a", "[0]");
  parts.attribute("layers_b", "[1]");
  parts.attribute("token_hash", "t");
  parts.attribute("stage_digest", "s");
  parts.attribute("inputs", R"({"a": "x", "b": "y"})");
  const std::string group = "/layer_000_layer_001";
  for (const auto& [side, features, others] : {std::tuple{"/a_to_b/", 2, 3}, std::tuple{"/b_to_a/", 3, 2}}) {
    std::vector<std::int32_t> partner;
    for (int i = 0; i < features; ++i) partner.insert(partner.end(), {i % others, (i + 1) % others});
    parts.dataset(group + side + "partner", partner, {features, 2});
    parts.dataset(group + side + "r", std::vector<double>(partner.size(), 0.5), {features, 2});
    parts.dataset(group + side + "cofire", std::vector<Index>(partner.size(), 4), {features, 2});
    parts.dataset(group + side + "count", std::vector<Index>(partner.size() / 2, 7));
    parts.dataset(group + side + "threshold", std::vector<double>(partner.size() / 2, 0.1));
    parts.dataset(group + side + "p", std::vector<double>(partner.size() / 2, 0.01));
  }
  parts.dataset(group + "/match/a", std::vector<std::int32_t>{0, 1, -1});
  for (const char* name : {"r", "margin", "p", "q", "iou", "phi"})
    parts.dataset(group + "/match/" + name, std::vector<double>{0.5, 0.4, std::nan("")});
  parts.dataset(group + "/match/cofire", std::vector<Index>{4, 4, 0});
  parts.dataset(group + "/filter_counts", std::vector<Index>{3, 2});
  parts.close();
}

void read_links(const std::filesystem::path& path) {
  const graph::PairLinks links({0, 1, path, path});
  for (std::size_t a = 0; a < links.layers_a().size(); ++a) {
    if (static_cast<Index>(links.counts_a(a).size()) != links.features_a()[a]) std::abort();
    for (std::size_t b = 0; b < links.layers_b().size(); ++b)
      for (const bool shifted : {false, true}) {
        const auto found = links.links(a, b, shifted);
        if (found.r_a.size() != found.mutual.to_b.size() || found.r_b.size() != found.mutual.to_a.size()) std::abort();
        graph::cycles(found.mutual.to_b, found.best.to_a, found.best.to_b);
      }
  }
  for (std::size_t b = 0; b < links.layers_b().size(); ++b)
    if (static_cast<Index>(links.counts_b(b).size()) != links.features_b()[b]) std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = fuzz::folder() / "matches.h5";
  write(path, fuzz::text_of(data, size));
  const comm::StopWithin stop(0);
  std::string warning;
  fuzz::expect_error_or_result([&] { app::check_matches(path, warning, stop); });
  fuzz::expect_error_or_result([&] { read_links(path); });
  fuzz::expect_error_or_result([&] { correlate::read_matched_counts(path); });
  fuzz::expect_error_or_result([&] { correlate::write_csv(path, fuzz::folder() / "matches.csv", stop); });
  fuzz::expect_error_or_result([&] {
    const auto index = correlate::read_matches_index(path);
    for (const int a : index.layers_a)
      for (const int b : index.layers_b) {
        const auto counts = correlate::read_counts_b(path, a, b);
        for (const auto& match : correlate::read_matches(path, a, b))
          if (match.b >= static_cast<std::int32_t>(counts.size())) std::abort();
        correlate::read_best_partners(path, a, b);
      }
  });
  return 0;
}
