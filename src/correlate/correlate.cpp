#include "concord/correlate/correlate.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/token_texts.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/correlate/memory_plan.hpp"
#include "concord/correlate/null_size.hpp"
#include "concord/features/features.hpp"
#include "concord/io/output.hpp"

#include "correlate/features/side.hpp"
#include "correlate/matches_csv.hpp"
#include "correlate/matching/matrix_file.hpp"
#include "correlate/matching/pair_result.hpp"
#include "correlate/row_shifts.hpp"
#include <chrono>
#include <optional>

namespace concord::correlate {
namespace {

/// A layer of one side and what matching needs of it.
struct Layer {
  std::shared_ptr<const FeatureSource> source;
  MatchSide facts;
};

class Correlation {
public:
  Correlation(const comm::Communicator& comm, const CorrelateOptions& options) : comm_(comm), options_(options) {
    a_ = std::make_unique<Side>(comm_, options_.a, options_.layers_a);
    b_ = std::make_unique<Side>(comm_, options_.b, options_.layers_b);
    comm::agree(comm_, [&] { set_key(); });
    io::require_same_key(comm_, key_); // before ranks part into groups
    groups_ = groups();
    number_ = comm_.rank() * groups_ / comm_.size();
    group_ = comm_.split(number_);
    if (options_.device == Device::cuda)
      gpu_ = comm::bind_gpu(comm_, options_.device, options_.allow_shared_gpu);
    else
      comm::warn_of_idle_gpus("correlate", "correlate.device = \"cuda\"");
    const auto& rules = options_.rules;
    if (!rules.drop_non_concept && !rules.need_shared_token) return;
    const comm::StopWithin stop;
    comm::agree(comm_, [&] { // matching is done by the first rank of a group
      require(!options_.tokens.empty() && a_->file() != nullptr && b_->file() != nullptr, ExitCode::config,
              "the token filters need features.h5 files and their tokens.h5");
      if (group_.rank() != 0) return;
      corpus::TokenReader(options_.tokens).check(&stop);
      tokens_.emplace(options_.tokens);
    });
    stop.throw_if_wanted(comm_, "correlate");
  }

  void run() {
    const auto claim = io::claim_unless_done(comm_, options_.out, key_, options_.force);
    if (!claim)
      log_info("{}: {} is done", options_.stage_word, options_.out.string());
    else
      correlate_pairs();
    if (options_.csv.empty()) return;
    const io::Claim claim_of_text(comm_, options_.csv);
    const comm::StopWithin stop;
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) write_csv(options_.out, options_.csv, stop);
    });
    stop.throw_if_wanted(comm_, "correlate");
  }

