#include "subspaces/acts/equal_energy.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/linalg/dense.hpp"

#include "subspaces/effects/document_means.hpp"
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// The rows of the spans less the centre, concept by concept.
struct SpanRows {
  Index d = 0;
  std::vector<double> away;    ///< [rows, d]
  std::vector<Index> first_of; ///< [C + 1] where the rows of a concept's spans begin
  std::vector<double> whole;   ///< [C] sum of squares
  Index rows() const { return first_of.back(); }
};

SpanRows read_spans(const EnergyInputs& in, Index concepts, const comm::StopWithin& stop) {
  SpanRows spans;
  spans.d = in.result.bases.d;
  spans.first_of.assign(1, 0);
  const auto& centre = in.result.bases.centre;
  std::vector<float> values;
  for (Index c = 0; c < concepts; ++c) {
    spans.whole.push_back(0);
    for (const std::int32_t number : in.places.at_spans) {
      const Span& span = in.places.spans[at(number)];
      if (span.concept_number != c || stop.wanted_here()) continue;
      values.resize(at(span.length() * spans.d));
      in.rows.read_float(span.begin, span.length(), values);
      for (std::size_t i = 0; i < values.size(); ++i) {
        spans.away.push_back(static_cast<double>(values[i]) - centre[i % at(spans.d)]);
        spans.whole.back() += spans.away.back() * spans.away.back();
      }
    }
    spans.first_of.push_back(static_cast<Index>(spans.away.size()) / spans.d);
  }
  return spans;
}

/// [C] share of the energy at a concept's spans that a basis takes; NaN where there are none.
std::vector<double> energies(const SpanRows& spans, const Basis& basis) {
  std::vector<double> shares(spans.whole.size(), not_known);
  if (basis.k == 0 || spans.rows() == 0) return shares;
  std::vector<double> coefficients(at(spans.rows() * basis.k));
  linalg::product(linalg::view(spans.away, spans.rows(), spans.d), linalg::view(basis.u, basis.d, basis.k), coefficients.data(), basis.k);
  for (std::size_t c = 0; c < shares.size(); ++c) {
    double taken = 0;
    for (Index i = spans.first_of[c] * basis.k; i < spans.first_of[c + 1] * basis.k; ++i)
      taken += coefficients[at(i)] * coefficients[at(i)];
    if (spans.whole[c] > 0) shares[c] = taken / spans.whole[c];
  }
  return shares;
}

/// For one concept: of each kind and each c' the best draw, or -1.
class Nearest {
public:
  Nearest(const SpanRows& spans, const LayerBases& bases, const std::vector<BasisKind>& kinds, Index c) : c_(c) {
    for (const BasisKind kind : kinds) {
      const Basis& basis = bases.of[static_cast<std::size_t>(kind)][at(c)];
      k_.push_back(basis.k);
      wanted_.push_back(energies(spans, basis));
      apart_.emplace_back(spans.whole.size(), std::numeric_limits<double>::infinity());
      draw_.emplace_back(spans.whole.size(), -1);
    }
  }
  void look_at(const SpanRows& spans, const WordSets& sets, int draw) {
    const auto set = sets.of(c_, draw);
    for (std::size_t kind = 0; kind < k_.size(); ++kind) {
      if (k_[kind] == 0) continue;
      const auto found = energies(spans, sets.basis(set, k_[kind]));
      for (std::size_t other = 0; other < found.size(); ++other) {
        const double apart = std::abs(found[other] - wanted_[kind][other]);
        if (!(apart < apart_[kind][other]) || sets.holds(set, static_cast<Index>(other))) continue;
        apart_[kind][other] = apart;
        draw_[kind][other] = draw;
      }
    }
  }
  const std::vector<std::int32_t>& draws(std::size_t kind) const { return draw_[kind]; }

private:
  Index c_;
  std::vector<Index> k_;
  std::vector<std::vector<double>> wanted_, apart_;
  std::vector<std::vector<std::int32_t>> draw_;
};

SpanEffects sorted(const SpanEffects& effects, std::size_t bases) {
  std::vector<std::size_t> order(effects.span.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return effects.span[a] < effects.span[b]; });
  SpanEffects out;
  for (const std::size_t i : order) {
    out.span.push_back(effects.span[i]);
    out.energy_of_span.push_back(effects.energy_of_span[i]);
    const auto first = effects.effects.begin() + static_cast<std::ptrdiff_t>(i * bases);
    out.effects.insert(out.effects.end(), first, first + static_cast<std::ptrdiff_t>(bases));
  }
  return out;
}

