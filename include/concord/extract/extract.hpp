#pragma once
/// Stage `extract`: tokens + model weights -> activations.h5, the residual stream of the chosen layers. Collective over
/// `comm`.

#include "concord/comm/session.hpp"
#include "concord/core/dtype.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::extract {

struct ExtractOptions {
  std::filesystem::path model;        ///< Hugging Face folder of a Gemma-2 model
  std::filesystem::path tokens;       ///< tokens.h5
  std::vector<int> layers;            ///< empty: all; L is the output of block L, -1 the embedding
  Dtype store = Dtype::bf16;          ///< type of the stored rows: f32, f16 or bf16
  Dtype compute = Dtype::f32;         ///< type of the forward pass: f32 or bf16
  Index batch = 32;                   ///< contexts in one forward pass; part of the result's identity
  bool loss = false;                  ///< also compute the mean next-token cross-entropy over the corpus
  double commit_seconds = 10;         ///< time between commits of finished rounds
  std::string device = "auto";        ///< "cpu", "cuda" or "auto"
  std::string stage_word = "extract"; ///< how progress names this run ("extract a")
  std::filesystem::path out;
  bool force = false;
};

/// Contexts are cut into batches of fixed composition; batch b goes to rank b mod ranks, so any number of ranks computes
/// the same numbers. Rows [context_offsets[c], context_offsets[c+1]) of every layer are written by the rank that ran
/// context c, through collective HDF5. Committed every round; continues behind the last commit.
/// @throws Error input_missing, bad_data, config, io, stopped; agreed.
void extract(const comm::Communicator& comm, const ExtractOptions& options);

/// "all" or "0,3,5" as layer numbers (empty: all). @throws Error usage.
std::vector<int> parse_layers(const std::string& text);

} // namespace concord::extract
