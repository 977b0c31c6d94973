#include "concord/graph/graph.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/log.hpp"

#include "app/command/command.hpp"
#include "app/results/checks/checks.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>

namespace concord::app {
namespace {

/// Files given as "A:B=FILE".
struct GivenPairs {
  std::vector<std::string> matches;
  std::vector<std::string> shifted;
};

struct GivenPair {
  std::string a, b, file;
};

GivenPair parsed(const std::string& text, const char* flag) {
  const std::size_t colon = text.find(':');
  const std::size_t equals = text.find('=', colon == std::string::npos ? 0 : colon);
  require(colon != std::string::npos && equals != std::string::npos && colon > 0 && equals > colon + 1 && equals + 1 < text.size(),
          ExitCode::usage, "{} \"{}\": write A:B=FILE, with the names of the two models", flag, text);
  return {text.substr(0, colon), text.substr(colon + 1, equals - colon - 1), text.substr(equals + 1)};
}

int number_of(std::vector<std::string>& models, const std::string& name) {
  const auto found = std::find(models.begin(), models.end(), name);
  if (found != models.end()) return static_cast<int>(found - models.begin());
  models.push_back(name);
  return static_cast<int>(models.size()) - 1;
}

/// Models are numbered as they are first named.
void take(graph::GraphOptions& options, const GivenPairs& given) {
  for (const auto& text : given.matches) {
    const auto pair = parsed(text, "--matches");
    const int a = number_of(options.models, pair.a), b = number_of(options.models, pair.b);
    const bool twice = std::any_of(options.pairs.begin(), options.pairs.end(),
                                   [&](const auto& p) { return (p.a == a && p.b == b) || (p.a == b && p.b == a); });
    require(a != b && !twice, ExitCode::usage, "--matches \"{}\": one model, or two models that stand there twice", text);
    options.pairs.push_back({a, b, pair.file, {}});
  }
  for (const auto& text : given.shifted) {
    const auto pair = parsed(text, "--shifted");
    const auto found = std::find_if(options.pairs.begin(), options.pairs.end(), [&](const auto& p) {
      return options.models[static_cast<std::size_t>(p.a)] == pair.a && options.models[static_cast<std::size_t>(p.b)] == pair.b;
    });
    require(found != options.pairs.end(), ExitCode::usage, "--shifted \"{}\": there are no --matches of {}:{}", text, pair.a, pair.b);
    found->shifted = pair.file;
  }
}

void add_flags(Command& command) {
  auto options = std::make_shared<graph::GraphOptions>();
  auto given = std::make_shared<GivenPairs>();
  auto& flags = command.flags();
  flags.add_option("--matches", given->matches, "A:B=matches.h5 of each pair of at least three models");
  flags.add_option("--shifted", given->shifted, "A:B=FILE of `correlate --shift-a --shift-b`, of each of these pairs or of none");
  flags.add_option("--out", options->out, "graph.h5 to write");
  command.without_study([&command, options, given] {
    command.need(!given->matches.empty() && !options->out.empty(), "--matches and --out");
    options->force = command.force();
    comm::agree(command.world(), [&] { take(*options, *given); });
    graph::graph(command.world(), *options);
  });
}

bool has_work(const study::Study& study) {
  return !graph_options(study).pairs.empty();
}

void run(const StageRun& run) {
  auto o = comm::agreed(run.comm, [&] { return graph_options(run.study); });
  if (o.pairs.empty()) {
    log_info("graph: the study has no three models of which all pairs are compared");
    return;
  }
  o.force = run.force;
  graph::graph(run.comm, o);
}

std::vector<StageResult> results(const study::Study& study) {
  const auto options = graph_options(study);
  if (options.pairs.empty()) return {};
  StageResult result{"graph", options.out, {}};
  for (const auto& pair : options.pairs) {
    const auto names = options.models[static_cast<std::size_t>(pair.a)] + " " + options.models[static_cast<std::size_t>(pair.b)];
    result.reads.push_back({"matches " + names, pair.matches.string()});
    result.reads.push_back({"shifted " + names, pair.shifted.string()});
  }
  return {result};
}

} // namespace

Stage graph_stage() {
  return {.word = "graph",
          .help = "matches of three or more models -> graph.h5 (cycles, and in how many models a feature is found)",
          .table = "study",
          .command = add_flags,
          .keys_of_flags = {{"--matches", ""}, {"--shifted", ""}},
          .has_work = has_work,
          .run = run,
          .results = results,
          .plan = {},
          .checks = {{"graph", check_graph}}};
}

} // namespace concord::app
