#include "concord/core/at.hpp"
#include "concord/core/text.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/io/hdf5.hpp"

#include "correlate/matches_csv.hpp"
#include <fstream>
#include <map>

namespace concord::correlate {

std::string pair_group(int layer_a, int layer_b) {
  return "/" + layer_name(layer_a) + "_" + layer_name(layer_b);
}

MatchesIndex read_matches_index(const std::filesystem::path& path) {
  const auto file = io::File::open(path);
  require(file.has_attribute("layers_a") && file.has_attribute("layers_b"), ExitCode::bad_data,
          "{} is no matches file; make it with `concord correlate`", path.string());
  return {file.integers("layers_a"), file.integers("layers_b"), file.attribute("stage_digest")};
}

std::vector<Match> read_matches(const std::filesystem::path& path, int layer_a, int layer_b) {
  const auto file = io::File::open(path);
  const std::string group = pair_group(layer_a, layer_b) + "/match/";
  const auto a = file.read<std::int32_t>(group + "a", {-1});
  const auto r = file.read<double>(group + "r", {static_cast<Index>(a.size())});
  std::vector<Match> matches;
  for (std::size_t j = 0; j < a.size(); ++j)
    if (a[j] >= 0) matches.push_back({a[j], static_cast<std::int32_t>(j), r[j]});
  return matches;
}

std::vector<Match> read_best_partners(const std::filesystem::path& path, int layer_a, int layer_b) {
  const auto file = io::File::open(path);
  const std::string side = pair_group(layer_a, layer_b) + "/b_to_a/";
  const auto dataset = file.dataset(side + "partner", {-1, -1});
  const auto best = at(dataset.row_size());
  const auto partner = dataset.read_all<std::int32_t>();
  const auto r = file.read<double>(side + "r", dataset.dims());
  std::vector<Match> partners;
  for (std::size_t b = 0; b * best < partner.size(); ++b)
    if (partner[b * best] >= 0) partners.push_back({partner[b * best], static_cast<std::int32_t>(b), r[b * best]});
  return partners;
}

std::vector<Index> read_counts_b(const std::filesystem::path& path, int layer_a, int layer_b) {
  const auto file = io::File::open(path);
  const std::string name = pair_group(layer_a, layer_b) + "/b_to_a/count";
  require(file.has(name), ExitCode::bad_data, "{} has no {}: an older version made it; delete it and run correlate again", path.string(),
          name);
  return file.read<Index>(name, file.dataset(pair_group(layer_a, layer_b) + "/match/a", {-1}).dims());
}

std::vector<Index> read_matched_counts(const std::filesystem::path& path) {
  const auto index = read_matches_index(path);
  const auto file = io::File::open(path);
  std::vector<Index> counts;
  for (const int a : index.layers_a)
    for (const int b : index.layers_b) {
      const auto name = pair_group(a, b) + "/filter_counts";
      const auto left = file.read<Index>(name, {-1});
      require(!left.empty(), ExitCode::bad_data, "{}:{} holds nothing", path.string(), name);
      counts.push_back(left.back());
    }
  return counts;
}

void write_csv(const std::filesystem::path& matches, const std::filesystem::path& csv, const comm::StopWithin& stop) {
  const auto index = read_matches_index(matches);
  const auto file = io::File::open(matches);
  const auto partial = csv.string() + ".partial";
  std::ofstream out(partial);
  out << "layer_a,layer_b,a,b,r,margin,p,q,cofire,iou,phi\n";
  for (const int layer_a : index.layers_a)
    for (const int layer_b : index.layers_b) {
      if (stop.wanted_here()) {
        out.close();
        std::filesystem::remove(partial);
        return;
      }
      const std::string group = pair_group(layer_a, layer_b) + "/match/";
      const auto a = file.read<std::int32_t>(group + "a", {-1});
      const std::vector<Index> each{static_cast<Index>(a.size())};
      const auto cofire = file.read<Index>(group + "cofire", each);
      std::map<std::string, std::vector<double>> columns;
      for (const char* name : {"r", "margin", "p", "q", "iou", "phi"}) columns[name] = file.read<double>(group + name, each);
      for (std::size_t b = 0; b < a.size(); ++b)
        if (a[b] >= 0)
          out << fmt::format("{},{},{},{},{:.17g},{:.6g},{:.6g},{:.6g},{},{:.6g},{:.6g}\n", layer_a, layer_b, a[b], b, columns["r"][b],
                             columns["margin"][b], columns["p"][b], columns["q"][b], cofire[b], columns["iou"][b], columns["phi"][b]);
    }
  out.close();
  require(out.good(), ExitCode::io, "cannot write {}", csv.string());
  std::filesystem::rename(partial, csv);
}

} // namespace concord::correlate
