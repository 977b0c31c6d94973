#include "concord/app/verify.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/features/features.hpp"
#include "concord/io/contents.hpp"
#include "concord/io/rows/row_writer.hpp"
#include "concord/sae/sae.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <set>

namespace concord::app {

namespace fs = std::filesystem;

namespace {

/// What reading a file came to.
struct Verified {
  std::string what;    ///< a line about the file; empty where it is wrong
  std::string warning; ///< or empty
};

/// Throws where a stop is wanted: the rank then comes to throw_if_wanted().
void look(const comm::StopWithin& stop) {
  if (stop.wanted_here()) throw Error(ExitCode::stopped, "verify stopped");
}

std::vector<int> layers_in(const io::File& file, const char* name) {
  const auto layers = nlohmann::json::parse(file.attribute(name), nullptr, false);
  const bool numbers =
      layers.is_array() && std::all_of(layers.begin(), layers.end(), [](const auto& layer) { return layer.is_number_integer(); });
  require(numbers, ExitCode::bad_data, "{}: the attribute {} is damaged", file.path().string(), name);
  return layers.get<std::vector<int>>();
}

/// Every block of every layer must have the checksum that its writer recorded.
void verify_blocks(const io::File& file, int layer, const std::vector<Index>& block_offsets, const comm::StopWithin& stop) {
  const std::string group = "/" + layer_name(layer);
  const auto rows = file.dataset(group + "/x");
  const auto checksums = file.read<std::int64_t>(group + "/checksums");
  require(checksums.size() + 1 == block_offsets.size() && block_offsets.back() == rows.rows(), ExitCode::bad_data,
          "{}:{}: blocks, checksums and rows do not fit", file.path().string(), group);
  std::vector<char> bytes;
  for (std::size_t b = 0; b < checksums.size(); ++b) {
    look(stop);
    const Index count = block_offsets[b + 1] - block_offsets[b];
    bytes.resize(static_cast<std::size_t>(count * rows.row_bytes()));
    rows.read_rows(block_offsets[b], count, bytes.data());
    require(static_cast<std::int64_t>(io::block_checksum(bytes.data(), bytes.size())) == checksums[b], ExitCode::bad_data,
            "{}:{}: rows {} to {} are not what was written (their checksum differs); extract the file again", file.path().string(), group,
            block_offsets[b], block_offsets[b + 1] - 1);
    const Index bad = first_non_finite(bytes.data(), rows.dtype(), count * rows.row_size());
    require(bad < 0, ExitCode::bad_data, "{}:{}: row {} is not finite", file.path().string(), group,
            block_offsets[b] + bad / rows.row_size());
  }
}

std::string verify_activations(const fs::path& path, const comm::StopWithin& stop) {
  const auto file = io::File::open(path);
  const auto layers = layers_in(file, "layers");
  const auto block_offsets = file.read<Index>("/block_offsets");
  require(std::is_sorted(block_offsets.begin(), block_offsets.end()) && !block_offsets.empty(), ExitCode::bad_data,
          "{}: block_offsets are damaged", path.string());
  for (const int layer : layers) verify_blocks(file, layer, block_offsets, stop);
  return fmt::format("activations of {} layers, {} rows, {} blocks", layers.size(), block_offsets.back(), block_offsets.size() - 1);
}

/// Statistics kept beside the rows must be what the rows give. Rows come in windows, since a layer may be larger than memory.
void check_statistics(const features::FeaturesFile& file, int layer, const std::string& where, const comm::StopWithin& stop) {
  const auto statistics = file.statistics(layer);
  std::vector<Index> count(statistics.count.size(), 0);
  std::vector<double> sum(statistics.count.size(), 0.0);
  const Index window = std::max<Index>(1, (Index{1} << 24) / (1 + file.entries(layer) / std::max<Index>(1, file.rows())));
  for (Index row = 0; row < file.rows(); row += window) {
    look(stop);
    const auto csr = file.csr(layer, row, std::min(file.rows(), row + window));
    for (std::size_t e = 0; e < csr.indices.size(); ++e) {
      ++count[static_cast<std::size_t>(csr.indices[e])];
      sum[static_cast<std::size_t>(csr.indices[e])] += csr.values[e];
    }
  }
  require(count == statistics.count, ExitCode::bad_data, "{}: the firing counts do not fit the rows", where);
  for (std::size_t j = 0; j < sum.size(); ++j)
    require(std::abs(sum[j] - statistics.sum[j]) <= 1e-9 * (1 + std::abs(sum[j])), ExitCode::bad_data,
            "{}: the sum of feature {} does not fit the rows", where, j);
}

/// No dataset holds other values than were written. Returns a warning, or nothing.
std::string check_contents(const fs::path& path, const comm::StopWithin& stop) {
  const auto contents = io::check_content_digests(path, stop);
  look(stop);
  require(contents.changed.empty(), ExitCode::bad_data, "{}: {} hold other values than were written; make the file again", path.string(),
          join(contents.changed, ", "));
  if (contents.digested > 0) return "";
  return fmt::format("{} holds no digests of its contents (an older version made it); only its structure is checked", path.string());
}

std::string verify_features(const fs::path& path, std::string& warning, const comm::StopWithin& stop) {
  if (!io::File::open(path).has_attribute("layers")) return "one layer's features"; // of features.h5.layers/
  const features::FeaturesFile file(path);
  for (const int layer : file.layers()) {
    const auto of_layer = check_contents(fs::path(path.string() + ".layers") / (layer_name(layer) + ".h5"), stop);
    if (warning.empty()) warning = of_layer;
  }
  Index nnz = 0;
  for (const int layer : file.layers()) {
    check_statistics(file, layer, path.string() + ":/" + layer_name(layer), stop);
    nnz += file.entries(layer);
  }
  return fmt::format("features of {} layers, {} non-zeros", file.layers().size(), nnz);
}

void check_between(const io::File& file, const std::string& name, double least, double most) {
  for (const double value : file.read<double>(name))
    require(std::isnan(value) || (value >= least && value <= most), ExitCode::bad_data, "{}:{} holds {}, which is not between {} and {}",
            file.path().string(), name, value, least, most);
}

void check_partners(const io::File& file, const std::string& name, Index features) {
  for (const auto partner : file.read<std::int32_t>(name))
    require(partner >= -1 && partner < features, ExitCode::bad_data, "{}:{} names feature {} of {}", file.path().string(), name, partner,
            features);
}

/// Ranges, and partners that exist.
void check_pair(const io::File& file, const std::string& group, std::size_t features_a) {
  for (const char* side : {"/a_to_b/", "/b_to_a/"}) {
    check_between(file, group + side + "r", -1, 1);
    if (file.has(group + side + "p")) check_between(file, group + side + "p", 1e-12, 1);
  }
  for (const char* name : {"r", "phi"}) check_between(file, group + "/match/" + name, -1, 1);
  for (const char* name : {"p", "q", "iou"}) check_between(file, group + "/match/" + name, 0, 1);
  for (const auto a : file.read<std::int32_t>(group + "/match/a"))
    require(a >= -1 && a < static_cast<std::int32_t>(features_a), ExitCode::bad_data, "{}:{} names feature {} of {}", file.path().string(),
            group, a, features_a);
}

std::string verify_matches(const fs::path& path, const comm::StopWithin& stop) {
  const auto index = correlate::read_matches_index(path);
  const auto file = io::File::open(path);
  std::size_t matched = 0;
  for (const int a : index.layers_a)
    for (const int b : index.layers_b) {
      look(stop);
      const auto group = correlate::pair_group(a, b);
      const Index features_a = file.dataset(group + "/a_to_b/partner").rows();
      const Index features_b = file.dataset(group + "/b_to_a/partner").rows();
      check_partners(file, group + "/a_to_b/partner", features_b);
      check_partners(file, group + "/b_to_a/partner", features_a);
      check_pair(file, group, static_cast<std::size_t>(features_a));
      const auto matches = correlate::read_matches(path, a, b).size();
      matched += matches;
      const auto counts = file.read<Index>(group + "/filter_counts");
      require(!counts.empty() && std::is_sorted(counts.rbegin(), counts.rend()) && counts.back() == static_cast<Index>(matches),
              ExitCode::bad_data, "{}:{} has filter counts that do not fit its matches", path.string(), group);
    }
  return fmt::format("matches of {} x {} layers, {} matched features", index.layers_a.size(), index.layers_b.size(), matched);
}

/// Row after row, since a matrix may be larger than memory.
void check_correlations(const io::Dataset& r, const fs::path& path, const comm::StopWithin& stop) {
  const Index step = std::max<Index>(1, (Index{1} << 22) / std::max<Index>(1, r.row_size()));
  for (Index row = 0; row < r.rows(); row += step) {
    look(stop);
    for (const float value : r.read<float>(row, std::min(step, r.rows() - row)))
      require(std::abs(value) <= 1.0F, ExitCode::bad_data, "{}:{} holds {} near row {}, which is no correlation", path.string(), r.name(),
              value, row);
  }
}

std::string verify_matrix(const fs::path& path, const comm::StopWithin& stop) {
  const auto file = io::File::open(path);
  const auto r = file.dataset("/r");
  check_correlations(r, path, stop);
  if (!file.has("/indptr")) return fmt::format("correlations of {} x {} features", r.rows(), r.row_size());
  const auto begin = file.read<Index>("/indptr");
  const auto shape = file.read<Index>("/shape");
  require(std::is_sorted(begin.begin(), begin.end()) && shape.size() == 2 && static_cast<Index>(begin.size()) == shape[0] + 1 &&
              begin.front() == 0 && std::max<Index>(1, begin.back()) == r.rows(),
          ExitCode::bad_data, "{}: rows and pairs do not fit", path.string());
  for (std::size_t i = 0; i + 1 < begin.size(); ++i) {
    look(stop);
    const auto partners = file.dataset("/indices").read<std::int32_t>(begin[i], begin[i + 1] - begin[i]);
    const bool ascending = std::adjacent_find(partners.begin(), partners.end(), std::greater_equal<>()) == partners.end();
    require(partners.empty() || (ascending && partners.front() >= 0 && partners.back() < shape[1]), ExitCode::bad_data,
            "{}: the partners of feature {} are damaged", path.string(), i);
  }
  return fmt::format("correlations of {} x {} features, {} pairs active together", shape[0], shape[1], begin.back());
}

std::string verify_similarity(const fs::path& path) {
  const auto file = io::File::open(path);
  const auto pairs = file.dataset("/pairs").rows();
  const auto listed = nlohmann::json::parse(file.attribute("measures"), nullptr, /*allow_exceptions=*/false);
  const bool words = listed.is_array() && std::all_of(listed.begin(), listed.end(), [](const auto& word) { return word.is_string(); });
  require(words, ExitCode::bad_data, "{}: the attribute measures is damaged", path.string());
  const auto measures = listed.get<std::vector<std::string>>();
  for (const auto& measure : measures) {
    for (const char* name : {"/p", "/q", "/max_p", "/stratified_p", "/subset_p"}) check_between(file, "/" + measure + name, 0, 1);
    for (const double p : file.read<double>("/" + measure + "/p"))
      require(p != 0, ExitCode::bad_data, "{}:/{}/p holds 0, which no number of permutations can give", path.string(), measure);
    check_between(file, "/" + measure + "/score", -1 - 1e-9, 1 + 1e-9);
  }
  return fmt::format("similarity of {} layer pairs, {}", pairs, join(measures, ", "));
}

/// A layer's members and effects: features that are there and named once a concept, AUCs and shares between 0 and 1.
void check_subspaces_of(const io::File& file, const std::string& side) {
  for (const char* name : {"member_auc", "member_q", "member_coverage", "sum_auc_chosen", "sum_auc_held", "probe_auc"})
    check_between(file, side + name, 0, 1);
  check_between(file, side + "overlap_excess", std::numeric_limits<double>::lowest(), 1 + 1e-9);
  const auto members = file.dataset(side + "members");
  const auto most = static_cast<std::size_t>(members.dims().back());
  const auto features = members.read_all<std::int32_t>();
  for (std::size_t first = 0; first < features.size(); first += most) {
    std::set<std::int32_t> seen;
    for (std::size_t i = first; i < first + most && features[i] >= 0; ++i)
      require(seen.insert(features[i]).second, ExitCode::bad_data, "{}:{}members names feature {} twice", file.path().string(), side,
              features[i]);
  }
  if (!file.has(side + "kl")) return;
  check_between(file, side + "kl", -1e-6, std::numeric_limits<double>::max());
  check_between(file, side + "energy", 0, 1 + 1e-6);
  if (file.has(side + "resample")) check_between(file, side + "resample/kl", -1e-6, std::numeric_limits<double>::max());
  if (file.has(side + "steering")) check_between(file, side + "steering/kl", -1e-6, std::numeric_limits<double>::max());
}

std::string verify_subspaces(const fs::path& path) {
  const auto file = io::File::open(path);
  const auto layers_a = layers_in(file, "layers_a");
  const auto layers_b = layers_in(file, "layers_b");
  for (const char* side : {"/a/", "/b/"}) check_subspaces_of(file, side);
  for (const char* name : {"/alike/matrix", "/alike/features/score", "/alike/phrases/score"})
    check_between(file, name, -1 - 1e-9, 1 + 1e-9);
  for (const char* name : {"/alike/features/p", "/alike/phrases/p", "/alike/contrast_p"}) check_between(file, name, 1e-12, 1);
  if (file.has("/claim"))
    for (const char* measure : {"kl", "loss", "resample/kl", "resample/loss", "steering/kl", "steering/writes"}) {
      const std::string group = fmt::format("/claim/{}", measure);
      if (!file.has(group)) continue;
      for (const char* name : {"/p", "/p_grouped", "/p_max", "/p_max_grouped"}) check_between(file, group + name, 1e-12, 1);
      check_between(file, group + "/r", -1 - 1e-9, 1 + 1e-9);
    }
  for (const char* matrix : {"/claim/overlap/", "/claim/logits/", "/claim/coactivation/"})
    if (file.has(std::string(matrix) + "p")) {
      for (const char* name : {"p", "p_grouped", "p_max", "p_max_grouped"}) check_between(file, std::string(matrix) + name, 1e-12, 1);
      check_between(file, std::string(matrix) + "r", -1 - 1e-9, 1 + 1e-9);
    }
  if (file.has("/carried")) {
    check_between(file, "/carried/r2", std::numeric_limits<double>::lowest(), 1 + 1e-9);
    check_between(file, "/carried/kl", -1e-6, std::numeric_limits<double>::max());
    check_between(file, "/carried/energy", 0, 1 + 1e-6);
    check_between(file, "/carried/contrast_p", 1e-12, 1);
  }
  return fmt::format("subspaces of {} concepts in {} and {} layers", file.dataset("/concepts/defined").rows(), layers_a.size(),
                     layers_b.size());
}

std::string verify_sae(const fs::path& path) {
  const auto sae = sae::load_sae(path);
  if (fs::exists(path / "training.json")) {
    const auto record = nlohmann::json::parse(read_text(path / "training.json", "training record"), nullptr, /*allow_exceptions=*/false);
    const bool known = record.is_object() && record.contains("weights_digest");
    require(!known || record["weights_digest"] == digest_of_file(path / "sae_weights.safetensors"), ExitCode::bad_data,
            "{} holds other weights than were trained; train it again", path.string());
  }
  return fmt::format("an SAE of {} latents on width {}", sae.latents, sae.d);
}

Verified verify_file(const fs::path& path, const comm::StopWithin& stop) {
  require(fs::exists(path), ExitCode::input_missing, "there is no file {}", path.string());
  if (fs::is_directory(path) || path.extension() == ".npz" || path.extension() == ".safetensors") return {verify_sae(path), ""};
  require(!path.string().ends_with(".partial"), ExitCode::bad_data, "{} is unfinished: run its stage again", path.string());
  const auto file = io::File::open(path);
  require(file.has_attribute("concord_stage"), ExitCode::bad_data, "{} was not made by concord", path.string());
  const std::string stage = file.attribute("concord_stage");
  std::string warning = check_contents(path, stop);
  if (stage == "tokenize") { // piece by piece: a corpus may be larger than memory
    const corpus::TokenReader tokens(path);
    tokens.check(&stop);
    look(stop);
    return {fmt::format("{} tokens", tokens.count()), warning};
  }
  if (stage == "extract") return {verify_activations(path, stop), warning};
  if (stage == "encode") {
    auto what = verify_features(path, warning, stop);
    return {what, warning};
  }
  if (stage == "correlate") return {verify_matches(path, stop), warning};
  if (stage == "correlate matrix") return {verify_matrix(path, stop), warning};
  if (stage == "compare") return {verify_similarity(path), warning};
  if (stage == "subspaces") return {verify_subspaces(path), warning};
  fail(ExitCode::bad_data, "{}: unknown stage {}", path.string(), stage);
}

/// The parts of a message, each with a NUL behind it.
Verified unpacked(const std::vector<char>& packed) {
  const auto end = std::find(packed.begin(), packed.end(), '\0');
  if (end == packed.end()) return {};
  return {{packed.begin(), end}, {end + 1, packed.end()}};
}

} // namespace

void verify(const comm::Communicator& comm, const std::vector<std::string>& paths) {
  const comm::StopWithin stop(0);
  const auto ranks = static_cast<std::size_t>(comm.size());
  for (std::size_t first = 0; first < paths.size(); first += ranks) {
    const std::size_t mine = first + static_cast<std::size_t>(comm.rank());
    std::exception_ptr failure;
    std::string packed;
    try {
      if (mine < paths.size()) {
        const auto verified = verify_file(paths[mine], stop);
        packed = verified.what + '\0' + verified.warning;
      }
    } catch (...) { // said behind what is right
      failure = std::current_exception();
    }
    stop.throw_if_wanted(comm, "verify");
    comm::gather_each(comm, packed, [&](int rank, std::vector<char>& bytes) {
      const Verified verified = unpacked(bytes);
      if (!verified.warning.empty()) log_warn("{}", verified.warning);
      if (!verified.what.empty()) say("{}: OK, {}", paths[first + static_cast<std::size_t>(rank)], verified.what);
    });
    comm::agree(comm, [&] {
      if (failure) std::rethrow_exception(failure);
    });
  }
}

} // namespace concord::app
