#include "concord/corpus/tokenize.hpp"

#include "concord/corpus/memory_plan.hpp"
#include "concord/corpus/text/text_files.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/io/dataset_bytes.hpp"

#include "app/command/command.hpp"
#include "app/command/setting_flags.hpp"
#include "app/plan/plan_sizes.hpp"
#include "app/results/checks/checks.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>

namespace concord::app {
namespace {

void add_flags(Command& command) {
  auto options = std::make_shared<corpus::TokenizeOptions>();
  auto& flags = command.flags();
  flags.add_option("--text", options->paths, "text files, folders or patterns");
  const auto given = add_setting_flags(flags, settings::list_of<corpus::CorpusSettings>(*options),
                                       {.also = {{"token_ids", "--tokens"}}, .without = {"paths"}});
  flags.add_option("--out", options->out, "tokens.h5 to write");
  auto beside = std::make_shared<std::pair<std::vector<std::filesystem::path>, std::vector<std::filesystem::path>>>();
  flags.add_option("--with", beside->first, "tokenizers of other models, whose tokens become rows of the same text");
  flags.add_option("--with-out", beside->second, "their tokens.h5, in that order");
  command.without_study([&command, options, beside, given] {
    command.need(beside->first.size() == beside->second.size(), "a --with-out for each --with");
    for (std::size_t i = 0; i < beside->first.size(); ++i) options->beside.push_back({beside->first[i], beside->second[i]});
    assign_given<corpus::CorpusSettings>(*options, *given);
    command.need(!options->out.empty() && (!options->paths.empty() || !options->token_ids.empty()),
                 "--text with --tokenizer (or --tokens) and --out");
    options->force = command.force();
    corpus::tokenize(command.world(), *options);
  });
}

void run(const StageRun& run) {
  corpus::TokenizeOptions o{run.study.stage_settings<corpus::CorpusSettings>("corpus"), {}, {}};
  o.paths.clear(); // patterns, below a folder whose name is none
  for (const auto& path : run.study.list("corpus.paths")) o.paths.push_back(corpus::pattern_below(run.study.folder(), path));
  const auto models = run.study.tokenized();
  o.tokenizer = models.front().tokenizer;
  o.out = run.files.tokens(models.front());
  for (std::size_t m = 1; m < models.size(); ++m) o.beside.push_back({models[m].tokenizer, run.files.tokens(models[m])});
  o.force = run.force;
  corpus::tokenize(run.comm, o);
}

std::vector<StageResult> results(const study::Study& study) {
  std::vector<StageResult> all;
  const auto models = study.tokenized();
  for (const auto& model : models)
    all.push_back({models.size() > 1 ? named("tokenize", model) : "tokenize", StudyFiles(study).tokens(model), {}});
  return all;
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  const corpus::TokenizeOptions options;
  const auto tokenizers = static_cast<double>(s.study.tokenized().size());
  const double text = std::max(s.text_bytes, 4 * s.tokens);
  const auto piece = static_cast<double>(options.piece_bytes);
  const bool whole_files = s.study.text("corpus.documents") == settings::word_of(corpus::DocumentEnd::file);
  const double longest = whole_files ? s.largest_text : 0; // with blank lines nobody knows before the text is read
  StagePlan one{"tokenize",
                tokenizers * (tokens_disk(s.disk) + (tokenizers > 1 ? io::dataset_bytes(s.tokens) : 0)),
                0,
                corpus::tokenize_memory(options.piece_bytes, text, s.vocabulary(), longest, tokenizers),
                {{cost::Work::text, piece}}};
  one.add(cost::tokenize_cost({.text = text, .piece = piece, .written = one.disk}, s.layout()));
  return {one};
}

} // namespace

Stage tokenize_stage() {
  return {.word = "tokenize",
          .help = "text files -> tokens.h5",
          .table = "corpus",
          .command = add_flags,
          .keys_of_flags = {{"--text", "corpus.paths"}, {"--tokens", "corpus.token_ids"}},
          .run = run,
          .results = results,
          .plan = plan,
          .checks = {{"tokenize", check_tokens}}};
}

} // namespace concord::app
