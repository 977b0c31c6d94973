#include "concord/extract/extractor.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/pipe.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/text.hpp"
#include "concord/io/output.hpp"
#include "concord/model/transformer.hpp"
#include "concord/model/weights.hpp"

#include "comm/gpu/gpu_memory.hpp"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <algorithm>

namespace concord::extract {

using at::Tensor;

struct Extractor::Model {
  template <typename... Args>
  explicit Model(Args&&... args) : transformer(std::forward<Args>(args)...) {}
  model::Transformer transformer;
};

/// What is under way while blocks flow through this rank.
struct Extractor::Flow {
  comm::Pipe pipe;
  comm::StopVote vote;
  const Taker& taker;
  Tensor arriving; ///< residual stream of the next block, from the shard before
  Tensor residual; ///< of the present block
};

Extractor::Extractor(const comm::Communicator& comm, const ExtractOptions& options) : comm_(comm), options_(options) {
  comm::agree(comm_, [&] { read_inputs(); });
  key_.inputs["model"] = model::model_digest(comm_, options_.model);
  io::require_same_key(comm_, key_); // before ranks part into shards
  std::int32_t largest = 0;
  comm::agree(comm_, [&] {
    if (comm_.rank() == 0) largest = tokens_->check();
  });
  comm::broadcast_bytes(comm_, &largest, sizeof largest);
  comm::agree(comm_, [&] {
    const Index vocabulary = std::max<Index>(largest + 1, tokens_->pieces());
    require(
        vocabulary <= config_.vocab, ExitCode::bad_data,
        "the vocabularies do not fit: {} has {} pieces, the model {} knows {}; use the model's own tokenizer, without tokens added to it "
        "that the model has no embedding for",
        options_.tokens.string(), vocabulary, options_.model.string(), config_.vocab);
  });
  gpu_ = comm::bind_gpu(comm_, options_.device, options_.allow_shared_gpu);
  if (gpu_.number < 0) comm::warn_of_idle_gpus(options_.stage_word, "extract.device = \"cuda\"");
  comm::agree(comm_, [&] { plan_shards(); });
  active_ = comm_.split(grid_.idle(comm_.rank()) ? 1 : 0);
}

Extractor::~Extractor() {
  model_.reset();
  comm::give_back_gpu_cache();
}

Index Extractor::block_rows(Index block) const {
  return block_offsets_[at(block + 1)] - block_offsets_[at(block)];
}

Index Extractor::row_bytes() const {
  return config_.hidden * static_cast<Index>(size_of(options_.dtype));
}

Index Extractor::largest_block() const {
  Index largest = 0;
  for (Index b = 0; b < blocks(); ++b) largest = std::max(largest, block_rows(b));
  return largest;
}

void Extractor::read_inputs() {
  settings::check_all<ExtractSettings>(options_, "extract", "this run");
  config_ = model::read_config(options_.model);
  tokens_ = std::make_unique<corpus::TokenReader>(options_.tokens);
  layers_ = wanted_layers(options_, config_);
  const auto& offsets = tokens_->context_offsets();
  for (Index c = 0; c < tokens_->contexts(); ++c) {
    longest_ = std::max(longest_, offsets[at(c + 1)] - offsets[at(c)]);
    if (c % options_.batch == 0) block_offsets_.push_back(offsets[at(c)]);
  }
  block_offsets_.push_back(offsets.back());
  model::require_context(config_, longest_);
  key_ = {"extract", settings::digest_of<ExtractSettings>(options_), {{"tokens", tokens_->row_hash()}}};
  auto& said = key_.settings; // as older versions said it, so that their results are known again
  said["layers"] = layers_;
  said.erase("fused");
  if (options_.compress == 0) said.erase("compress");
}

void Extractor::plan_shards() {
  const int last = options_.loss ? config_.layers - 1 : layers_.back();
  options_.layer_shards = std::clamp(options_.layer_shards, 1, std::max(1, std::min(comm_.size(), last + 1)));
  grid_ = {comm_.size(), options_.layer_shards};
  if (grid_.active() < comm_.size())
    log_warn("{}: {} of {} ranks are idle, since {} layer shards do not divide them; start a multiple of {}", options_.stage_word,
             comm_.size() - grid_.active(), comm_.size(), grid_.shards, grid_.shards);
  cuts_ = shard_cuts(config_, options_, longest_);
  if (grid_.idle(comm_.rank())) return;
  const int shard = grid_.shard(comm_.rank());
  for (const int layer : layers_)
    if ((layer == -1 && shard == 0) || (layer >= cuts_[at(shard)] && layer < cuts_[at(shard + 1)])) my_layers_.push_back(layer);
  has_head_ = options_.loss && shard == grid_.shards - 1;
}

RankMemory Extractor::memory() const {
  if (grid_.idle(comm_.rank())) return {};
  return rank_memory(config_, options_, grid_.shard(comm_.rank()), largest_block(), longest_, tokens_->contexts(), at::get_num_threads(),
                     gpu_.number >= 0);
}

std::string Extractor::gpu_memory() const {
  return comm::gpu_memory_text(gpu_.number, memory().on_device());
}

/// Refuses a run that cannot fit before anything is loaded.
void Extractor::check_memory() const {
  const RankMemory need = memory();
  const double on_node = comm::sum_on_node(comm_, need.total());
  const double available = options_.memory_gib > 0 ? options_.memory_gib * 0x1p30 * comm::node_size(comm_) : available_memory();
  const auto advice =
      "raise extract.layer_shards (more ranks share the weights), lower extract.batch (less at once), set extract.compute = "
      "\"bf16\", or start fewer ranks a node";
  comm::agree(comm_, [&] {
    require(on_node <= available, ExitCode::unavailable,
            "{} does not fit: this rank needs {} (weights {}, forward pass {}, buffers {}), all ranks of its node {}, and there are {}; {}",
            options_.stage_word, human_bytes(need.total()), human_bytes(need.weights), human_bytes(need.working), human_bytes(need.buffers),
            human_bytes(on_node), human_bytes(available), advice);
    require(
        gpu_.number < 0 || need.on_device() <= gpu_.memory, ExitCode::unavailable,
        "{} does not fit: this rank needs {} of its GPU (weights {}, forward pass {}), and may take {} of it, since {} ranks have it; {}",
        options_.stage_word, human_bytes(need.on_device()), human_bytes(need.weights), human_bytes(need.working), human_bytes(gpu_.memory),
        gpu_.sharing, advice);
  });
}

void Extractor::load_model() {
  if (model_) return;
  check_memory();
  comm::begin_gpu_peak(gpu_.number);
  const auto files = model::weight_files(comm_, options_.model);
  comm::agree(comm_, [&] {
    if (grid_.idle(comm_.rank())) return;
    const int shard = grid_.shard(comm_.rank());
    const auto device = gpu_.number >= 0 ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu_.number)) : at::Device(at::kCPU);
    const model::LayerRange range{static_cast<int>(cuts_[at(shard)]), static_cast<int>(cuts_[at(shard + 1)]), has_head_};
    model_ = std::make_unique<Model>(options_.model, range, model::torch_dtype(options_.compute), device, largest_block(), files);
  });
}

