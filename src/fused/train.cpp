#include "concord/fused/train.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/extractor.hpp"
#include "concord/sae/rows/window_feed.hpp"
#include "concord/sae/training/trainings.hpp"

#include "fused/facts.hpp"
#include <algorithm>
#include <limits>
#include <map>

namespace concord::fused {

namespace {

/// The training of one layer and its variants, on the ranks that compute it: all draw from one window.
struct LayerTraining {
  LayerTraining(const comm::Communicator& comm, const sae::TrainOptions& options, const std::vector<std::string>& variants,
                std::shared_ptr<sae::BufferOrder> order, const extract::Extractor& extractor, Dtype store,
                const sae::WindowFeed::Names& names)
      : feed(std::move(order), extractor.config().hidden, store, names, comm.rank(), comm.size()),
        trainers(sae::trainers_of(comm, options, variants, feed)) {}
  sae::WindowFeed feed;
  std::vector<std::unique_ptr<sae::Trainer>> trainers;
};

class FusedTraining {
public:
  FusedTraining(const comm::Communicator& comm, const extract::ExtractOptions& extract,
                const std::function<sae::TrainOptions(int)>& options, const std::vector<std::string>& variants)
      : comm_(comm), store_(extract.dtype), variants_(variants), extractor_(comm, extract),
        layer_comm_(comm.split(extractor_.grid().idle(comm.rank()) ? extractor_.grid().shards : extractor_.grid().shard(comm.rank()))) {
    first_ = options(extractor_.layers().front());
    if (first_.device == Device::cuda)
      comm::bind_gpu(comm_, first_.device, first_.allow_shared_gpu); // of all ranks, before layers have theirs
    comm::agree(comm_, [&] { make_order(extract); });
    alone([&] {
      for (const int layer : extractor_.my_layers()) add(extract, layer, options(layer));
    });
  }

  void run() {
    alone([&] {
      for (auto& [layer, one] : layers_) std::erase_if(one->trainers, [](const auto& trainer) { return trainer->is_done(); });
      std::erase_if(layers_, [](const auto& entry) { return entry.second->trainers.empty(); });
    });
    if (comm::max_of(comm_, static_cast<Index>(layers_.size())) == 0) {
      log_info("{}: all SAEs are done", first_.stage_word);
      return;
    }
    extractor_.load_model();
    alone([&] { for_each_trainer([](sae::Trainer& trainer) { trainer.prepare(); }); });
    steps();
    save(); // the evaluation may be stopped
    if (run_model(order_->held_out_blocks(), /*stoppable=*/true)) comm::throw_stopped("train-sae");
    finish();
  }

private:
  void make_order(const extract::ExtractOptions& extract) {
    sae::check(first_);
    const auto facts = facts_of(extractor_);
    order_ = std::make_shared<sae::BufferOrder>(facts.block_offsets, sae::usable_rows_of(facts.row_kinds, first_.keep_special),
                                                first_.held_out, first_.buffer_rows, first_.batch, first_.seed);
    model_ = std::filesystem::absolute(extract.model).string();
    if (const auto idle = order_->idle_parts(extractor_.grid().replicas()); !idle.empty()) log_warn("{}: {}", first_.stage_word, idle);
  }

  void add(const extract::ExtractOptions& extract, int layer, sae::TrainOptions options) {
    options.order = sae::Order::buffer;
    // The identity that the rows would have in the file.
    const sae::WindowFeed::Names names{extract.model.string() + " " + layer_name(layer),
                                       digest_of(extractor_.key().digest() + "/" + layer_name(layer) + "/x"), model_};
    layers_[layer] = std::make_unique<LayerTraining>(layer_comm_, options, variants_, order_, extractor_, store_, names);
  }

  /// Runs what only the ranks of this shard do together: an error there ends the job, since the others do not know of it.
  void alone(const std::function<void()>& work) const {
    try {
      work();
    } catch (const Error& error) {
      if (layer_comm_.size() == comm_.size()) throw;
      throw Error(error.code(), error.what());
    }
  }

  void for_each_trainer(const std::function<void(sae::Trainer&)>& visit) const {
    for (const auto& [layer, one] : layers_)
      for (const auto& trainer : one->trainers) visit(*trainer);
  }

