#include "concord/correlate/correlate.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/features/features.hpp"
#include "concord/io/output.hpp"

#include <map>
#include <optional>

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// One model's features: a features.h5, or a single matrix from a .npz as layer 0.
class Side {
public:
  explicit Side(const std::filesystem::path& path) : path_(path) {
    if (path.extension() == ".npz") {
      matrix_ = io::read_scipy_csr(path);
      layers_ = {0};
      digest_ = digest_of_file(path);
    } else {
      file_.emplace(path);
      layers_ = file_->layers();
      digest_ = file_->digest();
    }
  }
  const std::vector<int>& layers() const { return layers_; }
  const std::string& digest() const { return digest_; }
  std::string token_hash() const { return file_ ? file_->token_hash() : ""; }
  const std::filesystem::path& path() const { return path_; }
  io::CsrMatrix csr(int layer) const { return file_ ? file_->counted_csr(layer) : matrix_; }
  Index features(int layer) const { return file_ ? static_cast<Index>(file_->statistics(layer).count.size()) : matrix_.cols; }
  Index rows() const { return file_ ? file_->counted_rows() : matrix_.rows; }
  TopTokens top_tokens(int layer, const corpus::Tokens& tokens) const {
    constexpr Index strongest = 5;
    const auto top = file_->top(layer);
    TopTokens texts(top.rows.size() / at(top.places));
    for (std::size_t j = 0; j < texts.size(); ++j)
      for (Index p = 0; p < std::min(strongest, top.places); ++p) {
        const Index row = top.rows[j * at(top.places) + at(p)];
        if (row >= 0) texts[j].push_back(tokens.text_of(tokens.ids[at(row)]));
      }
    return texts;
  }
  bool has_tokens() const { return file_.has_value(); }

private:
  std::filesystem::path path_;
  std::optional<features::FeaturesFile> file_;
  io::CsrMatrix matrix_;
  std::vector<int> layers_;
  std::string digest_;
};

/// A layer's matrix and what matching needs of it.
struct Layer {
  io::CsrMatrix csr;
  std::vector<Index> counts;
  TopTokens tokens;
};

class Correlation {
public:
  Correlation(const comm::Communicator& comm, const CorrelateOptions& options) : comm_(comm), options_(options) {
    comm::agree(comm_, [&] { open(); });
  }

  void run() {
    if (io::output_is_done(comm_, options_.out, key_, options_.force)) {
      log_info("correlate: {} is done", options_.out.string());
      return;
    }
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, file_bytes(),
                      [&](io::File& file) { lay_out(file); });
    const auto pairs = static_cast<Index>(a_->layers().size() * b_->layers().size());
    Progress progress("correlate", pairs, "pairs", output.units_done());
    const Index begun = output.units_done(); // the last line counts the pairs of this run
    Index matched = 0;
    for (Index done = begun; done < pairs; ++done) {
      const int layer_a = a_->layers()[at(done) / b_->layers().size()];
      const int layer_b = b_->layers()[at(done) % b_->layers().size()];
      matched += run_pair(output, layer_a, layer_b);
      output.commit(done + 1);
      progress.update(done + 1);
      if (done + 1 < pairs && comm::stop_requested(comm_)) comm::throw_stopped("correlate");
    }
    output.finish();
    say_stage_ok("correlate", progress.seconds(), fmt::format("pairs={} matched={}", pairs - begun, matched), options_.out.string());
  }

