#include "app/command/model_flags.hpp"

#include "concord/comm/agree.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/extract/extract.hpp"

namespace concord::app {

ModelFlags::ModelFlags(CLI::App& command, std::set<std::string> without) {
  without.insert("fused"); // which is how stages of a study follow each other
  command.add_option("--model", options_->model, "Hugging Face folder of a model (docs/formats.md)");
  command.add_option("--tokens", options_->tokens, "tokens.h5, or token ids [contexts, length] (.npy, .npz, .safetensors)");
  command.add_option("--bos-id", *bos_id_, "of token ids of an array: the id that opens contexts")->capture_default_str();
  command.add_option("--layers", *layers_, "all, or numbers such as 0,3,5 (-1: the embedding)")->capture_default_str();
  given_ = add_setting_flags(command, settings::list_of<extract::ExtractSettings>(*options_), {.also = {}, .without = std::move(without)});
}

void ModelFlags::take(const comm::Communicator& comm, const std::filesystem::path& out, bool force) {
  comm::agree(comm, [&] {
    options_->layers = extract::parse_layers(*layers_);
    assign_given<extract::ExtractSettings>(*options_, *given_);
  });
  options_->tokens = corpus::tokens_file(comm, options_->tokens, *bos_id_, out.parent_path(), force);
}

} // namespace concord::app
