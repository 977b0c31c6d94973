#include "app/init.hpp"

#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/text_files.hpp"
#include "concord/model/config.hpp"
#include "concord/study/study.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <fstream>

namespace concord::app {

namespace fs = std::filesystem;

namespace {

struct Seen {
  std::string name; ///< in the study
  fs::path folder;
  model::ModelConfig config;
};

/// Letters, digits, '.', '-' and '_' alone, a letter or digit first.
std::string name_for(const fs::path& folder) {
  std::string name = fs::absolute(folder).lexically_normal().filename().string();
  if (name.empty()) name = fs::absolute(folder).lexically_normal().parent_path().filename().string();
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '-' && c != '_') c = '-';
  const auto first = std::find_if(name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; });
  name.erase(name.begin(), first);
  return name.substr(0, 100);
}

std::pair<Seen, Seen> models_of(const InitOptions& o) {
  Seen a{name_for(o.model_a), o.model_a, model::read_config(o.model_a)};
  Seen b{name_for(o.model_b), o.model_b, model::read_config(o.model_b)};
  if (a.name.empty() || b.name.empty() || a.name == b.name) {
    a.name = "a";
    b.name = "b";
  }
  return {std::move(a), std::move(b)};
}

/// The tokenizer of a model; "" where its folder and those above have none.
fs::path tokenizer_of(const Seen& model) {
  for (const fs::path& file :
       {model.folder / "tokenizer.model", model.folder / "tokenizer.json", model.folder.parent_path() / "tokenizer.model",
        model.folder.parent_path().parent_path() / "tokenizer.model"})
    if (std::error_code error; fs::exists(file, error)) return file;
  return {};
}

/// Of the models: one of both, or one of each.
struct Tokenizers {
  fs::path common, a, b;
};

Tokenizers tokenizers_of(const Seen& a, const Seen& b) {
  const Tokenizers own{{}, tokenizer_of(a), tokenizer_of(b)};
  if (own.a.empty() || own.b.empty()) return {own.a.empty() ? own.b : own.a, {}, {}};
  const bool same =
      own.a.filename() == own.b.filename() ? digest_of_file(own.a) == digest_of_file(own.b) : a.config.vocab == b.config.vocab;
  return same ? Tokenizers{own.a, {}, {}} : own;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string quoted(const fs::path& path) {
  return quoted(fs::absolute(path).lexically_normal().string());
}

/// "302_000".
std::string grouped(Index number) {
  std::string text = std::to_string(number);
  for (auto place = static_cast<Index>(text.size()) - 3; place > 0; place -= 3) text.insert(static_cast<std::size_t>(place), "_");
  return text;
}

std::string model_table(const Seen& model, const fs::path& tokenizer) {
  std::string text = fmt::format("[model.\"{}\"]\npath = {} # {}, {} layers of width {}\n", model.name, quoted(model.folder),
                                 model.config.family, model.config.layers, model.config.hidden);
  if (!tokenizer.empty()) text += fmt::format("tokenizer = {}\n", quoted(tokenizer));
  return text + fmt::format("# layers = [{}, {}] # all when left out\n\n", model.config.layers / 4, model.config.layers / 2);
}

/// Tokens that a model is shown at once: no more than it was made for.
Index context_of(const Seen& model) {
  constexpr Index usual = 1024;
  return model.config.longest > 0 ? std::min(usual, model.config.longest) : usual;
}

std::string corpus_table(const InitOptions& o, const Seen& a, const Seen& b, const Tokenizers& tokenizers, double bytes) {
  std::string text = "[corpus]\n";
  text += fmt::format("paths = [{}] # {}, about {} tokens\n", quoted(fs::path(o.corpus)), human_bytes(bytes),
                      grouped(static_cast<Index>(bytes / 4)));
  if (!tokenizers.a.empty())
    text += "# Each model reads the text by its own tokenizer; rows are tokens of both that end at one byte (docs/concepts.md).\n";
  else if (tokenizers.common.empty())
    text += "# Neither folder has a tokenizer.model or tokenizer.json. Give one that both models share, or one in each model's table:\n"
            "tokenizer = \"\"\n";
  else
    text += fmt::format("tokenizer = {} # both models must have been trained with it\n", quoted(tokenizers.common));
  const Index context = std::min(context_of(a), context_of(b));
  return text + fmt::format("context = {} # tokens that a model sees at once\n# max_tokens = 1_000_000 # for a first look\n\n", context);
}

/// Eight latents a dimension of the wider model, as a power of two.
Index latents_for(const Seen& a, const Seen& b) {
  const auto widest = static_cast<std::uint64_t>(std::max(a.config.hidden, b.config.hidden));
  return static_cast<Index>(std::bit_ceil(8 * widest));
}

std::string sae_table(const Seen& a, const Seen& b, double tokens) {
  const Index latents = latents_for(a, b);
  const Index k = latents >= 8192 ? 64 : latents >= 2048 ? 32 : 16;
  const auto rows = static_cast<Index>(std::clamp(4 * tokens, 1e6, 2e8) / 1e5) * 100'000;
  return fmt::format("[sae]\nlatents = {} # 8 a dimension of the wider model\nk = {} # active at a time\nrows = {} # that each SAE sees\n"
                     "# saes = \"...\" in a model's table names trained SAEs: SAELens folders, Gemma Scope, sparsify (docs/formats.md)\n\n",
                     latents, k, grouped(rows));
}

} // namespace

