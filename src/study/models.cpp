// The models of a study and its pairs of them.
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/study/study.hpp"

#include "study/model_table.hpp"
#include <algorithm>
#include <set>

namespace concord::study {
namespace {

using Texts = std::vector<std::string>;

/// Random numbers of a model hang on its name: not on which models stand beside it.
std::uint64_t stream_of(const std::string& name) {
  if (name == "a" || name == "b") return name == "a" ? 0 : 1; // older than names
  Digest digest;
  digest.add(name);
  return std::stoull(digest.hex().substr(0, 13), nullptr, 16); // 52 bits, which JSON keeps
}

} // namespace

bool Study::has_model(const std::string& name) const {
  return std::find(models_.begin(), models_.end(), name) != models_.end();
}

void Study::check_models(const std::string& where) const {
  const bool named = models_ != Texts{"a", "b"};
  for (const auto& name : models_) {
    const std::string key = model_table + name + ".same_as";
    const std::string other = text(key);
    const bool has_path = !text(model_table + name + ".path").empty();
    require(!named || has_path || !other.empty(), ExitCode::config, "{}: {}{} has neither path nor same_as; give one of them", where,
            model_table, name);
    if (other.empty()) continue;
    require(text(model_table + name + ".tokenizer").empty(), ExitCode::config, "{}: {}{} has same_as, so its tokenizer is that of {}",
            where, model_table, name, other);
    require(other != name && has_model(other), ExitCode::config, "{}: {} = \"{}\" names no other model of this study", where, key, other);
    require(text(model_table + other + ".same_as").empty(), ExitCode::config, "{}: {} = \"{}\", which has same_as itself; name that model",
            where, key, other);
    require(!has_path, ExitCode::config, "{}: {}{} has path and same_as; give one of them", where, model_table, name);
  }
}

void Study::check_pairs(const std::string& key, const std::string& where) const {
  const auto wanted = list(key);
  if (wanted == Texts{"all"}) return;
  require(!wanted.empty(), ExitCode::config, "{}: {} is empty; write \"all\", or pairs of models", where, key);
  std::set<std::string> seen;
  for (const auto& pair : wanted) {
    const std::size_t colon = pair.find(':');
    require(colon != std::string::npos, ExitCode::config, "{}: {} holds \"{}\"; write \"all\", or pairs: [[\"A\", \"B\"]]", where, key,
            pair);
    const std::string a = pair.substr(0, colon), b = pair.substr(colon + 1);
    for (const auto& name : {a, b})
      require(has_model(name), ExitCode::config, "{}: {} names a model \"{}\"; the models are {}", where, key, name, join(models_, ", "));
    require(a != b && seen.insert(pair).second && !seen.contains(fmt::format("{}:{}", b, a)), ExitCode::config,
            "{}: {}: {} and {} are one model, or stand there twice", where, key, a, b);
  }
}

void Study::check_tokenizers(const std::string& where) const {
  if (!has_own_tokenizers()) return;
  require(text("corpus.token_ids").empty(), ExitCode::config,
          "{}: the models have tokenizers of their own, but corpus.token_ids are of one; give corpus.paths in its place", where);
  for (const auto& model : tokenized())
    require(!model.tokenizer.empty(), ExitCode::config, "{}: {} has no tokenizer, but another model has; give {}.tokenizer", where,
            model.table, model.table);
  require(list("sae.crosscoders").empty(), ExitCode::config,
          "{}: sae.crosscoders are of models that read the same tokens; these have "
          "tokenizers of their own",
          where);
  require(
      text("subspaces.concepts").empty(), ExitCode::config,
      "{}: subspaces.concepts: subspaces are compared on words of the same tokens, and the models have tokenizers of their own; leave it "
      "empty, or make a study of models that share one",
      where);
}

Model Study::model(const std::string& name) const {
  const bool named = models_ != Texts{"a", "b"};
  const auto folder_of = [&](const std::string& of) { return named ? std::filesystem::path("models") / of : std::filesystem::path(of); };
  const std::string table = model_table + name;
  const std::string saes = text(table + ".saes");
  const std::string other = text(table + ".same_as");
  Model m{.name = name,
          .table = table,
          .number = 0,
          .stream = 0,
          .path = {},
          .layers = list(table + ".layers"),
          .saes = {},
          .folder = folder_of(name),
          .extracted = {},
          .tokenizer = tokenizer_of(name),
          .tokens = "tokens.h5"};
  m.number = static_cast<int>(std::find(models_.begin(), models_.end(), name) - models_.begin());
  m.stream = stream_of(name);
  m.path = path((other.empty() ? table : model_table + other) + ".path");
  if (!other.empty() && m.layers == Texts{"all"}) m.layers = list(model_table + other + ".layers");
  m.saes = saes.empty() ? "" : location(saes);
  m.extracted = other.empty() ? m.folder : folder_of(other);
  const auto same = [&](const std::string& another) { return tokenizer_of(another) == m.tokenizer; };
  if (std::all_of(models_.begin(), models_.end(), same)) return m;
  m.tokens = folder_of(*std::find_if(models_.begin(), models_.end(), same)) / "tokens.h5"; // of one tokenizer there is one file
  return m;
}

std::filesystem::path Study::tokenizer_of(const std::string& name) const {
  const std::string other = text(model_table + name + ".same_as");
  const std::string key = model_table + (other.empty() ? name : other) + ".tokenizer";
  return path(text(key).empty() ? "corpus.tokenizer" : key);
}

std::vector<Model> Study::tokenized() const {
  std::vector<Model> all;
  for (const auto& model : models())
    if (std::none_of(all.begin(), all.end(), [&](const Model& earlier) { return earlier.tokens == model.tokens; })) all.push_back(model);
  return all;
}

std::vector<Model> Study::models() const {
  std::vector<Model> all;
  for (const auto& name : models_) all.push_back(model(name));
  return all;
}

std::vector<Pair> Study::pairs(const std::string& key) const {
  if (key != "study.pairs" && list(key) == Texts{"all"}) return pairs();
  std::vector<std::pair<std::string, std::string>> wanted;
  if (const auto given = list(key); given == Texts{"all"}) {
    for (std::size_t a = 0; a < models_.size(); ++a)
      for (std::size_t b = a + 1; b < models_.size(); ++b) wanted.emplace_back(models_[a], models_[b]);
  } else {
    for (const auto& pair : given) wanted.emplace_back(pair.substr(0, pair.find(':')), pair.substr(pair.find(':') + 1));
  }
  std::vector<Pair> pairs;
  pairs.reserve(wanted.size());
  const bool named = models_ != Texts{"a", "b"};
  for (const auto& [a, b] : wanted)
    pairs.push_back({model(a), model(b), named ? fmt::format("{} vs {}", a, b) : "",
                     named ? std::filesystem::path("pairs") / fmt::format("{}_vs_{}", a, b) : std::filesystem::path()});
  return pairs;
}

} // namespace concord::study
