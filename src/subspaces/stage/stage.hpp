#pragma once
/// Stage `subspaces` as units of work: every layer of A, then of B, every pair of layers, every family of the claim, the other claims, the
/// headline's checks, then the pairs of layers that subspaces are carried between. Its parts lie in stage_*.cpp, one idea each; all are
/// collective over the stage's communicator.

#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/features/features.hpp"
#include "concord/io/output.hpp"
#include "concord/sae/sae.hpp"

#include "subspaces/claim/claim_tests.hpp"
#include "subspaces/effects/model_runner.hpp"
#include "subspaces/files/acts_file.hpp"
#include "subspaces/files/result_file.hpp"
#include "subspaces/geometry/coactivation.hpp"
#include "subspaces/geometry/geometry.hpp"
#include "subspaces/geometry/logit_attribution.hpp"
#include "subspaces/spans/pseudo_words.hpp"
#include <algorithm>
#include <map>
#include <memory>
#include <optional>

namespace concord::subspaces {

/// One of the two models.
struct Side {
  Side(char side_name, const ModelInputs& inputs) : name(side_name), in(inputs) {}
  char name;
  const ModelInputs& in;
  std::optional<features::FeaturesFile> features;
  std::vector<int> layers;
  std::vector<int> effect_layers;
  std::unique_ptr<ModelRunner> runner;
  mutable std::map<int, std::vector<std::int32_t>> long_spans; ///< of a layer, once they were looked for
  std::vector<double> directions;                              ///< of the first tokens of words (token_directions())
};

/// Effects of both models' layers.
using BothEffects = std::pair<std::vector<EffectMatrices>, std::vector<EffectMatrices>>;

class Stage {
public:
  Stage(const comm::Communicator& comm, const SubspacesOptions& options);
  void run();

private:
  // stage.cpp
  void lay_out_all(io::File& file) const;
  void run_unit(io::Output& output, Index unit);
  Index units_before_carrying() const { return extent_.layers() + extent_.pairs() + families() + 2; }
  Index families() const { return settings_.effects ? static_cast<Index>(claim_families(removed_).size()) : 0; }
  void say_done(double seconds) const;
  /// Over the ranks.
  double longest(double of_rank) const { return comm::max_of(comm_, of_rank); }

  // stage_inputs.cpp
  void open();
  void open_side(Side& side);
  void name_inputs();
  void plan_bases();
  void plan_acts();
  /// Whether a removal of that kind is measured.
  bool removes(const char* what) const {
    return settings_.effects && std::find(settings_.removals.begin(), settings_.removals.end(), what) != settings_.removals.end();
  }
  /// The activations and the models must be those that the features were made from, as far as the files say; so their digests need not be
  /// inputs, and activations may go once this stage is done.
  void require_origins() const;

  // stage_spans.cpp
  /// Occurrences, and the spans that are looked at. Says what does not occur.
  void find_spans();
  std::vector<Span> spans_of(const std::vector<concepts::Occurrence>& occurrences) const;
  void say_what_is_missing() const;
  Index defined_count() const {
    return std::count_if(defined_.begin(), defined_.end(), [](const ConceptSpans& c) { return c.defined; });
  }

  // stage_layer.cpp
  LayerFeatures layer_features(const Side& side, int layer, const sae::Sae& sae) const;
  sae::Sae load_decoder(const Side& side, int layer) const;
  std::shared_ptr<io::RowSource> rows_of(const Side& side, int layer) const;
  /// Found once a layer: pairs ask again.
  const std::vector<std::int32_t>& long_spans_of(const Side& side, int layer) const;
  std::optional<PhraseMeans> means_of(const Side& side, int layer) const;
  /// Of the words that stand in for phrases, where they are looked at.
  std::optional<PhraseMeans> pseudo_means_of(const Side& side, int layer) const;
  /// Of a layer's own random draws.
  std::uint64_t own_seed(const Side& side, int layer) const;
  /// By the published rule, where that is wanted.
  std::optional<GivenFeatures> given_features(const Side& side, int layer) const;
  void run_layer(io::Output& output, Side& side, Index number);
  void require_width(const Side& side, int layer, Index width, const std::optional<PhraseMeans>& means) const;
  SpanValues values_on_spans(const Side& side, int layer) const;
  std::vector<ConceptMembers> members_of(const Side& side, int layer);
  /// How the layer's subspaces act. @param means of the layer's phrases, where there are any
  void measure(const Side& side, int layer, const PhraseMeans* means, LayerResult& result, LayerActs& acts) const;
  LayerGeometry geometry_of(Side& side, int layer, const LayerResult& result);