/// The controls' effects on the spans, kind after kind, in each the concepts. On rank 0.
SpanEffects control_effects(ModelRunner& runner, int layer, const EnergyInputs& in, const WordSets& sets, const EnergyControls& controls) {
  SpanEffects all;
  const std::size_t count = controls.kinds.size() * at(controls.concepts);
  for (Index other = 0; other < controls.concepts; ++other) {
    std::vector<std::int32_t> spans;
    for (const std::int32_t number : in.places.at_spans)
      if (in.places.spans[at(number)].concept_number == other) spans.push_back(number);
    if (spans.empty()) continue;
    std::vector<Basis> bases;
    std::vector<bool> known;
    for (std::size_t kind = 0; kind < controls.kinds.size(); ++kind)
      for (Index c = 0; c < controls.concepts; ++c) {
        const std::int32_t draw = controls.at(kind, c, other);
        const Index k = in.result.bases.of[static_cast<std::size_t>(controls.kinds[kind])][at(c)].k;
        known.push_back(draw >= 0);
        bases.push_back(draw >= 0 ? sets.basis(sets.of(c, draw), k) : Basis{in.result.bases.d, 0, {}, 0});
      }
    std::vector<const Basis*> removed;
    removed.reserve(bases.size());
    for (const Basis& basis : bases) removed.push_back(&basis);
    auto some = runner.span_effects(layer, in.result.bases.centre, removed, {in.places.spans, spans, in.places.after});
    for (std::size_t i = 0; i < some.effects.size(); ++i)
      if (!known[i % count]) some.effects[i] = {not_known, not_known, not_known};
    all.span.insert(all.span.end(), some.span.begin(), some.span.end());
    all.energy_of_span.insert(all.energy_of_span.end(), some.energy_of_span.begin(), some.energy_of_span.end());
    all.effects.insert(all.effects.end(), some.effects.begin(), some.effects.end());
  }
  return sorted(all, count);
}

} // namespace

WordSets::WordSets(RowsOfConcepts phrases, const std::vector<double>& centre, std::uint64_t seed)
    : phrases_(std::move(phrases)), seed_(seed) {
  for (std::size_t i = 0; i < phrases_.rows.size(); ++i) phrases_.rows[i] -= centre[i % at(phrases_.d)];
}

std::vector<Index> WordSets::drawn_from(Index concept_number, const Philox& random) const {
  std::map<std::int32_t, std::vector<Index>> phrases_of;
  for (std::size_t i = 0; i < phrases_.concept_number.size(); ++i)
    if (phrases_.concept_number[i] >= 0) phrases_of[phrases_.concept_number[i]].push_back(static_cast<Index>(i));
  const auto own = phrases_of.extract(static_cast<std::int32_t>(concept_number));
  const std::size_t wanted = own.empty() ? 0 : own.mapped().size();
  std::vector<const std::vector<Index>*> others;
  others.reserve(phrases_of.size());
  for (const auto& [other, phrases] : phrases_of) others.push_back(&phrases);
  const IndexPermutation order(static_cast<Index>(others.size()), random);
  std::vector<Index> from;
  for (std::size_t i = 0; i < others.size(); ++i) {
    const bool enough = i >= (others.size() + 1) / 2 && from.size() >= wanted;
    if (enough || (i > 0 && i + 1 == others.size())) break;
    const auto& phrases = *others[at(order(static_cast<Index>(i)))];
    from.insert(from.end(), phrases.begin(), phrases.end());
  }
  return from;
}

std::vector<Index> WordSets::of(Index concept_number, int draw) const {
  const auto c = static_cast<std::uint64_t>(concept_number);
  const auto number = static_cast<std::uint64_t>(draw);
  const auto from = drawn_from(concept_number, Philox(seed_, "concepts of word sets", c, number));
  const auto own = std::count(phrases_.concept_number.begin(), phrases_.concept_number.end(), static_cast<std::int32_t>(concept_number));
  const IndexPermutation order(static_cast<Index>(from.size()), Philox(seed_, "word sets", c, number));
  std::vector<Index> set;
  for (Index i = 0; i < std::min<Index>(own, static_cast<Index>(from.size())); ++i) set.push_back(from[at(order(i))]);
  return set;
}

