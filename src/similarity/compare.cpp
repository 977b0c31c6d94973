#include "concord/similarity/compare.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/io/output.hpp"
#include "concord/sae/sae.hpp"
#include "concord/similarity/chance/permutation.hpp"
#include "concord/similarity/memory_plan.hpp"

#include "similarity/pair_record.hpp"
#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

namespace concord::similarity {
namespace {

/// Decoders of one side's SAEs: those of the last few layers stay for the next pair.
class Decoders {
public:
  Decoders(const comm::Communicator& group, std::string location) : group_(group), location_(std::move(location)) {}

  /// Loads a layer's decoder, once a node, unless it is at hand. Collective over the group. @throws Error as load_sae(); agreed.
  void load(int layer) {
    if (kept_.contains(layer)) return;
    constexpr double most_bytes = 1e9;
    if (bytes_ > most_bytes) {
      kept_.clear();
      bytes_ = 0;
    }
    auto sae = sae::load_sae_on_nodes(group_, sae::sae_path(location_, layer), sae::SaePart::decoder);
    bytes_ += 4.0 * static_cast<double>(sae.decoder.size());
    kept_[layer] = Matrix{sae.latents, sae.d, {}, std::move(sae.decoder)};
  }

  /// Decoder rows of the features named, of a layer that is loaded. Local. @throws Error bad_data.
  Matrix rows(int layer, const std::vector<std::int32_t>& features) const {
    const Matrix& decoder = kept_.at(layer);
    for (const auto feature : features)
      require(feature >= 0 && feature < decoder.rows, ExitCode::bad_data, "feature {} is not in the SAE {} of {} latents", feature,
              sae::sae_path(location_, layer).string(), decoder.rows);
    return decoder.rows_of({features.begin(), features.end()});
  }

private:
  const comm::Communicator& group_;
  std::string location_;
  std::map<int, Matrix> kept_;
  double bytes_ = 0;
};

class Comparison {
public:
  Comparison(const comm::Communicator& comm, const CompareOptions& options)
      : comm_(comm), options_(options), decoders_a_(group_, options.saes_a), decoders_b_(group_, options.saes_b) {
    comm::agree(comm_, [&] { open(); });
    for (const int layer : index_.layers_a)
      key_.inputs["sae_a/" + layer_name(layer)] = sae::sae_digest(comm_, sae::sae_path(options_.saes_a, layer));
    for (const int layer : index_.layers_b)
      key_.inputs["sae_b/" + layer_name(layer)] = sae::sae_digest(comm_, sae::sae_path(options_.saes_b, layer));
    io::require_same_key(comm_, key_); // before ranks part into groups
    groups_ =
        options_.settings.groups > 0
            ? static_cast<int>(std::clamp<Index>(options_.settings.groups, 1, std::min<Index>(std::max<Index>(1, pairs()), comm_.size())))
            : groups_for(pairs(), comm_.size());
    number_ = comm_.rank() * groups_ / comm_.size();
    group_ = comm_.split(number_);
  }

  void run() {
    const auto claim = io::claim_unless_done(comm_, options_.out, key_, options_.force);
    if (!claim) {
      log_info("{}: {} is done", options_.stage_word, options_.out.string());
      return;
    }
    const double bytes = static_cast<double>(pairs() * 8 * numbers_) + (1 << 20);
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, bytes, [&](io::File& file) { lay_out(file); });
    Progress progress(options_.stage_word, pairs(), "pairs", output.units_done());
    for (Index done = output.units_done(); done < pairs(); done += groups_) {
      const Index last = std::min(pairs(), done + groups_);
      run_round(output, done, last);
      output.commit(last);
      progress.update(last);
      if (last < pairs() && comm::stop_requested(comm_)) comm::throw_stopped("compare");
    }
    comm::agree(comm_, [&] {
      if (output.writes()) add_rates(output.file());
    });
    output.finish();
    say_stage_ok(
        options_.stage_word, progress.seconds(),
        fmt::format("pairs={} permutations={} peak={}", pairs(), spaces().permutations, human_bytes(comm::max_of(comm_, peak_memory()))),
        options_.out.string());
  }

private:
  const SpaceOptions& spaces() const { return options_.settings.spaces; }
  Index pairs() const { return static_cast<Index>(index_.layers_a.size() * index_.layers_b.size()); }
  int layer_a(Index pair) const { return index_.layers_a[at(pair) / index_.layers_b.size()]; }
  int layer_b(Index pair) const { return index_.layers_b[at(pair) % index_.layers_b.size()]; }