  // stage_pairs.cpp
  /// The members of a layer that was done: feature and concept in turn. On every rank.
  std::vector<std::int32_t> members_again(io::Output& output, const Side& side, Index number) const;
  /// With their values on the spans.
  LayerMembers layer_members(io::Output& output, const Side& side, Index number) const;
  /// Every rank's part of the values of those features, on every rank.
  std::vector<std::vector<SpanEntry>> gathered_values(const SpanValues& values, const std::map<std::int32_t, Index>& place) const;
  /// Members' values for the pairs to come, as long as these are few; of other layers, and after a restart, they are read again.
  void keep_values(const Side& side, int layer, const SpanValues& values, const std::vector<ConceptMembers>& members);
  /// What pairs ask of a layer: members, means of phrases and of the words that stand in for them.
  struct LayerInPairs {
    LayerMembers members;
    std::optional<PhraseMeans> means, pseudo;
  };
  LayerInPairs layer_in_pairs(io::Output& output, const Side& side, Index number) const;
  void run_pair(io::Output& output, Index pair);

  // stage_claims.cpp
  /// Of both models' layers, on rank 0.
  BothEffects all_effects(io::Output& output) const;
  ClaimInputs claim_inputs() const;
  /// Agreement and meaning of one family of the claim; rows of the file hold those of all kinds of subspaces.
  void run_family(io::Output& output, Index number);
  void run_other_claims(io::Output& output);
  /// Pairs of layers at which effects are measured; all where none are.
  std::vector<Index> tested_pairs() const;
  void run_headline(io::Output& output);

  // stage_carried.cpp
  /// Layers of A and of B whose subspaces are carried, a pair after the other.
  std::vector<std::int32_t> carried_pairs() const;
  /// The bases of a layer that was done; `matched` may be other ones, and further ones are left out.
  LayerBases bases_again(io::Output& output, const Side& side, int layer) const;
  /// First every pair from A into B, then from B into A: a model at a time.
  void run_carried(io::Output& output, Index unit);

  const comm::Communicator& comm_;
  const SubspacesOptions& options_;
  const SubspacesSettings& settings_;
  Side a_, b_;
  concepts::ConceptLists lists_;
  std::optional<corpus::TokenReader> tokens_;
  corpus::Contexts contexts_;
  StageKey key_;
  Extent extent_;
  RemovedBases removed_;
  std::vector<BasisKind> further_;
  std::map<std::string, std::vector<double>> similarity_; ///< measure -> [C, C]
  concepts::OccurrenceCounts counts_;
  Together together_;         ///< the words of two concepts in a window
  std::vector<double> dealt_; ///< [C, C] whose phrases the control `dealt` is made of
  std::vector<Span> spans_;
  PseudoWords pseudo_;
  std::vector<ConceptSpans> defined_;
  std::vector<std::int32_t> effect_spans_;
  std::optional<BothEffects> effects_of_all_; ///< while the claim is tested
  std::optional<FirstTokens> opening_tokens_;
  std::vector<double> strengths_; ///< of steering
  ConceptTokens first_tokens_;    ///< that steering may write
  comm::StopWithin stop_;         ///< within the unit at hand
  /// What this rank took.
  struct Seconds {
    double occurrences = 0; ///< and the choice of spans
    double values = 0;
    MemberSeconds of_members;
    double alike = 0;
    double geometry = 0; ///< co-activation and logits
  };
  mutable Seconds seconds_;
  static constexpr Index most_entries_kept = Index{1} << 23; ///< 64 MiB
  Index entries_kept_ = 0;
  std::map<std::pair<char, int>, std::vector<std::vector<SpanEntry>>> kept_values_; ///< of side and layer
  Index kept_a_ = -1;                                                               ///< the layer of A that is kept for the next pair
  LayerInPairs in_pairs_a_;
};

} // namespace concord::subspaces