bool WordSets::holds(const std::vector<Index>& set, Index concept_number) const {
  return std::any_of(set.begin(), set.end(), [&](Index i) { return phrases_.concept_number[at(i)] == concept_number; });
}

Basis WordSets::basis(const std::vector<Index>& set, Index k) const {
  const auto n = static_cast<Index>(set.size());
  if (n == 0) return {phrases_.d, 0, {}, 0};
  std::vector<double> columns(at(phrases_.d * n));
  for (Index i = 0; i < phrases_.d; ++i)
    for (Index j = 0; j < n; ++j) columns[at(i * n + j)] = phrases_.rows[at(set[at(j)] * phrases_.d + i)];
  return agreement::leading_subspace(columns, phrases_.d, n, k);
}

EnergyControls energy_controls(const comm::Communicator& comm, const EnergyInputs& in, const WordSets& sets) {
  EnergyControls controls;
  controls.concepts = in.removed.concepts;
  for (const BasisKind kind : {BasisKind::sae, BasisKind::residual})
    if (std::find(in.removed.kinds.begin(), in.removed.kinds.end(), kind) != in.removed.kinds.end()) controls.kinds.push_back(kind);
  const std::size_t concepts = at(controls.concepts);
  std::vector<Index> draws(controls.kinds.size() * concepts * concepts); // one more than the number, so that ranks can be added up
  const comm::StopWithin stop;
  comm::agree(comm, [&] {
    const auto spans = read_spans(in, controls.concepts, stop);
    for (Index c = comm.rank(); c < controls.concepts; c += comm.size()) {
      Nearest nearest(spans, in.result.bases, controls.kinds, c);
      for (int draw = 0; draw < energy_draws && !stop.wanted_here(); ++draw) nearest.look_at(spans, sets, draw);
      for (std::size_t kind = 0; kind < controls.kinds.size(); ++kind)
        for (std::size_t other = 0; other < concepts; ++other)
          draws[(kind * concepts + at(c)) * concepts + other] = nearest.draws(kind)[other] + 1;
    }
  });
  stop.throw_if_wanted(comm, "subspaces");
  comm::sum(comm, draws);
  for (const Index draw : draws) controls.draw.push_back(static_cast<std::int32_t>(draw) - 1);
  return controls;
}

EqualEffects::EqualEffects(Index concepts)
    : control(concepts), excess(control.kl.size(), not_known), excess_error(control.kl.size(), not_known) {}

EqualEffects equal_effects(const comm::Communicator& comm, ModelRunner& runner, int layer, const EnergyInputs& in, std::uint64_t seed) {
  const WordSets sets(rows_chosen_on(in.places.spans, in.means), in.result.bases.centre, seed);
  const auto controls = energy_controls(comm, in, sets);
  const auto effects = control_effects(runner, layer, in, sets, controls);
  EqualEffects equal(controls.concepts);
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    equal.control = effect_means(in.places.spans, effects, {controls.kinds, controls.concepts}, in.result.bases);
    add_excess(in.places, in.result.effects.kl_of_spans, equal);
    equal.control.kl_of_spans.clear();
  });
  return equal;
}

void add_excess(const EffectPlaces& places, const std::vector<float>& kl, EqualEffects& equal) {
  const EffectMatrices& control = equal.control;
  const Index concepts = control.concepts;
  if (kl.size() != control.kl_of_spans.size()) return;
  std::map<std::tuple<int, int, std::int32_t>, DocumentPlaces> cells; // set, half, concept
  for (std::size_t i = 0; i < places.at_spans.size(); ++i) {
    const Span& span = places.spans[at(places.at_spans[i])];
    for (const int set : {0, 1 + static_cast<int>(span.kind)})
      cells[{set, span.document_half, span.concept_number}][span.document].push_back(i);
  }
  for (const auto& [cell, documents] : cells) {
    const auto& [set, half, other] = cell;
    for (int kind = 0; kind < basis_kinds; ++kind)
      for (Index c = 0; c < concepts; ++c) {
        const auto beyond = over_documents(documents, [&](std::size_t i) {
          const std::size_t place = (i * basis_kinds + static_cast<std::size_t>(kind)) * at(concepts) + at(c);
          return static_cast<double>(kl[place]) - static_cast<double>(control.kl_of_spans[place]);
        });
        const std::size_t place = control.place(set, kind, half, c, other);
        equal.excess[place] = beyond.whole;
        equal.excess_error[place] = beyond.error;
      }
  }
}

} // namespace concord::subspaces
