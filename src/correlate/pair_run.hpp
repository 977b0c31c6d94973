#pragma once
/// One pair of layers, from features to matches. Collective over `group`.

#include "concord/comm/stop.hpp"
#include "concord/corpus/text/token_texts.hpp"

#include "correlate/correlation_inputs.hpp"
#include "correlate/pair_correlator.hpp"
#include <memory>
#include <optional>
#include <vector>

namespace concord::correlate {

class PairRun {
public:
  /// Tokens of A and B for the token filters, on the first rank of the group; else null.
  struct Texts {
    const corpus::TokenTexts* a = nullptr;
    const corpus::TokenTexts* b = nullptr;
  };
  /// All must outlive it.
  PairRun(const comm::Communicator& group, const CorrelateOptions& options, const CorrelationInputs& inputs, Texts texts)
      : group_(group), options_(options), inputs_(inputs), texts_(texts) {}

  /// Also writes all correlations where they are asked for. Whole on the first rank of the group. @throws Error, agreed; or stopped.
  PairResult run(PairCorrelator& correlator, Index pair);
  double seconds() const { return seconds_; } ///< from features in their files to best partners, of all pairs so far

private:
  /// A layer of one side and what matching needs of it.
  struct Layer {
    std::shared_ptr<const FeatureSource> source;
    MatchSide facts;
  };
  Layer load(const Side& side, int layer, const corpus::TokenTexts* texts) const;
  Proof prove(PairCorrelator& correlator, const PairCorrelation& correlation, const Matcher* matcher, const MatchSide& a,
              const MatchSide& b, std::vector<Edge>& edges, const comm::StopWithin& stop) const;
  void write_matrix(PairCorrelator& correlator, const FeatureSource& a, const FeatureSource& b, Index pair) const;

  const comm::Communicator& group_;
  const CorrelateOptions& options_;
  const CorrelationInputs& inputs_;
  Texts texts_;
  double seconds_ = 0;
};

} // namespace concord::correlate
