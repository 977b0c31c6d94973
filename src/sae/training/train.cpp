#include "concord/sae/training/train.hpp"

#include "concord/comm/await_file.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"
#include "concord/io/output.hpp"
#include "concord/sae/rows/norm_limit.hpp"
#include "concord/sae/training/metrics.hpp"

#include "sae/step/step.hpp"
#include "sae/step/stepper.hpp"
#include "sae/training/folded.hpp"
#include "sae/training/folder/training_folder.hpp"
#include "sae/training/folder/training_log.hpp"
#include "sae/training/resolved.hpp"
#include "sae/training/start.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {

namespace fs = std::filesystem;

namespace {

/// A number, or what stands for none.
std::string shown(double value, int digits) {
  return std::isnan(value) ? "none" : fmt::format("{:.{}f}", value, digits);
}

} // namespace

class Trainer::Work {
public:
  Work(const comm::Communicator& comm, const TrainOptions& options, RowFeed& feed) : comm_(comm), feed_(feed) {
    comm::agree(comm_, [&] {
      check(options);
      o_ = resolved(options, feed_.cols());
      architecture_ = make_architecture(comm_, architecture_settings(o_, feed_));
      folder_ = TrainingFolder(o_.out, key_of(o_, architecture_->settings(), feed_), o_.force);
    });
  }

  /// Unless it is done, this run claims it.
  bool is_done() {
    io::require_same_key(comm_, folder_.key());
    const auto look = [&](bool accept) {
      return comm::decided(comm_, [&] {
        const bool done = folder_.is_done();
        if ((done || accept) && run_record().accepted) run_record().accepted();
        return done;
      });
    };
    const auto say = [&] { log_info("{}: {} is done", o_.stage_word, o_.out.string()); };
    if (look(false)) {
      say();
      return true;
    }
    claim_.emplace(comm_, o_.out);
    const bool done = look(true); // by another run meanwhile
    if (done) claim_.reset();
    if (done) say();
    return done;
  }

  const TrainOptions& options() const { return o_; }
  const std::string& digest() const { return folder_.digest(); }
  Index step() const { return state_->step; }

  void prepare() {
    exchange_ = std::make_unique<Exchange>(comm_, *architecture_, o_.reduction);
    comm::agree(comm_, [&] {
      state_ = std::make_unique<TrainingState>(exchange_->parameters(), exchange_->count(), architecture_kind(o_.kind).beta1);
      if (comm_.rank() == 0) make_folder(folder_.partial());
    });
    comm_.barrier();
    stepper_ = make_stepper({comm_, o_, feed_.parts(), *architecture_, *exchange_, *state_});
    const bool resumed = comm::decided(comm_, [&] { return folder_.has_checkpoint(); });
    comm::agree(comm_, [&] {
      if (resumed) sae::load_checkpoint(folder_.checkpoint(), feed_.parts().size(), *state_, *architecture_, *exchange_);
    });
    if (resumed) exchange_->spread();
    if (resumed) log_info("{}: continuing at step {} of {}", o_.stage_word, state_->step, o_.steps);
    comm::agree(comm_, [&] {
      log_ = std::make_unique<TrainingLog>(folder_.partial() / "training.jsonl", o_.steps);
      if (comm_.rank() == 0) log_->go_on_behind(state_->step);
    });
  }

  /// Trains until `end`.
  void run_to(Index end) {
    end = std::min(end, o_.steps);
    if (state_->step >= end) return;
    if (state_->step == 0) {
      Step step(*architecture_, 0, 0);
      const Start how{o_.normalise, o_.seed, o_.layer, o_.max_norm};
      const Started started = start(comm_, feed_, how, *architecture_, step, *exchange_, state_->parameters);
      state_->scales = started.scales;
      state_->medians = started.medians;
    }
    limit_ = NormLimit(feed_.parts(), state_->medians, o_.max_norm);
    stepper_->load();
    if (!progress_) progress_ = std::make_unique<Progress>(o_.stage_word, o_.steps, "steps", state_->step);
    while (state_->step < end) {
      if (steps_here_++ == untimed_steps) timed_from_ = clock_.seconds();
      one_step();
      ++state_->step;
      timed_until_ = clock_.seconds();
      show();
    }
  }