private:
  void correlate_pairs() {
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, file_bytes(),
                      [&](io::File& file) { lay_out(file); });
    Progress progress(options_.stage_word, pairs(), "pairs", output.units_done());
    const Index begun = output.units_done(); // the last line counts the pairs of this run
    require_memory();
    PairCorrelator correlator(group_, settings());
    Index matched = 0;
    for (Index done = begun; done < pairs(); done += groups_) {
      const Index last = std::min(pairs(), done + groups_);
      matched += run_round(output, correlator, done, last);
      output.commit(last);
      progress.update(last);
      if (last < pairs() && comm::stop_requested(comm_)) comm::throw_stopped("correlate");
    }
    output.finish();
    say_stage_ok(options_.stage_word, progress.seconds(),
                 fmt::format("pairs={} matched={} correlating={:.3f} peak={}", pairs() - begun, matched, comm::max_of(comm_, correlating_),
                             human_bytes(comm::max_of(comm_, peak_memory()))),
                 options_.out.string());
  }

  /// Of the pair with most features and entries.
  void require_memory() const {
    CorrelateSize size{
        .rows = static_cast<double>(a_->rows()), .ranks = group_.size(), .on_node = comm::node_size(group_), .threads = thread_count()};
    const auto most = [&](const Side& side, double& features, double& active) {
      for (const int layer : side.layers()) {
        const auto source = side.source(layer);
        features = std::max(features, static_cast<double>(source->features()));
        active = std::max(active, static_cast<double>(source->entries()) / std::max(1.0, size.rows));
      }
    };
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      most(*a_, size.features_a, size.active_a);
      most(*b_, size.features_b, size.active_b);
    });
    for (double* number : {&size.features_a, &size.active_a, &size.features_b, &size.active_b}) comm::spread(comm_, *number);
    comm::require_memory(group_, correlate_memory(options_, size), "lower correlate.memory_gib, or start fewer ranks a node");
  }

  Index pairs() const { return static_cast<Index>(a_->layers().size() * b_->layers().size()); }
  int layer_a(Index pair) const { return a_->layers()[at(pair) / b_->layers().size()]; }
  int layer_b(Index pair) const { return b_->layers()[at(pair) % b_->layers().size()]; }

  void set_key() {
    check_rows();
    check_options();
    std::vector<Index> starts;
    if (!options_.tokens.empty() && a_->file() != nullptr) starts = read_starts();
    const Cuts cuts{a_->rows(), starts, [&](Index start) { return a_->file()->counted_before(start); }};
    shifts_ = null_shifts(options_.null_shifts, cuts);
    require(static_cast<Index>(shifts_.size()) == options_.null_shifts, ExitCode::config,
            "{} rows give no {} different shifts; lower correlate.null_shifts", a_->rows(), options_.null_shifts);
    if (is_shifted()) shift_ = shift_between(options_.shift_a, options_.shift_b, cuts);
    require(!is_shifted() || shift_ != 0, ExitCode::config, "{} rows are too few to move two models apart", a_->rows());
    key_ = {"correlate", settings::digest_of<CorrelateSettings>(options_), {{"a", a_->digest()}, {"b", b_->digest()}}};
    auto& said = key_.settings; // as older versions said it, so that their results are known again
    said["null_shifts"] = shifts_;
    if (is_shifted()) said["shift"] = shift_;
    said.erase("null_features");
    if (samples_any_null()) said["null_features"] = {options_.null_features, options_.seed};
    said["pairing"] = static_cast<int>(options_.rules.pairing);
    said["p"] = "tail, two scales, own window"; // beyond what is counted: matches by another p are made again
    said.erase("matrix_coactive");
    if (options_.matrix_coactive) said["matrix"] = matrix_word();
    if (!options_.layers_a.empty()) key_.settings["layers_a"] = options_.layers_a;
    if (!options_.layers_b.empty()) key_.settings["layers_b"] = options_.layers_b;
  }

  void check_rows() const {
    require(a_->token_hash() == b_->token_hash(), ExitCode::bad_data,
            "the features do not come from the same tokens: {} has token hash {}, {} has {}; extract both models from one tokens.h5",
            options_.a.string(), a_->token_hash(), options_.b.string(), b_->token_hash());
    require(a_->rows() == b_->rows(), ExitCode::bad_data, "{} has {} rows, {} has {}: rows must be the same tokens in the same order",
            options_.a.string(), a_->rows(), options_.b.string(), b_->rows());
    require(a_->rows() > 1, ExitCode::bad_data, "{} has {} rows; a correlation needs at least 2", options_.a.string(), a_->rows());
    require(a_->rows() < (Index{1} << 31), ExitCode::unavailable, "{} rows are more than 2^31", a_->rows());
  }

  void check_options() const {
    settings::check_all<CorrelateSettings>(options_, "correlate", "this run");
    require(options_.device == Device::cpu || options_.best <= most_partners_on_gpu, ExitCode::config,
            "correlate.best must be at most {} on a GPU, not {}", most_partners_on_gpu, options_.best);
    const bool more = options_.matrix || options_.matrix_coactive || options_.null_shifts > 0 || options_.rules.pairing == Pairing::optimal;
    require(!is_shifted() || !more, ExitCode::internal, "of shifted rows there are best partners alone");
    require(!options_.matrix || !options_.matrix_coactive, ExitCode::config,
            "correlate.matrix and correlate.matrix_coactive exclude each other; take one");
  }

  /// Where documents begin among the rows: contexts where documents are too few to shift by, nothing where these are, too.
  std::vector<Index> read_starts() const {
    const auto contexts = corpus::read_contexts(options_.tokens);
    require(contexts.hash == a_->token_hash(), ExitCode::bad_data, "{} has token hash {}, the features have {}", options_.tokens.string(),
            contexts.hash, a_->token_hash());
    constexpr Index least = 3; // of shifted rows
    const auto enough = [&](const std::vector<Index>& starts) {
      return static_cast<Index>(starts.size()) > 2 * std::max(options_.null_shifts, is_shifted() ? least : 0);
    };
    std::vector<Index> documents;
    for (std::size_t c = 1; c < contexts.document.size(); ++c)
      if (contexts.document[c] != contexts.document[c - 1]) documents.push_back(contexts.offsets[c]);
    if (enough(documents)) return documents;
    return enough(contexts.offsets) ? std::vector<Index>(contexts.offsets.begin(), contexts.offsets.end() - 1) : std::vector<Index>{};
  }

  int groups() const { return groups_for(options_, pairs(), comm_.size()); }

  PearsonSettings settings() const {
    PearsonSettings s;
    s.best = options_.best;
    s.shift = shift_;
    s.shifts = shifts_;
    s.null_features = options_.null_features;
    s.seed = options_.seed;
    s.memory = options_.memory_gib * 0x1p30;
    s.threads = writes_matrix() ? 1 : thread_count(); // rows of the matrix are written as they come, by the thread that speaks to MPI
    s.grid_columns = writes_matrix() ? 1 : options_.grid_columns;
    if (options_.device == Device::cuda) s.sums_by = SumsBy::gpu;
    if (options_.device == Device::emulated) s.sums_by = SumsBy::emulated_gpu;
    s.gpu = gpu_.number;
    s.gpu_memory = options_.gpu_memory_gib > 0 ? options_.gpu_memory_gib * 0x1p30 : gpu_.memory;
    if (s.sums_by == SumsBy::emulated_gpu && s.gpu_memory == 0) s.gpu_memory = s.memory;
    return s;
  }

  double file_bytes() const {
    double bytes = 1 << 20;
    for (const int la : a_->layers())
      for (const int lb : b_->layers()) {
        const auto features = static_cast<double>(a_->features(la) + b_->features(lb));
        bytes += features * static_cast<double>(20 * options_.best + 16) + pair_shape(la, lb).null_bytes() +
                 62.0 * static_cast<double>(b_->features(lb)) + 16384;
        if (options_.matrix) bytes += 4.0 * static_cast<double>(a_->features(la)) * static_cast<double>(b_->features(lb));
      }
    return bytes;
  }

  void lay_out(io::File& file) const {
    for (const int la : a_->layers())
      for (const int lb : b_->layers()) lay_out_pair(file, pair_group(la, lb), pair_shape(la, lb));
    file.write_attribute("layers_a", nlohmann::json(a_->layers()).dump());
    file.write_attribute("layers_b", nlohmann::json(b_->layers()).dump());
    file.write_attribute("token_hash", a_->token_hash());
    file.write_attribute("counted_rows", std::to_string(a_->rows()));
    file.write_attribute("null_shifts", nlohmann::json(shifts_).dump());
    file.write_attribute("null_features", std::to_string(options_.null_features));
    file.write_attribute("level", fmt::format("{}", options_.level));
    file.write_attribute("summary_columns", nlohmann::json(summary_columns()).dump());
  }

  PairShape pair_shape(int layer_a, int layer_b) const {
    const Index a = a_->features(layer_a);
    const Index b = b_->features(layer_b);
    const Index least = options_.null_features;
    return {a, b, options_.best, static_cast<Index>(shifts_.size()), null_features(a, least), null_features(b, least)};
  }

  bool samples_any_null() const {
    for (const int la : a_->layers())
      for (const int lb : b_->layers())
        if (pair_shape(la, lb).samples_null()) return true;
    return false;
  }

  Layer load(const Side& side, int layer) const {
    Layer loaded;
    comm::agree(group_, [&] {
      loaded.source = side.source(layer);
      loaded.facts.counts = loaded.source->totals().count;
      if (tokens_) loaded.facts.tokens = side.top_tokens(layer, *tokens_);
    });
    return loaded;
  }

  /// Each group does one of the pairs [done, last); rank 0 writes them. Returns the matched features.
  Index run_round(io::Output& output, PairCorrelator& correlator, Index done, Index last) {
    std::vector<char> bytes;
    comm::agree_between_groups(comm_, [&] {
      if (done + number_ >= last) return;
      const PairResult result = run_pair(correlator, done + number_);
      if (group_.rank() == 0) bytes = packed(result);
    });
    Index matched = 0;
    Index pair = done; // ranks come in the order of their groups
    comm::gather_each(comm_, bytes, [&](int, std::vector<char>& packed_result) {
      const char* next = packed_result.data();
      const PairResult result = unpacked(next);
      const MatchSide a{a_->source(layer_a(pair))->totals().count, {}};
      const MatchSide b{b_->source(layer_b(pair))->totals().count, {}};
      write_pair(output.file(), pair_group(layer_a(pair), layer_b(pair)), result, a_->rows(), a, b);
      matched += result.matching.counts.back();
      ++pair;
    });
    return comm::max_of(comm_, matched);
  }

  /// Whole on the first rank of the group.
  PairResult run_pair(PairCorrelator& correlator, Index pair) {
    const comm::StopWithin stop;
    const Layer a = load(*a_, layer_a(pair));
    const Layer b = load(*b_, layer_b(pair));
    const auto begin = std::chrono::steady_clock::now();
    correlator.open(*a.source, layer_a(pair), *b.source, layer_b(pair));
    PairCorrelation correlation = correlator.correlate();
    correlating_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (writes_matrix()) write_matrix(correlator, *a.source, *b.source, pair);
    std::optional<Matcher> matcher;
    if (group_.rank() == 0) matcher.emplace(correlation, options_.rules, a.facts, b.facts);
    std::vector<Edge> edges;
    const bool by_edges = options_.rules.pairing == Pairing::greedy || options_.rules.pairing == Pairing::optimal;
    if (matcher && by_edges) edges = matcher->edges();
    Proof proof;
    if (options_.rules.pairing == Pairing::optimal)
      proof = prove(correlator, correlation, matcher ? &*matcher : nullptr, a.facts, b.facts, edges, stop);
    Matching matching;
    if (matcher) matching = matcher->match(edges, &stop);
    stop.throw_if_wanted(group_, "correlate");
    if (!matcher) return {};
    return pair_result(std::move(correlation), *matcher, std::move(matching), a.facts, b.facts, a.source->totals().sum,
                       b.source->totals().sum, options_.level, options_.rules, proof);
  }

  /// Adds candidates until the duals of the optimal matching prove that no pair at all could better it. The matcher is on rank 0.
  Proof prove(PairCorrelator& correlator, const PairCorrelation& correlation, const Matcher* matcher, const MatchSide& a,
              const MatchSide& b, std::vector<Edge>& edges, const comm::StopWithin& stop) const {
    constexpr int rounds = 16;
    Proof proof;
    for (int round = 0; round < rounds; ++round) {
      Bounds bounds;
      if (matcher != nullptr)
        bounds = unproven(
            optimal_matching(edges, static_cast<Index>(a.counts.size()), static_cast<Index>(b.counts.size()), options_.rules.min_r, &stop),
            correlation, options_.rules, a, b);
      stop.throw_if_wanted(group_, "correlate");
      proof.optimal = comm::max_of(group_, Index{matcher != nullptr && bounds.none()}) > 0;
      if (proof.optimal) return proof;
      Index added = 0;
      for (const auto& found : correlator.exceeding(bounds.a, bounds.b))
        if (matcher != nullptr && matcher->passes(found.a, found.b)) {
          edges.push_back({found.a, found.b, found.r, found.cofire});
          ++added;
        }
      added = comm::max_of(group_, added);
      proof.added += added;
      proof.optimal = added == 0;
      if (proof.optimal) return proof;
    }
    return proof;
  }

  /// All correlations of the pair.
  void write_matrix(PairCorrelator& correlator, const FeatureSource& a, const FeatureSource& b, Index pair) const {
    const auto folder = std::filesystem::path(options_.out.string() + ".matrix");
    const auto path = folder / (pair_group(layer_a(pair), layer_b(pair)).substr(1) + ".h5");
    comm::agree(group_, [&] {
      if (group_.rank() == 0) std::filesystem::create_directories(folder);
    });
    const auto write = options_.matrix ? write_all_correlations : write_coactive_correlations;
    write(group_, correlator, a, b, matrix_key(), path);
  }

  StageKey matrix_key() const { return {"correlate matrix", {{"entries", matrix_word()}}, key_.inputs}; }
  std::string matrix_word() const { return options_.matrix ? "all" : "coactive"; }
  bool is_shifted() const { return options_.shift_a != options_.shift_b; }
  bool writes_matrix() const { return options_.matrix || options_.matrix_coactive; }

  const comm::Communicator& comm_;
  const CorrelateOptions& options_;
  std::unique_ptr<Side> a_;
  std::unique_ptr<Side> b_;
  std::optional<corpus::TokenTexts> tokens_; ///< with the filters, on the first rank of each group
  Index shift_ = 0;                          ///< of B's rows
  std::vector<Index> shifts_;
  StageKey key_;
  int groups_ = 1;
  int number_ = 0; ///< of this rank's group
  comm::Communicator group_;
  comm::Gpu gpu_;
  double correlating_ = 0; ///< seconds from features in their files to best partners
};

} // namespace

void correlate(const comm::Communicator& comm, const CorrelateOptions& options) {
  Correlation(comm, options).run();
}

CorrelateOptions shifted(CorrelateOptions options, double shift_a, double shift_b) {
  options.shift_a = shift_a;
  options.shift_b = shift_b;
  options.best = 2; // the least
  options.null_shifts = 0;
  options.matrix = options.matrix_coactive = false;
  options.rules = {};
  options.csv.clear();
  return options;
}

int groups_for(const CorrelateOptions& options, Index pairs, int ranks) {
  const int most = static_cast<int>(std::min<Index>(pairs, ranks));
  if (options.groups > 0) return std::min(options.groups, most);
  constexpr int ranks_a_group = 64; // beyond it the rows of B's shares get short
  return std::clamp(ranks / ranks_a_group, 1, most);
}

} // namespace concord::correlate
