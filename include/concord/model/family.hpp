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
    double longest; ///< max_position_embeddings
    bool tied_head;
  };
  const char* name; ///< "model_type" of config.json
  Defaults defaults;
  /// Keys of config.json beyond those that all families share.
  KeyTable (*keys)();
  /// Reads the family's own keys; sizes that all families share are read already.
  void (*read_config)(const Fields& fields, ModelConfig& config);
  std::unique_ptr<Block> (*load_block)(Loader& loader, const ModelConfig& config, int layer);
};

extern const Family gemma2_family;
extern const Family llama_family;

const std::vector<const Family*>& families();
/// @throws Error bad_data naming the families that are known.
const Family& family_of(const std::string& name, const std::string& file);

} // namespace concord::model
