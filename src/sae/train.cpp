#include "concord/sae/train.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/memory.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/provenance.hpp"
#include "concord/core/text.hpp"
#include "concord/io/safetensors.hpp"
#include "concord/sae/encoder.hpp"
#include "concord/sae/exchange.hpp"
#include "concord/sae/optimizer.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/top_k_step.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

namespace concord::sae {

namespace fs = std::filesystem;

namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

double squared_norm(std::span<const float> values) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < values.size(); ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

/// Numbers as multiples of a power of two, so that their sum is the same in any order: up to `terms` of them, none larger
/// than `largest` in size.
class FixedPoint {
public:
  FixedPoint(double largest, Index terms)
      : unit_(std::exp2(std::ceil(std::log2(std::max(largest, 1e-300) * static_cast<double>(std::max<Index>(terms, 1)))) - 62)) {}
  Index operator()(double x) const { return static_cast<Index>(x / unit_); }
  double back(Index sum) const { return static_cast<double>(sum) * unit_; }

private:
  double unit_;
};

/// Options with the defaults that depend on the data filled in.
TrainOptions resolved(TrainOptions o, Index d) {
  if (o.steps <= 0) o.steps = std::max<Index>(1, o.rows / o.batch);
  if (o.learning_rate <= 0) o.learning_rate = 2e-4 / std::sqrt(static_cast<double>(o.latents) / 16384.0);
  o.warmup_steps = std::min(o.warmup_steps, std::max<Index>(1, o.steps / 10));
  if (o.aux_k <= 0) o.aux_k = static_cast<int>(std::max<Index>(1, d / 2));
  return o;
}

void check(const TrainOptions& o) {
  require(o.latents > 0 && o.k > 0 && o.k <= o.latents, ExitCode::config, "sae.k = {} must lie between 1 and sae.latents = {}", o.k,
          o.latents);
  require(o.batch > 0, ExitCode::config, "sae.batch must be positive, not {}", o.batch);
  require(o.held_out >= 0 && o.held_out < 0.9, ExitCode::config, "sae.held_out = {} must lie in [0, 0.9)", o.held_out);
  require(o.reduction == "fast" || o.reduction == "reproducible", ExitCode::config,
          "sae.reduction must be \"fast\" or \"reproducible\", not \"{}\"", o.reduction);
  require(o.order == "global" || o.order == "buffer", ExitCode::config, "sae.order must be \"global\" or \"buffer\", not \"{}\"", o.order);
}

StageKey key_of(const TrainOptions& o, const RowFeed& feed) {
  StageKey key{"train-sae",
               {{"latents", o.latents},
                {"k", o.k},
                {"steps", o.steps},
                {"batch", o.batch},
                {"learning_rate", o.learning_rate},
                {"warmup_steps", o.warmup_steps},
                {"decay_fraction", o.decay_fraction},
                {"clip", o.clip},
                {"aux_weight", o.aux_weight},
                {"aux_k", o.aux_k},
                {"dead_after", o.dead_after},
                {"held_out", o.held_out},
                {"keep_special", o.keep_special},
                {"seed", o.seed},
                {"layer", o.layer}},
               {{"activations", feed.digest()}}};
  if (o.order != "global") key.settings["buffer_rows"] = o.buffer_rows;
  return key;
}

/// Adam moments, counters and position: with the parameters all that training is.
struct State {
  FlatParameters parameters;           ///< of all latents
  Adam adam;                           ///< of this rank's
  std::vector<float> rows_since_fired; ///< in global batches (times batch: rows); f32 is exact below 2^24
  Index step = 0;
  double scale = 1; ///< s: training sees s x, with E|s x| = sqrt(d)
  State(Index d, Index latents, Index share) : parameters(d, latents), adam(d, share), rows_since_fired(at(latents), 0.0F) {}
};

} // namespace

