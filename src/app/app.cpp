#include "concord/app/app.hpp"

#include "concord/app/plan.hpp"
#include "concord/app/stages.hpp"
#include "concord/app/verify.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/node/cores.hpp"
#include "concord/comm/stop.hpp"
#include "concord/comm/watch/watchdog.hpp"
#include "concord/concepts/mining.hpp"
#include "concord/core/log.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/documents.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/extract/extract.hpp"
#include "concord/features/encode.hpp"
#include "concord/fused/recovered.hpp"
#include "concord/io/claim/claim.hpp"
#include "concord/sae/training/trainings.hpp"
#include "concord/similarity/compare.hpp"
#include "concord/subspaces/subspaces.hpp"

#include <CLI/CLI.hpp>

#include "app/command_pages.hpp"
#include "app/info.hpp"
#include "app/report.hpp"
#include "app/setting_flags.hpp"
#include "app/torch_failures.hpp"
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <set>

namespace concord::app {
namespace {

/// What the whole program understands, before any subcommand's own flags.
struct Common {
  std::string study;
  std::vector<std::string> overrides;
  bool force = false;
  std::string max_time;
  std::string stall_timeout = "30:00";
  io::ClaimPolicy claims;
  std::string log_level = "info";
};

/// "90", "15:00" or "1:30:00" in seconds; 0 for "".
double seconds_of(const std::string& text, const char* flag) {
  double seconds = 0;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(':', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    double value = 0;
    const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), value, std::chars_format::fixed);
    const bool number = error == std::errc() && rest == part.data() + part.size() && value >= 0 && part[0] != '-' && std::isfinite(value);
    require(number && end + 1 != text.size(), ExitCode::usage, "{} {}: write seconds, MM:SS or HH:MM:SS", flag, text);
    seconds = seconds * 60 + value;
    begin = end + 1;
  }
  return seconds;
}

/// One run of the program: parsed flags and what to do with them.
class Program {
public:
  explicit Program(const comm::Session& session) : world_(session.world()) {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", "concord " + version() + " (" + git_state() + ")");
    app_.footer("A study is one TOML file; docs/configuration.md lists its keys. Exit codes: docs/exit-codes.md.");
    add_run();
    add_tokenize();
    add_extract();
    add_train_sae();
    add_encode();
    add_correlate();
    add_compare();
    add_subspaces();
    add_report();
    add_tools();
  }

  /// Parses; returns an exit code when there is nothing to run (help, version, wrong flags).
  std::optional<int> parse(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
      return std::nullopt;
    } catch (const CLI::ParseError& error) {
      const bool fine = error.get_exit_code() == 0;
      if (world_.rank() == 0) app_.exit(error, std::cout, std::cerr);
      return fine ? 0 : static_cast<int>(ExitCode::usage);
    }
  }

  void run() {
    comm::agree(world_, [&] {
      set_log_level(common_.log_level);
      comm::limit_time(seconds_of(common_.max_time, "--max-time"));
      stall_seconds_ = seconds_of(common_.stall_timeout, "--stall-timeout");
      io::claim_policy() = common_.claims;
    });
    const comm::Watchdog watchdog(world_, stall_seconds_);
    comm::warn_of_crowded_cores(world_);
    action_();
  }

