#pragma once
/// The phases of each stage from the sizes of a study (docs/scaling.md gives the formulas in words). By arithmetic alone. Local.

#include "concord/cost/phase.hpp"

namespace concord::cost {

struct TokenizeSize {
  double text = 0;  ///< bytes
  double piece = 0; ///< bytes that a rank tokenizes at once
  double written = 0;
};
std::vector<Phase> tokenize_cost(const TokenizeSize& size, const Layout& layout);

struct ExtractSize {
  double tokens = 0;
  double batch_rows = 0; ///< rows that go through the model at once
  double row_flops = 0;  ///< of all blocks, and the head where it is wanted, for one token
  double width = 0;
  double layers = 0;      ///< that are stored
  double model_bytes = 0; ///< of its files
  double written = 0;
  int shards = 1; ///< ranks that share one copy of the model
  bool bf16 = false;
  bool on_gpu = false;
};
std::vector<Phase> extract_cost(const ExtractSize& size, const Layout& layout);

struct TrainingSize {
  double trainings = 1; ///< of one width
  double groups = 1;    ///< of ranks that train side by side
  double variants = 1;  ///< trainings on the same rows, one behind the other
  double rows = 0;      ///< of the file
  double row_bytes = 0; ///< of a row there; 0: the model runs
  double memory = 0;    ///< bytes of rows that a rank holds; where its share is larger, each row is read when its turn comes
  double held_out = 0;  ///< rows
  double steps = 0;
  double batch = 0;
  double latents = 0;
  double active = 0; ///< latents of a row
  double width = 0;
  double scalars = 1; ///< a latent
  bool reproducible = true;
  bool on_gpu = false;
};
std::vector<Phase> training_cost(const TrainingSize& size, const Layout& layout);
/// Bytes of one step of a training.
struct StepBytes {
  double within = 0;  ///< that a rank gets from ranks of its node
  double between = 0; ///< that a rank gets from other nodes
  double of_node = 0; ///< that a node gets from others: what its ranks hold in common comes once
  double of_rank() const { return within + between; }
};
/// As Exchange::bytes_a_step counts them. @param on_node  ranks that share a node's memory
StepBytes training_bytes_a_step(const TrainingSize& size, double ranks, double on_node);

struct EncodeSize {
  double layers = 1;
  double rows = 0;
  double row_bytes = 0; ///< read from a file; 0: the model runs
  double latents = 0;
  double active = 0;
  double width = 0;
  double top = 0;
  double written = 0; ///< of all layers
};
std::vector<Phase> encode_cost(const EncodeSize& size, const Layout& layout);

struct CorrelateSize {
  double layers_a = 1, layers_b = 1;
  double rows = 0;
  double features_a = 0, features_b = 0;
  double active_a = 0, active_b = 0; ///< features of a row
  double passes = 1;                 ///< over all features: the one of the rows as they are, and what the null takes
  double shifts = 0;                 ///< of the null
  double best = 0;
  double memory = 0; ///< bytes that a rank may take
  int columns = 0;   ///< of a group's grid of ranks; 0: by size
  double written = 0;
  int groups = 1;
  bool on_gpu = false;
};
std::vector<Phase> correlate_cost(const CorrelateSize& size, const Layout& layout);

struct CompareSize {
  double layers_a = 1, layers_b = 1;
  double matches = 0; ///< rows of both matrices
  double features_a = 0, features_b = 0;
  double width_a = 0, width_b = 0;
  double kept_a = 0, kept_b = 0; ///< components that SVCCA keeps
  double permutations = 0;
  double subsets = 0;
  double kendall = 0;                                 ///< pairs drawn; 0: not wanted
  bool svcca = true, cross = true, procrustes = true; ///< cross: a measure of whole spaces, which takes all components
  bool rdm = true, ranks = true, values = true;       ///< whether RDMs are made; whether their ranks, their values are permuted
  double memory = 0;                                  ///< bytes of a rank for RSA
  double written = 0;
  int groups = 1;
};
std::vector<Phase> compare_cost(const CompareSize& size, const Layout& layout);

} // namespace concord::cost
