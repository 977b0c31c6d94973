#include "concord/subspaces/carried/carried.hpp"

#include "concord/agreement/bootstrap.hpp"
#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/agreement/ranks.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/linalg/dense.hpp"

#include "subspaces/effects/document_means.hpp"
#include <algorithm>
#include <cmath>
#include <map>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

Basis random_subspace(Index d, Index k, const Philox& random) {
  std::vector<double> columns(at(d * k));
  for (std::size_t i = 0; i < columns.size(); ++i) columns[i] = random.normal(i);
  return agreement::leading_subspace(columns, d, k, k);
}

/// Effects of two bases of a concept on itself by document, the model's own second.
struct OnItself {
  std::map<Index, double> carried, own;
};

/// Sum over concepts of the mean effect of the one, over that of the other, from documents drawn with repeats.
double ratio_of_sums(const std::vector<OnItself>& concepts, const std::vector<Index>& drawn) {
  double above = 0;
  double below = 0;
  for (const OnItself& of : concepts) {
    std::vector<double> carried;
    std::vector<double> own;
    for (const Index document : drawn)
      if (const auto found = of.carried.find(document); found != of.carried.end()) {
        carried.push_back(found->second);
        own.push_back(of.own.at(document));
      }
    if (carried.empty()) continue;
    above += agreement::trimmed_mean(carried);
    below += agreement::trimmed_mean(own);
  }
  return below > 0 ? above / below : not_known;
}

/// Fills in one after the other what CarriedEffects holds.
class Means {
public:
  Means(const std::vector<Span>& spans, const SpanEffects& effects, const RemovedCarried& removed, Index concepts)
      : effects_(effects), count_(removed.bases.size()), documents_(at(concepts)),
        place_(carried_kinds, std::vector<Index>(at(concepts), -1)), result_(concepts) {
    for (std::size_t i = 0; i < effects.span.size(); ++i) {
      const Span& span = spans[at(effects.span[i])];
      number_.emplace(span.document, 0);
      documents_[at(span.concept_number)][span.document].push_back(i);
      ++result_.spans[at(span.concept_number)];
    }
    Index next = 0;
    for (auto& [document, number] : number_) number = next++;
    for (std::size_t i = 0; i < removed.which.size(); ++i) place_[at(removed.which[i][0])][at(removed.which[i][1])] = static_cast<Index>(i);
    for (std::size_t c = 0; c < documents_.size(); ++c) result_.documents[c] = static_cast<std::int32_t>(documents_[c].size());
  }

  void matrices() {
    const Index concepts = result_.concepts;
    for (int kind = 0; kind < carried_kinds; ++kind)
      for (Index c = 0; c < concepts; ++c)
        for (Index other = 0; other < concepts && place_[at(kind)][at(c)] >= 0; ++other) {
          const DocumentPlaces& documents = documents_[at(other)];
          const std::size_t place = at((kind * concepts + c) * concepts + other);
          const auto effect = [&](std::size_t span) -> const Effect& { return of_basis(kind, c, span); };
          result_.kl[place] = over_documents(documents, [&](std::size_t span) { return effect(span).kl; }).value;
          result_.loss[place] = over_documents(documents, [&](std::size_t span) { return effect(span).loss; }).value;
          result_.energy[place] = over_documents(documents, [&](std::size_t span) { return effect(span).energy; }).whole /
                                  over_documents(documents, [&](std::size_t span) { return effects_.energy_of_span[span]; }).whole;
        }
  }

  void ratios(const CarriedTests& tests) {
    for (int kind = 0; kind < carried_kinds; ++kind) {
      const auto own = static_cast<int>(own_of(static_cast<CarriedKind>(kind)));
      std::vector<OnItself> concepts;
      for (Index c = 0; c < result_.concepts; ++c) {
        if (place_[at(kind)][at(c)] < 0 || place_[at(own)][at(c)] < 0) continue;
        concepts.push_back({on_itself(kind, c), on_itself(own, c)});
        result_.ratio[at(kind * result_.concepts + c)] = diagonal(kind, c) / diagonal(own, c);
      }
      if (concepts.empty() || number_.empty()) continue;
      const auto interval = agreement::bootstrap_documents(
          static_cast<Index>(number_.size()), [&](const std::vector<Index>& drawn) { return ratio_of_sums(concepts, drawn); },
          {.replicates = tests.replicates, .level = 0.95, .jackknife_limit = 0, .seed = tests.seed});
      const std::array<double, 3> numbers{interval.observed, interval.interval.low, interval.interval.high};
      std::copy(numbers.begin(), numbers.end(), result_.mean_ratio.begin() + 3 * kind);
    }
  }

  void contrasts(const CarriedTests& tests) {
    const Index cells = result_.concepts * result_.concepts;
    for (int kind = 0; kind < carried_kinds; ++kind) {
      const auto first = result_.kl.begin() + static_cast<std::ptrdiff_t>(kind * cells);
      const std::vector<double> matrix(first, first + static_cast<std::ptrdiff_t>(cells));
      if (std::all_of(matrix.begin(), matrix.end(), [](double value) { return std::isnan(value); })) continue;
      const auto of = agreement::same_concept_contrast(matrix, result_.concepts, tests.groups, {tests.permutations, tests.seed});
      result_.contrast[at(kind)] = of.contrast;
      result_.contrast_p[at(2 * kind)] = of.p_free;
      result_.contrast_p[at(2 * kind + 1)] = of.p_grouped;
    }
  }