class Trainer::Work {
public:
  Work(const comm::Communicator& comm, const TrainOptions& options, RowFeed& feed) : comm_(comm), feed_(feed) {
    comm::agree(comm_, [&] {
      check(options);
      o_ = resolved(options, feed_.cols());
      key_ = key_of(o_, feed_);
      digest_ = key_.digest();
    });
  }

  bool is_done() const {
    const bool done = comm::agreed(comm_, [&] { return is_done_here(); });
    comm_.barrier();
    return done;
  }

  const TrainOptions& options() const { return o_; }
  Index step() const { return state_->step; }

  fs::path partial() const { return o_.out.string() + ".partial"; }
  fs::path checkpoint() const { return partial() / "checkpoint.safetensors"; }

  bool is_done_here() const {
    if (!fs::exists(o_.out)) return false;
    const fs::path record = o_.out / "training.json";
    const auto json = fs::exists(record) ? nlohmann::json::parse(read_text(record, "training record"), nullptr, false) : nlohmann::json();
    if (json.is_object() && json.value("stage_digest", "") == digest_) return true;
    if (o_.force) return false;
    const StageKey old{"train-sae", json.value("settings", nlohmann::json::object()), json.value("inputs", nlohmann::json::object())};
    fail(ExitCode::config,
         "{} holds an SAE trained with other settings or inputs ({}); choose another output, or give --force to replace it",
         o_.out.string(), difference(old, key_));
  }

  void prepare() {
    const Index d = feed_.cols();
    comm::agree(comm_, [&] {
      exchange_ = std::make_unique<Exchange>(comm_, d, o_.latents,
                                             o_.reduction == "fast" ? Exchange::Reduction::fast : Exchange::Reduction::reproducible);
      state_ = std::make_unique<State>(d, o_.latents, exchange_->count());
      gradients_ = std::make_unique<FlatParameters>(d, exchange_->count());
      settings_ = {o_.k, o_.aux_weight > 0 ? o_.aux_k : 0, o_.aux_weight, o_.batch};
      step_ = std::make_unique<TopKStep>(d, settings_);
      if (comm_.rank() == 0) make_folder(partial());
    });
    comm_.barrier();
    resumed_ = comm::agreed(comm_, [&] { return load_checkpoint(); });
    if (resumed_) log_info("{}: continuing at step {} of {}", o_.stage_word, state_->step, o_.steps);
  }

  // --- start --------------------------------------------------------------------------------------------------------

  /// Scale from a sample, b_dec from its geometric median, decoder rows random of unit norm, encoder a multiple of its
  /// transpose.
  void initialise() {
    const Index d = feed_.cols();
    Index sample = 0;
    comm::agree(comm_, [&] {
      sample = feed_.sample_rows();
      feed_.sample(batch_);
    });
    std::vector<double> lengths;
    for (std::size_t r = 0; r < batch_.rows.size() / at(d); ++r)
      lengths.push_back(std::sqrt(squared_norm({batch_.rows.data() + r * at(d), at(d)})));
    const FixedPoint fixed(comm::max_of(comm_, lengths.empty() ? 0.0 : *std::max_element(lengths.begin(), lengths.end())), sample);
    Index total = 0;
    for (const double length : lengths) total += fixed(length);
    const double norms = fixed.back(comm::sum_of(comm_, total));
    comm::agree(comm_, [&] { require(norms > 0, ExitCode::bad_data, "{}: all rows are zero", feed_.location()); });
    state_->scale = std::sqrt(static_cast<double>(d)) * static_cast<double>(sample) / norms;
    for (float& x : batch_.rows) x *= static_cast<float>(state_->scale);
    const auto centre = geometric_median(sample);
    std::copy(centre.begin(), centre.end(), state_->parameters.b_dec().begin());
    auto decoder = state_->parameters.decoder();
    for (Index j = 0; j < o_.latents; ++j) {
      const Philox random(o_.seed, "sae-init", static_cast<std::uint64_t>(o_.layer), static_cast<std::uint64_t>(j));
      for (Index c = 0; c < d; ++c) decoder[at(j * d + c)] = static_cast<float>(random.normal(static_cast<std::uint64_t>(c)));
    }
    unit_decoder_rows(state_->parameters);
    std::copy(decoder.begin(), decoder.end(), state_->parameters.encoder().begin());
    fit_encoder(sample);
    batch_ = {};
  }

