// What the stages behind the matches write, as verify reads it: a byte says which file, the rest changes its parts.
#include "app/results/checks/checks.hpp"
#include "hdf5_parts.hpp"

namespace {

using namespace concord;

void write_matrix(fuzz::Hdf5Parts& parts) {
  parts.dataset("/r", std::vector<float>{0.5F, -1, 0, 0.25F, 1, 0}, {2, 3});
}

void write_coactive(fuzz::Hdf5Parts& parts) {
  parts.dataset("/r", std::vector<float>{0.5F, -1, 0.25F});
  parts.dataset("/indices", std::vector<std::int32_t>{0, 2, 1});
  parts.dataset("/cofire", std::vector<std::int32_t>{3, 2, 1});
  parts.dataset("/indptr", std::vector<Index>{0, 2, 3});
  parts.dataset("/shape", std::vector<Index>{2, 3});
}

void write_similarity(fuzz::Hdf5Parts& parts) {
  parts.attribute("layers_a", "[0]");
  parts.attribute("layers_b", "[0, 1]");
  parts.attribute("measures", R"(["cka"])");
  parts.dataset("/pairs", std::vector<std::int32_t>{0, 0, 0, 1}, {2, 2});
  for (const char* name : {"p", "q", "max_p", "stratified_p", "subset_p", "score"})
    parts.dataset(std::string("/cka/") + name, std::vector<double>{0.5, 0.25});
}

void write_graph(fuzz::Hdf5Parts& parts) {
  for (const char* name : {"layers_0", "layers_1", "layers_2"})
    parts.dataset(std::string("/cycles/0/") + name, std::vector<std::int32_t>{0});
  for (const char* name : {"best", "mutual", "shifted_best", "shifted_mutual"})
    parts.dataset(std::string("/cycles/0/") + name, std::vector<Index>{3, 2}, {1, 1, 1, 2});
  parts.dataset("/components", std::vector<std::int32_t>{1, 1, 1, 0, 2, 1}, {2, 3});
  parts.dataset("/found", std::vector<Index>(9, 1), {3, 3});
}

void write_subspaces(fuzz::Hdf5Parts& parts) {
  parts.attribute("layers_a", "[0]");
  parts.attribute("layers_b", "[1]");
  parts.dataset("/concepts/defined", std::vector<std::uint8_t>{1, 1});
  for (const std::string side : {"/a/", "/b/"}) {
    parts.dataset(side + "members", std::vector<std::int32_t>{3, -1, 4, 5}, {1, 2, 2});
    for (const char* name : {"member_q", "member_coverage", "sum_auc_chosen", "sum_auc_held"})
      parts.dataset(side + name, std::vector<double>(4, 0.5), {1, 2, 2});
    parts.dataset(side + "member_auc", std::vector<double>(16, 0.5), {1, 2, 2, 2, 2});
    parts.dataset(side + "probe_auc", std::vector<double>(4, 0.5), {1, 2, 2});
    parts.dataset(side + "overlap_excess", std::vector<double>(8, 0.5), {1, 2, 2, 2});
    parts.dataset(side + "kl", std::vector<double>(16, 0.5), {1, 1, 2, 2, 2, 2});
    parts.dataset(side + "energy", std::vector<double>(16, 0.5), {1, 1, 2, 2, 2, 2});
  }
  for (const char* name : {"matrix", "features/score", "phrases/score", "features/p", "phrases/p", "contrast_p"})
    parts.dataset(std::string("/alike/") + name, std::vector<double>{0.5});
  for (const char* name : {"p", "p_grouped", "p_max", "p_max_grouped", "r"})
    parts.dataset(std::string("/claim/overlap/") + name, std::vector<double>{0.5});
}

struct Kind {
  void (*write)(fuzz::Hdf5Parts& parts);
  std::string (*check)(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop);
};

constexpr Kind kinds[] = {{write_matrix, app::check_matrix},
                          {write_coactive, app::check_matrix},
                          {write_similarity, app::check_similarity},
                          {write_graph, app::check_graph},
                          {write_subspaces, app::check_subspaces}};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Kind& kind = kinds[data[0] % std::size(kinds)];
  const auto path = fuzz::folder() / "result.h5";
  fuzz::Hdf5Parts parts(path, fuzz::text_of(data + 1, size - 1));
  kind.write(parts);
  parts.close();
  std::string warning;
  fuzz::expect_error_or_result([&] { kind.check(path, warning, comm::StopWithin(0)); });
  return 0;
}
