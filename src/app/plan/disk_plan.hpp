#pragma once
// What the files of each stage take on the disk, at most. Local.

#include "concord/core/index.hpp"
#include "concord/similarity/compare_spaces.hpp"

namespace concord::app {

/// What the files of a study depend on.
struct DiskSizes {
  double tokens = 0;
  double contexts = 0;
  double blocks = 0; ///< of an extraction
  double vocabulary = 0;
  double latents = 0;
  double active = 0; ///< latents of a row
  double top = 0;    ///< strongest rows kept of a feature
  double steps = 0;  ///< of a training
};

double tokens_disk(const DiskSizes& s);
/// activations.h5 of so many layers of width d, a value `value` bytes.
double activations_disk(const DiskSizes& s, double layers, double d, double value);
/// SAEs of so many layers with their records.
double saes_disk(const DiskSizes& s, double layers, double d);
/// features.h5 with its layers, and the codes of a layer under way.
double features_disk(const DiskSizes& s, double layers);
/// matches.h5 of so many pairs; `null_values` of a side, `sampled`: each with its feature; `matrix`: with all correlations beside it.
double matches_disk(const DiskSizes& s, double pairs, double best, double null_values, bool sampled, bool matrix);

} // namespace concord::app
