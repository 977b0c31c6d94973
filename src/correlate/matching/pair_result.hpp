#pragma once
/// What correlate keeps of a layer pair: from the ranks that made it to rank 0, and into matches.h5.

#include "concord/io/hdf5.hpp"

#include "correlate/matching/matching.hpp"
#include <cstring>

namespace concord::correlate {

/// One side's best partners and how they stand beside chance.
struct SideResult {
  BestPartners best;
  std::vector<double> null_r;    ///< [shifts, F] best r with shifted rows; of a sample as that has it
  NullSample sample;             ///< empty: all features
  std::vector<double> threshold; ///< [F] what best r exceeds by chance with the probability `level`
  std::vector<double> p;         ///< [F] of the best r
};

struct PairResult {
  SideResult a;
  SideResult b;
  Matching matching;
  std::vector<double> summary;
};

/// What the summary says of a pair besides.
struct Proof {
  bool optimal = false; ///< no pair outside the candidates could better the matching
  Index added = 0;      ///< candidates added to prove it
};

/// @param sums_a, sums_b  of each feature's activations: the weights of wMPPC
PairResult pair_result(PairCorrelation pair, const Matcher& matcher, Matching matching, const MatchSide& a, const MatchSide& b,
                       const std::vector<double>& sums_a, const std::vector<double>& sums_b, double level, const MatchRules& rules,
                       const Proof& proof);

std::vector<char> packed(const PairResult& result);
/// Reads one result and moves `from` behind it.
PairResult unpacked(const char*& from);

/// What the sizes of a pair's datasets hang on.
struct PairShape {
  Index features_a, features_b;
  Index best, shifts;
  Index null_a, null_b; ///< features whose null is taken at each shift
  bool samples_null() const { return shifts > 0 && null_a < features_a && null_b < features_b; }
  double null_bytes() const;
};

/// Datasets of a pair; all are made before the first is written.
void lay_out_pair(io::File& file, const std::string& group, const PairShape& shape);
void write_pair(io::File& file, const std::string& group, const PairResult& result, Index rows, const MatchSide& a, const MatchSide& b);

} // namespace concord::correlate
