#include "subspaces/effects/effect_means.hpp"

#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include "subspaces/effects/document_means.hpp"
#include <algorithm>
#include <map>
#include <tuple>

namespace concord::subspaces {
namespace {

std::vector<float> kl_of_spans(const SpanEffects& effects, const RemovedBases& removed, const LayerBases& bases) {
  const std::size_t concepts = at(removed.concepts);
  std::vector<float> kl(effects.span.size() * static_cast<std::size_t>(basis_kinds) * concepts, std::numeric_limits<float>::quiet_NaN());
  for (std::size_t span = 0; span < effects.span.size(); ++span)
    for (std::size_t kind = 0; kind < removed.kinds.size(); ++kind)
      for (std::size_t c = 0; c < concepts; ++c) {
        const auto number = static_cast<std::size_t>(removed.kinds[kind]);
        if (bases.of[number][c].k == 0) continue;
        kl[(span * static_cast<std::size_t>(basis_kinds) + number) * concepts + c] =
            static_cast<float>(effects.effects[(span * removed.kinds.size() + kind) * concepts + c].kl);
      }
  return kl;
}

} // namespace

std::vector<std::int32_t> effect_spans(const std::vector<Span>& spans, Index most, std::uint64_t seed) {
  const Philox random(seed, "effect spans");
  std::map<std::tuple<std::int32_t, int, std::int8_t>, std::vector<std::pair<std::uint64_t, std::int32_t>>> drawn;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (span.random || span.phrase_half != 1) continue;
    drawn[{span.concept_number, static_cast<int>(span.kind), span.document_half}].emplace_back(
        random.bits(static_cast<std::uint64_t>(span.begin)), static_cast<std::int32_t>(i));
  }
  std::vector<std::int32_t> chosen;
  for (auto& [key, list] : drawn) {
    std::sort(list.begin(), list.end());
    for (std::size_t i = 0; i < std::min(list.size(), at(most)); ++i) chosen.push_back(list[i].second);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

EffectMatrices effect_means(const std::vector<Span>& spans, const SpanEffects& effects, const RemovedBases& removed,
                            const LayerBases& bases) {
  EffectMatrices means(removed.concepts);
  means.kl_of_spans = kl_of_spans(effects, removed, bases);
  const std::size_t count = removed.kinds.size() * at(removed.concepts);
  std::map<std::tuple<int, int, std::int32_t>, DocumentPlaces> cells; // set, half, concept
  for (std::size_t i = 0; i < effects.span.size(); ++i) {
    const Span& span = spans[at(effects.span[i])];
    for (const int set : {0, 1 + static_cast<int>(span.kind)}) {
      cells[{set, span.document_half, span.concept_number}][span.document].push_back(i);
      ++means.spans[means.place(set, span.document_half, span.concept_number)];
    }
  }
  for (const auto& [cell, documents] : cells) {
    const auto& [set, half, other] = cell;
    means.documents[means.place(set, half, other)] = static_cast<Index>(documents.size());
    const double whole = over_documents(documents, [&](std::size_t span) { return effects.energy_of_span[span]; }).whole;
    for (std::size_t kind = 0; kind < removed.kinds.size(); ++kind)
      for (Index c = 0; c < removed.concepts; ++c) {
        const int number = static_cast<int>(removed.kinds[kind]);
        if (bases.of[at(number)][at(c)].k == 0) continue;
        const auto effect = [&](std::size_t span) -> const Effect& {
          return effects.effects[span * count + kind * at(removed.concepts) + at(c)];
        };
        const std::size_t place = means.place(set, number, half, c, other);
        const DocumentMean kl = over_documents(documents, [&](std::size_t span) { return effect(span).kl; });
        means.kl[place] = kl.value;
        means.kl_error[place] = kl.error;
        means.loss[place] = over_documents(documents, [&](std::size_t span) { return effect(span).loss; }).value;
        means.energy[place] = over_documents(documents, [&](std::size_t span) { return effect(span).energy; }).whole / whole;
      }
  }
  return means;
}

} // namespace concord::subspaces