  void open() {
    check(spaces());
    require(options_.settings.min_matches >= 4, ExitCode::config, "compare.min_matches must be at least 4, not {}",
            options_.settings.min_matches);
    require(options_.settings.groups >= 0, ExitCode::config, "compare.groups must not be negative");
    index_ = correlate::read_matches_index(options_.matches);
    auto settings = settings::digest_of(options_.settings);
    settings["seed"] = spaces().seed;
    // 2: keys by a sample, ties at random, laws of three moments; 3: max_p standardises score and null together; 4: exact keys of few items
    settings["method"] = 4;
    key_ = {"compare", settings, {{"matches", index_.digest}}};
    fields_ = pair_fields(spaces());
    for (const auto& field : fields_) numbers_ += field.count();
    // Pairs of like size side by side, so that no group waits long for another.
    matched_ = correlate::read_matched_counts(options_.matches);
    order_.resize(matched_.size());
    std::iota(order_.begin(), order_.end(), Index{0});
    std::stable_sort(order_.begin(), order_.end(), [&](Index a, Index b) { return matched_[at(a)] > matched_[at(b)]; });
  }

  void lay_out(io::File& file) const {
    std::vector<std::int32_t> layers;
    for (Index pair = 0; pair < pairs(); ++pair) layers.insert(layers.end(), {layer_a(pair), layer_b(pair)});
    file.write("/pairs", layers, {pairs(), 2});
    for (const auto& field : fields_)
      file.create_dataset(field.name, field.width == 0 ? std::vector<Index>{pairs()} : std::vector<Index>{pairs(), field.width},
                          Dtype::f64);
    file.write_attribute("layers_a", nlohmann::json(index_.layers_a).dump());
    file.write_attribute("layers_b", nlohmann::json(index_.layers_b).dump());
    file.write_attribute("measures", nlohmann::json(spaces().measures).dump());
  }

  /// Each group does one of the pairs [done, last) of the order; rank 0 writes them.
  void run_round(io::Output& output, Index done, Index last) {
    std::vector<double> record;
    comm::agree_between_groups(comm_, [&] {
      if (done + number_ >= last) return;
      auto result = run_pair(order_[at(done + number_)]);
      if (group_.rank() == 0) record = std::move(result);
    });
    const auto all = comm::gather(comm_, record);
    comm::agree(comm_, [&] {
      for (Index i = done; i < last && output.writes(); ++i)
        write_pair_record(output.file(), fields_, order_[at(i)], all.data() + (i - done) * numbers_);
    });
  }

  struct Pair {
    Matrix x, y;
    double mean_r = not_known;
    SpaceFacts facts;
    std::vector<correlate::Match> partners; ///< what subsets are drawn from
  };

  Pair load(Index pair) {
    const auto matches = correlate::read_matches(options_.matches, layer_a(pair), layer_b(pair));
    Pair loaded;
    take(matches, pair, loaded.x, loaded.y);
    double sum = 0;
    for (const auto& match : matches) sum += match.r;
    if (!matches.empty()) loaded.mean_r = sum / static_cast<double>(matches.size());
    const auto counts = correlate::read_counts_b(options_.matches, layer_a(pair), layer_b(pair));
    std::vector<double> rates;
    rates.reserve(matches.size());
    for (const auto& match : matches) rates.push_back(static_cast<double>(counts.at(at(match.b))));
    loaded.facts.strata = strata_of(rates, loaded.y.row_norms());
    loaded.partners = correlate::read_best_partners(options_.matches, layer_a(pair), layer_b(pair));
    return loaded;
  }

  void take(const std::vector<correlate::Match>& matches, Index pair, Matrix& x, Matrix& y) {
    std::vector<std::int32_t> rows_a;
    std::vector<std::int32_t> rows_b;
    for (const auto& match : matches) {
      rows_a.push_back(match.a);
      rows_b.push_back(match.b);
    }
    x = decoders_a_.rows(layer_a(pair), rows_a);
    y = decoders_b_.rows(layer_b(pair), rows_b);
  }

  /// For a pair whose decoders are loaded: those of the plan are 0.
  void require_memory(const Pair& pair) const {
    const auto plan = compare_memory(spaces(), {.matches = static_cast<double>(pair.x.rows),
                                                .d_a = static_cast<double>(pair.x.cols),
                                                .d_b = static_cast<double>(pair.y.cols),
                                                .ranks = group_.size(),
                                                .threads = thread_count()});
    comm::require_memory(group_, plan, "lower compare.memory_gib, or start fewer ranks a node");
  }

