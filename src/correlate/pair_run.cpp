#include "correlate/pair_run.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"

#include "correlate/matching/matrix_file.hpp"
#include <chrono>
#include <filesystem>

namespace concord::correlate {

PairRun::Layer PairRun::load(const Side& side, int layer, const corpus::TokenTexts* texts) const {
  Layer loaded;
  comm::agree(group_, [&] {
    loaded.source = side.source(layer);
    loaded.facts.counts = loaded.source->totals().count;
    if (texts != nullptr) loaded.facts.tokens = side.top_tokens(layer, *texts);
  });
  return loaded;
}

PairResult PairRun::run(PairCorrelator& correlator, Index pair) {
  const comm::StopWithin stop;
  const comm::UnitOfWork all_of_it(stop);
  const Layer a = load(inputs_.a(), inputs_.layer_a(pair), texts_.a);
  const Layer b = load(inputs_.b(), inputs_.layer_b(pair), texts_.b);
  const auto begin = std::chrono::steady_clock::now();
  correlator.open(*a.source, inputs_.layer_a(pair), *b.source, inputs_.layer_b(pair));
  PairCorrelation correlation = correlator.correlate();
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (options_.writes_matrix()) write_matrix(correlator, *a.source, *b.source, pair);
  std::optional<Matcher> matcher;
  if (group_.rank() == 0) matcher.emplace(correlation, options_.rules, a.facts, b.facts);
  std::vector<Edge> edges;
  const bool by_edges = options_.rules.pairing == Pairing::greedy || options_.rules.pairing == Pairing::optimal;
  if (matcher && by_edges) edges = matcher->edges();
  Proof proof;
  if (options_.rules.pairing == Pairing::optimal)
    proof = prove(correlator, correlation, matcher ? &*matcher : nullptr, a.facts, b.facts, edges, stop);
  Matching matching;
  if (matcher) matching = matcher->match(edges, &stop);
  stop.throw_if_wanted(group_, "correlate");
  if (!matcher) return {};
  return pair_result(std::move(correlation), *matcher, std::move(matching), a.facts, b.facts, a.source->totals().sum,
                     b.source->totals().sum, options_.level, options_.rules, proof);
}

/// Adds candidates until the duals of the optimal matching prove that no pair at all could better it. The matcher is on rank 0.
Proof PairRun::prove(PairCorrelator& correlator, const PairCorrelation& correlation, const Matcher* matcher, const MatchSide& a,
                     const MatchSide& b, std::vector<Edge>& edges, const comm::StopWithin& stop) const {
  constexpr int rounds = 16;
  Proof proof;
  for (int round = 0; round < rounds; ++round) {
    Bounds bounds;
    if (matcher != nullptr)
      bounds = unproven(
          optimal_matching(edges, static_cast<Index>(a.counts.size()), static_cast<Index>(b.counts.size()), options_.rules.min_r, &stop),
          correlation, options_.rules, a, b);
    stop.throw_if_wanted(group_, "correlate");
    proof.optimal = comm::max_of(group_, Index{matcher != nullptr && bounds.none()}) > 0;
    if (proof.optimal) return proof;
    Index added = 0;
    for (const auto& found : correlator.exceeding(bounds.a, bounds.b))
      if (matcher != nullptr && matcher->passes(found.a, found.b)) {
        edges.push_back({found.a, found.b, found.r, found.cofire});
        ++added;
      }
    added = comm::max_of(group_, added);
    proof.added += added;
    proof.optimal = added == 0;
    if (proof.optimal) return proof;
  }
  return proof;
}

/// All correlations of the pair.
void PairRun::write_matrix(PairCorrelator& correlator, const FeatureSource& a, const FeatureSource& b, Index pair) const {
  const auto folder = std::filesystem::path(options_.out.string() + ".matrix");
  const auto path = folder / (pair_group(inputs_.layer_a(pair), inputs_.layer_b(pair)).substr(1) + ".h5");
  comm::agree(group_, [&] {
    if (group_.rank() == 0) std::filesystem::create_directories(folder);
  });
  const auto write = options_.matrix ? write_all_correlations : write_coactive_correlations;
  write(group_, correlator, a, b, inputs_.matrix_key(), path);
}

} // namespace concord::correlate