private:
  void open() {
    a_ = std::make_unique<Side>(options_.a);
    b_ = std::make_unique<Side>(options_.b);
    require(a_->token_hash() == b_->token_hash(), ExitCode::bad_data,
            "the features do not come from the same tokens: {} has token hash {}, {} has {}; extract both models from one tokens.h5",
            options_.a.string(), a_->token_hash(), options_.b.string(), b_->token_hash());
    require(a_->rows() == b_->rows(), ExitCode::bad_data, "{} has {} rows, {} has {}: rows must be the same tokens in the same order",
            options_.a.string(), a_->rows(), options_.b.string(), b_->rows());
    require(a_->rows() > 1, ExitCode::bad_data, "{} has {} rows; a correlation needs at least 2", options_.a.string(), a_->rows());
    require(a_->rows() < (Index{1} << 31), ExitCode::unavailable, "{} rows are more than 2^31", a_->rows());
    require(options_.best >= 2, ExitCode::config, "correlate.best must be at least 2 (the best and its runner-up), not {}", options_.best);
    const auto& rules = options_.rules;
    if (rules.drop_non_concept || rules.need_shared_token) {
      require(!options_.tokens.empty() && a_->has_tokens() && b_->has_tokens(), ExitCode::config,
              "the token filters need features.h5 files and their tokens.h5");
      tokens_ = corpus::read_tokens(options_.tokens);
      require(tokens_.hash == a_->token_hash(), ExitCode::bad_data, "{} has token hash {}, the features have {}", options_.tokens.string(),
              tokens_.hash, a_->token_hash());
    }
    key_ = {"correlate",
            {{"best", options_.best},
             {"null_shifts", options_.null_shifts},
             {"pairing", static_cast<int>(rules.pairing)},
             {"min_r", rules.min_r},
             {"min_firings", rules.min_firings},
             {"drop_non_concept", rules.drop_non_concept},
             {"need_shared_token", rules.need_shared_token}},
            {{"a", a_->digest()}, {"b", b_->digest()}}};
  }

  double file_bytes() const {
    double bytes = 1 << 20;
    for (const int la : a_->layers())
      for (const int lb : b_->layers())
        bytes += 20.0 * static_cast<double>(options_.best * (a_->features(la) + b_->features(lb))) +
                 static_cast<double>(b_->features(lb) * (2 + 8 * options_.null_shifts)) + 8192;
    return bytes;
  }

  void lay_out(io::File& file) const {
    for (const int la : a_->layers())
      for (const int lb : b_->layers()) {
        const std::string group = pair_group(la, lb);
        const Index fa = a_->features(la);
        const Index fb = b_->features(lb);
        for (const auto& [side, features] : {std::pair{"/a_to_b/", fa}, std::pair{"/b_to_a/", fb}}) {
          file.create_dataset(group + side + "partner", {features, options_.best}, Dtype::i32);
          file.create_dataset(group + side + "r", {features, options_.best}, Dtype::f64);
          file.create_dataset(group + side + "cofire", {features, options_.best}, Dtype::i64);
        }
        file.create_dataset(group + "/kept", {fb}, Dtype::u8);
        file.create_dataset(group + "/mutual", {fb}, Dtype::u8);
        file.create_dataset(group + "/filter_counts", {static_cast<Index>(filter_steps)}, Dtype::i64);
        if (options_.null_shifts > 0) file.create_dataset(group + "/null_r", {options_.null_shifts, fb}, Dtype::f64);
      }
    file.write_attribute("layers_a", nlohmann::json(a_->layers()).dump());
    file.write_attribute("layers_b", nlohmann::json(b_->layers()).dump());
    file.write_attribute("token_hash", a_->token_hash());
    file.write_attribute("counted_rows", std::to_string(a_->rows()));
  }

  std::shared_ptr<Layer> load(const Side& side, int layer) const {
    auto loaded = std::make_shared<Layer>();
    comm::agree(comm_, [&] {
      loaded->csr = side.csr(layer);
      loaded->counts = column_counts(loaded->csr);
      if (!tokens_.ids.empty()) loaded->tokens = side.top_tokens(layer, tokens_);
    });
    return loaded;
  }

  /// Layers of B stay in memory while they fit; beyond that they are read again for every layer of A.
  std::shared_ptr<Layer> layer_of_b(int layer) {
    if (const auto found = cache_.find(layer); found != cache_.end()) return found->second;
    auto loaded = load(*b_, layer);
    const double bytes = 8.0 * static_cast<double>(loaded->csr.nnz() + loaded->csr.rows);
    if (cached_bytes_ + bytes <= options_.memory_gib * 0x1p30) {
      cached_bytes_ += bytes;
      cache_[layer] = loaded;
    }
    return loaded;
  }

  Index run_pair(io::Output& output, int layer_a, int layer_b) {
    if (!layer_a_ || loaded_a_ != layer_a) {
      layer_a_ = load(*a_, layer_a);
      loaded_a_ = layer_a;
    }
    const auto b = layer_of_b(layer_b);
    const PairCorrelation pair = best_correlations(comm_, layer_a_->csr, b->csr, options_.best);
    const Matching matching = match(pair, options_.rules, layer_a_->counts, b->counts, layer_a_->tokens, b->tokens);
    std::vector<double> null_r;
    for (Index s = 0; s < options_.null_shifts; ++s) {
      const Index shift = (s + 1) * a_->rows() / (options_.null_shifts + 1);
      const auto null = best_correlations(comm_, layer_a_->csr, b->csr, 1, shift);
      null_r.insert(null_r.end(), null.b_to_a.r.begin(), null.b_to_a.r.end());
    }
    comm::agree(comm_, [&] {
      if (output.writes()) write_pair(output.file(), pair_group(layer_a, layer_b), pair, matching, null_r);
    });
    return matching.counts.back();
  }

  static void write_pair(io::File& file, const std::string& group, const PairCorrelation& pair, const Matching& matching,
                         const std::vector<double>& null_r) {
    for (const auto& [side, best] : {std::pair{"/a_to_b/", &pair.a_to_b}, std::pair{"/b_to_a/", &pair.b_to_a}}) {
      file.dataset(group + side + "partner").write_all(best->partner);
      file.dataset(group + side + "r").write_all(best->r);
      file.dataset(group + side + "cofire").write_all(best->cofire);
    }
    file.dataset(group + "/kept").write_all(matching.kept);
    file.dataset(group + "/mutual").write_all(matching.mutual);
    file.dataset(group + "/filter_counts").write_all(std::vector<Index>(matching.counts.begin(), matching.counts.end()));
    if (!null_r.empty()) file.dataset(group + "/null_r").write_all(null_r);
  }

  const comm::Communicator& comm_;
  const CorrelateOptions& options_;
  std::unique_ptr<Side> a_;
  std::unique_ptr<Side> b_;
  corpus::Tokens tokens_;
  StageKey key_;
  std::shared_ptr<Layer> layer_a_;
  int loaded_a_ = 0;
  std::map<int, std::shared_ptr<Layer>> cache_;
  double cached_bytes_ = 0;
};

} // namespace

