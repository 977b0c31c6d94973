#include "concord/similarity/compare.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/similarity/file_bytes.hpp"
#include "concord/similarity/memory_plan.hpp"

#include "app/command/command.hpp"
#include "app/command/setting_flags.hpp"
#include "app/plan/plan_sizes.hpp"
#include "app/results/checks/checks.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>

namespace concord::app {
namespace {

/// What `compare` takes in the place of matches.
struct Matrices {
  std::vector<std::string> x, y;
  std::string json;
};

void add_flags(Command& command) {
  auto options = std::make_shared<similarity::CompareOptions>();
  auto matrices = std::make_shared<Matrices>();
  auto& flags = command.flags();
  flags.add_option("--x", matrices->x, "matrices with matched rows: X.npy, FILE.h5:/dataset or FILE.safetensors:tensor");
  flags.add_option("--y", matrices->y, "the others; every x is compared with every y");
  flags.add_option("--json", matrices->json, "record to write for --x and --y");
  flags.add_option("--matches", options->matches, "matches.h5");
  flags.add_option("--saes-a", options->saes_a, "SAEs of model A: folder, or a path with {layer}");
  flags.add_option("--saes-b", options->saes_b, "SAEs of model B");
  const auto given = add_setting_flags(flags, settings::list_of(options->settings));
  flags.add_option("--seed", options->settings.spaces.seed, "seed of the permutations")->capture_default_str();
  flags.add_option("--out", options->out, "similarity.h5 to write");
  command.without_study([&command, options, matrices, given] {
    const bool of_matrices = !matrices->x.empty() && !matrices->y.empty() && !matrices->json.empty();
    const bool of_files = !options->matches.empty() && !options->saes_a.empty() && !options->saes_b.empty() && !options->out.empty();
    command.need(of_matrices || of_files, "--x, --y and --json; or --matches, --saes-a, --saes-b and --out");
    options->force = command.force();
    comm::agree(command.world(), [&] { assign_given(options->settings, *given); });
    if (of_matrices)
      similarity::compare_matrices(command.world(), matrices->x, matrices->y, options->settings.spaces, matrices->json);
    else
      similarity::compare(command.world(), *options);
  });
}

void run(const StageRun& run) {
  std::size_t unit = 0;
  for (const auto& pair : run.study.pairs()) {
    if (!run.share.has(unit++)) continue;
    auto o = comm::agreed(run.comm, [&] { return compare_options(run.study, pair); });
    o.force = run.force;
    similarity::compare(run.comm, o);
  }
}

std::vector<StageResult> results(const study::Study& study) {
  const StudyFiles files(study);
  std::vector<StageResult> all;
  for (const auto& pair : study.pairs())
    all.push_back({named("compare", pair),
                   files.similarity(pair),
                   {{"matches", files.matches(pair).string()},
                    {"sae_a/", files.saes(pair.a), StageInput::Kind::saes},
                    {"sae_b/", files.saes(pair.b), StageInput::Kind::saes}}});
  return all;
}

int groups_of(const PlanSizes& s, const similarity::CompareOptions& options, const ModelPlan& a, const ModelPlan& b) {
  const int wanted = options.settings.groups;
  const auto layer_pairs = static_cast<Index>(a.layers * b.layers);
  return std::max(1, wanted > 0 ? std::min(wanted, s.ranks) : similarity::groups_for(layer_pairs, s.ranks));
}

cost::CompareSize cost_size(const PlanSizes& s, const similarity::CompareOptions& options, const ModelPlan& a, const ModelPlan& b,
                            double written) {
  const auto& spaces = options.settings.spaces;
  const auto has = [&](std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(), [&](const char* name) {
      return std::find(spaces.measures.begin(), spaces.measures.end(), name) != spaces.measures.end();
    });
  };
  constexpr double by_variance = 0.75; // of the components, seen on decoders (docs/performance.md)
  const auto kept = [&](double d) { return spaces.svcca.k > 0 ? std::min(d, static_cast<double>(spaces.svcca.k)) : by_variance * d; };
  return {.layers_a = a.layers,
          .layers_b = b.layers,
          .matches = s.matched * s.latents(),
          .features_a = s.latents(),
          .features_b = s.latents(),
          .width_a = a.width(),
          .width_b = b.width(),
          .kept_a = kept(a.width()),
          .kept_b = kept(b.width()),
          .permutations = static_cast<double>(spaces.permutations + spaces.stratified),
          .subsets = s.matched < 1 ? static_cast<double>(spaces.subsets) : 0, // where all are matched there is no other set
          .kendall = has({"rsa_kendall"}) ? static_cast<double>(spaces.kendall_samples) : 0,
          .svcca = has({"svcca", "svcca_squared", "svcca_rank1", "pwcca"}),
          .cross = has({"cka", "cka_debiased", "procrustes"}),
          .procrustes = has({"procrustes"}),
          .rdm = has({"rsa", "rsa_pearson", "rsa_rho_a", "rsa_kendall", "mutual_knn"}),
          .ranks = has({"rsa", "rsa_rho_a"}),
          .values = has({"rsa_pearson"}),
          .memory = spaces.memory_gib * 0x1p30,
          .written = written,
          .groups = groups_of(s, options, a, b)};
}

MemoryPlan memory_of(const PlanSizes& s, const similarity::CompareOptions& options, const ModelPlan& a, const ModelPlan& b) {
  const int groups = groups_of(s, options, a, b);
  const int ranks = std::max(1, s.ranks / groups);
  auto plan = similarity::compare_memory(options.settings.spaces, {.matches = s.latents(),
                                                                   .features_a = s.latents(),
                                                                   .features_b = s.latents(),
                                                                   .d_a = a.width(),
                                                                   .d_b = b.width(),
                                                                   .ranks = ranks,
                                                                   .threads = thread_count()});
  plan.copies_a_node(s.groups_on_node(ranks));
  return plan;
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  const auto permutations =
      static_cast<double>(s.study.integer("compare.permutations") + s.study.integer("compare.stratified_permutations"));
  const double latents = s.latents();
  StagePlan all{"compare", 0, 0, MemoryPlan("compare")};
  for (const auto& pair : s.study.pairs()) {
    const auto options = compare_options(s.study, pair);
    const ModelPlan& a = s.plan_of(pair.a);
    const ModelPlan& b = s.plan_of(pair.b);
    const double layer_pairs = a.layers * b.layers;
    const double widest = std::max(a.width(), b.width());
    const double squares = widest * widest;
    const double disk = similarity::similarity_file_bytes(options.settings.spaces, layer_pairs);
    all.disk += disk;
    all.add(cost::compare_cost(cost_size(s, options, a, b, disk), s.layout()));
    // Products of rows with rows (RDMs, twice where the keys don't fit), of columns with columns (bases), and one a permutation.
    all.flops += layer_pairs * (2 * latents * latents * widest +
                                permutations * (2 * latents * squares + 4 * squares * widest + latents * latents) + 12 * latents * squares);
    all.unbroken.push_back({cost::Work::product_f64, 2 * latents * squares, widest});
    all.unbroken.push_back({cost::Work::eigenvectors, squares * widest, widest});
    auto memory = memory_of(s, options, a, b);
    if (memory.of_all(s.on_node) > all.memory.of_all(s.on_node)) all.memory = std::move(memory);
  }
  return {all};
}

} // namespace

Stage compare_stage() {
  return {.word = "compare",
          .help = "matches + decoders -> similarity.h5 (SVCCA, RSA, CKA and others beside chance)",
          .table = "compare",
          .units = "pairs of models",
          .command = add_flags,
          .keys_of_flags = {{"--seed", "study.seed"}, {"--json", ""}},
          .has_work = has_pairs,
          .run = run,
          .results = results,
          .plan = plan,
          .checks = {{"compare", check_similarity}}};
}

} // namespace concord::app
