#pragma once
/// What a family of models is: one source file that says how its config is read, how its weights are named and how a
/// block is computed. To add a family, write such a file and name it in families(). Local.

#include "concord/core/fields.hpp"
#include "concord/model/config.hpp"
#include "concord/model/ops.hpp"

#include <functional>
#include <memory>

namespace concord::model {

class Loader;

/// Attention of the rows of a block: qkv [rows, qkv_width], not yet rotated -> [rows, heads head_dim].
using Attend = std::function<at::Tensor(const at::Tensor& qkv, const AttentionSettings& settings)>;

/// One transformer block.
class Block {
public:
  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  virtual ~Block() = default;
  /// Adds the block's work to residual [rows, d] in place.
  virtual void run(at::Tensor& residual, const Attend& attend) const = 0;
};

struct Family {
  /// Defaults of the family's config class in transformers; 0: the value follows from other keys.
  struct Defaults {
    Index vocab, hidden, intermediate;
    int layers, heads, kv_heads;
    Index head_dim;
    Index longest; ///< max_position_embeddings
    bool tied_head;
    double norm_eps = 1e-6;
    double rope_theta = 10000;
  };
  /// Keys of config.json for what all families have.
  struct Keys {
    const char* vocab = "vocab_size";
    const char* hidden = "hidden_size";
    const char* intermediate = "intermediate_size";
    const char* layers = "num_hidden_layers";
    const char* heads = "num_attention_heads";
    const char* norm_eps = "rms_norm_eps";
    const char* longest = "max_position_embeddings";
    /// Those of heads of another size and of grouped queries, and of rotary embedding: "num_key_value_heads", "head_dim", "rope_theta" and
    /// so on. Others have them not.
    bool of_llama = true;
  };
  const char* name; ///< "model_type" of config.json
  Defaults defaults;
  /// Keys beyond `sizes`.
  KeyTable (*keys)();
  /// Reads rotary embedding; sizes that all families share are read already.
  void (*read_rope)(const Fields& fields, ModelConfig& config, const Defaults& defaults);
  /// Reads the family's own keys.
  void (*read_config)(const Fields& fields, ModelConfig& config);
  std::unique_ptr<Block> (*load_block)(Loader& loader, int layer);
  Keys sizes = {};
};

extern const Family gemma_family;
extern const Family gemma2_family;
extern const Family gemma3_family;
extern const Family gpt2_family;
extern const Family gpt_neox_family;
extern const Family llama_family;
extern const Family mistral_family;
extern const Family olmo2_family;
extern const Family phi3_family;
extern const Family qwen2_family;
extern const Family qwen3_family;

const std::vector<const Family*>& families();
/// @throws Error bad_data naming the families that are known.
const Family& family_of(const std::string& name, const std::string& file);

} // namespace concord::model