  void save_checkpoint() {
    stepper_->store();
    count_left_out();
    sae::save_checkpoint(comm_, folder_.checkpoint(), *state_, *architecture_, folder_.digest());
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) folder_.sign_checkpoint();
    });
  }

  void finish() {
    stepper_->store();
    gpu_memory_ = stepper_->gpu_memory();
    stepper_.reset(); // room for the weights in the layout of the file
    dead_latents();
    require_same_weights(comm_, *state_, o_.stage_word);
    const double screened = architecture_->computed_per_row();
    const double received = exchange_->bytes_received() / static_cast<double>(std::max<Index>(1, steps_here_));
    state_->adam = Adam(feed_.cols(), 0, 1, 0);
    const Sae sae = folded(*state_, *architecture_, *exchange_, feed_.parts(), feed_.cols(), o_.latents);
    count_left_out();
    const Metrics metrics = evaluate(comm_, sae, feed_, NormLimit(feed_.parts(), state_->medians, o_.max_norm));
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) write(sae, metrics);
    });
    comm::await_file(comm_, o_.out / "training.json"); // the next stage reads it on every rank
    std::string traffic = comm_.size() > 1 ? fmt::format(" received/step={}", human_bytes(received)) : std::string();
    say_stage_ok(o_.stage_word, clock_.seconds(),
                 fmt::format("steps={} rows/s={:.0f} screened={:.0f} fvu={} l0={} too_long={} dead={} ({:.1f}%) peak={}{}{}", o_.steps,
                             rows_a_second(), screened, shown(metrics.fvu, 4), shown(metrics.l0, 2), state_->left_out, dead_count_,
                             100.0 * static_cast<double>(dead_count_) / static_cast<double>(o_.latents),
                             human_bytes(comm::max_of(comm_, peak_memory())), gpu_memory_, traffic),
                 o_.out.string());
  }

