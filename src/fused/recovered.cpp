#include "concord/fused/recovered.hpp"

#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/extractor.hpp"
#include "concord/io/claim/claim.hpp"
#include "concord/sae/search/encoder.hpp"

#include "fused/facts.hpp"
#include <algorithm>
#include <map>

namespace concord::fused {

namespace {

/// What stands in the place of a layer's rows.
class Replacement {
public:
  Replacement(const comm::Communicator& comm, const extract::Extractor& extractor, const io::RowKinds& kinds)
      : comm_(comm), extractor_(extractor), kinds_(kinds) {}

  void zeros() {
    encoder_.reset();
    sae_ = nullptr;
  }
  /// Collective.
  void reconstructions_by(const sae::Sae& sae) {
    sae_ = &sae;
    encoder_ = std::make_unique<sae::Encoder>(sae, /*before_top_k=*/false, &comm_);
  }

  /// rows [n, d] of a block; those of text are replaced.
  void operator()(Index block, std::span<float> rows) {
    const Index d = extractor_.config().hidden;
    const Index first = extractor_.block_offsets()[static_cast<std::size_t>(block)];
    if (sae_ != nullptr) {
      codes_.clear();
      encoder_->encode(rows, codes_);
    }
    const Index count = static_cast<Index>(rows.size()) / d;
    const auto kinds = kinds_(first, first + count);
    for (Index r = 0; r < count; ++r) {
      if (io::is_bos(kinds[static_cast<std::size_t>(r)])) continue;
      const auto row = rows.subspan(static_cast<std::size_t>(r * d), static_cast<std::size_t>(d));
      if (sae_ == nullptr)
        std::fill(row.begin(), row.end(), 0.0F);
      else
        sae::decode_row(*sae_, codes_, r, row);
    }
  }

private:
  const comm::Communicator& comm_;
  const extract::Extractor& extractor_;
  const io::RowKinds& kinds_;
  const sae::Sae* sae_ = nullptr;
  std::unique_ptr<sae::Encoder> encoder_;
  sae::SparseRows codes_;
};

class Recovery {
public:
  Recovery(const comm::Communicator& comm, const extract::ExtractOptions& extract, const RecoveredOptions& options)
      : comm_(comm), options_(options), stage_word_(extract.stage_word), extractor_(comm, extract), kinds_(facts_of(extractor_).row_kinds),
        replacement_(comm, extractor_, kinds_) {
    plan();
  }

  void run() {
    std::optional<io::Claim> claim;
    if (!is_done()) claim.emplace(comm_, options_.out);
    if (is_done()) { // maybe by another run meanwhile
      comm::agree(comm_, [&] { remove_partial(); });
      log_info("{}: {} is done", stage_word_, options_.out.string());
      return;
    }
    load_passes();
    extractor_.load_model();
    Progress progress(stage_word_, static_cast<Index>(layers_.size()), "layers");
    const double clean = cross_entropy("clean", -2, [](Index, std::span<float>) {});
    nlohmann::json layers = nlohmann::json::array();
    double least = 1;
    for (const int layer : layers_) {
      layers.push_back(of_layer(layer, clean));
      least = std::min(least, layers.back()["recovered"].get<double>());
      progress.update(static_cast<Index>(layers.size()));
    }
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      make_folder(options_.out.parent_path());
      const nlohmann::json record{
          {"stage_digest", key_.digest()}, {"inputs", key_.inputs}, {"predictions", predictions_}, {"clean", clean}, {"layers", layers}};
      write_text_atomic(options_.out, json_text(record, 2) + "\n");
      remove_partial();
    });
    say_stage_ok(stage_word_, progress.seconds(),
                 fmt::format("layers={} predictions={:.0f} clean={:.4f} least={:.4f}", layers_.size(), predictions_, clean, least),
                 options_.out.string());
  }

private:
  void plan() {
    key_ = {"recovered", {{"contexts", options_.contexts}}, {{"activations", extractor_.key().digest()}}};
    for (const int layer : extractor_.layers()) {
      const auto path = sae::sae_path(options_.saes, layer);
      if (!comm::decided(comm_, [&] { return std::filesystem::exists(path); })) continue;
      layers_.push_back(layer);
      key_.inputs["sae/" + layer_name(layer)] = sae::sae_digest(comm_, path);
    }
    comm::agree(comm_, [&] { require(!layers_.empty(), ExitCode::input_missing, "{} holds no SAE of any layer", options_.saes); });
    const Index wanted = std::clamp<Index>(options_.contexts * extractor_.blocks() / std::max<Index>(1, extractor_.tokens().contexts()), 1,
                                           extractor_.blocks());
    for (Index i = 0; i < wanted; ++i) blocks_.push_back(i * extractor_.blocks() / wanted);
  }