private:
  CLI::App* add(const std::string& name, const std::string& help, std::function<void()> action) {
    auto* sub = app_.add_subcommand(name, help);
    sub->add_option("--log-level", common_.log_level, "debug, info, warn or error")->capture_default_str();
    sub->callback([this, action = std::move(action)] { action_ = action; });
    return sub;
  }

  /// A stage: with a study, or by itself with its own flags.
  CLI::App* add_stage(const std::string& name, const std::string& help, std::function<void()> by_itself) {
    auto* sub = add(name, help, [this, name, by_itself = std::move(by_itself)] {
      if (common_.study.empty()) {
        by_itself();
        return;
      }
      comm::agree(world_, [&] { refuse_flags_beside_study(name); });
      run_stage(world_, name, load_study(), common_.force);
    });
    sub->add_option("study", common_.study, "study file; without one, give the flags below");
    add_run_flags(sub);
    for (const auto* option : sub->get_options()) beside_study_.insert(option->get_name());
    return sub;
  }

  /// A study says everything; a flag beside it would be dropped without a word.
  void refuse_flags_beside_study(const std::string& stage) const {
    for (const auto* option : app_.get_subcommand(stage)->get_options()) {
      if (option->count() == 0 || beside_study_.contains(option->get_name())) continue;
      const std::string flag = option->get_name();
      const std::string key = key_of_flag(stage, flag);
      fail(ExitCode::usage, "{} goes without a study file; {}", flag,
           key.empty() ? "the study says which files a stage reads and writes" : fmt::format("beside one give --set {}=VALUE", key));
    }
  }

  /// The study's key for a stage's flag; "" where there is none.
  static std::string key_of_flag(const std::string& stage, const std::string& flag) {
    static const std::map<std::string, std::string> others{
        {"tokenize --text", "corpus.paths"}, {"tokenize --tokens", "corpus.token_ids"}, {"train-sae --variant", "sae.variants"},
        {"train-sae --seed", "study.seed"},  {"extract --model", "model.a.path"},       {"extract --layers", "model.a.layers"},
        {"encode --saes", "model.a.saes"},   {"compare --seed", "study.seed"},          {"compare --json", ""}};
    static const std::map<std::string, std::string> tables{{"tokenize", "corpus"}, {"train-sae", "sae"}};
    const auto other = others.find(stage + " " + flag);
    if (other != others.end()) return other->second;
    std::string name = flag.substr(flag.find_first_not_of('-'));
    std::replace(name.begin(), name.end(), '-', '_');
    const auto table = tables.find(stage);
    const std::string key = (table == tables.end() ? stage : table->second) + "." + name;
    const auto& keys = study::keys();
    return std::any_of(keys.begin(), keys.end(), [&](const auto& known) { return known.name == key; }) ? key : "";
  }

  void add_run_flags(CLI::App* sub) {
    sub->add_option("--set", common_.overrides, "override a study key: table.key=value")->type_size(1)->allow_extra_args(false);
    sub->add_flag("--force", common_.force, "replace results that were made with other settings or inputs");
    sub->add_option("--max-time", common_.max_time, "stop resumably (exit 75) after so long: seconds, MM:SS or HH:MM:SS");
    add_safety_flags(sub);
  }

  void add_safety_flags(CLI::App* sub) {
    sub->add_option("--stall-timeout", common_.stall_timeout,
                    "end the job, and say which ranks are missing, after so long without progress; 0: never")
        ->capture_default_str();
    sub->add_flag("--wait", common_.claims.wait, "wait where another run is making the same output; else end with exit 75");
    sub->add_flag("--steal", common_.claims.steal, "take an output from a run that is surely dead but cannot be asked");
  }

  study::Study load_study() {
    const auto text = comm::decided(world_, [&] { return read_text(common_.study, "study"); });
    const auto folder = comm::decided(world_, [&] { return std::filesystem::absolute(common_.study).parent_path().string(); });
    std::optional<study::Study> study;
    comm::agree(world_, [&] {
      study.emplace(text, common_.study, folder, common_.overrides);
      run_record().study = study->resolved();
      run_record().seed = static_cast<std::uint64_t>(study->integer("study.seed"));
    });
    comm::require_same(world_, study->resolved(), [](const std::string&) { return "the study means something else here than on rank 0"; });
    return *study;
  }

  void need(bool given, const char* stage, const char* flags) {
    comm::agree(world_, [&] {
      require(given, ExitCode::usage, "{} needs a study file, or {} (see concord {} --help)", stage, flags, stage);
      require(common_.overrides.empty(), ExitCode::usage, "--set goes with a study file");
    });
  }

  void add_run() {
    auto* sub = add("run", "run all stages of a study that are not yet done", [this] {
      const auto study = load_study();
      check_report_python(world_, study.text("report.python")); // not after hours of work
      for (const Stage& stage : stages()) {
        run_stage(world_, stage.word, study, common_.force);
        if (&stage != &stages().back() && comm::stop_requested(world_)) comm::throw_stopped("run");
      }
    });
    sub->add_option("study", common_.study, "study file")->required();
    add_run_flags(sub);
  }

  void add_tokenize() {
    auto* sub = add_stage("tokenize", "text files -> tokens.h5", [this] {
      assign_given<corpus::CorpusSettings>(tokenize_, *given_tokenize_);
      need(!tokenize_.out.empty() && (!tokenize_.paths.empty() || !tokenize_.token_ids.empty()), "tokenize",
           "--text with --tokenizer (or --tokens) and --out");
      tokenize_.force = common_.force;
      corpus::tokenize(world_, tokenize_);
    });
    sub->add_option("--text", tokenize_.paths, "text files, folders or patterns");
    given_tokenize_ = add_setting_flags(*sub, settings::list_of<corpus::CorpusSettings>(tokenize_),
                                        {.also = {{"token_ids", "--tokens"}}, .without = {"paths"}});
    sub->add_option("--out", tokenize_.out, "tokens.h5 to write");
  }

  void add_extract() {
    auto* sub = add_stage("extract", "tokens + model weights -> activations.h5", [this] {
      need(!extract_.model.empty() && !extract_.tokens.empty() && !extract_.out.empty(), "extract", "--model, --tokens and --out");
      take_model_flags(*given_extract_);
      extract_.force = common_.force;
      extract::extract(world_, extract_);
    });
    given_extract_ = add_model_options(sub);
    sub->add_option("--out", extract_.out, "activations.h5 to write");
  }

  void take_model_flags(const GivenSettings& given) {
    comm::agree(world_, [&] {
      extract_.layers = extract::parse_layers(layers_);
      assign_given<extract::ExtractSettings>(extract_, given);
    });
  }

  /// What every command that runs a model understands, but for `without`.
  std::shared_ptr<GivenSettings> add_model_options(CLI::App* sub, std::set<std::string> without = {}) {
    without.insert("fused"); // which is how stages of a study follow each other
    sub->add_option("--model", extract_.model, "Hugging Face folder of a Gemma-2 or Llama model");
    sub->add_option("--tokens", extract_.tokens, "tokens.h5");
    sub->add_option("--layers", layers_, "all, or numbers such as 0,3,5 (-1: the embedding)")->capture_default_str();
    return add_setting_flags(*sub, settings::list_of<extract::ExtractSettings>(extract_), {.without = std::move(without)});
  }

  void add_train_sae() {
    auto* sub = add_stage("train-sae", "activations -> an SAE (SAELens folder), or a crosscoder of two models' activations", [this] {
      need(!train_.activations.empty() && !train_.out.empty(), "train-sae", "--activations and --out");
      assign_given<sae::TrainSettings>(train_, *given_train_);
      train_.force = common_.force;
      sae::train_variants(world_, train_, variants_);
    });
    sub->add_option("--activations", train_.activations, "X.npy or acts.h5:/layer_003/x");
    sub->add_option("--with", train_.with, "the same tokens' activations in another model: train a crosscoder of both");
    sub->add_option("--variant", variants_, "also train this on the same rows: \"k=32\" or \"latents=4096 seed=2\"")
        ->type_size(1)
        ->allow_extra_args(false);
    given_train_ = add_setting_flags(*sub, settings::list_of<sae::TrainSettings>(train_),
                                     {.also = {{"latents", "--d-sae"}, {"learning_rate", "--lr"}}, .without = {}});
    sub->add_option("--seed", train_.seed, "seed of every random number")->capture_default_str();
    sub->add_option("--layer", train_.layer, "layer number, for random streams and the SAE's name")->capture_default_str();
    sub->add_option("--out", train_.out, "SAELens folder to write");
  }

  void add_encode() {
    auto* sub = add_stage("encode", "activations + SAEs -> features.h5", [this] {
      need(!encode_.activations.empty() && !encode_.saes.empty() && !encode_.out.empty(), "encode", "--activations, --saes and --out");
      comm::agree(world_, [&] {
        encode_.layers = extract::parse_layers(layers_);
        assign_given<features::EncodeSettings>(encode_, *given_encode_);
      });
      encode_.force = common_.force;
      features::encode(world_, encode_);
    });
    sub->add_option("--activations", encode_.activations, "activations.h5");
    sub->add_option("--saes", encode_.saes, "folder of layer_LLL folders, or a path with {layer}");
    sub->add_option("--layers", layers_, "all, or numbers such as 0,3,5")->capture_default_str();
    given_encode_ = add_setting_flags(*sub, settings::list_of<features::EncodeSettings>(encode_));
    sub->add_option("--out", encode_.out, "features.h5 to write");
  }

  void add_correlate() {
    auto* sub = add_stage("correlate", "features A x features B -> matches.h5", [this] {
      need(!correlate_.a.empty() && !correlate_.b.empty() && !correlate_.out.empty(), "correlate", "--a, --b and --out");
      comm::agree(world_, [&] {
        assign_given<correlate::CorrelateSettings>(correlate_, *given_correlate_);
        correlate_.layers_a = extract::parse_layers(correlate_layers_a_);
        correlate_.layers_b = extract::parse_layers(correlate_layers_b_);
      });
      correlate_.force = common_.force;
      correlate::correlate(world_, correlate_);
    });
    sub->add_option("--a", correlate_.a, "features.h5, a scipy CSR matrix (.npz), or a dense array (.npy)");
    sub->add_option("--b", correlate_.b, "the same for the other model, row for row");
    sub->add_option("--tokens", correlate_.tokens, "tokens.h5, for the documents of the null and the token filters");
    given_correlate_ = add_setting_flags(*sub, settings::list_of<correlate::CorrelateSettings>(correlate_));
    sub->add_option("--layers-a", correlate_layers_a_, "of A, comma separated; all when left out");
    sub->add_option("--layers-b", correlate_layers_b_, "of B");
    sub->add_option("--csv", correlate_.csv, "also write the matches as text");
    sub->add_option("--out", correlate_.out, "matches.h5 to write");
  }

  void add_compare() {
    auto* sub = add_stage("compare", "matches + decoders -> similarity.h5 (SVCCA, RSA, CKA and others beside chance)", [this] {
      const bool matrices = !x_.empty() && !y_.empty() && !json_.empty();
      const bool files = !compare_.matches.empty() && !compare_.saes_a.empty() && !compare_.saes_b.empty() && !compare_.out.empty();
      need(matrices || files, "compare", "--x, --y and --json; or --matches, --saes-a, --saes-b and --out");
      compare_.force = common_.force;
      comm::agree(world_, [&] { assign_given(compare_.settings, *given_compare_); });
      if (matrices)
        similarity::compare_matrices(world_, x_, y_, compare_.settings.spaces, json_);
      else
        similarity::compare(world_, compare_);
    });
    sub->add_option("--x", x_, "matrices with matched rows: X.npy, FILE.h5:/dataset or FILE.safetensors:tensor");
    sub->add_option("--y", y_, "the others; every x is compared with every y");
    sub->add_option("--json", json_, "record to write for --x and --y");
    sub->add_option("--matches", compare_.matches, "matches.h5");
    sub->add_option("--saes-a", compare_.saes_a, "SAEs of model A: folder, or a path with {layer}");
    sub->add_option("--saes-b", compare_.saes_b, "SAEs of model B");
    given_compare_ = add_setting_flags(*sub, settings::list_of(compare_.settings));
    sub->add_option("--seed", compare_.settings.spaces.seed, "seed of the permutations")->capture_default_str();
    sub->add_option("--out", compare_.out, "similarity.h5 to write");
  }

  void add_subspaces() {
    auto* sub = add_stage("subspaces", "features + concept lists -> subspaces.h5 (concepts, their subspaces, and how these act)", [this] {
      auto& o = subspaces_;
      const bool mines = !mined_.empty();
      comm::agree(world_, [&] { assign_given(o.settings, *given_subspaces_); });
      need(!o.settings.concepts.empty() && !o.tokens.empty() &&
               (mines || (!o.a.features.empty() && !o.b.features.empty() && !o.out.empty())),
           "subspaces", "--concepts, --tokens and --mine; or --concepts, --tokens, --a, --b, --saes-a, --saes-b and --out");
      if (mines) {
        mine_phrases();
        return;
      }
      o.a.model.device = o.b.model.device = Device::cpu;
      o.a.model.compute = o.b.model.compute = comm::agreed(world_, [&] { return parse_dtype(compute_); });
      o.settings.effects = o.settings.effects && (!o.a.model.model.empty() || given_subspaces_->contains("effects"));
      o.settings.residual = o.settings.residual && (!o.a.activations.empty() || given_subspaces_->contains("residual"));
      o.force = common_.force;
      subspaces::subspaces(world_, o);
    });
    for (auto [side, inputs] : {std::pair{"a", &subspaces_.a}, std::pair{"b", &subspaces_.b}}) {
      const std::string of = std::string(" of model ") + side;
      sub->add_option(std::string("--") + side, inputs->features, "features.h5" + of);
      sub->add_option(std::string("--saes-") + side, inputs->saes, "SAEs" + of + ": folder, or a path with {layer}");
      sub->add_option(std::string("--activations-") + side, inputs->activations,
                      "activations.h5" + of + ", for subspaces without features");
      sub->add_option(std::string("--model-") + side, inputs->model.model, "Hugging Face folder" + of + ", for effects");
    }
    sub->add_option("--tokens", subspaces_.tokens, "tokens.h5 of both");
    sub->add_option("--compute", compute_, "type of the forward pass: f32 or bf16")->capture_default_str();
    sub->add_option("--seed", subspaces_.seed, "seed of every random number")->capture_default_str();
    sub->add_option("--mine", mined_, "write the phrases of the corpus that are headed by a concept's word to this .tsv, and end");
    sub->add_option("--out", subspaces_.out, "subspaces.h5 to write");
    given_subspaces_ = add_setting_flags(*sub, settings::list_of(subspaces_.settings));
  }

  void mine_phrases() {
    const auto& settings = subspaces_.settings;
    const auto lists = concepts::read_concept_lists(world_, settings.concepts, settings.fold_case);
    comm::agree(world_, [&] {
      std::error_code unreadable; // a folder that cannot be looked into is said when the file is written
      require(world_.rank() != 0 || common_.force || !std::filesystem::exists(mined_, unreadable), ExitCode::config,
              "{} is there already and may have been edited; name another file, or give --force", mined_.string());
    });
    const auto mined = concepts::mine_phrases(world_, subspaces_.tokens, lists);
    comm::agree(world_, [&] {
      if (world_.rank() == 0) concepts::write_mined(mined_, lists, mined.phrases);
    });
    say("{} phrases of {} candidates in {} words, each at least {} times: {}", mined.phrases.size(), mined.candidates, mined.words,
        mined.min_count, mined_.string());
  }

  void add_report() {
    auto* sub = add("report", "all results of a study -> report/index.html, CSV, figures, summary.json",
                    [this] { run_stage(world_, "report", load_study(), common_.force); });
    sub->add_option("study", common_.study, "study file")->required();
    add_run_flags(sub);
  }

  void add_tools() {
    add("info", "build, libraries, ranks and GPUs", [this] { print_info(world_); });
    auto* keys = add("keys", "the table of all study keys as Markdown",
                     [this] { say("{}", json_schema_ ? study::keys_as_json_schema() : study::keys_as_markdown()); });
    keys->add_flag("--json-schema", json_schema_, "as a JSON schema, by which editors complete and check a study");
    add("completion", "a script that completes commands, flags and keys in bash", [this] { say("{}", bash_completion(app_)); });
    add("man", "the manual page", [this] { say("{}", man_page(app_)); });
    auto* verify_sub = add("verify", "check files that concord wrote", [this] { verify(world_, paths_); });
    verify_sub
        ->add_option("files", paths_, "tokens.h5, activations.h5, features.h5, matches.h5, similarity.h5, subspaces.h5 or SAE folders")
        ->required();
    auto* recovered = add("recovered", "cross-entropy of a model with the reconstructions of its SAEs spliced in", [this] {
      comm::agree(world_, [&] {
        require(!extract_.model.empty() && !extract_.tokens.empty() && !recovered_.saes.empty() && !recovered_.out.empty(), ExitCode::usage,
                "recovered needs --model, --tokens, --saes and --out");
        extract_.stage_word = "recovered";
      });
      take_model_flags(*given_recovered_);
      fused::cross_entropy_recovered(world_, extract_, recovered_);
    });
    given_recovered_ = add_model_options(recovered, {"dtype", "loss", "compress", "commit_seconds"});
    recovered->add_option("--saes", recovered_.saes, "folder of layer_LLL folders, or a path with {layer}");
    recovered->add_option("--contexts", recovered_.contexts, "contexts to run, evenly over the corpus")
        ->check(CLI::Range(Index{1}, Index{1} << 40))
        ->capture_default_str();
    recovered->add_option("--out", recovered_.out, "JSON to write");
    add_safety_flags(recovered);
    auto* documents = add("documents", "where the documents of a corpus lie: BEGIN END PATH in bytes, each ended by a NUL", [this] {
      comm::agree(world_, [&] {
        assign_given<corpus::CorpusSettings>(tokenize_, *given_documents_);
        if (world_.rank() == 0) corpus::print_documents(std::cout, tokenize_.paths, tokenize_.documents);
      });
    });
    documents->add_option("--text", tokenize_.paths, "text files, folders or patterns")->required();
    given_documents_ = add_setting_flags(*documents, settings::list_of<corpus::CorpusSettings>(tokenize_),
                                         {.also = {}, .without = {"paths", "tokenizer", "token_ids", "bos_id", "context", "max_tokens"}});
    auto* plan = add("plan", "bytes, flops, memory and time of each stage of a study", [this] {
      const auto study = load_study();
      comm::agree(world_, [&] { print_plan(study, plan_); });
    });
    plan->add_option("study", common_.study, "study file")->required();
    plan->add_option("--set", common_.overrides, "override a study key: table.key=value")->type_size(1)->allow_extra_args(false);
    plan->add_option("--ranks", plan_.ranks, "ranks to plan for")->check(CLI::Range(1, 1 << 24))->capture_default_str();
    plan->add_option("--ranks-a-node", plan_.ranks_a_node, "of them on one node; 0: all")
        ->check(CLI::Range(0, 1 << 24))
        ->capture_default_str();
    plan->add_option("--gflops", plan_.gflops, "what one rank computes a second, in 10^9 operations")->capture_default_str();
    plan->add_option("--write-gbs", plan_.write_gbs, "what the file system takes a second from all ranks together, in 10^9 bytes")
        ->capture_default_str();
    plan->add_flag("--memory", plan_.memory, "also each array above 1 MiB, with its formula");
    plan->add_flag("--json", plan_.json, "all of it as JSON");
  }

  const comm::Communicator& world_;
  double stall_seconds_ = 0;
  CLI::App app_{"concord tells how far two language models represent the same things."};
  std::function<void()> action_;
  std::set<std::string> beside_study_{"--help"}; ///< flags that go with a study
  Common common_;
  corpus::TokenizeOptions tokenize_;
  extract::ExtractOptions extract_;
  sae::TrainOptions train_;
  std::vector<std::string> variants_;
  fused::RecoveredOptions recovered_;
  features::EncodeOptions encode_;
  correlate::CorrelateOptions correlate_;
  similarity::CompareOptions compare_;
  subspaces::SubspacesOptions subspaces_;
  std::shared_ptr<GivenSettings> given_tokenize_, given_documents_, given_extract_, given_recovered_, given_train_, given_encode_,
      given_correlate_, given_compare_, given_subspaces_;
  std::filesystem::path mined_;
  std::string layers_ = "all";
  std::string compute_ = "f32";
  std::string correlate_layers_a_ = "all";
  std::string correlate_layers_b_ = "all";
  std::vector<std::string> x_;
  std::vector<std::string> y_;
  std::string json_;
  std::vector<std::string> paths_;
  bool json_schema_ = false;
  PlanOptions plan_;
};

} // namespace

