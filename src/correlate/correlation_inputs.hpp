#pragma once
/// What `correlate` reads and under which key its result stands: two models' features, the shifts of its null, the shape of its file.

#include "concord/core/at.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/correlate/memory_plan.hpp"
#include "concord/io/hdf5.hpp"

#include "correlate/features/side.hpp"
#include "correlate/matching/pair_result.hpp"
#include <array>
#include <set>
#include <string>
#include <vector>

namespace concord::correlate {

class CorrelationInputs {
public:
  /// Collective over `comm`, which must outlive it, as must `options`. @throws Error input_missing, bad_data, config or unavailable;
  /// agreed.
  CorrelationInputs(const comm::Communicator& comm, const CorrelateOptions& options);

  const Side& a() const { return a_; }
  const Side& b() const { return b_; }
  const StageKey& key() const { return key_; }
  /// Pairs of layers, those of A's first layer first.
  Index pairs() const { return static_cast<Index>(a_.layers().size() * b_.layers().size()); }
  int layer_a(Index pair) const { return a_.layers()[at(pair) / b_.layers().size()]; }
  int layer_b(Index pair) const { return b_.layers()[at(pair) % b_.layers().size()]; }
  const std::vector<Index>& shifts() const { return shifts_; } ///< of the null, in rows
  Index shift() const { return shift_; }                       ///< of B's rows
  bool is_shifted() const { return options_.shift_a != options_.shift_b; }
  /// Of the pair with most features and entries. Local.
  void add_most(CorrelateSize& size) const;
  double file_bytes() const;
  void lay_out(io::File& file) const;
  /// Of a file of a pair's correlations.
  StageKey matrix_key() const { return {"correlate matrix", {{"entries", matrix_word()}}, key_.inputs}; }

private:
  void set_key();
  void check_rows() const;
  void check_options() const;
  std::vector<Index> read_starts() const;
  PairShape pair_shape(int layer_a, int layer_b) const;
  std::set<std::array<Index, 4>> sampled_nulls() const;
  std::string matrix_word() const { return options_.matrix ? "all" : "coactive"; }

  const CorrelateOptions& options_;
  Side a_;
  Side b_;
  Index shift_ = 0;
  std::vector<Index> shifts_;
  StageKey key_;
};

} // namespace concord::correlate