std::string study_for(const InitOptions& o) {
  const auto [a, b] = models_of(o);
  double bytes = 0;
  for (const auto& file : corpus::find_text_files({corpus::pattern_below(fs::current_path(), o.corpus)}).files)
    bytes += static_cast<double>(file.size);
  const double tokens = bytes / 4;
  const double rows =
      tokens * 2 * (a.config.layers * static_cast<double>(a.config.hidden) + b.config.layers * static_cast<double>(b.config.hidden));
  std::string text =
      "# Written by `concord init`; docs/configuration.md lists every key. Before it runs: concord plan THIS_FILE --ranks N\n";
  text += fmt::format("[study]\nname = {}\noutput = {}\nseed = 1\n\n", quoted(a.name + " against " + b.name),
                      quoted(std::string("runs/") + a.name + "_" + b.name));
  const Tokenizers tokenizers = tokenizers_of(a, b);
  text += corpus_table(o, a, b, tokenizers, bytes) + model_table(a, tokenizers.a) + model_table(b, tokenizers.b);
  text += fmt::format("[extract]\ndtype = \"bf16\" # all layers of both models take {}\n", human_bytes(rows));
  text += "# device = \"cuda\"\n# fused = true # keeps no rows on disk: SAEs are trained while the model runs\n\n";
  text += sae_table(a, b, tokens);
  text += "[correlate]\nnull_shifts = 4 # passes with shifted documents: what r chance gives\n\n";
  text += "[compare]\npermutations = 999 # p is at least 1 / 1000\n\n";
  if (tokenizers.a.empty())
    text += "# [subspaces] # concepts as lists of words: docs/subspaces.md\n# concepts = \"data/concepts/concepts.tsv\"\n";
  if (tokenizers.a.empty() && a.config.vocab != b.config.vocab)
    log_warn("init: {} has {} tokens, {} has {}; models of different tokenizers need one each, in their tables", a.name, a.config.vocab,
             b.name, b.config.vocab);
  study::Study(text, "the study", fs::current_path(), {}); // what is written can be read
  return text;
}

void write_study(const InitOptions& o) {
  std::error_code error;
  require(o.force || !fs::exists(o.out, error), ExitCode::usage, "{} is there; give --force to replace it, or --out FILE", o.out.string());
  const auto text = study_for(o);
  std::ofstream file(o.out);
  file << text;
  file.close();
  require(file.good(), ExitCode::io, "cannot write {}", o.out.string());
}

} // namespace concord::app