namespace {

/// All ranks run the same build with the same arguments, or none runs.
void require_same_start(const comm::Communicator& world, int argc, char** argv) {
  const std::string build = fmt::format("{} ({}, {})", version(), git_state(), build_id());
  std::string arguments;
  for (int i = 1; i < argc; ++i) arguments += (i > 1 ? " " : "") + std::string(argv[i]);
  const auto differs = [](const char* what, const std::string& mine) {
    return [what, &mine](const std::string& of_root) {
      return fmt::format("was started with {} \"{}\", rank 0 with \"{}\"; start the same on all ranks", what, mine, of_root);
    };
  };
  comm::require_same(world, build, differs("the build", build));
  comm::require_same(world, arguments, differs("the arguments", arguments));
}

} // namespace

int run(const comm::Session& session, int argc, char** argv) {
  read_failures_with(torch_failure);
  // Before the arguments are parsed: a rank that found them wrong would leave the others waiting.
  const int differs = comm::run_guarded(session, [&] { require_same_start(session.world(), argc, argv); });
  if (differs != 0) return differs;
  Program program(session);
  if (const auto code = program.parse(argc, argv)) return *code;
  return comm::run_guarded(session, [&] {
    auto& record = run_record();
    for (int i = 0; i < argc; ++i) record.command += (i > 0 ? " " : "") + quoted_for_shell(argv[i]);
    record.ranks = session.world().size();
    record.hosts = comm::host_names(session.world());
    record.libraries = library_versions();
    program.run();
  });
}

} // namespace concord::app