  /// Scales the encoder so that the first reconstructions are the best multiple of what they are: without it the sum of k
  /// unit vectors overshoots where rows lie in few dimensions. By the first rows of the sample.
  void fit_encoder(Index sample) {
    constexpr Index wanted = 4096;
    const auto d = at(feed_.cols());
    const auto mine =
        static_cast<std::size_t>(std::lower_bound(batch_.positions.begin(), batch_.positions.end(), wanted) - batch_.positions.begin());
    batch_.positions.resize(mine);
    step_->forward(state_->parameters, std::span<const float>(batch_.rows).first(mine * d), batch_.positions, {});
    const StepRows& rows = step_->rows();
    std::vector<double> across(mine, 0.0);
    std::vector<double> along(mine, 0.0);
    double largest = 0;
    for (std::size_t r = 0; r < mine; ++r) {
      for (std::size_t i = r * d; i < (r + 1) * d; ++i) {
        const double decoded = static_cast<double>(rows.error[i]) + static_cast<double>(rows.centred[i]);
        across[r] += decoded * static_cast<double>(rows.centred[i]);
        along[r] += decoded * decoded;
      }
      largest = std::max({largest, std::abs(across[r]), along[r]});
    }
    const FixedPoint fixed(comm::max_of(comm_, largest), std::min(wanted, sample));
    std::vector<Index> sums(2, 0);
    for (std::size_t r = 0; r < mine; ++r) {
      sums[0] += fixed(across[r]);
      sums[1] += fixed(along[r]);
    }
    comm::sum(comm_, sums);
    if (sums[0] <= 0 || sums[1] <= 0) return; // nothing fires yet
    const auto factor = static_cast<float>(fixed.back(sums[0]) / fixed.back(sums[1]));
    for (float& w : state_->parameters.encoder()) w *= factor;
  }

  /// Weiszfeld's iteration on the sample in batch_.rows, over all ranks.
  std::vector<double> geometric_median(Index sample) const {
    const Index d = feed_.cols();
    float largest = 0;
    for (const float x : batch_.rows) largest = std::max(largest, std::abs(x));
    const double bound = comm::max_of(comm_, static_cast<double>(largest));
    std::vector<double> centre(at(d), 0.0);
    std::vector<double> weights(batch_.rows.size() / at(d), 1.0); // the mean first
    for (int iteration = 0; iteration < 30; ++iteration) {
      if (iteration > 0) inverse_distances(centre, weights);
      const double heaviest = comm::max_of(comm_, weights.empty() ? 0.0 : *std::max_element(weights.begin(), weights.end()));
      const FixedPoint fixed(heaviest * bound, sample);
      const FixedPoint fixed_weight(heaviest, sample);
      std::vector<Index> sums(at(d + 1), 0); // weighted sum and weight
      for (std::size_t r = 0; r < weights.size(); ++r) {
        const float* row = batch_.rows.data() + r * at(d);
        for (Index c = 0; c < d; ++c) sums[at(c)] += fixed(weights[r] * static_cast<double>(row[c]));
        sums[at(d)] += fixed_weight(weights[r]);
      }
      comm::sum(comm_, sums);
      for (Index c = 0; c < d; ++c) centre[at(c)] = fixed.back(sums[at(c)]) / fixed_weight.back(sums[at(d)]);
    }
    return centre;
  }

