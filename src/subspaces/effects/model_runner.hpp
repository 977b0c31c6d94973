#pragma once
/// Effects of a layer's subspaces on a grid of replicas x layer shards of the model, each rank on its GPU where it has one. Collective over
/// `comm` where it says so.
///
/// Replica r takes contexts r, r + replicas, ... of those that have spans. Inside a replica they flow through the shards one behind the
/// other. Any mixture gives the same bits.

#include "concord/comm/gpu/gpu.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/dist/layer_shards.hpp"
#include "concord/subspaces/subspaces.hpp"

#include "subspaces/acts/donors.hpp"
#include "subspaces/acts/steering.hpp"
#include "subspaces/effects/effect_means.hpp"
#include <memory>
#include <optional>
#include <string>

namespace concord::subspaces {

/// What resampled removals take their rows from.
struct Resampling {
  const std::map<std::int32_t, Donors>& donors; ///< of each span that subspaces are removed at
  const io::RowSource& rows;                    ///< behind the layer
};

/// Where effects are measured.
struct EffectPlaces {
  const std::vector<Span>& spans;
  const std::vector<std::int32_t>& at_spans;
  Index after;
};

class ModelRunner {
public:
  /// Loads nothing yet. Collective. @throws Error input_missing, bad_data, config; agreed.
  ModelRunner(const comm::Communicator& comm, const extract::ExtractOptions& options, const corpus::TokenReader& tokens);
  ~ModelRunner();
  /// Width of the model's residual stream, and its blocks. Local.
  Index width() const;
  int layers() const;
  /// Gives the model's memory back. Local.
  void release();
  /// What a stage's last line says of this rank's GPU: the most that the model took of it until release(). Empty without one. Local.
  const std::string& gpu_memory() const { return gpu_memory_; }
  /// Loads each rank's blocks of the model, if they are not there, and measures; the result is on rank 0. A stop loses what was measured of
  /// the layer; one that only a rank without a shard is asked for waits for the end of the measurement. Collective. @throws Error bad_data,
  /// unavailable, stopped; agreed, but for what goes wrong in one shard of several while its neighbours wait for it: that ends the job.
  /// @param resampled nullptr: removals leave the mean
  EffectMatrices effects(int layer, const LayerBases& bases, const RemovedBases& removed, const EffectPlaces& places,
                         const Resampling* resampled = nullptr);
  /// The same of the addition of directions.
  SteeringMatrices steered(int layer, const SteeringDirections& directions, double strength, const ConceptTokens& tokens,
                           const EffectPlaces& places);
  /// The same of the removal of any bases, span by span.
  SpanEffects span_effects(int layer, const std::vector<double>& centre, const std::vector<const Basis*>& bases,
                           const EffectPlaces& places);

private:
  /// The blocks of this rank. @param longest tokens of the longest context
  model::LayerRange blocks(Index longest) const;
  bool is_idle() const { return grid_.idle(comm_.rank()); }
  void require_host_memory(Index longest, Index rows) const;
  void load(Index copies, const EffectPlaces& places);
  /// @param longest tokens of the longest context; @param rows changed ones at once
  void require_gpu_memory(Index longest, Index rows);
  /// Takes each of this rank's contexts, as its whole replica does, and looks for the stop signal between them.
  void each_context(const EffectPlaces& places, const std::function<void(const ContextSpans&)>& take) const;
  std::vector<ContextSpans> my_contexts(const std::vector<Span>& spans, const std::vector<std::int32_t>& at_spans) const;
  const comm::Communicator& comm_;
  extract::ExtractOptions options_;
  const corpus::TokenReader& tokens_;
  model::ModelConfig config_;
  comm::Gpu gpu_;
  dist::RankGrid grid_;
  comm::Communicator active_; ///< the ranks that have a shard
  double gpu_planned_ = 0;    ///< bytes
  std::string gpu_memory_;
  bool is_loaded_ = false;
  std::unique_ptr<model::Transformer> model_;
  std::shared_ptr<comm::Pipe> pipe_;
  std::optional<ModelShard> shard_; ///< none on an idle rank
};

} // namespace concord::subspaces