  /// The record of a pair, on every rank of the group.
  std::vector<double> run_pair(Index pair) {
    Pair loaded;
    decoders_a_.load(layer_a(pair));
    decoders_b_.load(layer_b(pair));
    comm::agree(group_, [&] { loaded = load(pair); });
    const Index matched = loaded.x.rows;
    require_memory(loaded);
    SpaceComparison result;
    if (matched < options_.settings.min_matches) {
      for (const auto& name : spaces().measures) result.measures[name] = undefined(fmt::format("{} matched features are too few", matched));
    } else {
      if (matched < static_cast<Index>(loaded.partners.size())) loaded.facts.subset = [&](Index s) { return draw(loaded, pair, s); };
      result = compare_spaces(group_, loaded.x, loaded.y, loaded.facts, spaces());
    }
    if (group_.rank() == 0) warn(pair, result);
    return pair_record(matched, loaded.mean_r, result, spaces());
  }

  /// As many features of B as are matched, at random, each with its best partner.
  std::pair<Matrix, Matrix> draw(const Pair& loaded, Index pair, Index s) {
    auto order = shuffled(static_cast<Index>(loaded.partners.size()), Philox(spaces().seed, "subset", static_cast<std::uint64_t>(s)));
    order.resize(at(loaded.x.rows));
    std::sort(order.begin(), order.end());
    std::vector<correlate::Match> drawn;
    drawn.reserve(order.size());
    for (const Index i : order) drawn.push_back(loaded.partners[at(i)]);
    std::pair<Matrix, Matrix> matrices;
    take(drawn, pair, matrices.first, matrices.second);
    return matrices;
  }

  void warn(Index pair, const SpaceComparison& result) const {
    std::map<std::string, std::vector<std::string>> by_reason;
    for (const auto& [name, measure] : result.measures)
      if (!measure.reason.empty()) by_reason[measure.reason].push_back(name);
    for (const auto& [reason, names] : by_reason)
      log_warn("{} {} x {}: {} not defined: {}", options_.stage_word, layer_name(layer_a(pair)), layer_name(layer_b(pair)),
               join(names, ", "), reason);
  }

  /// What is known of a measure when all pairs are: false discovery rates, and the max-statistic where every pair has the same matches.
  void add_rates(io::File& file) const {
    const bool joint = same_matches();
    for (const auto& name : spaces().measures) {
      file.dataset("/" + name + "/q").write_all(false_discovery_rates(file.read<double>("/" + name + "/p", {pairs()})));
      if (!joint || spaces().permutations == 0) continue;
      const auto flat = file.read<double>("/" + name + "/null", {pairs(), spaces().permutations});
      std::vector<std::vector<double>> nulls;
      for (Index pair = 0; pair < pairs(); ++pair)
        nulls.emplace_back(flat.begin() + pair * spaces().permutations, flat.begin() + (pair + 1) * spaces().permutations);
      file.dataset("/" + name + "/max_p").write_all(max_statistic_p(file.read<double>("/" + name + "/score", {pairs()}), nulls));
    }
  }

  bool same_matches() const {
    if (std::adjacent_find(matched_.begin(), matched_.end(), std::not_equal_to<>()) != matched_.end()) return false;
    std::vector<std::pair<std::int32_t, std::int32_t>> first;
    for (Index pair = 0; pair < pairs(); ++pair) {
      std::vector<std::pair<std::int32_t, std::int32_t>> these;
      for (const auto& match : correlate::read_matches(options_.matches, layer_a(pair), layer_b(pair)))
        these.emplace_back(match.a, match.b);
      if (pair == 0) first = these;
      if (these != first) return false;
    }
    return true;
  }

  const comm::Communicator& comm_;
  const CompareOptions& options_;
  Decoders decoders_a_;
  Decoders decoders_b_;
  correlate::MatchesIndex index_;
  StageKey key_;
  std::vector<PairField> fields_;
  Index numbers_ = 0; ///< of a pair's record
  std::vector<Index> matched_;
  std::vector<Index> order_; ///< in which pairs are done
  int groups_ = 1;
  int number_ = 0; ///< of this rank's group
  comm::Communicator group_;
};

} // namespace

int groups_for(Index pairs, int ranks) {
  constexpr double alone = 0.01; // share of a pair's work that a group does not share: eigenvectors (docs/performance.md)
  int best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int size = 1; size <= ranks; ++size) {
    const auto groups = std::clamp<Index>(ranks / size, 1, std::max<Index>(1, pairs));
    const Index rounds = (pairs + groups - 1) / groups;
    const double time = static_cast<double>(rounds) * (alone + (1 - alone) / size);
    if (time >= least) continue;
    least = time;
    best = static_cast<int>(groups);
  }
  return best;
}

void compare(const comm::Communicator& comm, const CompareOptions& options) {
  Comparison(comm, options).run();
}

} // namespace concord::similarity
