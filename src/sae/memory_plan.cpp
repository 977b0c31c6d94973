#include "concord/sae/memory_plan.hpp"

#include "concord/sae/rows/row_feed.hpp"

#include "sae/gpu/device_step.hpp"
#include "sae/kinds/architecture.hpp"
#include "sae/search/screen_row.hpp"
#include <algorithm>

namespace concord::sae {
namespace {

constexpr const char* codes_of_all = "codes of all rows";
constexpr const char* rows_in_memory = "rows in memory";
constexpr const char* window_of_rows = "window of rows";
constexpr const char* places_of_window = "places of the window's rows";

/// Weights that a search rounds, and its numbers a latent: bias, scale, offset, norm, loss, unit.
double rounded_weights(Screen::Precision roughest, double latents, double d) {
  return (Screen::bytes_a_weight(roughest) * d + 24) * latents;
}

void add_rows(MemoryPlan& plan, const TrainOptions& o, const TrainingSize& size, bool window) {
  const auto d = static_cast<double>(size.d);
  const auto r = static_cast<double>(size.ranks);
  const double layers = size.layers;
  const double share = size.rows * d * size.value / r;
  if (window) {
    plan.each_rank(window_of_rows, "w d v / R", layers * std::min(size.rows, static_cast<double>(o.buffer_rows)) * d * size.value / r);
    plan.each_rank(places_of_window, "32 w", 32 * std::min(size.rows, static_cast<double>(o.buffer_rows)));
  } else {
    const bool fits = share / size.models <= o.memory_gib * 0x1p30; // each model's by themselves
    plan.each_rank(rows_in_memory, "T d v / R, if that of a model is at most sae.memory_gib", fits ? share : 0);
    plan.each_rank("places of the rank's rows", size.models > 1 ? "16 T / R" : "8 T / R", 8 * size.models * size.rows / r);
  }
}

void add_end(MemoryPlan& plan, const TrainOptions& o, const TrainingSize& size) {
  const auto f = static_cast<double>(o.latents);
  const auto d = static_cast<double>(size.d);
  const auto r = static_cast<double>(size.ranks);
  plan.begin_phase("end");
  plan.each_node("encoder rounded to bf16", "2 F d + 24 F; without such instructions 24 F", rounded_weights(Screen::Precision::bf16, f, d));
  plan.rank_0("encoder as the file has it", size.models > 1 ? "8 F d" : "4 F d", (size.models > 1 ? 8 : 4) * f * d);
  plan.each_rank("held-out rows, a piece", "12 x 1024 d", 12 * 1024 * d);
  if (size.models > 1) {
    plan.each_rank("held-out rows of A", "4 H d_a / R", 4 * std::min(65536.0, o.held_out * size.rows) * d / size.models / r);
    plan.at_most();
  }
}

} // namespace

void add_sae_on_nodes(MemoryPlan& plan, double latents, double d) {
  plan.each_node("encoder and decoder", "8 F d", 8 * latents * d);
  plan.each_node("encoder rounded to bf16", "2 F d + 24 F; without such instructions 24 F",
                 rounded_weights(Screen::Precision::bf16, latents, d));
}

void add_search_rows(MemoryPlan& plan, Search search, double threads, double rows, double d, double active) {
  // Candidates of 12 bytes, 8 k of them and a panel more, and what is chosen, 8 bytes each: in rooms that double.
  const double of_row = search == Search::largest ? 200 * active : 16 * active;
  plan.each_rank("rows that a thread searches", "96 n (2 d + 200 L); penalised kinds 16 L",
                 std::min(static_cast<double>(block_rows) * threads, rows) * (2 * d + of_row));
  plan.at_most();
}

MemoryPlan training_memory(const TrainOptions& o, const TrainingSize& size) {
  const auto f = static_cast<double>(o.latents);
  const auto d = static_cast<double>(size.d);
  const auto b = static_cast<double>(o.batch);
  const auto r = static_cast<double>(size.ranks);
  const bool penalised = architecture_kind(o.kind).penalised;
  const double scalars = o.kind == Kind::gated ? 3 : o.kind == Kind::jumprelu ? 2 : 1;
  const double prefixes = o.kind == Kind::matryoshka ? static_cast<double>(o.prefixes) : 0;
  // The penalised kinds begin with half of the latents active.
  const double active = penalised ? f / 2 : o.kind == Kind::batch_topk ? 1.5 * static_cast<double>(o.k) : static_cast<double>(o.k);
  const double entry = 12 + 4 * (scalars - 1);
  const double found = entry + 8 + (scalars > 1 ? 4 : 0); // with the search's own, and gates or pre-activations
  const double trainings = size.layers * size.trainings;
  const double search = rounded_weights(Screen::Precision::int8, f, d);
  const bool gathers = size.ranks > 1 && o.reduction == Reduction::reproducible;

  MemoryPlan plan("train-sae");
  plan.each_node("weights", "8 F d + 4 s F", trainings * (8 * f * d + 4 * scalars * f));
  const bool window = size.fused || o.order == Order::buffer;
  add_rows(plan, o, size, window);
  plan.each_rank("counters of latents", "4 F", trainings * 4 * f);
  const double dead = o.aux_weight > 0 && o.dead_after < o.rows ? static_cast<double>(dead_latents_a_row(o, size.d)) : 0;
  const double sought = (o.kind == Kind::batch_topk ? 4 : 1) * static_cast<double>(o.k);
  add_search_rows(plan, penalised ? Search::above : Search::largest, size.threads, std::max(b, 4096.0) / r, d,
                  penalised ? active : std::min(f, std::max(sought, dead)));

  const auto with_moments = [&](const char* phase) { // they are given up before the end
    plan.begin_phase(phase);
    plan.each_rank("gradients and moments of the rank's latents", "12 (2 d + s) F / R", trainings * 12 * (2 * d + scalars) * f / r);
  };
  with_moments("steps");
  plan.each_node("weights rounded for the search", "F d + 24 F, once int8 gives way 2 F d + 24 F; without such instructions 24 F",
                 trainings * search);
  plan.each_node("of dead latents, for AuxK", "F d + 24 F", o.aux_weight > 0 && o.dead_after < o.rows ? trainings * search : 0);
  plan.at_most();
  if (gathers) plan.each_node("batch: rows and errors of all ranks", "(8 + 4 g) B d", trainings * (8 + 4 * prefixes) * b * d);
  const double copies = (window ? 1 : 2) + (size.trainings > 1 ? 1 : 0);
  plan.each_rank("batch: rows, at work and read ahead", "8 B d / R", 4 * copies * b * d / r);
  plan.each_rank("batch: rows less b_dec, errors", "(8 + 4 g) B d / R", trainings * (8 + 4 * prefixes) * b * d / r);
  plan.each_rank("codes of the rank's rows", "20 B L / R; jumprelu 28, gated 32", trainings * found * b * active / r);
  plan.each_rank("codes by latent", "12 B L / R; jumprelu 16, gated 20", trainings * entry * b * active / r);
  if (gathers) plan.each_rank(codes_of_all, "12 B L; jumprelu 16, gated 20", trainings * entry * b * active);
  if (!gathers && size.ranks > 1) plan.each_rank("gradients of all latents", "8 F d", trainings * 8 * f * d);
  plan.each_rank("marks of latents", "10 F", 10 * f);
  plan.each_rank("sums over latents for b_dec", "F d / 64 (1 + 1 / R)", f / 256 * 4 * d * (1 + 1 / r));

  with_moments("start");
  const double sample = std::min(size.rows, 32768.0);
  plan.each_node("weights rounded for the search", "F d + 24 F, once int8 gives way 2 F d + 24 F; without such instructions 24 F", search);
  plan.each_rank("sample", "4 S d / R", 4 * sample * d / r);
  plan.each_rank("codes of the sample, less b_dec, errors", "(8 d + 20 L) S / 8 R; jumprelu 28 L, gated 32 L",
                 (8 * d + found * active) * std::min(sample, 4096.0) / r);

  with_moments("checkpoint");
  plan.rank_0("moments of one rank's latents", "4 F d / R", 4 * f * d / r);

  add_end(plan, o, size);
  return plan;
}

std::string training_advice(const TrainOptions& options, const TrainingSize& size, const MemoryItem& largest) {
  const std::string others = "sae.latents or sae.groups (trainings at once), or take more nodes";
  const auto lower = [&](const char* setting) { return std::string("lower ") + setting + ", " + others; };
  if (largest.what == rows_in_memory) return lower("sae.memory_gib");
  if (largest.what == window_of_rows || largest.what == places_of_window) return lower("sae.buffer_rows");
  if (largest.what.starts_with("batch") || largest.what.starts_with("codes")) {
    TrainOptions fast = options;
    fast.reduction = Reduction::fast; // each rank holds gradients of all latents instead, which may be more
    const bool less = training_memory(fast, size).of_rank(false) < training_memory(options, size).of_rank(false);
    return (largest.what == codes_of_all && less ? "give sae.reduction = \"fast\", or " : "") + lower("sae.batch");
  }
  return "lower " + others; // of weights, gradients and moments
}

double gpu_training_bytes(const TrainOptions& o, Index d, int ranks) {
  const ArchitectureSettings s{
      .kind = o.kind, .d = d, .latents = o.latents, .batch = o.batch, .k = o.k, .prefixes = o.prefixes, .parts = {d}};
  const comm::Communicator self(MPI_COMM_SELF, boost::mpi::comm_attach);
  return DeviceStep::bytes(*make_architecture(self, s), s.latents / ranks + 1, s.batch / ranks + 1,
                           o.aux_weight > 0 ? dead_latents_a_row(o, d) : 0);
}

} // namespace concord::sae
