// Every key of a study reaches its stage. On a small study whose stages are done, each key in turn is changed: its stage then refuses the
// old result and names that setting, or makes something that was not there, or the key stands among those that may not change a result.
#include "concord/app/stages.hpp"
#include "concord/core/text.hpp"
#include "concord/study/study.hpp"
#include "concord/subspaces/settings.hpp"

#include "support/support.hpp"
#include <cstdlib>
#include <fstream>
#include <set>

namespace concord::app {
namespace {

namespace fs = std::filesystem;
using test::world;
using Sets = std::vector<std::string>;

fs::path source() {
  return std::getenv("CONCORD_SOURCE");
}

constexpr const char* stages_of_results[] = {"tokenize", "extract",   "train-sae", "recovered",
                                             "encode",   "correlate", "compare",   "subspaces"};

/// A study of one layer of each model on 3,000 tokens, whose results lie in `scratch/keys/NAME`.
class SmallStudy {
public:
  explicit SmallStudy(const std::string& name) : output_(fs::absolute(fs::path("scratch") / "keys" / name)) {}

  const fs::path& output() const { return output_; }

  study::Study with(Sets sets) const {
    sets.push_back("study.output=" + output_.string());
    return {text(), "study", fs::absolute("scratch/keys"), sets};
  }

  void run(const std::string& stage, const Sets& sets) const { run_stage(world(), stage, with(sets), false); }