void correlate(const comm::Communicator& comm, const CorrelateOptions& options) {
  Correlation(comm, options).run();
}

std::string pair_group(int layer_a, int layer_b) {
  return "/" + layer_name(layer_a) + "_" + layer_name(layer_b);
}

MatchesIndex read_matches_index(const std::filesystem::path& path) {
  const auto file = io::File::open(path);
  require(file.has_attribute("layers_a") && file.has_attribute("layers_b"), ExitCode::bad_data,
          "{} is no matches file; make it with `concord correlate`", path.string());
  return {nlohmann::json::parse(file.attribute("layers_a")).get<std::vector<int>>(),
          nlohmann::json::parse(file.attribute("layers_b")).get<std::vector<int>>(), file.attribute("stage_digest")};
}

std::vector<Match> read_matches(const std::filesystem::path& path, int layer_a, int layer_b) {
  const auto file = io::File::open(path);
  const std::string group = pair_group(layer_a, layer_b);
  const auto kept = file.read<std::uint8_t>(group + "/kept");
  const auto partner_set = file.dataset(group + "/b_to_a/partner");
  const auto partner = partner_set.read_all<std::int32_t>();
  const auto r = file.read<double>(group + "/b_to_a/r");
  const auto places = static_cast<std::size_t>(partner_set.row_size());
  std::vector<Match> matches;
  for (std::size_t j = 0; j < kept.size(); ++j)
    if (kept[j] != 0) matches.push_back({partner[j * places], static_cast<std::int32_t>(j), r[j * places]});
  return matches;
}

} // namespace concord::correlate