private:
  // --- a step -------------------------------------------------------------------------------------------------------

  void one_step() {
    comm::agree(comm_, [&] { feed_.batch(state_->step, batch_); });
    left_out_here_ += limit_.thin(batch_);
    const StepSeen seen = stepper_->make_gradients(batch_, dead_latents(), penalty_share(o_, state_->step));
    penalty_ = seen.penalty;
    norm_ = seen.norm;
    check_finite_step(seen.moments.squared_error() + norm_);
    stepper_->move(learning_rate(o_, state_->step), norm_ > o_.clip ? o_.clip / norm_ : 1.0);
    note(*seen.rows, seen.moments);
  }

  /// Collective.
  void count_left_out() {
    state_->left_out += comm::sum_of(comm_, left_out_here_);
    left_out_here_ = 0;
  }

  /// Counters and what progress shows.
  void note(const StepRows& seen, const StepMoments& moments) {
    const auto fired = exchange_->fired(seen);
    for (std::size_t j = 0; j < fired.size(); ++j) state_->rows_since_fired[j] = fired[j] != 0 ? 0.0F : state_->rows_since_fired[j] + 1.0F;
    batch_fvu_ = moments.squared_error() / std::max(moments.row_variance(o_.batch), 1e-300);
    batch_loss_ = moments.squared_error() / static_cast<double>(o_.batch);
    batch_l0_ = moments.active() / static_cast<double>(o_.batch);
  }

  /// Progress, and the line of the log where one is due; behind a step.
  void show() {
    progress_->update(state_->step, fmt::format("fvu={:.4f} l0={:.1f} dead={} rows/s={:.0f} screened={:.0f}", batch_fvu_, batch_l0_,
                                                dead_count_, rows_a_second(), architecture_->computed_per_row()));
    if (!log_->due(state_->step)) return;
    const double penalty = comm::sum_of(comm_, penalty_) / static_cast<double>(o_.batch);
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      log_->write({{"step", state_->step},
                   {"rows", state_->step * o_.batch},
                   {"fvu", batch_fvu_},
                   {"loss", batch_loss_},
                   {"penalty", penalty},
                   {"l0", batch_l0_},
                   {"dead", dead_count_},
                   {"gradient_norm", norm_},
                   {"learning_rate", learning_rate(o_, state_->step)},
                   {"rows_per_second", std::round(rows_a_second())},
                   {"seconds", std::round(100 * clock_.seconds()) / 100}});
    });
  }

  std::vector<std::uint8_t> dead_latents() {
    dead_count_ = 0;
    std::vector<std::uint8_t> dead(at(o_.latents), 0);
    for (std::size_t j = 0; j < dead.size(); ++j)
      if (state_->rows_since_fired[j] * static_cast<float>(o_.batch) >= static_cast<float>(o_.dead_after)) {
        dead[j] = 1;
        ++dead_count_;
      }
    if (o_.aux_weight <= 0) return {};
    return dead;
  }

  void check_finite_step(double sum) const {
    if (std::isfinite(sum)) return;
    throw Error(ExitCode::bad_data,
                fmt::format("{}: the loss is not finite at step {} of layer {}; the last good checkpoint is {}; lower sae.learning_rate",
                            o_.stage_word, state_->step, o_.layer,
                            fs::exists(folder_.checkpoint()) ? folder_.checkpoint().string() : "none"),
                /*agreed=*/true);
  }

  // --- end ----------------------------------------------------------------------------------------------------------

  /// Of the steps of this run behind the first few, which meet fresh memory.
  double rows_a_second() const {
    const auto steps = static_cast<double>(steps_here_ - untimed_steps);
    return steps > 0 ? steps * static_cast<double>(o_.batch) / std::max(timed_until_ - timed_from_, 1e-9) : 0.0;
  }

  void write(const Sae& sae, const Metrics& metrics) {
    const std::string model = feed_.model();
    nlohmann::json record{{"kind", settings::word_of(o_.kind)},
                          {"dead", dead_count_},
                          {"latents", o_.latents},
                          {"d", sae.d},
                          {"scale", state_->scales},
                          {"median_norm", state_->medians},
                          {"rows_left_out", state_->left_out},
                          {"rows", o_.steps * o_.batch},
                          {"normalisation", settings::word_of(o_.normalise) + ": trained on s x, s = scale, folded into the saved weights"},
                          {"ranks", comm_.size()}};
    record.update(metrics.json());
    if (sae.parts.size() > 1) record["relative_decoder_norms"] = relative_decoder_norms(sae, state_->scales);
    folder_.finish(sae,
                   {{"model_name", model.empty() ? "unknown" : fs::path(model).filename().string()},
                    {"hook_name", fmt::format("blocks.{}.hook_resid_post", o_.layer)},
                    {"prepend_bos", true},
                    {"sae_lens_training_version", "concord " + version()}},
                   std::move(record));
  }

  const comm::Communicator& comm_;
  TrainOptions o_;
  Progress clock_{"", 0, ""};
  RowFeed& feed_;
  TrainingFolder folder_;
  std::optional<io::Claim> claim_;
  std::unique_ptr<Architecture> architecture_;
  std::unique_ptr<TrainingState> state_;
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Stepper> stepper_;
  std::string gpu_memory_; ///< what it took of a GPU
  std::unique_ptr<TrainingLog> log_;
  Batch batch_;
  std::unique_ptr<Progress> progress_;
  Index dead_count_ = 0;
  double penalty_ = 0; ///< sum over this rank's rows
  double norm_ = 0;    ///< of the gradient
  NormLimit limit_;
  Index left_out_here_ = 0; ///< rows of this rank since the last count
  double batch_fvu_ = 0;
  double batch_loss_ = 0;
  double batch_l0_ = 0;
  static constexpr Index untimed_steps = 2;
  Index steps_here_ = 0;
  double timed_from_ = 0;
  double timed_until_ = 0;
};

Trainer::Trainer(const comm::Communicator& comm, const TrainOptions& options, RowFeed& feed)
    : work_(std::make_unique<Work>(comm, options, feed)) {}
Trainer::~Trainer() = default;
const std::string& Trainer::digest() const {
  return work_->digest();
}
bool Trainer::is_done() {
  return work_->is_done();
}
void Trainer::prepare() {
  work_->prepare();
}
Index Trainer::step() const {
  return work_->step();
}
Index Trainer::steps() const {
  return work_->options().steps;
}
void Trainer::run_to(Index end) {
  work_->run_to(end);
}
void Trainer::save_checkpoint() {
  work_->save_checkpoint();
}
void Trainer::finish() {
  work_->finish();
}

} // namespace concord::sae
