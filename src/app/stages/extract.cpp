#include "concord/extract/extract.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/memory_plan.hpp"
#include "concord/io/rows/row_writer.hpp"

#include "app/command/command.hpp"
#include "app/command/model_flags.hpp"
#include "app/plan/plan_sizes.hpp"
#include "app/results/file_checks.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>

namespace concord::app {
namespace {

void add_flags(Command& command) {
  ModelFlags model(command.flags());
  command.flags().add_option("--out", model.options().out, "activations.h5 to write");
  command.without_study([&command, model]() mutable {
    auto& o = model.options();
    command.need(!o.model.empty() && !o.tokens.empty() && !o.out.empty(), "--model, --tokens and --out");
    model.take(command.world(), o.out, command.force());
    o.force = command.force();
    extract::extract(command.world(), o);
  });
}

bool has_work(const study::Study& study) {
  return !study.flag("extract.fused");
}

void run(const StageRun& run) {
  if (!has_work(run.study)) {
    log_info("extract: fused; the model runs inside train-sae and encode");
    return;
  }
  std::size_t unit = 0;
  for (const auto& model : run.study.models()) {
    if (!model.is_extracted() || !run.share.has(unit++)) continue;
    auto o = comm::agreed(run.comm, [&] { return extract_options(run.study, model); });
    o.force = run.force;
    extract::extract(run.comm, o);
  }
}

std::vector<StageResult> results(const study::Study& study) {
  const StudyFiles files(study);
  std::vector<StageResult> all;
  for (const auto& model : study.models()) {
    if (!model.is_extracted()) continue;
    all.push_back({.unit = named("extract", model),
                   .path = files.activations(model),
                   .reads = {{"tokens", files.tokens().string(), StageInput::Kind::tokens}},
                   .wanted = !study.flag("extract.fused"),
                   .needed = false}); // it may have been put away
  }
  return all;
}

/// Of the shard whose ranks need most.
extract::RankMemory rank_memory(const PlanSizes& s, const ModelPlan& m) {
  auto options = extract_options(s.study, m.model);
  options.layer_shards = std::clamp(options.layer_shards, 1, std::min(s.ranks, m.config.layers));
  const Index context = s.study.integer("corpus.context");
  const auto contexts = static_cast<Index>(s.tokens) / context + 1;
  extract::RankMemory most;
  for (int shard = 0; shard < options.layer_shards; ++shard) {
    const auto memory = extract::rank_memory(m.config, options, shard, std::min(contexts, options.batch) * context, context, contexts,
                                             thread_count(), options.device == Device::cuda);
    if (memory.total() + memory.on_device() > most.total() + most.on_device()) most = memory;
  }
  return most;
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  std::vector<StagePlan> all;
  for (const auto& m : s.models) {
    if (!m.model.is_extracted()) continue;
    const auto memory = rank_memory(s, m);
    auto size = forward_size(s, m, s.tokens);
    StagePlan one{named("extract", m.model),
                  s.fused() ? 0.0 : activations_disk(s.disk, m.layers, m.width(), s.value()),
                  s.tokens * size.row_flops,
                  extract::memory_plan(memory, named("extract", m.model)),
                  {{size.bf16 ? cost::Work::product_bf16 : cost::Work::product_f32,
                    size.batch_rows * size.row_flops * (s.shards() > 1 ? s.shards() + 1 : 1) / s.shards(), m.width()}}};
    size.written = one.disk;
    if (!s.fused()) one.add(cost::extract_cost(size, s.layout()));
    if (s.study.text("extract.device") == "cuda") one.of_gpu = memory.on_device();
    all.push_back(std::move(one));
  }
  return all;
}

/// Every block of every layer must have the checksum that its writer recorded.
void verify_blocks(const io::File& file, int layer, const std::vector<Index>& block_offsets, const comm::StopWithin& stop) {
  const std::string group = "/" + layer_name(layer);
  const auto rows = file.dataset(group + "/x");
  const auto checksums = file.read<std::int64_t>(group + "/checksums");
  require(checksums.size() + 1 == block_offsets.size() && block_offsets.back() == rows.rows(), ExitCode::bad_data,
          "{}:{}: blocks, checksums and rows do not fit", file.path().string(), group);
  std::vector<char> bytes;
  for (std::size_t b = 0; b < checksums.size(); ++b) {
    look(stop);
    const Index count = block_offsets[b + 1] - block_offsets[b];
    bytes.resize(static_cast<std::size_t>(count * rows.row_bytes()));
    rows.read_rows(block_offsets[b], count, bytes.data());
    require(static_cast<std::int64_t>(io::block_checksum(bytes.data(), bytes.size())) == checksums[b], ExitCode::bad_data,
            "{}:{}: rows {} to {} are not what was written (their checksum differs); extract the file again", file.path().string(), group,
            block_offsets[b], block_offsets[b + 1] - 1);
    const Index bad = first_non_finite(bytes.data(), rows.dtype(), count * rows.row_size());
    require(bad < 0, ExitCode::bad_data, "{}:{}: row {} is not finite", file.path().string(), group,
            block_offsets[b] + bad / rows.row_size());
  }
}

std::string check(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& stop) {
  const auto file = io::File::open(path);
  const auto layers = layers_in(file, "layers");
  const auto block_offsets = file.read<Index>("/block_offsets");
  require(std::is_sorted(block_offsets.begin(), block_offsets.end()) && !block_offsets.empty(), ExitCode::bad_data,
          "{}: block_offsets are damaged", path.string());
  for (const int layer : layers) verify_blocks(file, layer, block_offsets, stop);
  return fmt::format("activations of {} layers, {} rows, {} blocks", layers.size(), block_offsets.back(), block_offsets.size() - 1);
}

} // namespace

Stage extract_stage() {
  return {.word = "extract",
          .help = "tokens + model weights -> activations.h5",
          .table = "extract",
          .units = "models",
          .command = add_flags,
          .keys_of_flags = {{"--model", "model.NAME.path"}, {"--layers", "model.a.layers"}},
          .has_work = has_work,
          .run = run,
          .results = results,
          .plan = plan,
          .checks = {{"extract", check}}};
}

} // namespace concord::app
