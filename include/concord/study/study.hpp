#pragma once
/// A study: one TOML file, every key documented and with a default, unknown keys refused by name. Local.

#include "concord/core/index.hpp"
#include "concord/core/settings.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace concord::study {

using settings::Value;

using settings::Setting;

/// Every key there is with its default, named "sae.k", in the order of the stages; those of a model are named "model.NAME.path".
const std::vector<Setting>& keys();

/// The defaults that `study.paper` puts in the place of others: the choices of the published pipeline (docs/concepts.md).
const std::map<std::string, Value>& paper_defaults();

/// The table of all keys as Markdown (docs/configuration.md is made of it).
std::string keys_as_markdown();
/// A JSON schema of a study, by which editors complete and check TOML.
std::string keys_as_json_schema();

/// A model of a study.
struct Model {
  std::string name;
  std::string table;               ///< of its keys: "model.a"
  int number = 0;                  ///< in the order of the study
  std::uint64_t stream = 0;        ///< of its random numbers: of its name alone
  std::filesystem::path path;      ///< absolute; empty when the study gives none
  std::vector<std::string> layers; ///< "all", or numbers
  std::string saes;                ///< trained SAEs that the study gives, with {layer}; empty: train-sae makes them
  std::filesystem::path folder;    ///< of its results, below the study's output
  std::filesystem::path extracted; ///< the folder of the model whose residual streams it has; its own but for `same_as`
  std::filesystem::path tokenizer; ///< absolute; empty when the study gives none
  std::filesystem::path tokens;    ///< its tokens.h5, below the study's output: one for each tokenizer
  bool is_extracted() const { return folder == extracted; }
};

/// Two models that are compared.
struct Pair {
  Model a, b;
  std::string name;             ///< "small vs large"; empty in a study of "a" and "b"
  std::filesystem::path folder; ///< of its results, below the study's output
};

class Study {
public:
  /// Reads `path`, then applies `overrides` ("table.key=value"). Relative paths inside are relative to the study's folder.
  /// @throws Error input_missing or config (syntax, unknown key with the nearest known one, wrong type, value out of range).
  Study(const std::filesystem::path& path, const std::vector<std::string>& overrides);
  /// The same of a text that is read already, called `where` in errors; relative paths count from `folder`.
  Study(const std::string& toml, const std::string& where, std::filesystem::path folder, const std::vector<std::string>& overrides);

  bool flag(const std::string& key) const { return get<bool>(key); }
  Index integer(const std::string& key) const { return get<Index>(key); }
  double real(const std::string& key) const { return get<double>(key); }
  std::string text(const std::string& key) const { return get<std::string>(key); }
  std::vector<std::string> list(const std::string& key) const { return get<std::vector<std::string>>(key); }
  /// In the order in which the study names them.
  std::vector<Model> models() const;
  /// @param key "study.pairs", or that of a stage which names some of them
  std::vector<Pair> pairs(const std::string& key = "study.pairs") const;
  /// The models whose tokenizers make the tokens: the first of each tokenizer.
  std::vector<Model> tokenized() const;
  bool has_own_tokenizers() const { return tokenized().size() > 1; }
  /// A path key, made absolute; empty when the key is empty.
  std::filesystem::path path(const std::string& key) const;
  /// A path-like text that may hold {layer} or a pattern, made absolute.
  std::string location(const std::string& text) const;
  /// The settings of a table, where a struct describes them or some of them (core/settings.hpp); paths are made absolute.
  template <typename Settings>
  Settings stage_settings(const std::string& table) const {
    Settings s;
    settings::assign(s, [&](const std::string& name) { return setting(table + "." + name); });
    return s;
  }
  /// The study's folder, from which relative paths count.
  const std::filesystem::path& folder() const { return folder_; }
  /// The study with all defaults filled in and all paths absolute, as TOML: it means the same wherever it lies.
  std::string resolved() const;

private:
  /// A key's value; of a path made absolute.
  Value setting(const std::string& key) const;
  /// "table.key=value".
  void set(const std::string& assignment);
  /// Ranges and choices. @throws Error config.
  void check(const std::string& where) const;
  /// A path, or a list of paths, made absolute.
  Value located(Value value) const;
  template <typename T>
  const T& get(const std::string& key) const;
  /// Every key with its default, those of the study's models by their names.
  std::vector<Setting> own_keys() const;
  /// Adds the model that a key is about.
  void know_model_of(const std::string& key);
  bool has_model(const std::string& name) const;
  Model model(const std::string& name) const;
  std::filesystem::path tokenizer_of(const std::string& name) const;
  void check_models(const std::string& where) const;
  /// What wants models of one tokenizer, where they have their own.
  void check_tokenizers(const std::string& where) const;
  void check_pairs(const std::string& key, const std::string& where) const;
  std::filesystem::path folder_;
  std::map<std::string, Value> values_;
  std::vector<std::string> models_; ///< names
};

} // namespace concord::study