  void inverse_distances(const std::vector<double>& centre, std::vector<double>& weights) const {
    const std::size_t d = centre.size();
    for (std::size_t r = 0; r < weights.size(); ++r) {
      const float* row = batch_.rows.data() + r * d;
      double distance = 0;
#pragma omp simd reduction(+ : distance)
      for (std::size_t c = 0; c < d; ++c) distance += (row[c] - centre[c]) * (row[c] - centre[c]);
      weights[r] = 1.0 / std::max(std::sqrt(distance), 1e-9);
    }
  }

  // --- steps --------------------------------------------------------------------------------------------------------

  /// Trains until `end`, or until it is asked to stop; says so.
  bool run_to(Index end, bool stoppable) {
    end = std::min(end, o_.steps);
    if (state_->step >= end) return false;
    if (!resumed_ && state_->step == 0) initialise();
    if (!progress_) progress_ = std::make_unique<Progress>(o_.stage_word, o_.steps, "steps", state_->step);
    while (state_->step < end) {
      if (steps_here_++ == untimed_steps) timed_from_ = clock_.seconds();
      one_step();
      ++state_->step;
      timed_until_ = clock_.seconds();
      progress_->update(state_->step, fmt::format("fvu={:.4f} l0={:.1f} dead={} screened={:.0f}", batch_fvu_, batch_l0_, dead_count_,
                                                  step_->computed_per_row()));
      if (!stoppable || state_->step == o_.steps || state_->step % 8 != 0) continue;
      const bool stop = comm::stop_requested(comm_);
      if (stop || comm::max_of(comm_, progress_->seconds() - saved_) >= o_.checkpoint_seconds) {
        save_checkpoint();
        saved_ = progress_->seconds();
      }
      if (stop) return true;
    }
    return false;
  }

  void one_step() {
    State& s = *state_;
    comm::agree(comm_, [&] { feed_.batch(s.step, static_cast<float>(s.scale), batch_); });
    step_->forward(s.parameters, batch_.rows, batch_.positions, dead_latents());
    const StepRows* seen = &exchange_->collect(step_->rows());
    const StepMoments moments = exchange_->moments(*seen);
    if (step_->rows().aux.slots > 0 && moments.error_variance(o_.batch) > 0) {
      step_->backward_dead(s.parameters, moments.error_variance(o_.batch));
      seen = &exchange_->collect_dead(step_->rows());
    }
    std::vector<double> squares(at(exchange_->count()));
    exchange_->gradients(*seen, s.parameters, settings_.scale(), *gradients_,
                         [&](Index i) { squares[at(i)] = project_decoder_gradient(s.parameters, *gradients_, exchange_->first(), i); });
    const double norm = std::sqrt(exchange_->sum_over_latents(squares) + squared_norm(gradients_->b_dec()));
    check_finite_step(moments.squared_error() + norm);
    const double clip = norm > o_.clip ? o_.clip / norm : 1.0;
    s.adam.step(s.parameters, *gradients_, exchange_->first(), learning_rate(), static_cast<float>(clip), s.step + 1);
    exchange_->spread(s.parameters);
    note(*seen, moments);
  }