  /// Tokens and activations of another one.
  void take_activations(const SmallStudy& of) const {
    fs::create_directories(output_);
    fs::copy(of.output_ / "tokens.h5", output_ / "tokens.h5");
    for (const char* model : {"a", "b"}) {
      fs::create_directories(output_ / model);
      fs::copy(of.output_ / model / "activations.h5", output_ / model / "activations.h5");
    }
  }

private:
  static std::string text() {
    const auto demo = (source() / "data/demo").string();
    return R"([study]
seed = 3
[corpus]
paths = ["text.txt"]
tokenizer = ")" +
           demo + R"(/tokenizer.model"
context = 64
max_tokens = 3000
[model.a]
path = ")" +
           demo + R"(/models/small"
layers = [2]
[model.b]
path = ")" +
           demo + R"(/models/large"
layers = [4]
[extract]
batch = 8
[sae]
latents = 64
k = 4
batch = 128
steps = 4
dead_after = 20000
recovered_contexts = 8
[correlate]
best = 4
min_firings = 3
[compare]
svcca_k = 3
permutations = 9
stratified_permutations = 9
subsets = 5
min_matches = 4
[subspaces]
concepts = "concepts.tsv"
similarity = "similarity.tsv"
min_occurrences = 4
min_phrases = 2
min_auc = 0.6
max_q = 0.9
label_draws = 3
k = 2
shuffles = 5
effect_occurrences = 1
permutations = 9
)";
  }
  fs::path output_;
};

/// A key, the stage that it changes, settings beside which it counts, the value, and what the stage says of it.
struct Changing {
  const char* key;
  const char* stage;
  std::string value;
  const char* said;
  Sets beside = {};
};

std::vector<Changing> changing() {
  const std::string large = (source() / "data/demo/models/large").string();
  const std::string small = (source() / "data/demo/models/small").string();
  const std::string ids = (source() / "tests/golden/demo_small_ids.npy").string();
  const Sets matryoshka{"sae.kind=matryoshka"}, relu{"sae.kind=relu"}, jumprelu{"sae.kind=jumprelu"}, buffer{"sae.order=buffer"},
      by_rows{"sae.steps=0", "sae.rows=512"}, longer{"sae.steps=40"}, from_ids{"corpus.token_ids=" + ids};
  return {
      {"study.seed", "train-sae", "4", "setting seed: 6 -> 8"},
      {"study.seed", "compare", "4", "setting seed: 3 -> 4"},
      {"study.paper", "encode", "true", "setting keep_special: false -> true"},
      {"corpus.paths", "tokenize", "[\"other.txt\"]", "input text:"},
      {"corpus.tokenizer", "tokenize", "other.model", "input tokenizer:"},
      {"corpus.token_ids", "tokenize", ids, "input token_ids is new"},
      {"corpus.bos", "tokenize", "none", "setting bos is new"},
      {"corpus.bos_id", "tokenize", "1", "setting bos_id: 2 -> 1", from_ids},
      {"corpus.documents", "tokenize", "file", "setting documents: \"blank-line\" -> \"file\""},
      {"corpus.context", "tokenize", "32", "setting context: 64 -> 32"},
      {"corpus.max_tokens", "tokenize", "2000", "setting max_tokens: 3000 -> 2000"},
      {"model.a.path", "extract", large, "input model:"},
      {"model.a.layers", "extract", "[1]", "setting layers/0: 2 -> 1"},
      {"model.b.path", "extract", small, "input model:"},
      {"model.b.layers", "extract", "[3]", "setting layers/0: 4 -> 3"},
      {"model.a.saes", "encode", "variants/a/saes@k=5", "input sae/layer_002:"},
      {"model.b.saes", "encode", "variants/b/saes@k=5", "input sae/layer_004:"},
      {"extract.dtype", "extract", "f32", "setting dtype: \"bf16\" -> \"f32\""},
      {"extract.compute", "extract", "bf16", "setting compute: \"f32\" -> \"bf16\""},
      {"extract.batch", "extract", "16", "setting batch: 8 -> 16"},
      {"extract.loss", "extract", "true", "setting loss: false -> true"},
      {"extract.compress", "extract", "1", "setting compress is new"},
      {"extract.fused", "train-sae", "true", "setting buffer_rows is new"},
      {"sae.kind", "train-sae", "batch-topk", "setting kind is new"},
      {"sae.latents", "train-sae", "128", "setting latents: 64 -> 128"},
      {"sae.k", "train-sae", "5", "setting k: 4 -> 5"},
      {"sae.prefixes", "train-sae", "4", "setting prefixes: 5 -> 4", matryoshka},
      {"sae.sparsity", "train-sae", "0.25", "-> 0.25", relu},
      {"sae.sparsity_warmup", "train-sae", "0.5", "setting sparsity_warmup: 0.05 -> 0.5", relu},
      {"sae.penalty", "train-sae", "tanh", "setting penalty: \"step\" -> \"tanh\"", jumprelu},
      {"sae.bandwidth", "train-sae", "0.125", "-> 0.125", jumprelu},
      {"sae.threshold", "train-sae", "0.25", "-> 0.25", jumprelu},
      {"sae.normalise", "train-sae", "unit-square", "setting normalise is new"},
      {"sae.steps", "train-sae", "5", "setting steps: 4 -> 5"},
      {"sae.rows", "train-sae", "640", "setting steps: 4 -> 5", by_rows},
      {"sae.batch", "train-sae", "64", "setting batch: 128 -> 64"},
      {"sae.learning_rate", "train-sae", "0.125", "-> 0.125"},
      {"sae.warmup_steps", "train-sae", "2", "setting warmup_steps: 4 -> 2", longer},
      {"sae.decay_fraction", "train-sae", "0.5", "setting decay_fraction: 0.2 -> 0.5"},
      {"sae.clip", "train-sae", "2.5", "setting clip: 1.0 -> 2.5"},
      {"sae.aux_weight", "train-sae", "0.125", "setting aux_weight: 0.03125 -> 0.125"},
      {"sae.aux_k", "train-sae", "7", "-> 7"},
      {"sae.dead_after", "train-sae", "500", "setting dead_after: 20000 -> 500"},
      {"sae.held_out", "train-sae", "0.125", "setting held_out: 0.02 -> 0.125"},
      {"sae.keep_special", "train-sae", "true", "setting keep_special: false -> true"},
      {"sae.max_norm", "train-sae", "5.5", "setting max_norm: 10.0 -> 5.5"},
      {"sae.order", "train-sae", "buffer", "setting buffer_rows is new"},
      {"sae.buffer_rows", "train-sae", "1600", "setting buffer_rows: 1048576 -> 1600", buffer},
      {"encode.top", "encode", "10", "setting top: 20 -> 10"},
      {"encode.keep_special", "encode", "true", "setting keep_special: false -> true"},
      {"encode.max_norm", "encode", "3.5", "setting max_norm: 10.0 -> 3.5"},
      {"encode.before_top_k", "encode", "true", "setting before_top_k is new"},
      {"correlate.best", "correlate", "5", "setting best: 4 -> 5"},
      {"correlate.pairing", "correlate", "greedy", "setting pairing: 0 -> 1"},
      {"correlate.min_r", "correlate", "0.125", "setting min_r: 0.0 -> 0.125"},
      {"correlate.max_q", "correlate", "0.5", "setting max_q: 0.05 -> 0.5"},
      {"correlate.min_firings", "correlate", "4", "setting min_firings: 3 -> 4"},
      {"correlate.drop_non_concept", "correlate", "true", "setting drop_non_concept: false -> true"},
      {"correlate.need_shared_token", "correlate", "true", "setting need_shared_token: false -> true"},
      {"correlate.null_shifts", "correlate", "3", "setting null_shifts/3 is gone"},
      {"correlate.null_features", "correlate", "13", "setting null_features/of/0/0 is new", {"correlate.null_shifts=20"}},
      {"correlate.level", "correlate", "0.125", "setting level: 0.05 -> 0.125"},
      {"correlate.matrix", "correlate", "true", "setting matrix: false -> true"},
      {"correlate.matrix_coactive", "correlate", "true", "setting matrix: false -> \"coactive\""},
      {"compare.measures", "compare", "[\"cka\"]", "setting measures/0: \"svcca\" -> \"cka\""},
      {"compare.svcca_variance", "compare", "0.5", "setting svcca_variance: 0.99 -> 0.5"},
      {"compare.svcca_k", "compare", "4", "setting svcca_k: 3 -> 4"},
      {"compare.route", "compare", "qr", "-> \"qr\""},
      {"compare.rdm", "compare", "cosine", "setting rdm: \"correlation\" -> \"cosine\""},
      {"compare.neighbours", "compare", "5", "setting neighbours: 10 -> 5"},
      {"compare.kendall_samples", "compare", "50", "setting kendall_samples: 100000 -> 50"},
      {"compare.permutations", "compare", "8", "setting permutations: 9 -> 8"},
      {"compare.stratified_permutations", "compare", "8", "setting stratified_permutations: 9 -> 8"},
      {"compare.subsets", "compare", "4", "setting subsets: 5 -> 4"},
      {"compare.level", "compare", "0.125", "setting level: 0.05 -> 0.125"},
      {"compare.memory_gib", "compare", "2.5", "setting memory_gib: 4.0 -> 2.5"},
      {"compare.min_matches", "compare", "5", "setting min_matches: 4 -> 5"},
  };
}

/// Keys that ask for one more result beside those that are there.
struct Adding {
  const char* key;
  std::string value;
  const char* made; ///< by train-sae
};
const std::vector<Adding> adding{{"sae.crosscoders", "[\"2:4\"]", "crosscoders/layer_002_layer_004"},
                                 {"sae.variants", "[\"k=6\"]", "a/saes@k=6/layer_002"}};

/// Keys that may not change a result: the stage finds it done.
struct Neutral {
  const char* key;
  const char* stage;
  std::string value;
  Sets beside = {};
};
const std::vector<Neutral> neutral{{"study.name", "compare", "other"},
                                   {"extract.device", "extract", "cpu"},
                                   {"extract.allow_shared_gpu", "extract", "true"},
                                   {"extract.layer_shards", "extract", "2"},
                                   {"extract.memory_gib", "extract", "3.5"},
                                   {"extract.commit_seconds", "extract", "5.5"},
                                   {"sae.groups", "train-sae", "2"},
                                   {"sae.reduction", "train-sae", "fast"},
                                   {"sae.device", "train-sae", "torch", {"sae.reduction=fast"}},
                                   {"sae.gpu_exchange", "train-sae", "nccl"},
                                   {"sae.allow_shared_gpu", "train-sae", "true"},
                                   {"sae.memory_gib", "train-sae", "2.5"},
                                   {"sae.checkpoint_seconds", "train-sae", "5.5"},
                                   {"correlate.groups", "correlate", "1"},
                                   {"correlate.memory_gib", "correlate", "2.5"},
                                   {"correlate.device", "correlate", "emulated"},
                                   {"correlate.allow_shared_gpu", "correlate", "true"},
                                   {"correlate.gpu_memory_gib", "correlate", "1.5"},
                                   {"compare.groups", "compare", "1"}};

/// Keys of which no stage's digest can say anything: where results lie, what the report shows.
const std::set<std::string> without_digest{"study.output",         "study.pairs",   "subspaces.pairs",   "model.NAME.same_as",
                                           "model.NAME.tokenizer", "report.python", "report.top_matches"};

std::string assignment(const std::string& key, const std::string& value) {
  return key + "=" + value;
}

class Keys : public testing::Test {
protected:
  static void SetUpTestSuite() {
    fs::remove_all("scratch/keys");
    fs::create_directories("scratch/keys");
    const std::string text = read_text(source() / "data/demo/corpus/analysis.txt", "corpus");
    write_text_atomic("scratch/keys/text.txt", std::string_view(text).substr(0, 30000));
    write_text_atomic("scratch/keys/other.txt", std::string_view(text).substr(0, 29000));
    const std::string lists = "group\tconcept\tphrase\n"
                              "x\tHe\the\nx\tHe\this\nx\tHe\thim\nx\tAnd\tand\nx\tAnd\tbut\nx\tAnd\tor\n"
                              "y\tIn\tin\ny\tIn\tof\ny\tIn\tto\ny\tBe\tis\ny\tBe\twas\ny\tBe\tbe\n";
    write_text_atomic("scratch/keys/concepts.tsv", lists);
    write_text_atomic("scratch/keys/other.tsv", lists + "y\tBe\tare\n");
    write_text_atomic("scratch/keys/similarity.tsv", "concept\tother\tlin\tpath\nHe\tBe\t0.5\t0.25\n");
    write_text_atomic("scratch/keys/other_similarity.tsv", "concept\tother\tlin\tpath\nHe\tBe\t0.75\t0.25\n");
    write_text_atomic("scratch/keys/other.model", read_text(source() / "data/demo/tokenizer.model", "tokenizer") + "x");
    for (const char* stage : stages_of_results) base().run(stage, {});
    const SmallStudy variants("variants");
    variants.take_activations(base());
    variants.run("train-sae", {"sae.variants=[\"k=5\"]"});
  }
  static const SmallStudy& base() {
    static const SmallStudy study("base");
    return study;
  }

