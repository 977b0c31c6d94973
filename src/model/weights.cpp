#include "concord/model/weights.hpp"

#include "concord/comm/decided.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/log.hpp"
#include "concord/io/file_digest.hpp"

#include "model/configs/modalities.hpp"
#include <set>
#include <sys/mman.h>
#include <unistd.h>

namespace concord::model {

namespace {

constexpr auto single_name = "model.safetensors";
constexpr auto index_name = "model.safetensors.index.json";

WeightFiles found_in(const std::filesystem::path& folder) {
  std::error_code unreadable;
  if (std::filesystem::exists(folder / single_name, unreadable)) return WeightFiles::single;
  require(std::filesystem::exists(folder / index_name, unreadable), ExitCode::input_missing, "{} holds neither {} nor {}", folder.string(),
          single_name, index_name);
  return WeightFiles::index;
}

} // namespace

WeightFiles weight_files(const comm::Communicator& comm, const std::filesystem::path& folder) {
  return comm::decided(comm, [&] {
    const auto files = found_in(folder);
    std::error_code unreadable;
    if (files == WeightFiles::single && std::filesystem::exists(folder / index_name, unreadable))
      log_info("{} holds {} and {}; the first is read, as transformers does", folder.string(), single_name, index_name);
    if (std::filesystem::exists(folder / "adapter_config.json", unreadable))
      log_warn("{} holds an adapter, which is not read: the model is taken without it; merge it into the weights first", folder.string());
    return files;
  });
}

Weights::Weights(const std::filesystem::path& folder) : Weights(folder, found_in(folder)) {}

Weights::Weights(const std::filesystem::path& folder, WeightFiles files) : folder_(folder) {
  if (files == WeightFiles::single) {
    const auto single = folder / single_name;
    auto file = std::make_unique<io::SafetensorsFile>(single);
    for (const auto& [name, view] : file->tensors()) file_of_[name] = single.filename();
    open_[single.filename()] = std::move(file);
    return;
  }
  const Fields map = Fields::read(folder / index_name, "weight index").inside("weight_map");
  for (const auto& name : map.keys()) file_of_[name] = map.get<std::string>(name);
}

std::string Weights::stored_name(const std::string& name) const {
  if (file_of_.contains(name)) return name;
  const auto behind_prefix = name.substr(name.find('.') + 1);
  for (const char* prefix : {"model.", "gpt_neox.", "transformer."}) // files of the model without its head leave it out
    if (name.starts_with(prefix) && file_of_.contains(behind_prefix)) return behind_prefix;
  for (const auto& stored : names_in_modalities(name))
    if (file_of_.contains(stored)) return stored;
  return "";
}

bool Weights::has(const std::string& name) const {
  return !stored_name(name).empty();
}

namespace {
constexpr auto sizes =
    "model_type, num_hidden_layers, hidden_size, intermediate_size, num_attention_heads, num_key_value_heads, head_dim, vocab_size, "
    "tie_word_embeddings, attention_bias and mlp_bias (of GPT-2 n_layer, n_embd, n_inner, n_head and n_positions) of config.json say what "
    "the weights are";
}

const io::TensorView& Weights::tensor(const std::string& name, const std::vector<Index>& shape) {
  const std::string stored = stored_name(name);
  require(!stored.empty(), ExitCode::bad_data, "the model {} has no tensor {}; {}", folder_.string(), name, sizes);
  const std::string& file_name = file_of_.at(stored);
  auto& file = open_[file_name];
  if (!file) file = std::make_unique<io::SafetensorsFile>(folder_ / file_name);
  const auto& view = file->tensor(stored);
  require(view.shape == shape, ExitCode::bad_data, "{}: tensor {} has shape [{}], config.json asks for [{}]; {}", file->path().string(),
          name, fmt::join(view.shape, ", "), fmt::join(shape, ", "), sizes);
  return view;
}

OuterNames outer_names(const Weights& weights, const ModelConfig& config) {
  OuterNames names = config.names;
  if (!config.tied_head) return names;
  if (weights.has(names.embedding + ".weight") || !weights.has(names.head + ".weight"))
    names.head = names.embedding;
  else
    names.embedding = names.head;
  return names;
}

void Weights::forget(const io::TensorView& view) const {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(view.data) + page - 1) / page * page;
  const auto end =
      (reinterpret_cast<std::uintptr_t>(view.data) + static_cast<std::size_t>(view.count()) * size_of(view.dtype)) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::vector<std::filesystem::path> Weights::files() const {
  std::set<std::filesystem::path> files;
  for (const auto& [name, file] : file_of_) files.insert(folder_ / file);
  return {files.begin(), files.end()};
}

std::string model_digest(const comm::Communicator& comm, const std::filesystem::path& folder) {
  std::vector<std::string> files;
  const std::string config = comm::decided(comm, [&] {
    for (const auto& file : Weights(folder).files()) files.push_back(file.string());
    return digest_of_file(folder / "config.json");
  });
  comm::spread(comm, files);
  Digest digest;
  digest.add(config);
  for (const auto& file : files) digest.add(io::file_digest(comm, file));
  return digest.hex();
}

} // namespace concord::model