  /// The step at which the training that is furthest behind goes on.
  Index next_step() const {
    Index step = std::numeric_limits<Index>::max();
    for_each_trainer([&](const sae::Trainer& trainer) { step = std::min(step, trainer.step()); });
    return -comm::max_of(comm_, -step);
  }

  Index all_steps() const {
    Index steps = 0;
    for_each_trainer([&](const sae::Trainer& trainer) { steps = trainer.steps(); });
    return comm::max_of(comm_, steps);
  }

  void steps() {
    const Index end = all_steps();
    saved_ = clock_.seconds();
    for (Index step = next_step(); step < end; step = next_step()) {
      const sae::Window window = order_->window_of(step);
      if (run_model(window.blocks, /*stoppable=*/true) || train_on_window(window, step, end)) {
        save();
        comm::throw_stopped("train-sae");
      }
    }
  }

  /// Trains all layers on the window that is filled, from step `next` to its end or to step `all`. Every few seconds it looks for the stop
  /// signal, of which it returns whether it came, and saves where a checkpoint is due.
  bool train_on_window(const sae::Window& window, Index next, Index all) {
    constexpr double seconds_between_votes = 3;
    const Index end = std::min(all, window.first_step + window.steps);
    for (Index some = 1; next < end;) { // steps between two votes
      const double begin = clock_.seconds();
      next = std::min(end, next + some);
      alone([&] { for_each_trainer([&](sae::Trainer& trainer) { trainer.run_to(next); }); });
      const double a_step = comm::max_of(comm_, clock_.seconds() - begin) / static_cast<double>(some);
      if (comm::stop_requested(comm_)) return true;
      if (next < all && comm::max_of(comm_, clock_.seconds() - saved_) >= first_.checkpoint_seconds) { // the same on all ranks
        save();
        saved_ = clock_.seconds();
      }
      some = std::clamp<Index>(static_cast<Index>(seconds_between_votes / std::max(a_step, 1e-6)), 1, 64);
    }
    return false;
  }

  /// A stop is no error of one shard's.
  void finish() {
    bool stopped = false;
    alone([&] {
      try {
        for_each_trainer([](sae::Trainer& trainer) { trainer.finish(); });
      } catch (const Error& error) {
        if (error.code() != ExitCode::stopped) throw;
        stopped = true;
      }
    });
    if (comm::max_of(comm_, Index{stopped}) > 0) comm::throw_stopped("train-sae");
  }

  void save() {
    alone([&] {
      for_each_trainer([](sae::Trainer& trainer) {
        if (trainer.step() > 0) trainer.save_checkpoint();
      });
    });
  }

  /// Fills the windows of all layers with these blocks.
  bool run_model(const std::vector<Index>& blocks, bool stoppable) {
    for (auto& [layer, one] : layers_) one->feed.begin(blocks);
    const extract::Taker taker{[&](int layer, Index block, io::RowBuffer rows) {
      const auto found = layers_.find(layer);
      if (found != layers_.end()) found->second->feed.put(block, rows.bytes.get());
      extractor_.pool().give_back(std::move(rows));
    }};
    return extractor_.run(blocks, taker, stoppable);
  }

  const comm::Communicator& comm_;
  Dtype store_;
  const std::vector<std::string>& variants_;
  extract::Extractor extractor_;
  comm::Communicator layer_comm_; ///< the ranks that compute the same layers, one a replica
  sae::TrainOptions first_;       ///< settings that all layers share
  const Progress clock_{"", 0, ""};
  double saved_ = 0; ///< when the last checkpoint was written
  std::string model_;
  std::shared_ptr<sae::BufferOrder> order_;
  std::map<int, std::unique_ptr<LayerTraining>> layers_;
};

} // namespace

void train(const comm::Communicator& comm, const extract::ExtractOptions& extract,
           const std::function<sae::TrainOptions(int layer)>& options, const std::vector<std::string>& variants) {
  extract::ExtractOptions without_loss = extract;
  without_loss.loss = false;
  FusedTraining(comm, without_loss, options, variants).run();
}

} // namespace concord::fused