  bool is_done() const {
    return comm::decided(comm_, [&] {
      if (!std::filesystem::exists(options_.out)) return false;
      const Fields old(parse_json(read_text(options_.out, "record")), options_.out.string());
      return old.holds<std::string>("stage_digest") && old.get<std::string>("stage_digest") == key_.digest();
    });
  }

  nlohmann::json of_layer(int layer, double clean) {
    const auto path = sae::sae_path(options_.saes, layer);
    const auto sae = sae::load_sae_on_nodes(comm_, path);
    comm::agree(comm_, [&] {
      require(sae.d == extractor_.config().hidden, ExitCode::bad_data, "the SAE {} is {} wide, the model {}", path.string(), sae.d,
              extractor_.config().hidden);
    });
    replacement_.zeros();
    const double zero = cross_entropy("zero/" + layer_name(layer), layer, std::ref(replacement_));
    replacement_.reconstructions_by(sae);
    const double spliced = cross_entropy("sae/" + layer_name(layer), layer, std::ref(replacement_));
    replacement_.zeros(); // before the SAE goes
    return {{"layer", layer}, {"sae", spliced}, {"zero", zero}, {"recovered", (zero - spliced) / (zero - clean)}};
  }

  /// Sums of the loss and counts of predictions, in turn, of the blocks; those of a block that was not run yet are 0.
  using Sums = std::vector<double>;

  std::filesystem::path partial_path() const { return options_.out.string() + ".partial"; }

  void remove_partial() const {
    if (comm_.rank() == 0) std::filesystem::remove(partial_path());
  }

  /// What an earlier run measured before it was ended.
  void load_passes() {
    const auto text = comm::decided(comm_, [&] {
      std::error_code unreadable;
      return std::filesystem::exists(partial_path(), unreadable) ? read_text(partial_path(), "record") : std::string();
    });
    const auto record = parse_json(text);
    if (!record.is_object() || record.value("stage_digest", nlohmann::json()) != key_.digest() ||
        !record.value("passes", nlohmann::json()).is_object())
      return;
    for (const auto& [name, sums] : record["passes"].items()) {
      const bool whole = sums.is_array() && sums.size() == 2 * blocks_.size() &&
                         std::all_of(sums.begin(), sums.end(), [](const auto& sum) { return sum.is_number(); });
      if (whole) passes_[name] = sums.get<Sums>();
    }
  }

  void save_passes() const {
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      make_folder(options_.out.parent_path());
      write_text_atomic(partial_path(), json_text({{"stage_digest", key_.digest()}, {"passes", passes_}}) + "\n");
    });
  }

  /// Mean over the next tokens of the blocks; each block is done by one replica, so its sum has the same bits anywhere.
  double cross_entropy(const std::string& pass, int layer, const std::function<void(Index, std::span<float>)>& replace) {
    Sums& sums = passes_[pass];
    sums.resize(2 * blocks_.size(), 0.0);
    run_missing(sums, layer, replace);
    double sum = 0;
    predictions_ = 0;
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      sum += sums[2 * b];
      predictions_ += sums[2 * b + 1];
    }
    return sum / std::max(1.0, predictions_);
  }

  /// Runs the blocks of a pass that no run has run yet. A stop keeps those that are done.
  void run_missing(Sums& sums, int layer, const std::function<void(Index, std::span<float>)>& replace) {
    std::vector<Index> missing;
    for (std::size_t b = 0; b < blocks_.size(); ++b)
      if (sums[2 * b + 1] == 0) missing.push_back(blocks_[b]);
    if (missing.empty()) return;
    Sums found(sums.size(), 0.0);
    extract::Taker taker;
    taker.loss = [&](Index block, double sum, double count) {
      const auto place = static_cast<std::size_t>(std::find(blocks_.begin(), blocks_.end(), block) - blocks_.begin());
      found[2 * place] = sum;
      found[2 * place + 1] = count;
    };
    taker.replace_layer = layer;
    taker.replace = replace;
    const bool stopped = extractor_.run(missing, taker, /*stoppable=*/true);
    comm::sum(comm_, found);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += found[i];
    save_passes();
    if (stopped) comm::throw_stopped(stage_word_.c_str());
  }

  const comm::Communicator& comm_;
  const RecoveredOptions& options_;
  std::string stage_word_;
  extract::Extractor extractor_;
  io::RowKinds kinds_;
  Replacement replacement_;
  std::vector<int> layers_;
  std::vector<Index> blocks_;
  std::map<std::string, Sums> passes_; ///< by name: the model as it is, and what replaces a layer
  double predictions_ = 0;
  StageKey key_;
};

} // namespace

void cross_entropy_recovered(const comm::Communicator& comm, const extract::ExtractOptions& extract, const RecoveredOptions& options) {
  extract::ExtractOptions with_loss = extract;
  with_loss.loss = true;
  with_loss.compress = 0;
  Recovery(comm, with_loss, options).run();
}

} // namespace concord::fused
