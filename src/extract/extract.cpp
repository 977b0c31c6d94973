#include "concord/extract/extract.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/io/output.hpp"
#include "concord/io/row_source.hpp"
#include "concord/model/gemma2.hpp"
#include "concord/model/weights.hpp"

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <algorithm>
#include <numeric>

namespace concord::extract {

using at::Tensor;
using corpus::Tokens;

namespace {

/// Contexts [begin, end) run together, right-padded to the longest.
struct Batch {
  Index begin = 0;
  Index end = 0;
  Index first_row = 0;
  Index rows = 0;
};

Batch batch_at(const Tokens& tokens, Index number, Index contexts_a_batch) {
  Batch batch;
  batch.begin = std::min(tokens.contexts(), number * contexts_a_batch);
  batch.end = std::min(tokens.contexts(), batch.begin + contexts_a_batch);
  batch.first_row = tokens.context_offsets[static_cast<std::size_t>(batch.begin)];
  batch.rows = tokens.context_offsets[static_cast<std::size_t>(batch.end)] - batch.first_row;
  return batch;
}

struct BatchTensors {
  Tensor ids;     ///< [contexts, longest] i64, padded with 0
  Tensor targets; ///< next token of each position, -1 where there is none
  Tensor rows;    ///< positions in the flattened batch that are tokens, in row order; undefined when all are
};

BatchTensors tensors_of(const Tokens& tokens, const Batch& batch) {
  const auto offset = [&](Index c) { return tokens.context_offsets[static_cast<std::size_t>(c)]; };
  Index longest = 0;
  for (Index c = batch.begin; c < batch.end; ++c) longest = std::max(longest, offset(c + 1) - offset(c));
  BatchTensors out;
  const Index n = batch.end - batch.begin;
  out.ids = at::zeros({n, longest}, at::kLong);
  out.targets = at::full({n, longest}, -1, at::kLong);
  std::vector<Index> rows;
  for (Index c = batch.begin; c < batch.end; ++c) {
    auto* ids = out.ids.data_ptr<std::int64_t>() + (c - batch.begin) * longest;
    auto* targets = out.targets.data_ptr<std::int64_t>() + (c - batch.begin) * longest;
    const Index length = offset(c + 1) - offset(c);
    for (Index i = 0; i < length; ++i) {
      ids[i] = tokens.ids[static_cast<std::size_t>(offset(c) + i)];
      if (i + 1 < length) targets[i] = tokens.ids[static_cast<std::size_t>(offset(c) + i + 1)];
      rows.push_back((c - batch.begin) * longest + i);
    }
  }
  if (static_cast<Index>(rows.size()) != n * longest) out.rows = at::tensor(rows, at::kLong);
  return out;
}

at::Device device_for(const comm::Communicator& comm, const std::string& name) {
  require(name == "auto" || name == "cpu" || name == "cuda", ExitCode::config, "device must be auto, cpu or cuda, not {}", name);
  if (name == "cpu" || (name == "auto" && !at::hasCUDA())) return at::kCPU;
  require(at::hasCUDA(), ExitCode::unavailable, "device = \"cuda\" but libtorch sees no GPU");
  const int local = comm::node_rank(comm);
  const auto gpus = static_cast<unsigned char>(at::detail::getCUDAHooks().deviceCount());
  return {at::kCUDA, static_cast<c10::DeviceIndex>(local % gpus)};
}

std::vector<int> wanted_layers(const ExtractOptions& options, const model::ModelConfig& config) {
  std::vector<int> layers = options.layers;
  if (layers.empty()) {
    layers.resize(static_cast<std::size_t>(config.layers));
    std::iota(layers.begin(), layers.end(), 0);
  }
  for (const int layer : layers)
    require(layer >= -1 && layer < config.layers, ExitCode::config, "layer {} does not exist: {} has layers 0 to {} (-1 is the embedding)",
            layer, options.model.string(), config.layers - 1);
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

void check_fit(const comm::Communicator& comm, const ExtractOptions& options, const Tokens& tokens, const model::ModelConfig& config) {
  const auto largest = *std::max_element(tokens.ids.begin(), tokens.ids.end());
  const Index vocabulary = std::max<Index>(largest + 1, static_cast<Index>(tokens.pieces.size()));
  require(vocabulary <= config.vocab, ExitCode::bad_data,
          "the vocabularies do not fit: {} has {} pieces, the model {} knows {}; use the model's own tokenizer", options.tokens.string(),
          vocabulary, options.model.string(), config.vocab);
  require(comm.size() <= tokens.contexts(), ExitCode::bad_data, "{} ranks for {} contexts: start at most {} ranks", comm.size(),
          tokens.contexts(), tokens.contexts());
  require(options.batch > 0, ExitCode::config, "extract.batch must be positive, not {}", options.batch);
  require(options.store == Dtype::f32 || options.store == Dtype::f16 || options.store == Dtype::bf16, ExitCode::config,
          "extract.dtype must be f32, f16 or bf16, not {}", name_of(options.store));
  require(options.compute == Dtype::f32 || options.compute == Dtype::bf16, ExitCode::config, "extract.compute must be f32 or bf16, not {}",
          name_of(options.compute));
}

/// One extraction: what stays the same over its batches.
class Extraction {
public:
  Extraction(const comm::Communicator& comm, const ExtractOptions& options) : comm_(comm), options_(options) {
    comm::agree(comm_, [&] { load(); });
  }

  void run() {
    const double wall_begin = progress_clock_.seconds();
    if (io::output_is_done(comm_, options_.out, key_, options_.force)) {
      log_info("{}: {} is done", options_.stage_word, options_.out.string());
      return;
    }
    comm::agree(comm_, [&] { load_model(); });
    io::Output output(comm_, options_.out, key_, io::Output::Writers::all, options_.force, file_bytes(),
                      [&](io::File& file) { lay_out(file); });
    write_batches(output);
    output.finish();
    report(progress_clock_.seconds() - wall_begin);
  }

private:
  void load() {
    config_ = model::read_config(options_.model);
    tokens_ = corpus::read_tokens(options_.tokens);
    check_fit(comm_, options_, tokens_, config_);
    layers_ = wanted_layers(options_, config_);
    device_ = device_for(comm_, options_.device);
    key_ = {"extract",
            {{"layers", layers_},
             {"dtype", name_of(options_.store)},
             {"compute", name_of(options_.compute)},
             {"batch", options_.batch},
             {"loss", options_.loss}},
            {{"tokens", tokens_.hash}, {"model", model::model_digest(options_.model)}}};
  }

  void load_model() {
    const int last = options_.loss ? config_.layers - 1 : layers_.back();
    model_ = std::make_unique<model::Gemma2>(options_.model, last, model::torch_dtype(options_.compute), device_);
  }

  double file_bytes() const {
    const auto row = static_cast<double>(layers_.size() * static_cast<std::size_t>(config_.hidden) * size_of(options_.store));
    return static_cast<double>(tokens_.count()) * (row + 1) + (1 << 20);
  }

  void lay_out(io::File& file) const {
    for (const int layer : layers_) file.create_dataset("/" + layer_name(layer) + "/x", {tokens_.count(), config_.hidden}, options_.store);
    file.write("/row_kind", tokens_.row_kinds());
    file.write("/context_offsets", tokens_.context_offsets);
    if (options_.loss) file.write("/loss_sums", std::vector<double>(static_cast<std::size_t>(2 * batches()), 0.0), {batches(), 2});
    file.write_attribute("token_hash", tokens_.hash);
    file.write_attribute("model", std::filesystem::absolute(options_.model).string());
    file.write_attribute("model_digest", key_.inputs["model"].get<std::string>());
    file.write_attribute("layers", nlohmann::json(layers_).dump());
    file.write_attribute("hidden", std::to_string(config_.hidden));
  }

  Index batches() const { return (tokens_.contexts() + options_.batch - 1) / options_.batch; }

  void write_batches(io::Output& output) {
    Index done = output.units_done();
    Progress progress(options_.stage_word, tokens_.count(), "tokens", batch_at(tokens_, done, options_.batch).first_row);
    double committed = 0;
    while (done < batches()) {
      run_round(output, done);
      done = std::min<Index>(batches(), done + comm_.size());
      progress.update(batch_at(tokens_, done, options_.batch).first_row);
      const bool stop = done < batches() && comm::stop_requested(comm_);
      if (stop || comm::max_of(comm_, progress.seconds() - committed) >= options_.commit_seconds) {
        output.commit(done);
        committed = progress.seconds();
      }
      if (stop) comm::throw_stopped(options_.stage_word.c_str());
    }
    if (options_.loss) read_loss(output);
  }

  /// Runs and writes batches [done, done + ranks), one a rank; ranks beyond the last batch write nothing.
  void run_round(io::Output& output, Index done) {
    const Batch batch = batch_at(tokens_, done + comm_.rank(), options_.batch);
    std::vector<Tensor> taken;
    std::array<double, 2> loss{0, 0};
    comm::agree(comm_, [&] {
      if (batch.rows > 0) loss = forward(batch, taken);
    });
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      auto dataset = output.file().dataset("/" + layer_name(layers_[l]) + "/x");
      dataset.write_rows_all(comm_, batch.first_row, batch.rows, batch.rows > 0 ? taken[l].data_ptr() : nullptr);
    }
    if (options_.loss) output.file().dataset("/loss_sums").write_rows_all(comm_, done + comm_.rank(), batch.rows > 0 ? 1 : 0, loss.data());
  }

  /// The wanted layers' rows in stored type, and the loss sum with its count.
  std::array<double, 2> forward(const Batch& batch, std::vector<Tensor>& taken) {
    const c10::InferenceMode no_gradients;
    const BatchTensors inputs = tensors_of(tokens_, batch);
    const Tensor last = model_->forward(inputs.ids, [&](int layer, const Tensor& residual) {
      if (std::binary_search(layers_.begin(), layers_.end(), layer)) taken.push_back(store_rows(layer, residual, inputs, batch));
    });
    if (!options_.loss) return {0, 0};
    return {model_->loss_sum(last, inputs.targets), inputs.targets.ge(0).sum().item<double>()};
  }

  Tensor store_rows(int layer, const Tensor& residual, const BatchTensors& inputs, const Batch& batch) const {
    Tensor rows = residual.view({-1, config_.hidden});
    if (inputs.rows.defined()) rows = rows.index_select(0, inputs.rows.to(rows.device()));
    const Tensor wide = rows.to(at::kCPU, at::kFloat).contiguous();
    io::check_finite({wide.data_ptr<float>(), static_cast<std::size_t>(wide.numel())}, config_.hidden, batch.first_row,
                     options_.model.string() + " " + layer_name(layer));
    return wide.to(model::torch_dtype(options_.store)).contiguous();
  }

  void read_loss(io::Output& output) {
    const auto sums = output.file().read<double>("/loss_sums");
    double loss = 0;
    double count = 0;
    for (std::size_t i = 0; i < sums.size(); i += 2) {
      loss += sums[i];
      count += sums[i + 1];
    }
    mean_loss_ = loss / count;
  }

  void report(double wall) const {
    std::string details = fmt::format("tokens={} layers={} tokens/s={:.0f}", tokens_.count(), layers_.size(),
                                      static_cast<double>(tokens_.count()) / std::max(wall, 1e-9));
    if (options_.loss) details += fmt::format(" loss={:.6f}", mean_loss_);
    say_stage_ok(options_.stage_word, wall, details, options_.out.string());
  }

  const comm::Communicator& comm_;
  const ExtractOptions& options_;
  Progress progress_clock_{"", 0, ""};
  model::ModelConfig config_;
  Tokens tokens_;
  std::vector<int> layers_;
  at::Device device_ = at::kCPU;
  StageKey key_;
  std::unique_ptr<model::Gemma2> model_;
  double mean_loss_ = 0;
};

} // namespace

void extract(const comm::Communicator& comm, const ExtractOptions& options) {
  Extraction(comm, options).run();
}

std::vector<int> parse_layers(const std::string& text) {
  std::vector<int> layers;
  if (text == "all") return layers;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    std::size_t used = 0;
    int layer = 0;
    try {
      layer = std::stoi(word, &used);
    } catch (const std::exception&) {
      used = std::string::npos;
    }
    require(used == word.size(), ExitCode::usage, "'{}' is no list of layers; write all, or numbers such as 0,3,5", text);
    layers.push_back(layer);
    begin = end + 1;
  }
  return layers;
}

} // namespace concord::extract