  /// Counters and what progress shows.
  void note(const StepRows& seen, const StepMoments& moments) {
    const auto fired = exchange_->fired(seen);
    for (std::size_t j = 0; j < fired.size(); ++j) state_->rows_since_fired[j] = fired[j] != 0 ? 0.0F : state_->rows_since_fired[j] + 1.0F;
    batch_fvu_ = moments.squared_error() / std::max(moments.row_variance(o_.batch), 1e-300);
    batch_l0_ = moments.active() / static_cast<double>(o_.batch);
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
                            o_.stage_word, state_->step, o_.layer, fs::exists(checkpoint()) ? checkpoint().string() : "none"),
                /*agreed=*/true);
  }

  double learning_rate() const {
    const auto step = static_cast<double>(state_->step);
    const double warm = std::min(1.0, (step + 1) / static_cast<double>(o_.warmup_steps));
    const double decay_steps = std::max(1.0, o_.decay_fraction * static_cast<double>(o_.steps));
    return o_.learning_rate * std::min(warm, std::min(1.0, (static_cast<double>(o_.steps) - step) / decay_steps));
  }

  // --- checkpoints --------------------------------------------------------------------------------------------------

  void save_checkpoint() {
    const bool root = comm_.rank() == 0;
    FlatParameters first(feed_.cols(), root ? o_.latents : 0);
    FlatParameters second(feed_.cols(), root ? o_.latents : 0);
    exchange_->gather(state_->adam.first_moment, first);
    exchange_->gather(state_->adam.second_moment, second);
    comm::agree(comm_, [&] {
      if (!root) return;
      const auto flat = [](const std::vector<float>& v) { return io::TensorView{Dtype::f32, {static_cast<Index>(v.size())}, v.data()}; };
      io::write_safetensors(checkpoint(),
                            {{"parameters", flat(state_->parameters.data)},
                             {"first_moment", flat(first.data)},
                             {"second_moment", flat(second.data)},
                             {"rows_since_fired", flat(state_->rows_since_fired)},
                             {"scale", {Dtype::f64, {1}, &state_->scale}},
                             {"step", {Dtype::i64, {1}, &state_->step}}},
                            {{"digest", digest_}});
      write_text_atomic(partial() / "digest", digest_);
    });
  }

  bool load_checkpoint() {
    if (!fs::exists(checkpoint()) || !fs::exists(partial() / "digest")) return false;
    if (read_text(partial() / "digest", "checkpoint digest") != digest_) {
      if (o_.force) return false;
      fail(ExitCode::config, "{} belongs to a training with other settings or inputs; choose another output, or give --force to start anew",
           partial().string());
    }
    const io::SafetensorsFile file(checkpoint());
    const auto view = [&](const char* name, std::size_t count) {
      const auto& tensor = file.tensor(name);
      require(tensor.dtype == Dtype::f32 && tensor.count() == static_cast<Index>(count), ExitCode::bad_data, "{}: {} has the wrong size",
              checkpoint().string(), name);
      return std::span<const float>(reinterpret_cast<const float*>(tensor.data), count);
    };
    const auto load = [&](const char* name, std::vector<float>& to) {
      const auto from = view(name, to.size());
      std::copy(from.begin(), from.end(), to.begin());
    };
    load("parameters", state_->parameters.data);
    exchange_->take_share(view("first_moment", state_->parameters.data.size()), state_->adam.first_moment);
    exchange_->take_share(view("second_moment", state_->parameters.data.size()), state_->adam.second_moment);
    load("rows_since_fired", state_->rows_since_fired);
    std::memcpy(&state_->scale, file.tensor("scale").data, sizeof(double));
    std::memcpy(&state_->step, file.tensor("step").data, sizeof(Index));
    return true;
  }

  // --- end ----------------------------------------------------------------------------------------------------------

  /// The SAE on unscaled rows: with unit decoder rows only the biases change (codes shrink by the scale).
  Sae folded() {
    Sae sae;
    sae.d = feed_.cols();
    sae.latents = o_.latents;
    sae.k = o_.k;
    auto& p = state_->parameters;
    sae.encoder.assign(p.encoder().begin(), p.encoder().end());
    sae.decoder.assign(p.decoder().begin(), p.decoder().end());
    for (const float b : p.b_enc()) sae.b_enc.push_back(static_cast<float>(b / state_->scale));
    for (const float b : p.b_dec()) sae.b_dec.push_back(static_cast<float>(b / state_->scale));
    return sae;
  }

  struct Metrics {
    double fvu = 0;
    double l0 = 0;
    Index rows = 0;
    Index dead = 0; ///< latents that fire on no held-out row and count as dead in training, or on none at all
  };

  /// FVU = sum |x - x^|^2 / sum |x - mean x|^2 and L0 on the held-out rows of all ranks.
  Metrics evaluate(const Sae& sae) {
    const Index d = sae.d;
    std::vector<double> sums(at(d + 4), 0.0); // sum x, then sum |x|^2, squared error, active, rows
    Encoder encoder(sae);
    SparseRows codes;
    comm::agree(comm_, [&] {
      feed_.held_out([&](std::span<const float> x) {
        codes.clear();
        encoder.encode(x, codes);
        add_errors(sae, x, codes, sums);
      });
    });
    comm::sum(comm_, sums);
    const double n = std::max(1.0, sums[at(d + 3)]);
    double variance = sums[at(d)];
    for (Index c = 0; c < d; ++c) variance -= sums[at(c)] * sums[at(c)] / n;
    return {variance > 0 ? sums[at(d + 1)] / variance : 0.0, sums[at(d + 2)] / n, static_cast<Index>(sums[at(d + 3)]), dead_count_};
  }

  static void add_errors(const Sae& sae, std::span<const float> x, const SparseRows& codes, std::vector<double>& sums) {
    const Index d = sae.d;
    std::vector<double> reconstruction(at(d));
    Index begin = 0;
    for (std::size_t r = 0; r < codes.row_ends.size(); ++r) {
      std::copy(sae.b_dec.begin(), sae.b_dec.end(), reconstruction.begin());
      for (Index e = begin; e < codes.row_ends[r]; ++e)
        for (Index c = 0; c < d; ++c)
          reconstruction[at(c)] += static_cast<double>(codes.values[at(e)]) * sae.decoder[at(codes.indices[at(e)] * d + c)];
      for (Index c = 0; c < d; ++c) {
        const double value = x[r * at(d) + at(c)];
        sums[at(c)] += value;
        sums[at(d)] += value * value;
        sums[at(d + 1)] += std::pow(value - reconstruction[at(c)], 2);
      }
      sums[at(d + 2)] += static_cast<double>(codes.row_ends[r] - begin);
      sums[at(d + 3)] += 1;
      begin = codes.row_ends[r];
    }
  }

  void finish() {
    dead_latents();
    check_ranks_agree();
    const double screened = step_->computed_per_row();
    gradients_.reset(); // room for the weights in the layout of the file
    state_->adam = Adam(feed_.cols(), 0);
    step_.reset();
    const Sae sae = folded();
    const Metrics metrics = evaluate(sae);
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) write(sae, metrics);
    });
    say_stage_ok(o_.stage_word, clock_.seconds(),
                 fmt::format("steps={} rows/s={:.0f} screened={:.0f} fvu={:.4f} l0={:.2f} dead={} ({:.1f}%) peak={}", o_.steps,
                             rows_a_second(), screened, metrics.fvu, metrics.l0, metrics.dead,
                             100.0 * static_cast<double>(metrics.dead) / static_cast<double>(o_.latents),
                             human_bytes(comm::max_of(comm_, peak_memory()))),
                 o_.out.string());
  }

  /// Of the steps of this run behind the first few, which meet fresh memory.
  double rows_a_second() const {
    const auto steps = static_cast<double>(steps_here_ - untimed_steps);
    return steps > 0 ? steps * static_cast<double>(o_.batch) / std::max(timed_until_ - timed_from_, 1e-9) : 0.0;
  }

  /// Every rank holds its own copy of the weights; sums that differed between ranks would let them drift apart unseen.
  void check_ranks_agree() const {
    std::string mine = digest_of(
        std::string_view(reinterpret_cast<const char*>(state_->parameters.data.data()), state_->parameters.data.size() * sizeof(float)));
    std::vector<char> root(mine.begin(), mine.end());
    comm::broadcast(comm_, root);
    comm::agree(comm_, [&] {
      require(std::string(root.begin(), root.end()) == mine, ExitCode::internal,
              "{}: the weights of the ranks drifted apart; the MPI library's allreduce does not give all ranks the same sum",
              o_.stage_word);
    });
  }

  void write(const Sae& sae, const Metrics& metrics) {
    const std::string model = feed_.model();
    save_saelens(partial(), sae,
                 {{"model_name", model.empty() ? "unknown" : fs::path(model).filename().string()},
                  {"hook_name", fmt::format("blocks.{}.hook_resid_post", o_.layer)},
                  {"prepend_bos", true},
                  {"sae_lens_training_version", "concord " + version()}});
    const nlohmann::json record{{"stage_digest", digest_},
                                {"settings", key_.settings},
                                {"inputs", key_.inputs},
                                {"fvu", metrics.fvu},
                                {"l0", metrics.l0},
                                {"held_out_rows", metrics.rows},
                                {"dead", metrics.dead},
                                {"latents", o_.latents},
                                {"d", sae.d},
                                {"scale", state_->scale},
                                {"normalisation", "trained on s x with E|s x| = sqrt(d), folded into the saved biases"},
                                {"software", "concord " + version()},
                                {"git", git_state()},
                                {"command", run_record().command},
                                {"ranks", comm_.size()},
                                {"date", utc_now()}};
    write_text_atomic(partial() / "training.json", record.dump(2) + "\n");
    if (fs::exists(o_.out)) fs::remove_all(o_.out);
    fs::rename(partial(), o_.out);
    fs::remove(o_.out / "checkpoint.safetensors"); // last, so that a kill before the rename loses nothing
    fs::remove(o_.out / "digest");
  }

