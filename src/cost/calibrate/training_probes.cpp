#include "concord/core/at.hpp"
#include "concord/sae/rows/window_feed.hpp"
#include "concord/sae/search/screen.hpp"
#include "concord/sae/training/train.hpp"

#include "cost/calibrate/probe.hpp"
#include "sae/step/step_rows.hpp"
#include <cstring>
#include <numeric>

namespace concord::cost {

namespace {

double d_of(Index value) {
  return static_cast<double>(value);
}

Probe screen_probe(sae::Screen::Precision precision, Work work, Index rows, Index latents, Index width) {
  struct Data {
    std::vector<float> encoder, bias, x;
    std::unique_ptr<sae::Screen> screen;
    sae::Codes codes;
  };
  auto data = std::make_shared<Data>();
  data->encoder = some_normals(latents * width, 3);
  data->bias.assign(at(latents), 0.0F);
  data->x = some_normals(rows * width, 4);
  data->screen = std::make_unique<sae::Screen>(width, precision);
  data->screen->update(data->encoder, data->bias);
  return {fmt::format("search of {} latents, {}, width {}", latents, work == Work::screen_int8 ? "int8" : "bf16", width),
          {{work, d_of(rows * latents * width), d_of(width)}},
          [data] {
            constexpr int k = 32;
            data->codes.clear();
            data->screen->top_k(data->x, k, data->codes);
          }};
}

Probe moments_probe(Index rows) {
  constexpr Index width = 256;
  struct Data {
    std::vector<float> x;
    sae::StepRows rows;
  };
  auto data = std::make_shared<Data>();
  data->x = some_normals(rows * width, 5);
  data->rows.d = width;
  data->rows.positions.resize(at(rows));
  std::iota(data->rows.positions.begin(), data->rows.positions.end(), Index{0});
  data->rows.centred = data->rows.error = data->x;
  data->rows.codes.ends.assign(at(rows), 0);
  return {"moments of a batch", {{Work::batch_rows, d_of(rows * width)}}, [data] { sae::moments_of(data->rows); }};
}

struct StepSize {
  Index batch, latents, width;
  int active;
};

/// Steps of a training from memory.
Probe step_probe(const std::filesystem::path& work, const StepSize& size) {
  constexpr Index steps_a_run = 4, block = 1024;
  struct Data {
    comm::Communicator self{MPI_COMM_SELF, boost::mpi::comm_attach};
    std::unique_ptr<sae::WindowFeed> feed;
    std::unique_ptr<sae::Trainer> trainer;
  };
  auto data = std::make_shared<Data>();
  std::vector<Index> offsets;
  const Index rows = 4 * std::max(size.batch, block);
  for (Index row = 0; row <= rows; row += block) offsets.push_back(row);
  auto order = std::make_shared<sae::BufferOrder>(
      offsets, [](Index begin, Index end) { return std::vector<bool>(at(end - begin), true); }, 0.1, rows, size.batch, 1);
  data->feed = std::make_unique<sae::WindowFeed>(order, size.width, Dtype::f32, sae::WindowFeed::Names{"calibrate", "none", ""}, 0, 1);
  const auto values = std::make_shared<std::vector<float>>(some_normals(rows * size.width, 6));
  data->feed->fill_by([values, width = size.width](Index number, char* out) {
    std::memcpy(out, values->data() + number * block * width, at(block * width) * sizeof(float));
  });
  sae::TrainOptions options;
  options.latents = size.latents;
  options.k = size.active;
  options.batch = size.batch;
  options.steps = Index{1} << 20;
  options.aux_weight = 0;
  options.max_norm = 0;
  options.stage_word = "calibrate";
  options.out = work / fmt::format("sae_{}_{}_{}", size.batch, size.latents, size.width);
  data->trainer = std::make_unique<sae::Trainer>(data->self, options, *data->feed);
  data->trainer->prepare();
  const double b = steps_a_run * d_of(size.batch), f = d_of(size.latents), d = d_of(size.width);
  return {fmt::format("training step, {} rows, {} latents, k = {}, width {}", size.batch, size.latents, size.active, size.width),
          {{Work::screen_int8, b * f * d, d},
           {Work::rows, b * size.active * d},
           {Work::codes_of_step, b * size.active},
           {Work::batch_rows, b * d},
           {Work::weights, steps_a_run * f * d}},
          [data] { data->trainer->run_to(data->trainer->step() + steps_a_run); }};
}

} // namespace

void add_training_families(const std::filesystem::path& work, double part, std::vector<Family>& families) {
  using Precision = sae::Screen::Precision;
  const auto n = [part](Index size) { return part_of(size, part, 128); };
  for (const auto& [precision, kind] : {std::pair{Precision::int8, Work::screen_int8}, std::pair{Precision::bf16, Work::screen_bf16}})
    families.push_back({"search", {kind}, [n, precision = precision, kind = kind] {
                          return std::vector<Probe>{screen_probe(precision, kind, n(4096), n(4096), 128),
                                                    screen_probe(precision, kind, n(1024), n(4096), n(1024)),
                                                    screen_probe(precision, kind, n(512), n(4096), n(2304))};
                        }});
  families.push_back({"moments", {Work::batch_rows}, [n] { return std::vector<Probe>{moments_probe(n(16384))}; }});
  families.push_back({"steps", {Work::rows, Work::codes_of_step, Work::weights}, [work, n] {
                        return std::vector<Probe>{step_probe(work, {n(2048), n(1024), 128, 16}), step_probe(work, {128, n(16384), 256, 8}),
                                                  step_probe(work, {n(1024), n(2048), n(512), 64}),
                                                  step_probe(work, {n(1024), n(1024), 128, 96})};
                      }});
}

} // namespace concord::cost
