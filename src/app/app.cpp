#include "concord/app/app.hpp"

#include "concord/app/plan/plan.hpp"
#include "concord/app/results/verify.hpp"
#include "concord/app/stages.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/node/cores.hpp"
#include "concord/comm/stop.hpp"
#include "concord/comm/watch/watchdog.hpp"
#include "concord/core/log.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/documents.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/io/claim/claim.hpp"

#include <CLI/CLI.hpp>

#include "app/command/command.hpp"
#include "app/command/command_pages.hpp"
#include "app/command/flag_values.hpp"
#include "app/command/setting_flags.hpp"
#include "app/info/calibration.hpp"
#include "app/info/info.hpp"
#include "app/info/rank_places.hpp"
#include "app/init.hpp"
#include "app/report.hpp"
#include "app/results/profile.hpp"
#include "app/results/results.hpp"
#include "app/torch_failures.hpp"
#include <algorithm>
#include <deque>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <set>

namespace concord::app {
namespace {

/// What the whole program understands, before any subcommand's own flags.
struct Common {
  std::string study;
  std::vector<std::string> overrides;
  bool force = false;
  std::string share = "0/1";
  std::string max_time;
  int traced = 0;
  std::string stall_timeout = "30:00";
  io::ClaimPolicy claims;
  std::string log_level = "info";
};

/// One run of the program: parsed flags and what to do with them.
class Program {
public:
  explicit Program(const comm::Communicator& world) : world_(world) {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", "concord " + version() + " (" + git_state() + ")");
    app_.footer("A study is one TOML file; docs/configuration.md lists its keys. Exit codes: docs/exit-codes.md.");
    add_run();
    for (const Stage& stage : stages()) add_stage(stage);
    add_status();
    add_plan();
    add_calibrate();
    add_init();
    add_scaling();
    add_files();
    add_pages();
  }

  /// What asks nothing of other ranks (help, version, the pages of add_pages): answered, with its exit code. Else nothing is said or done.
  /// Local, before MPI starts.
  std::optional<int> answer(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() != 0) return std::nullopt; // said once all ranks are known to have the same arguments
      if (is_speaker()) app_.exit(error, std::cout, std::cerr);
      return 0;
    }
    const auto given = app_.get_subcommands();
    if (!std::all_of(given.begin(), given.end(), [&](const CLI::App* command) { return pages_.contains(command); })) return std::nullopt;
    try {
      set_log_level(common_.log_level);
      action_();
      return 0;
    } catch (const Error& error) {
      if (is_speaker()) std::cerr << "concord: error: " << error.what() << '\n';
      return static_cast<int>(error.code());
    }
  }

  /// Parses; returns an exit code when there is nothing to run (wrong flags).
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
      trace_ranks(common_.traced);
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

  /// With a study, or by itself with its own flags.
  void add_stage(const Stage& stage) {
    auto* sub = add(stage.word, stage.help, [this, &stage] {
      if (common_.study.empty()) {
        comm::agree(world_, [&] { require(common_.share == Common{}.share, ExitCode::usage, "--share goes with a study file"); });
        command_of(stage).run_without_study();
        return;
      }
      comm::agree(world_, [&] { refuse_flags_beside_study(stage); });
      const auto share = comm::agreed(world_, [&] { return share_of(common_.share); });
      run_stage(world_, stage.word, load_study(), common_.force, share);
    });
    auto* file = sub->add_option("study", common_.study, stage.command ? "study file; without one, give the flags below" : "study file");
    file->required(!stage.command);
    add_run_flags(sub);
    if (!stage.units.empty())
      sub->add_option("--share", common_.share, fmt::format("of a study's {} make those of share K of N, \"K/N\"", stage.units));
    for (const auto* option : sub->get_options()) beside_study_.insert(option->get_name());
    auto& command = commands_.emplace_back(*sub, world_, common_.force, common_.overrides);
    if (stage.command) stage.command(command);
  }

  const Command& command_of(const Stage& stage) const { return commands_[static_cast<std::size_t>(&stage - stages().data())]; }

  /// A study says everything; a flag beside it would be dropped without a word.
  void refuse_flags_beside_study(const Stage& stage) const {
    for (const auto* option : app_.get_subcommand(stage.word)->get_options()) {
      if (option->count() == 0 || beside_study_.contains(option->get_name())) continue;
      const std::string flag = option->get_name();
      const std::string key = key_of_flag(stage, flag);
      fail(ExitCode::usage, "{} goes without a study file; {}", flag,
           key.empty() ? "the study says which files a stage reads and writes" : fmt::format("beside one give --set {}=VALUE", key));
    }
  }

