#include "concord/graph/graph.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/io/output.hpp"

#include "graph/found_in.hpp"
#include "graph/triple_cycles.hpp"
#include <algorithm>

namespace concord::graph {
namespace {

const PairFiles* pair_of(const GraphOptions& options, int one, int other) {
  for (const auto& pair : options.pairs)
    if ((pair.a == one && pair.b == other) || (pair.a == other && pair.b == one)) return &pair;
  return nullptr;
}

/// The files of all pairs, which must fit each other.
class Stage {
public:
  Stage(const comm::Communicator& comm, const GraphOptions& options) : comm_(comm), options_(options) {
    comm::agree(comm_, [&] { open(); });
    io::require_same_key(comm_, key_);
  }

  void run() {
    const auto claim = io::claim_unless_done(comm_, options_.out, key_, options_.force);
    if (!claim) {
      log_info("{}: {} is done", options_.stage_word, options_.out.string());
      return;
    }
    const Progress clock(options_.stage_word, 1, "graphs");
    const auto all = triples(options_);
    std::vector<TripleCycles> cycles;
    for (const auto& three : all) cycles.push_back(cycles_of(three));
    const FoundIn matched = found_in(comm_, pairs_, layers_, /*shifted=*/false);
    const FoundIn shifted = has_null() ? found_in(comm_, pairs_, layers_, /*shifted=*/true) : FoundIn{};
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, 0x1p20, [&](io::File& file) {
      file.write_attribute("models", nlohmann::json(options_.models).dump());
      if (!options_.streams.empty()) file.write_attribute("streams", nlohmann::json(options_.streams).dump());
      for (std::size_t i = 0; i < all.size(); ++i) write(file, "/cycles/" + std::to_string(i), all[i], cycles[i]);
      write(file, matched, layers_, options_.models);
      if (has_null()) file.write("/shifted_found", shifted.counts, {models(), models()});
    });
    output.finish();
    say_stage_ok(options_.stage_word, clock.seconds(), fmt::format("models={} components={}", models(), matched.components),
                 options_.out.string());
  }

private:
  Index models() const { return static_cast<Index>(options_.models.size()); }
  bool has_null() const { return pairs_.front().has_null(); }

  void open() {
    require(!triples(options_).empty(), ExitCode::config,
            "graph needs three models of which all pairs are compared; there are {} pairs of {}", options_.pairs.size(), models());
    key_ = {"graph", {{"method", 1}}, nlohmann::json::object()};
    layers_.resize(options_.models.size());
    for (const auto& files : options_.pairs) {
      pairs_.emplace_back(files);
      const PairLinks& pair = pairs_.back();
      require(pair.token_hash() == pairs_.front().token_hash(), ExitCode::bad_data, "{} and {} come from different tokens",
              options_.pairs.front().matches.string(), files.matches.string());
      require(pair.has_null() == pairs_.front().has_null(), ExitCode::config,
              "matches of shifted rows are needed of all pairs, or of none");
      fit(files, files.a, {pair.digest_a(), pair.layers_a(), pair.features_a()});
      fit(files, files.b, {pair.digest_b(), pair.layers_b(), pair.features_b()});
      const std::string name = options_.models[at(files.a)] + " " + options_.models[at(files.b)];
      key_.inputs["matches " + name] = io::stage_digest_of(files.matches);
      if (!files.shifted.empty()) key_.inputs["shifted " + name] = io::stage_digest_of(files.shifted);
    }
  }

  /// A model has the same layers and features in each file.
  void fit(const PairFiles& files, int model, const ModelLayers& found) {
    ModelLayers& known = layers_[at(model)];
    if (known.layers.empty()) known = found;
    require(known.layers == found.layers && known.features == found.features && known.digest == found.digest, ExitCode::bad_data,
            "{} was made from other features of model {} than the files before it", files.matches.string(), options_.models[at(model)]);
  }

  TripleCycles cycles_of(const std::vector<int>& three) const {
    const auto side = [&](int from, int to) {
      const PairFiles* files = pair_of(options_, from, to);
      return DirectedPair{&pairs_[at(files - options_.pairs.data())], files->a == from};
    };
    return triple_cycles(comm_, side(three[0], three[1]), side(three[1], three[2]), side(three[2], three[0]));
  }

  void write(io::File& file, const std::string& group, const std::vector<int>& three, const TripleCycles& cycles) const {
    std::vector<std::string> names;
    std::vector<Index> dims;
    for (std::size_t i = 0; i < 3; ++i) {
      const ModelLayers& of = layers_[at(three[i])];
      names.push_back(options_.models[at(three[i])]);
      file.write(group + "/layers_" + std::to_string(i), std::vector<std::int32_t>(of.layers.begin(), of.layers.end()));
      dims.push_back(static_cast<Index>(of.layers.size()));
    }
    dims.push_back(2);
    file.write(group + "/best", cycles.best, dims);
    file.write(group + "/mutual", cycles.mutual, dims);
    if (has_null()) {
      file.write(group + "/shifted_best", cycles.shifted_best, dims);
      file.write(group + "/shifted_mutual", cycles.shifted_mutual, dims);
    }
    file.write_attribute("models", nlohmann::json(names).dump(), group);
  }

  static void write(io::File& file, const FoundIn& found, const std::vector<ModelLayers>& layers, const std::vector<std::string>& models) {
    file.write("/found", found.counts, {static_cast<Index>(models.size()), static_cast<Index>(models.size())});
    file.create_dataset("/components", {std::max<Index>(1, found.components), static_cast<Index>(models.size())}, Dtype::i32);
    if (found.components > 0) file.dataset("/components").write_all(found.features_of_components);
    for (std::size_t model = 0; model < models.size(); ++model)
      for (std::size_t l = 0; l < layers[model].layers.size(); ++l)
        file.write("/features/" + models[model] + "/" + layer_name(layers[model].layers[l]), found.component[model][l]);
  }

  const comm::Communicator& comm_;
  const GraphOptions& options_;
  std::vector<PairLinks> pairs_;
  std::vector<ModelLayers> layers_; ///< of each model
  StageKey key_;
};

} // namespace

std::vector<std::vector<int>> triples(const GraphOptions& options) {
  std::vector<std::vector<int>> all;
  const int models = static_cast<int>(options.models.size());
  for (int i = 0; i < models; ++i)
    for (int j = i + 1; j < models; ++j)
      for (int k = j + 1; k < models; ++k)
        if (pair_of(options, i, j) != nullptr && pair_of(options, j, k) != nullptr && pair_of(options, i, k) != nullptr)
          all.push_back({i, j, k});
  return all;
}

bool is_in(const std::vector<std::vector<int>>& triples, int one, int other) {
  return std::any_of(triples.begin(), triples.end(), [&](const auto& three) {
    return std::find(three.begin(), three.end(), one) != three.end() && std::find(three.begin(), three.end(), other) != three.end();
  });
}

void graph(const comm::Communicator& comm, const GraphOptions& options) {
  Stage(comm, options).run();
}

} // namespace concord::graph