bool Extractor::run(const std::vector<Index>& blocks, const Taker& taker, bool stoppable, const std::function<void(Index)>& progress) {
  bool stopped = false;
  if (!grid_.idle(comm_.rank())) {
    const int shard = grid_.shard(comm_.rank());
    const Index replicas = grid_.replicas();
    const Index replica = grid_.replica(comm_.rank());
    Flow flow{{active_, shard > 0 ? active_.rank() - 1 : -1, shard + 1 < grid_.shards ? active_.rank() + 1 : -1},
              {active_, grid_.shards + 1},
              taker,
              {},
              {}};
    const auto count = static_cast<Index>(blocks.size());
    const auto block_of = [&](Index step) { return step * replicas + replica < count ? blocks[at(step * replicas + replica)] : -1; };
    const Index steps = (count + replicas - 1) / replicas;
    for (Index step = 0; step < steps && !stopped; ++step) {
      stopped = stoppable && flow.vote.stop_before_step();
      if (!stopped && block_of(step) >= 0) one_block(flow, block_of(step), step + 1 < steps ? block_of(step + 1) : -1);
      Index rows = 0;
      for (Index i = step * replicas; !stopped && i < std::min(count, (step + 1) * replicas); ++i) rows += block_rows(blocks[at(i)]);
      if (progress) progress(rows);
    }
    flow.pipe.finish();
    flow.vote.end();
  }
  return comm::max_of(comm_, Index{stopped ? 1 : 0}) != 0;
}