  /// The study's key for a stage's flag; "" where there is none.
  static std::string key_of_flag(const Stage& stage, const std::string& flag) {
    const auto other = stage.keys_of_flags.find(flag);
    if (other != stage.keys_of_flags.end()) return other->second;
    std::string name = flag.substr(flag.find_first_not_of('-'));
    std::replace(name.begin(), name.end(), '-', '_');
    const std::string key = stage.table + "." + name;
    const auto& keys = study::keys();
    return std::any_of(keys.begin(), keys.end(), [&](const auto& known) { return known.name == key; }) ? key : "";
  }

  void add_run_flags(CLI::App* sub) {
    sub->add_option("--set", common_.overrides, "override a study key: table.key=value")->type_size(1)->allow_extra_args(false);
    sub->add_flag("--force", common_.force, "replace results that were made with other settings or inputs");
    sub->add_option("--trace", common_.traced, "so many ranks write what they do when to trace/ beside the results, for Chrome or Perfetto")
        ->check(CLI::Range(0, 64));
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

  void add_run() {
    auto* sub = add("run", "run all stages of a study that are not yet done", [this] {
      const auto study = load_study();
      check_report_python(world_, study.text("report.python")); // not after hours of work
      StageProfile profile(world_, "Global");
      for (const Stage& stage : stages()) {
        run_stage(world_, stage.word, study, common_.force);
        if (&stage != &stages().back() && comm::stop_requested(world_)) comm::throw_stopped("run");
      }
      profile.finish("Global", StudyFiles(study).output);
    });
    sub->add_option("study", common_.study, "study file")->required();
    add_run_flags(sub);
  }

  void add_study(CLI::App* sub) {
    sub->add_option("study", common_.study, "study file")->required();
    sub->add_option("--set", common_.overrides, "override a study key: table.key=value")->type_size(1)->allow_extra_args(false);
  }

  void add_status() {
    auto* sub =
        add("status", "which results of a study are done, unfinished, missing, or made from others than those that are there", [this] {
          const auto study = load_study();
          comm::agree(world_, [&] {
            if (world_.rank() == 0) print_status(study);
          });
        });
    add_study(sub);
  }

  void add_plan() {
    auto* plan = add("plan", "bytes, memory and time of each stage of a study, at one size or several", [this] {
      const auto study = load_study();
      comm::agree(world_, [&] { print_plan(study, plan_); });
    });
    add_study(plan);
    plan->add_option("--tokens", plan_.tokens, "tokens of the corpus, such as 1e9, in the place of those of the study")
        ->check(CLI::NonNegativeNumber);
    plan->add_option("--ranks", plan_.ranks, "ranks to plan for")->check(CLI::Range(1, 1 << 24))->capture_default_str();
    plan->add_option("--ranks-a-node", plan_.ranks_a_node, "of them on one node; 0: as the machine has, else all")
        ->check(CLI::Range(0, 1 << 24))
        ->capture_default_str();
    plan->add_option("--machine", plan_.machine, "constants of a machine, as calibrate writes them; without it those of docs/scaling.md");
    plan->add_option("--nodes", plan_.nodes, "numbers of nodes to compare, such as 1,2,4, in the place of --ranks")
        ->delimiter(',')
        ->check(CLI::Range(1, 1 << 20));
    plan->add_option("--matched", plan_.matched, "share of the latents that compare gets matched")->capture_default_str();
    plan->add_flag("--memory", plan_.memory, "also each array above 1 MiB, with its formula");
    plan->add_flag("--json", plan_.json, "all of it as JSON");
  }

  void add_calibrate() {
    auto* calibrate = add("calibrate", "what this machine does a second, measured by the program's own kernels, for plan --machine",
                          [this] { print_calibration(cost::calibrate(world_, calibrate_)); });
    calibrate->add_option("--out", calibrate_.out, "machine file to write (JSON)");
    calibrate->add_option("--work", calibrate_.work, "folder of the file system to measure; nothing stays there")->capture_default_str();
    calibrate->add_option("--repeat", calibrate_.repeats, "runs of each kernel, at most, of which the median counts")
        ->capture_default_str();
    calibrate->add_option("--seconds", calibrate_.seconds, "for all of it: fewer repeats where they would take longer")
        ->capture_default_str();
    calibrate
        ->add_option("--part", calibrate_.part,
                     "of the sizes of the kernels' matrices, above 0: a quick look, since small ones run at other rates")
        ->check(CLI::Range(0.0, 1.0))
        ->capture_default_str();
    calibrate->add_option("--file-mib", calibrate_.file_mib, "size of the file that each rank writes and reads")->capture_default_str();
    calibrate->add_option("--max-time", common_.max_time, "stop (exit 75) after so long: seconds, MM:SS or HH:MM:SS");
  }

  void add_init() {
    auto* init = add("init", "writes a study of two models by looking at them and at a corpus", [this] {
      comm::agree(world_, [&] {
        if (world_.rank() != 0) return;
        write_study(init_);
        say("{}: change what you like; then `concord run {}`", init_.out.string(), init_.out.string());
        print_plan(study::Study(init_.out, {}), plan_);
      });
    });
    init->add_option("model_a", init_.model_a, "Hugging Face folder of a model")->required();
    init->add_option("model_b", init_.model_b, "of the other")->required();
    init->add_option("corpus", init_.corpus, "text file, folder of .txt files, or pattern")->required();
    init->add_option("--out", init_.out, "study to write")->capture_default_str();
    init->add_flag("--force", init_.force, "replace it");
  }

  /// Its script starts the program at several sizes; it says itself what its words mean.
  void add_scaling() {
    auto* scaling = add("scaling", "a scaling study: stages of a study at several numbers of ranks (scaling --help)", {});
    scaling->prefix_command()->set_help_flag();
    scaling->callback([this, scaling] {
      action_ = [this, words = scaling->remaining()] {
        const int status = run_script_with(world_, "scaling.py", words);
        comm::agree(world_, [&] { require(status == 0, static_cast<ExitCode>(status), "scaling.py ended with {}", status); });
      };
    });
  }

  void add_files() {
    auto* check = add("verify", "check files that concord wrote", [this] { verify(world_, paths_); });
    check->add_option("files", paths_, "tokens.h5, activations.h5, features.h5, matches.h5, similarity.h5, subspaces.h5 or SAE folders")
        ->required();
    auto options = std::make_shared<corpus::TokenizeOptions>();
    auto given = std::make_shared<std::shared_ptr<GivenSettings>>();
    auto* documents =
        add("documents", "where the documents of a corpus lie: BEGIN END PATH in bytes, each ended by a NUL", [this, options, given] {
          comm::agree(world_, [&] {
            assign_given<corpus::CorpusSettings>(*options, **given);
            if (world_.rank() == 0) corpus::print_documents(std::cout, options->paths, options->documents);
          });
        });
    documents->add_option("--text", options->paths, "text files, folders or patterns")->required();
    *given = add_setting_flags(*documents, settings::list_of<corpus::CorpusSettings>(*options),
                               {.also = {}, .without = {"paths", "tokenizer", "token_ids", "bos_id", "context", "max_tokens"}});
  }

  void add_pages() {
    auto* info = add("info", "build, libraries, ranks and GPUs", [this] {
      print_info();
      ranks_ ? print_ranks(world_) : print_ranks_in_short(world_);
    });
    info->add_flag("--ranks", ranks_, "host, cores, NUMA nodes, threads and GPU of each rank, and which of them get into each other's way");
    auto* keys = add("keys", "the table of all study keys as Markdown",
                     [this] { say("{}", json_schema_ ? study::keys_as_json_schema() : study::keys_as_markdown()); });
    keys->add_flag("--json-schema", json_schema_, "as a JSON schema, by which editors complete and check a study");
    auto* words = add("stages", "the words of all stages, in the order in which run takes them", [] {
      for (const Stage& stage : stages()) say("{}", stage.word);
    });
    auto* completion =
        add("completion", "a script that completes commands, flags and keys in bash", [this] { say("{}", bash_completion(app_)); });
    auto* man = add("man", "the manual page", [this] { say("{}", man_page(app_)); });
    pages_ = {keys, words, completion, man};
  }

  const comm::Communicator& world_;
  double stall_seconds_ = 0;
  CLI::App app_{"concord tells how far two language models represent the same things."};
  std::function<void()> action_;
  std::set<const CLI::App*> pages_;              ///< commands that need no MPI
  std::set<std::string> beside_study_{"--help"}; ///< flags that go with a study
  Common common_;
  std::deque<Command> commands_; ///< of the stages; a deque, since what they do refers to them
  std::vector<std::string> paths_;
  bool json_schema_ = false;
  bool ranks_ = false;
  PlanOptions plan_;
  cost::CalibrateOptions calibrate_;
  InitOptions init_;
};

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

std::optional<int> answer_alone(int argc, char** argv) {
  set_speaker(comm::rank_by_launcher() == 0);
  const comm::Communicator unused; // MPI_COMM_WORLD, which nothing here asks anything
  return Program(unused).answer(argc, argv);
}

int run(const comm::Session& session, int argc, char** argv) {
  read_failures_with(torch_failure);
  // Before the arguments are parsed: a rank that found them wrong would leave the others waiting.
  const int differs = comm::run_guarded(session, [&] { require_same_start(session.world(), argc, argv); });
  if (differs != 0) return differs;
  Program program(session.world());
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