  CarriedEffects take() { return std::move(result_); }

private:
  const Effect& of_basis(int kind, Index c, std::size_t span) const {
    return effects_.effects[span * count_ + at(place_[at(kind)][at(c)])];
  }
  double diagonal(int kind, Index c) const { return result_.kl[at((kind * result_.concepts + c) * result_.concepts + c)]; }
  /// DocumentPlaces by their numbers from 0.
  std::map<Index, double> on_itself(int kind, Index c) const {
    std::map<Index, double> numbered;
    for (const auto& [document, value] : by_document(documents_[at(c)], [&](std::size_t span) { return of_basis(kind, c, span).kl; }))
      numbered[number_.at(document)] = value;
    return numbered;
  }

  const SpanEffects& effects_;
  std::size_t count_;
  std::map<Index, Index> number_; ///< of every document
  std::vector<DocumentPlaces> documents_;
  std::vector<std::vector<Index>> place_; ///< [kinds][concepts] among the bases; -1: not removed
  CarriedEffects result_;
};

} // namespace

const char* name_of(CarriedKind kind) {
  constexpr std::array<const char*, carried_kinds> names{"own_residual",      "own_sae",      "residual",        "sae",       "dealt",
                                                         "residual_shuffled", "sae_shuffled", "residual_random", "sae_random"};
  return names[static_cast<std::size_t>(kind)];
}

CarriedKind own_of(CarriedKind kind) {
  const bool of_features =
      kind == CarriedKind::own_sae || kind == CarriedKind::sae || kind == CarriedKind::sae_shuffled || kind == CarriedKind::sae_random;
  return of_features ? CarriedKind::own_sae : CarriedKind::own_residual;
}

Basis carried(const AffineMap& map, const Basis& basis) {
  require(map.dx == basis.d, ExitCode::internal, "a map from width {} and a basis of width {}", map.dx, basis.d);
  if (basis.k == 0) return {map.dy, 0, {}, 0};
  std::vector<double> columns(at(map.dy * basis.k));
  linalg::product(linalg::view(map.m, map.dy, map.dx), linalg::view(basis.u, basis.d, basis.k), columns.data(), basis.k);
  return agreement::leading_subspace(columns, map.dy, basis.k, basis.k);
}

std::vector<std::vector<Basis>> carried_bases(const LayerBases& from, const LayerBases& to, const AffineMap& map, const AffineMap& shuffled,
                                              std::uint64_t seed) {
  const auto of = [](const LayerBases& bases, BasisKind kind) -> const std::vector<Basis>& {
    return bases.of[static_cast<std::size_t>(kind)];
  };
  std::vector<std::vector<Basis>> bases(carried_kinds);
  const auto kind = [&](CarriedKind number) -> std::vector<Basis>& { return bases[static_cast<std::size_t>(number)]; };
  kind(CarriedKind::own_residual) = of(to, BasisKind::residual);
  kind(CarriedKind::own_sae) = of(to, BasisKind::sae);
  const auto all = [](const AffineMap& by, const std::vector<Basis>& list) {
    std::vector<Basis> moved;
    for (const Basis& basis : list) moved.push_back(carried(by, basis));
    return moved;
  };
  kind(CarriedKind::residual) = all(map, of(from, BasisKind::residual));
  kind(CarriedKind::sae) = all(map, of(from, BasisKind::sae));
  kind(CarriedKind::dealt) = all(map, of(from, BasisKind::dealt));
  kind(CarriedKind::residual_shuffled) = all(shuffled, of(from, BasisKind::residual));
  kind(CarriedKind::sae_shuffled) = all(shuffled, of(from, BasisKind::sae));
  for (const auto& [random, like] :
       {std::pair{CarriedKind::residual_random, CarriedKind::residual}, std::pair{CarriedKind::sae_random, CarriedKind::sae}})
    for (std::size_t c = 0; c < kind(like).size(); ++c)
      kind(random).push_back(random_subspace(map.dy, kind(like)[c].k, Philox(seed, name_of(random), c)));
  return bases;
}

RemovedCarried removed_of(const std::vector<std::vector<Basis>>& bases) {
  RemovedCarried removed;
  for (std::size_t kind = 0; kind < bases.size(); ++kind)
    for (std::size_t c = 0; c < bases[kind].size(); ++c) {
      if (bases[kind][c].k == 0) continue;
      removed.bases.push_back(&bases[kind][c]);
      removed.which.push_back({static_cast<Index>(kind), static_cast<Index>(c)});
    }
  return removed;
}

CarriedEffects::CarriedEffects(Index number_of_concepts) : concepts(number_of_concepts) {
  const Index c = concepts;
  dimensions.assign(at(carried_kinds * c), 0);
  for (auto* counts : {&spans, &documents}) counts->assign(at(c), 0);
  for (auto* matrix : {&kl, &loss, &energy}) matrix->assign(at(carried_kinds * c * c), not_known);
  ratio.assign(at(carried_kinds * c), not_known);
  mean_ratio.assign(3 * carried_kinds, not_known);
  contrast.assign(carried_kinds, not_known);
  contrast_p.assign(2 * carried_kinds, not_known);
}

CarriedEffects carried_effects(const std::vector<Span>& spans, const SpanEffects& effects, const RemovedCarried& removed,
                               const std::vector<std::vector<Basis>>& bases, const CarriedTests& tests) {
  const auto concepts = static_cast<Index>(bases.front().size());
  Means means(spans, effects, removed, concepts);
  means.matrices();
  means.ratios(tests);
  means.contrasts(tests);
  CarriedEffects result = means.take();
  for (int kind = 0; kind < carried_kinds; ++kind)
    for (Index c = 0; c < concepts; ++c) result.dimensions[at(kind * concepts + c)] = static_cast<std::int32_t>(bases[at(kind)][at(c)].k);
  return result;
}

} // namespace concord::subspaces