private:
  const comm::Communicator& comm_;
  TrainOptions o_;
  Progress clock_{"", 0, ""};
  RowFeed& feed_;
  StageKey key_;
  std::string digest_;
  std::unique_ptr<State> state_;
  std::unique_ptr<FlatParameters> gradients_;
  std::unique_ptr<Exchange> exchange_;
  StepSettings settings_;
  std::unique_ptr<TopKStep> step_;
  Batch batch_;
  std::unique_ptr<Progress> progress_;
  double saved_ = 0;
  bool resumed_ = false;
  Index dead_count_ = 0;
  double batch_fvu_ = 0;
  double batch_l0_ = 0;
  static constexpr Index untimed_steps = 2;
  Index steps_here_ = 0;
  double timed_from_ = 0;
  double timed_until_ = 0;
};

Trainer::Trainer(const comm::Communicator& comm, const TrainOptions& options, RowFeed& feed)
    : work_(std::make_unique<Work>(comm, options, feed)) {}
Trainer::~Trainer() = default;
bool Trainer::is_done() const {
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
bool Trainer::run_to(Index end, bool stoppable) {
  return work_->run_to(end, stoppable);
}
void Trainer::save_checkpoint() {
  work_->save_checkpoint();
}
void Trainer::finish() {
  work_->finish();
}

void train(const comm::Communicator& comm, const TrainOptions& options) {
  std::unique_ptr<RowFeed> feed;
  comm::agree(comm, [&] {
    require(options.held_out >= 0 && options.held_out < 0.9, ExitCode::config, "sae.held_out = {} must lie in [0, 0.9)", options.held_out);
    require(options.batch > 0, ExitCode::config, "sae.batch must be positive, not {}", options.batch);
    const FeedSettings settings{options.batch, options.held_out, options.keep_special, options.memory_gib * 0x1p30,
                                options.seed,  options.layer,    comm.rank(),          comm.size()};
    if (options.order == "buffer")
      feed = window_feed_of_file(options.activations, settings, options.buffer_rows);
    else
      feed = std::make_unique<FileFeed>(options.activations, settings);
  });
  Trainer trainer(comm, options, *feed);
  if (trainer.is_done()) {
    log_info("{}: {} is done", options.stage_word, options.out.string());
    return;
  }
  trainer.prepare();
  if (trainer.run_to(trainer.steps(), /*stoppable=*/true)) comm::throw_stopped(options.stage_word.c_str());
  trainer.finish();
}

} // namespace concord::sae
