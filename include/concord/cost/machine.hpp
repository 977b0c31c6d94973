#pragma once
/// What a machine does a second: the constants of the model of each stage's cost. Local.
///
/// `concord calibrate` measures them with the program's own kernels; those of a machine that is not at hand come from data sheets.

#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

namespace concord::cost {

/// Kinds of work, each counted in a unit of its own (words_of_work()).
enum class Work {
  product_f32,     ///< floating point operations of a model's blocks and head, in f32; size: width of the model
  product_bf16,    ///< the same in bf16
  product_f64,     ///< of products of f64 matrices; size: their smaller side
  eigenvectors,    ///< n^3 of a symmetric matrix with n rows, whose eigenvectors are wanted; size: n
  eigenvalues,     ///< n^3, of whose eigenvalues alone
  screen_int8,     ///< multiply-adds of rows with latents in a training; size: width
  screen_bf16,     ///< the same of an encoding
  rows,            ///< numbers of rows that active latents meet in a training: rows of a step x k x width
  codes_of_step,   ///< active latents of a step: rows x k
  batch_rows,      ///< numbers of a batch whose moments are summed: rows x width
  weights,         ///< numbers of the encoder that a step moves, those of the decoder along with them
  codes,           ///< active latents that an encoding counts, ranks and packs
  postings,        ///< active entries of A, each once for each block of B's features
  products,        ///< products of two non-zeros
  looks,           ///< pairs of features whose correlation is looked at
  entries,         ///< active entries that are dealt to ranks and laid out
  matches,         ///< features whose partners are matched, judged and written
  dissimilarities, ///< pairs of rows, of whose dissimilarities in both spaces keys and ranks are made
  shuffled,        ///< pairs of rows in a shuffled pairing
  kendall,         ///< pairs of entries drawn for Kendall's tau
  text             ///< bytes of text that are tokenized
};
inline constexpr std::size_t kinds_of_work = 21;
/// By which a machine's file names them, in the order of Work.
const std::array<const char*, kinds_of_work>& words_of_work();
const char* word_of(Work work);

/// Units that one rank does a second.
struct Rate {
  double alone = 0;    ///< while the other ranks of its node rest
  double together = 0; ///< while all of them work
  double half = 0;     ///< size at which half of it is reached; 0: it does not depend on size
};

/// Of messages within a node, or between nodes.
struct Link {
  double latency = 0; ///< seconds of a message, or of a stage of a collective call
  double bandwidth =
      0; ///< bytes a second that a rank gets while all of its node do; between nodes: that a node gets, all its ranks together
};

/// Bytes a second.
struct FileRates {
  double rank = 0;
  double node = 0;
  double all = 0; ///< of the file system, from all nodes together
};

struct Machine {
  std::string name;
  std::string source; ///< how the constants came about
  int ranks_a_node = 1;
  int threads_a_rank = 1;
  int gpus_a_node = 0;
  std::array<Rate, kinds_of_work> rates{};
  std::array<Rate, kinds_of_work> gpu_rates{}; ///< of a rank with a GPU; 0: the stage has no kernel there
  double memory = 0;                           ///< bytes a second through the memory of a node
  double gpu_memory = 0;                       ///< through that of a GPU
  Link within, between;                        ///< a node; nodes
  FileRates reads, writes;

  /// Units of work that a rank does a second at that size, while `busy` ranks of its node work. @throws Error config where a GPU is asked
  /// for a kind that the machine's file does not give.
  double rate(Work work, double size, int busy, bool on_gpu = false) const;
};

/// Constants for where no machine is given: those of one core that were measured once, as many such cores as a node has ranks. Links
/// between nodes, the tokenizer and a parallel file system are assumed; `source` says all that.
Machine default_machine(int ranks_a_node);

nlohmann::json to_json(const Machine& machine);
/// @throws Error bad_data, input_missing, naming file and key: a constant that is missing, no number, or not positive.
Machine read_machine(const std::filesystem::path& path);

} // namespace concord::cost