  /// A study that is done up to `stage` with these settings: each is made once.
  static SmallStudy done(const std::string& stage, const Sets& sets) {
    if (sets.empty()) return base();
    SmallStudy study(join(sets, ",").substr(0, 12) + stage);
    if (fs::exists(study.output())) return study;
    const bool from_start = stage == "tokenize";
    if (!from_start) study.take_activations(base());
    for (const std::string word : stages_of_results) {
      if (from_start || (word != "tokenize" && word != "extract")) study.run(word, sets);
      if (word == stage) break;
    }
    return study;
  }
};

/// Settings that a stage describes beside their members need no table: another value of each is made from its kind and range.
std::string other_value(const settings::Setting& setting) {
  const auto& allowed = setting.allowed;
  if (const auto* flag = std::get_if<bool>(&setting.value)) return *flag ? "false" : "true";
  if (const auto* whole = std::get_if<Index>(&setting.value)) return std::to_string(*whole + 1);
  if (const auto* real = std::get_if<double>(&setting.value)) return fmt::format("{}", (*real + std::min(allowed.high, 1.0)) / 2);
  if (!allowed.words.empty()) {
    const auto* word = std::get_if<std::string>(&setting.value);
    const auto now = word != nullptr ? std::vector{*word} : std::get<std::vector<std::string>>(setting.value);
    return allowed.words[!now.empty() && allowed.words[0] == now.front() ? 1 : 0];
  }
  const std::map<std::string, std::string> texts{{"concepts", "other.tsv"},   {"similarity", "other_similarity.tsv"},
                                                 {"meaning", "[\"path\"]"},   {"layers_a", "[2, 99]"},
                                                 {"layers_b", "[4, 99]"},     {"effect_layers_a", "[99]"},
                                                 {"effect_layers_b", "[99]"}, {"steering", "[0.5, 1]"}};
  return texts.at(setting.name);
}

template <typename Settings>
void expect_every_setting_to_count(const std::string& table, const SmallStudy& study) {
  const auto values = settings::list_of(study.with({}).stage_settings<Settings>(table));
  for (const auto& setting : values) {
    const std::string value = other_value(setting);
    SCOPED_TRACE(assignment(table + "." + setting.name, value));
    const bool layers = setting.name.find("layers") != std::string::npos;
    const std::string said = layers ? "layer 99" : setting.allowed.is_path ? "input " + setting.name : "setting " + setting.name;
    test::expect_error(ExitCode::config, said, [&] { study.run(table, {assignment(table + "." + setting.name, value)}); });
    for (const double beyond : {setting.allowed.low - 1, setting.allowed.high + 1}) { // and no value beyond its range is taken
      if (setting.allowed.anything() || !setting.allowed.words.empty() || std::abs(beyond) > settings::largest_int + 1) continue;
      const bool whole = std::holds_alternative<Index>(setting.value);
      const std::string number = whole ? std::to_string(static_cast<Index>(beyond)) : fmt::format("{:.2f}", beyond);
      test::expect_error(ExitCode::config, "must be", [&] { study.with({assignment(table + "." + setting.name, number)}); });
    }
    if (!setting.allowed.words.empty())
      test::expect_error(ExitCode::config, "must be one of", [&] { study.with({assignment(table + "." + setting.name, "no such word")}); });
  }
}

TEST_F(Keys, OfDescribedSettingsAllCount) {
  expect_every_setting_to_count<subspaces::SubspacesSettings>("subspaces", base());
}

TEST_F(Keys, AllStandInOneOfTheTables) {
  std::set<std::string> listed = without_digest;
  for (const auto& setting : settings::list_of(subspaces::SubspacesSettings())) listed.insert("subspaces." + setting.name);
  for (const auto& row : changing()) listed.insert(row.key);
  for (const auto& row : adding) listed.insert(row.key);
  for (const auto& row : neutral) listed.insert(row.key);
  listed.insert("sae.recovered_contexts");
  std::set<std::string> all;
  for (const auto& key : study::keys()) all.insert(key.name);
  for (const std::string model : {"model.a", "model.b"}) // each key of a model is changed for both
    for (const char* key : {".path", ".layers", ".saes"}) {
      EXPECT_EQ(listed.erase(model + key), 1U) << model << key;
      listed.insert(std::string("model.NAME") + key);
    }
  EXPECT_EQ(listed, all);
}

/// What a setting says of itself is what the tables below test.
TEST_F(Keys, SayWhetherResultsHangOnThem) {
  std::map<std::string, bool> says;
  for (const auto& key : study::keys()) says[key.name] = key.in_digest;
  for (const char* key : {".path", ".layers", ".saes"})
    for (const std::string model : {"model.a", "model.b"}) says[model + key] = says[std::string("model.NAME") + key];
  for (const auto& row : changing()) EXPECT_TRUE(says[row.key]) << row.key;
  for (const auto& row : adding) EXPECT_TRUE(says[row.key]) << row.key;
  for (const auto& row : neutral) EXPECT_FALSE(says[row.key]) << row.key;
  for (const auto& key : without_digest) EXPECT_FALSE(says[key]) << key;
}

TEST_F(Keys, ThatChangeAResultAreNamedByTheirStage) {
  for (const auto& row : changing()) {
    SCOPED_TRACE(assignment(row.key, row.value));
    const auto study = done(row.stage, row.beside);
    EXPECT_NO_THROW(study.run(row.stage, row.beside)); // is done
    Sets sets = row.beside;
    sets.push_back(assignment(row.key, row.value));
    test::expect_error(ExitCode::config, row.said, [&] { study.run(row.stage, sets); });
  }
}

TEST_F(Keys, ThatMayNotChangeAResultDoNot) {
  for (const auto& row : neutral) {
    SCOPED_TRACE(assignment(row.key, row.value));
    Sets sets = row.beside;
    sets.push_back(assignment(row.key, row.value));
    const auto time = fs::last_write_time(base().output() / "matches.h5");
    EXPECT_NO_THROW(base().run(row.stage, sets));
    EXPECT_EQ(fs::last_write_time(base().output() / "matches.h5"), time);
  }
}

TEST_F(Keys, ThatAskForMoreGetIt) {
  const SmallStudy study("more");
  study.take_activations(base());
  for (const auto& row : adding) {
    SCOPED_TRACE(row.key);
    EXPECT_FALSE(fs::exists(study.output() / row.made));
    study.run("train-sae", {assignment(row.key, row.value)});
    EXPECT_TRUE(fs::exists(study.output() / row.made));
  }
  study.run("train-sae", {});
  study.run("recovered", {"sae.recovered_contexts=0"});
  const auto path = study.output() / "a/recovered.json";
  EXPECT_FALSE(fs::exists(path));
  study.run("recovered", {});
  const auto before = read_text(path, "record");
  study.run("recovered", {});
  EXPECT_EQ(read_text(path, "record"), before);
  study.run("recovered", {"sae.recovered_contexts=32"});
  EXPECT_NE(read_text(path, "record"), before);
}

} // namespace
} // namespace concord::app
