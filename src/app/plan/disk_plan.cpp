#include "app/plan/disk_plan.hpp"

#include "concord/io/dataset_bytes.hpp"

#include <algorithm>

namespace concord::app {

using io::dataset_bytes;

double tokens_disk(const DiskSizes& s) {
  constexpr double piece = 16; // bytes of a token's text; those of large vocabularies are about 7 long
  return dataset_bytes(4 * s.tokens) + 2 * dataset_bytes(8 * s.tokens) + 2 * dataset_bytes(8 * s.contexts) +
         dataset_bytes(8 * s.vocabulary) + dataset_bytes(piece * s.vocabulary);
}

double activations_disk(const DiskSizes& s, double layers, double d, double value) {
  const double of_rows = dataset_bytes(s.tokens) + dataset_bytes(8 * s.contexts) + dataset_bytes(8 * s.blocks);
  const double of_loss = dataset_bytes(16 * s.blocks) + dataset_bytes(8 * s.blocks);
  return of_rows + of_loss + layers * (dataset_bytes(s.tokens * d * value) + dataset_bytes(8 * s.blocks));
}

double saes_disk(const DiskSizes& s, double layers, double d) {
  constexpr double line = 320;     // of training.jsonl
  constexpr double records = 8192; // cfg.json, training.json, the header of the weights
  const double lines = std::min(s.steps, 1000.0);
  return layers * (8 * s.latents * d + 4 * (4 * s.latents + d) + lines * line + records);
}

double features_disk(const DiskSizes& s, double layers) {
  const double entries = s.tokens * s.active;
  const double of_layer = dataset_bytes(8 * s.tokens) + 2 * dataset_bytes(4 * entries) + 3 * dataset_bytes(8 * s.latents) +
                          dataset_bytes(4 * s.latents) + dataset_bytes(8 * s.latents * s.top) + dataset_bytes(4 * s.latents * s.top);
  const double codes = 8 * entries + 8 * s.tokens; // one layer lies twice while it is made
  return dataset_bytes(s.tokens) + layers * of_layer + codes;
}

double matches_disk(const DiskSizes& s, double pairs, double best, double null_values, bool sampled, bool matrix) {
  const double f = s.latents;
  double of_side = dataset_bytes(4 * f * best) + 2 * dataset_bytes(8 * f * best) + dataset_bytes(8 * f);
  if (null_values > 0) of_side += dataset_bytes(8 * null_values) + 2 * dataset_bytes(8 * f);
  if (sampled) of_side += 2 * dataset_bytes(4 * null_values) + dataset_bytes(8 * null_values);
  const double of_matches = dataset_bytes(4 * f) + 7 * dataset_bytes(8 * f) + dataset_bytes(f) + 2 * dataset_bytes(512);
  return pairs * (2 * of_side + of_matches + (matrix ? dataset_bytes(4 * f * f) : 0.0));
}

} // namespace concord::app
