#include "concord/sae/trainings.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/gpu.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/io/row_source.hpp"

#include <algorithm>
#include <limits>
#include <sstream>

namespace concord::sae {
namespace {

std::unique_ptr<RowFeed> feed_for(const comm::Communicator& comm, const TrainOptions& o) {
  require(o.held_out >= 0 && o.held_out < 0.9, ExitCode::config, "sae.held_out = {} must lie in [0, 0.9)", o.held_out);
  require(o.batch > 0, ExitCode::config, "sae.batch must be positive, not {}", o.batch);
  const FeedSettings settings{o.batch, o.held_out,  o.keep_special, o.memory_gib * 0x1p30, o.order_seed.value_or(o.seed),
                              o.layer, comm.rank(), comm.size()};
  if (!o.with.empty()) return std::make_unique<PairFeed>(o.activations, o.with, settings);
  if (o.order == "buffer") return window_feed_of_file(o.activations, settings, o.buffer_rows);
  return std::make_unique<FileFeed>(o.activations, settings);
}

/// Step by step together; those that lie behind, since a kill came between two checkpoints, go first.
void run_together(const comm::Communicator& comm, const std::vector<std::unique_ptr<Trainer>>& trainers, double checkpoint_seconds) {
  constexpr Index steps_between_votes = 8;
  const Progress clock("", 0, "");
  double saved = 0;
  for (;;) {
    Index step = std::numeric_limits<Index>::max();
    for (const auto& trainer : trainers)
      if (trainer->step() < trainer->steps()) step = std::min(step, trainer->step());
    if (step == std::numeric_limits<Index>::max()) return;
    for (const auto& trainer : trainers)
      if (trainer->step() == step) trainer->run_to(step + 1);
    const bool done =
        std::all_of(trainers.begin(), trainers.end(), [](const auto& trainer) { return trainer->step() == trainer->steps(); });
    if (done || (step + 1) % steps_between_votes != 0) continue;
    const bool stop = comm::stop_requested(comm);
    if (stop || comm::max_of(comm, clock.seconds() - saved) >= checkpoint_seconds) {
      for (const auto& trainer : trainers) trainer->save_checkpoint();
      saved = clock.seconds();
    }
    if (stop) comm::throw_stopped("train-sae");
  }
}

void set_variant(TrainOptions& o, const std::string& key, const std::string& value) {
  try {
    if (key == "kind")
      o.kind = value;
    else if (key == "latents")
      o.latents = std::stoll(value);
    else if (key == "k")
      o.k = std::stoi(value);
    else if (key == "sparsity")
      o.sparsity = std::stod(value);
    else if (key == "learning_rate")
      o.learning_rate = std::stod(value);
    else if (key == "seed")
      o.seed = std::stoull(value);
    else
      fail(ExitCode::config, "sae.variants: \"{}\" is not one of kind, latents, k, sparsity, learning_rate, seed", key);
  } catch (const std::logic_error&) {
    fail(ExitCode::config, "sae.variants: \"{}\" is no number for {}", value, key);
  }
}

} // namespace

std::string variant_location(const std::string& location, const std::string& variant) {
  std::string suffix = "@" + variant;
  std::replace(suffix.begin(), suffix.end(), ' ', ',');
  const auto folder = std::filesystem::path(location).parent_path();
  return (folder.parent_path() / (folder.filename().string() + suffix) / std::filesystem::path(location).filename()).string();
}

TrainOptions variant_of(const TrainOptions& options, const std::string& variant) {
  TrainOptions o = options;
  o.order_seed = options.order_seed.value_or(options.seed);
  std::istringstream words(variant);
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    require(equals != std::string::npos, ExitCode::config, "sae.variants: write \"key=value key=value\", not \"{}\"", variant);
    set_variant(o, word.substr(0, equals), word.substr(equals + 1));
  }
  o.out = variant_location(std::filesystem::absolute(options.out).string(), variant);
  o.stage_word += " @" + variant;
  return o;
}

void train_variants(const comm::Communicator& comm, const TrainOptions& options, const std::vector<std::string>& variants) {
  std::vector<TrainOptions> all{options};
  std::unique_ptr<RowFeed> feed;
  for (const auto& location : {options.activations, options.with})
    if (!location.empty()) io::share_digest_of_rows(comm, location);
  comm::agree(comm, [&] {
    for (const auto& variant : variants) all.push_back(variant_of(options, variant));
    feed = feed_for(comm, options);
  });
  SharedFeed shared(*feed);
  RowFeed& rows = variants.empty() ? *feed : shared; // sharing keeps a copy
  std::vector<std::unique_ptr<Trainer>> trainers;
  for (const auto& o : all) {
    auto trainer = std::make_unique<Trainer>(comm, o, rows);
    if (trainer->is_done())
      log_info("{}: {} is done", o.stage_word, o.out.string());
    else
      trainers.push_back(std::move(trainer));
  }
  for (const auto& trainer : trainers) trainer->prepare();
  run_together(comm, trainers, options.checkpoint_seconds);
  // The last step is safe before the evaluation, which may meet trouble of its own.
  for (const auto& trainer : trainers) trainer->save_checkpoint();
  for (auto& trainer : trainers) {
    trainer->finish();
    trainer.reset();
  }
}

void train(const comm::Communicator& comm, const TrainOptions& options) {
  train_variants(comm, options, {});
}

void train_side_by_side(const comm::Communicator& comm, const std::vector<TrainOptions>& trainings, int groups,
                        const std::vector<std::string>& variants) {
  groups = std::clamp(groups, 1, std::min(comm.size(), std::max(1, static_cast<int>(trainings.size()))));
  if (groups == 1) {
    for (const auto& o : trainings) train_variants(comm, o, variants);
    return;
  }
  const auto on_gpu = std::find_if(trainings.begin(), trainings.end(), [](const TrainOptions& o) { return o.device == "cuda"; });
  if (on_gpu != trainings.end()) comm::bind_gpu(comm, on_gpu->device, on_gpu->allow_shared_gpu); // before there are groups
  const int group = comm.rank() * groups / comm.size();                                          // neighbours, which often share a node
  const auto mine = comm.split(group);
  const bool spoke = is_speaker();
  set_speaker(mine.rank() == 0);
  bool stopped = false;
  try {
    for (std::size_t i = static_cast<std::size_t>(group); i < trainings.size(); i += static_cast<std::size_t>(groups))
      train_variants(mine, trainings[i], variants);
  } catch (const Error& error) {
    if (error.code() != ExitCode::stopped) throw Error(error.code(), error.what()); // the other groups do not know of it
    stopped = true;
  }
  set_speaker(spoke);
  if (comm::max_of(comm, Index{stopped}) > 0) comm::throw_stopped("train-sae");
}

} // namespace concord::sae