/// Receives the block's residual stream or embeds its tokens, runs this rank's layers, hands rows out and the stream on.
void Extractor::one_block(Flow& flow, Index block, Index next) {
  const c10::InferenceMode no_gradients;
  const auto& transformer = model_->transformer;
  const int shard = grid_.shard(comm_.rank());
  // A GPU copies from and to pinned memory at full speed.
  const auto of_host = at::TensorOptions(model::torch_dtype(options_.compute)).pinned_memory(gpu_.number >= 0);
  const Index first_row = block_offsets_[at(block)];
  const Index rows = block_rows(block);
  const auto receive = [&](Index b) {
    flow.arriving = at::empty({block_rows(b), config_.hidden}, of_host);
    flow.pipe.start_receive(flow.arriving.data_ptr(), flow.arriving.numel() * static_cast<Index>(flow.arriving.element_size()));
  };
  std::vector<Index> offsets;
  const Index first_context = block * options_.batch;
  for (Index c = first_context; c <= std::min(tokens_->contexts(), first_context + options_.batch); ++c)
    offsets.push_back(tokens_->context_offsets()[at(c)] - first_row);
  std::vector<std::int32_t> ids;
  if (shard == 0 || has_head_) ids = tokens_->ids(first_row, rows);
  const model::Contexts contexts = transformer.contexts(offsets);
  if (shard == 0) {
    flow.residual = transformer.embed(ids, contexts);
  } else {
    if (!flow.arriving.defined()) receive(block);
    flow.pipe.finish_receive();
    flow.residual = gpu_.number >= 0 ? flow.arriving.to(model_->transformer.device()) : flow.arriving;
    flow.arriving.reset();
    if (next >= 0) receive(next);
  }
  transformer.run(flow.residual, contexts, [&](int layer, const Tensor&) {
    flow.pipe.progress();
    flow.vote.progress();
    if (layer == flow.taker.replace_layer) replace(flow, block);
    if (flow.taker.rows && std::binary_search(my_layers_.begin(), my_layers_.end(), layer))
      flow.taker.rows(layer, block, stored(flow, layer, block));
  });
  if (has_head_) take_loss(flow, block, ids, offsets);
  if (shard + 1 < grid_.shards) {
    const auto message =
        std::make_shared<Tensor>(gpu_.number >= 0 ? at::empty(flow.residual.sizes(), of_host).copy_(flow.residual) : flow.residual);
    flow.pipe.start_send(message->data_ptr(), message->numel() * static_cast<Index>(message->element_size()), message);
  }
  flow.residual.reset();
}

/// In place, whatever type and device the forward pass has.
void Extractor::replace(Flow& flow, Index block) const {
  Tensor wide = flow.residual.to(at::kCPU, at::kFloat).contiguous();
  flow.taker.replace(block, {wide.data_ptr<float>(), static_cast<std::size_t>(wide.numel())});
  flow.residual.copy_(wide);
}

/// Hands out the loss of the block's next tokens; the last of a context has none.
void Extractor::take_loss(const Flow& flow, Index block, const std::vector<std::int32_t>& ids, const std::vector<Index>& offsets) {
  std::vector<Index> targets(ids.size(), -1);
  for (std::size_t c = 0; c + 1 < offsets.size(); ++c)
    for (Index r = offsets[c]; r + 1 < offsets[c + 1]; ++r) targets[at(r)] = ids[at(r + 1)];
  const auto counted = std::count_if(targets.begin(), targets.end(), [](Index t) { return t >= 0; });
  flow.taker.loss(block, model_->transformer.loss_sum(flow.residual, at::tensor(targets, at::kLong)), static_cast<double>(counted));
}

/// The residual stream in the stored type, checked.
io::RowBuffer Extractor::stored(const Flow& flow, int layer, Index block) {
  const Tensor& residual = flow.residual;
  io::RowBuffer buffer = pool_.take(at(residual.size(0) * row_bytes()));
  const auto type = model::torch_dtype(options_.dtype);
  at::from_blob(buffer.bytes.get(), residual.sizes(), at::TensorOptions().dtype(type))
      .copy_(residual.is_cpu() ? residual : residual.to(type));
  const Index bad = first_non_finite(buffer.bytes.get(), options_.dtype, residual.numel());
  if (bad >= 0)
    fail(ExitCode::bad_data,
         "{} {}: row {} is not finite in column {} as {}; the model's weights are damaged, or its activations overflow that type "
         "(extract.dtype, extract.compute)",
         options_.model.string(), layer_name(layer), block_offsets_[at(block)] + bad / config_.hidden, bad % config_.hidden,
         name_of(options_.dtype));
  return buffer;
}

} // namespace concord::extract
