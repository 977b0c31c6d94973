#include "concord/sae/training/trainings.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/sae/memory_plan.hpp"
#include "concord/sae/rows/window_feed.hpp"

#include "sae/rows/file_feed.hpp"
#include <algorithm>
#include <map>
#include <set>
#include <sstream>

namespace concord::sae {
namespace {

std::unique_ptr<RowFeed> feed_for(const comm::Communicator& comm, const TrainOptions& o) {
  check(o);
  const FeedSettings settings{o.batch, o.held_out,  o.keep_special, o.memory_gib * 0x1p30, o.order_seed.value_or(o.seed),
                              o.layer, comm.rank(), comm.size()};
  if (!o.with.empty()) return std::make_unique<PairFeed>(o.activations, o.with, settings);
  if (o.order == Order::buffer) return window_feed_of_file(o.activations, settings, o.buffer_rows);
  return std::make_unique<FileFeed>(o.activations, settings);
}

/// Step by step together; those that lie behind, since a kill came between two checkpoints, go first.
void run_together(const comm::Communicator& comm, const std::vector<std::unique_ptr<Trainer>>& trainers, double checkpoint_seconds) {
  constexpr Index most_between_votes = 8;
  constexpr double seconds_between_votes = 2;
  const Progress clock("", 0, "");
  double saved = 0;
  double voted = 0;
  Index interval = 1; ///< steps until the next vote
  Index since = 0;
  for (;;) {
    Index step = std::numeric_limits<Index>::max();
    for (const auto& trainer : trainers)
      if (trainer->step() < trainer->steps()) step = std::min(step, trainer->step());
    if (step == std::numeric_limits<Index>::max()) return;
    for (const auto& trainer : trainers)
      if (trainer->step() == step) trainer->run_to(step + 1);
    const bool done =
        std::all_of(trainers.begin(), trainers.end(), [](const auto& trainer) { return trainer->step() == trainer->steps(); });
    if (done || ++since < interval) continue;
    const double spent = comm::max_of(comm, clock.seconds() - voted);
    interval = std::clamp<Index>(static_cast<Index>(static_cast<double>(since) * seconds_between_votes / std::max(spent, 1e-6)), 1,
                                 most_between_votes);
    voted = clock.seconds();
    since = 0;
    const bool stop = comm::stop_requested(comm);
    if (stop || comm::max_of(comm, clock.seconds() - saved) >= checkpoint_seconds) {
      for (const auto& trainer : trainers) trainer->save_checkpoint();
      saved = clock.seconds();
    }
    if (stop) comm::throw_stopped("train-sae");
  }
}

/// The settings that a variant may change, and its seed.
const std::set<std::string> of_variants{"kind", "latents", "k", "sparsity", "learning_rate"};

void set_variant(TrainOptions& o, const std::string& key, const std::string& text) {
  if (key == "seed") {
    const auto seed = whole_number(text);
    require(seed && *seed >= 0, ExitCode::config, "sae.variants: seed = {} must be a whole number, not negative", text);
    o.seed = static_cast<std::uint64_t>(o.models) * static_cast<std::uint64_t>(*seed) + o.model;
    return;
  }
  require(of_variants.contains(key), ExitCode::config, "sae.variants: \"{}\" is not one of {}, seed", key,
          join({of_variants.begin(), of_variants.end()}, ", "));
  std::map<std::string, settings::Value> values;
  for (const auto& setting : settings::list_of<TrainSettings>(o)) {
    values[setting.name] = setting.value;
    if (setting.name != key) continue;
    try {
      values[key] = settings::parse(setting, text);
    } catch (const Error& error) {
      fail(ExitCode::config, "sae.variants: {}: {}", key, error.what());
    }
    settings::check(key, values[key], setting.allowed, "sae.variants");
  }
  settings::assign<TrainSettings>(o, [&](const std::string& name) { return values.at(name); });
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
  std::set<std::string> given;
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    require(equals != std::string::npos, ExitCode::config, "sae.variants: write \"key=value key=value\", not \"{}\"", variant);
    const std::string key = word.substr(0, equals);
    require(given.insert(key).second, ExitCode::config, "sae.variants: \"{}\" gives {} twice", variant, key);
    set_variant(o, key, word.substr(equals + 1));
  }
  o.out = variant_location(std::filesystem::absolute(options.out).string(), variant);
  o.stage_word += " @" + variant;
  return o;
}

std::vector<std::unique_ptr<Trainer>> trainers_of(const comm::Communicator& comm, const TrainOptions& options,
                                                  const std::vector<std::string>& variants, RowFeed& feed) {
  std::vector<TrainOptions> all{options};
  comm::agree(comm, [&] {
    for (const auto& variant : variants) all.push_back(variant_of(options, variant));
  });
  std::vector<std::unique_ptr<Trainer>> trainers;
  for (const auto& o : all) trainers.push_back(std::make_unique<Trainer>(comm, o, feed));
  comm::agree(comm, [&] {
    for (std::size_t i = 1; i < trainers.size(); ++i)
      for (std::size_t other = 0; other < i; ++other)
        require(trainers[i]->digest() != trainers[other]->digest(), ExitCode::config,
                "sae.variants: \"{}\" is the same training as {}; change or remove it", variants[i - 1],
                other == 0 ? "the one without a variant" : "\"" + variants[other - 1] + "\"");
  });
  return trainers;
}

namespace {

void require_memory(const comm::Communicator& comm, const TrainOptions& o, const RowFeed& feed, std::size_t trainings) {
  if (o.device != Device::cpu) return; // what the host holds is little beside the GPU's
  TrainingSize size{.d = feed.cols(), .models = static_cast<int>(feed.parts().size()), .ranks = comm.size(), .threads = thread_count()};
  size.trainings = static_cast<int>(trainings);
  comm::agree(comm, [&] {
    const io::RowSource source(o.activations);
    size.rows = static_cast<double>(source.rows());
    size.value = static_cast<double>(size_of(source.dtype()));
  });
  comm::require_memory(comm, training_memory(o, size), [&](const MemoryItem& largest) { return training_advice(o, size, largest); });
}

} // namespace

void train_variants(const comm::Communicator& comm, const TrainOptions& options, const std::vector<std::string>& variants) {
  std::unique_ptr<RowFeed> feed;
  for (const auto& location : {options.activations, options.with})
    if (!location.empty()) io::share_digest_of_rows(comm, location);
  comm::agree(comm, [&] { feed = feed_for(comm, options); });
  SharedFeed shared(*feed);
  auto trainers = trainers_of(comm, options, variants, variants.empty() ? *feed : shared); // sharing keeps a copy
  std::erase_if(trainers, [](const auto& trainer) { return trainer->is_done(); });
  if (!trainers.empty()) require_memory(comm, options, *feed, trainers.size());
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
  const auto on_gpu = std::find_if(trainings.begin(), trainings.end(), [](const TrainOptions& o) { return o.device == Device::cuda; });
  if (on_gpu != trainings.end()) comm::bind_gpu(comm, on_gpu->device, on_gpu->allow_shared_gpu); // before there are groups
  const int group = comm.rank() * groups / comm.size();                                          // neighbours, which often share a node
  const auto mine = comm.split(group);
  const bool spoke = is_speaker();
  set_speaker(mine.rank() == 0);
  bool stopped = false;
  comm::StopAcross stop(comm);
  try {
    for (std::size_t i = static_cast<std::size_t>(group); i < trainings.size(); i += static_cast<std::size_t>(groups))
      train_variants(mine, trainings[i], variants);
  } catch (const Error& error) {
    if (error.code() != ExitCode::stopped) throw Error(error.code(), error.what()); // the other groups do not know of it
    stopped = true;
  }
  set_speaker(spoke);
  stop.meet();
  if (comm::max_of(comm, Index{stopped}) > 0) comm::throw_stopped("train-sae");
}

} // namespace concord::sae
