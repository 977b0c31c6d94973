#include "subspaces/acts/steering.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/dist/partition.hpp"

#include "subspaces/effects/changed_runs.hpp"
#include "subspaces/effects/document_means.hpp"
#include "subspaces/files/result_file.hpp"
#include <ATen/ATen.h>
#include <algorithm>
#include <numeric>

namespace concord::subspaces {
namespace {

using at::Tensor;

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// The kind whose lengths a control takes.
BasisKind lengths_of(BasisKind kind) {
  if (kind == BasisKind::random) return BasisKind::sae;
  return kind == BasisKind::dealt ? BasisKind::residual : kind;
}

double median(std::vector<double> values) {
  if (values.empty()) return not_known;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<double> first_direction(const Basis& basis) {
  std::vector<double> direction;
  for (Index i = 0; i < basis.d && basis.k > 0; ++i) direction.push_back(basis.u[at(i * basis.k)]);
  return direction;
}

/// A span's row less the centre, or the mean of its rows.
std::vector<double> span_row(const io::RowSource& rows, const Span& span, const std::vector<double>& centre, SpanRow row) {
  const Index first = row == SpanRow::last ? span.end - 1 : span.begin;
  const Index count = span.end - first;
  const auto d = static_cast<Index>(centre.size());
  std::vector<float> values(at(count * d));
  rows.read_float(first, count, values);
  std::vector<double> away(at(d));
  for (Index j = 0; j < d; ++j) {
    for (Index r = 0; r < count; ++r) away[at(j)] += static_cast<double>(values[at(r * d + j)]) / static_cast<double>(count);
    away[at(j)] -= centre[at(j)];
  }
  return away;
}

/// Medians of (x - mu) . u over the concepts' own spans of the chosen half, [steered_kinds, concepts]; NaN of none.
std::vector<double> median_projections(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans,
                                       const LayerBases& bases, SpanRow row) {
  struct Projection {
    std::int32_t place;
    double value;
  };
  const std::size_t concepts = bases.of[0].size();
  std::vector<std::vector<double>> units;
  for (const BasisKind kind : steered_kinds)
    for (const Basis& basis : bases.of[static_cast<std::size_t>(kind)]) units.push_back(first_direction(basis));
  std::vector<Projection> mine;
  const comm::StopWithin stop;
  comm::agree(comm, [&] {
    const dist::Partition shares{static_cast<Index>(spans.size()), comm.size()};
    for (Index i = shares.begin(comm.rank()); i < shares.end(comm.rank()) && !stop.wanted_here(); ++i) {
      const Span& span = spans[at(i)];
      if (span.random || span.phrase_half != 0 || span.concept_number < 0) continue;
      const auto away = span_row(rows, span, bases.centre, row);
      for (std::size_t unit = at(span.concept_number); unit < units.size(); unit += concepts)
        if (!units[unit].empty())
          mine.push_back({static_cast<std::int32_t>(unit), std::inner_product(away.begin(), away.end(), units[unit].begin(), 0.0)});
    }
  });
  stop.throw_if_wanted(comm, "subspaces");
  std::vector<std::vector<double>> of_unit(units.size());
  for (const Projection& projection : comm::all_gather(comm, mine)) of_unit[at(projection.place)].push_back(projection.value);
  std::vector<double> medians;
  medians.reserve(of_unit.size());
  for (auto& values : of_unit) medians.push_back(median(std::move(values)));
  return medians;
}

} // namespace

std::vector<BasisKind> kinds_to_steer(const std::vector<BasisKind>& removed) {
  std::vector<BasisKind> kinds;
  for (const BasisKind kind : removed)
    if (std::find(steered_kinds.begin(), steered_kinds.end(), kind) != steered_kinds.end()) kinds.push_back(kind);
  return kinds;
}

SteeringDirections steering_directions(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans,
                                       const LayerBases& bases, const std::vector<BasisKind>& kinds, SpanRow row) {
  const auto medians = median_projections(comm, rows, spans, bases, row);
  SteeringDirections directions{kinds, static_cast<Index>(bases.of[0].size()), bases.d, {}, {}};
  const auto median_of = [&](BasisKind kind, Index c) {
    const auto number = std::find(steered_kinds.begin(), steered_kinds.end(), kind) - steered_kinds.begin();
    return medians[at(number * directions.concepts + c)];
  };
  for (const BasisKind kind : kinds)
    for (Index c = 0; c < directions.concepts; ++c) {
      const double own = median_of(kind, c);
      const double length = std::abs(median_of(lengths_of(kind), c));
      const bool there = !std::isnan(own) && !std::isnan(length);
      auto unit = there ? first_direction(bases.of[static_cast<std::size_t>(kind)][at(c)]) : std::vector<double>{};
      if (own < 0)
        for (double& value : unit) value = -value;
      directions.unit.push_back(std::move(unit));
      directions.length.push_back(there ? length : not_known);
    }
  return directions;
}

ConceptTokens concept_tokens(const comm::Communicator& comm, const corpus::TokenReader& tokens, const std::vector<Span>& spans,
                             Index concepts) {
  std::map<std::int32_t, std::int32_t> concept_of; // -1: of several
  const auto add = [&](std::int32_t id, std::int32_t concept_number) {
    const auto [found, added] = concept_of.emplace(id, concept_number);
    if (!added && found->second != concept_number) found->second = -1;
  };
  comm::agree(comm, [&] {
    const dist::Partition shares{static_cast<Index>(spans.size()), comm.size()};
    for (Index i = shares.begin(comm.rank()); i < shares.end(comm.rank()); ++i)
      if (!spans[at(i)].random && spans[at(i)].concept_number >= 0) add(tokens.ids(spans[at(i)].begin, 1)[0], spans[at(i)].concept_number);
  });
  std::vector<std::int32_t> flat; // token and concept in turn
  for (const auto& [id, concept_number] : concept_of) flat.insert(flat.end(), {id, concept_number});
  flat = comm::all_gather(comm, flat);
  for (std::size_t i = 0; i < flat.size(); i += 2) add(flat[i], flat[i + 1]);
  ConceptTokens found;
  found.count.assign(at(concepts), 0);
  for (const auto& [id, concept_number] : concept_of) {
    if (concept_number < 0) continue;
    found.id.push_back(id);
    found.concept_number.push_back(concept_number);
    ++found.count[at(concept_number)];
  }
  return found;
}

Steering::Steering(ModelShard shard, int layer, const SteeringDirections& directions, double strength, const ConceptTokens& tokens,
                   Index after)
    : shard_(std::move(shard)), layer_(layer), after_(after), concepts_(directions.concepts), directions_(directions.unit.size()),
      ids_(at::tensor(tokens.id, at::kLong).to(shard_.model().device())), concept_of_(at::tensor(tokens.concept_number, at::kLong)) {
  std::vector<Tensor> steps{at::zeros({1, directions.d}, at::kFloat)};
  for (std::size_t i = 0; i < directions_; ++i) {
    if (directions.unit[i].empty()) continue;
    which_.push_back(static_cast<Index>(i));
    steps.push_back((at::tensor(directions.unit[i], at::kDouble) * (strength * directions.length[i])).to(at::kFloat).unsqueeze(0));
  }
  step_ = at::stack(steps).slice(0, 1).to(shard_.model().device());
}

void Steering::run(const ContextSpans& context, const std::vector<Span>& spans, SpanSteering& out) const {
  const ChangedRuns runs(shard_, layer_, context.ids);
  if (!shard_.sees(layer_)) return;
  for (const std::int32_t number : context.spans) {
    if (shard_.is_last()) out.span.push_back(number);
    of_span(runs, context, spans[at(number)], out);
  }
}

void Steering::of_span(const ChangedRuns& runs, const ContextSpans& context, const Span& span, SpanSteering& out) const {
  const c10::InferenceMode no_gradients;
  const std::size_t first = out.kl.size();
  if (shard_.is_last()) {
    out.kl.resize(first + directions_, not_known);
    out.writes.resize((first + directions_) * at(concepts_), std::numeric_limits<float>::quiet_NaN());
  }
  if (which_.empty()) return;
  const auto rows = runs.rows_of(span.begin - context.first_row, span.end - context.first_row, after_);
  const auto count = static_cast<Index>(which_.size());
  Tensor copies;
  if (shard_.changes(layer_)) {
    copies = runs.copies(rows, count);
    copies.slice(0, 0, count).slice(1, 0, rows.in_span()).add_(step_.to(copies.scalar_type()));
  }
  const auto log_mass = [&](const Tensor& log_p) { // [n, vocab] -> [n, concepts]; on the CPU, which adds up in one order
    const Tensor p = log_p.index_select(1, ids_).cpu().to(at::kDouble).exp();
    return at::zeros({p.size(0), concepts_}, at::kDouble).index_add_(1, concept_of_, p).log();
  };
  const Changes changes = runs.measure(std::move(copies), count, rows, [&](Index copy, const Tensor& before, const Tensor& changed) {
    const Tensor change = (log_mass(changed) - log_mass(before.unsqueeze(0))).to(at::kFloat).contiguous(); // NaN of an empty set
    for (Index i = 0; i < change.size(0); ++i)
      std::copy_n(change[i].data_ptr<float>(), concepts_,
                  out.writes.begin() + static_cast<std::ptrdiff_t>((first + at(which_[at(copy + i)])) * at(concepts_)));
  });
  if (!shard_.is_last()) return;
  require(at::isfinite(changes.kl).all().item<bool>(), ExitCode::bad_data,
          "the model's predictions are not finite behind row {} with a direction added behind layer {}", span.end - 1, layer_);
  for (Index i = 0; i < count; ++i) out.kl[first + at(which_[at(i)])] = changes.kl[i].item<double>();
}

SteeringMatrices::SteeringMatrices(Index number_of_concepts) : concepts(number_of_concepts) {
  for (auto* values : {&kl, &kl_error, &writes}) values->assign(at(basis_kinds * halves * concepts * concepts), not_known);
}

std::size_t SteeringMatrices::place(int kind, int half, Index c, Index other) const {
  return at(((kind * halves + half) * concepts + c) * concepts + other);
}

SteeringMatrices steering_means(const std::vector<Span>& spans, const SpanSteering& steered, const SteeringDirections& directions) {
  const Index concepts = directions.concepts;
  SteeringMatrices means(concepts);
  const std::size_t count = directions.unit.size();
  std::vector<std::size_t> in_order(steered.span.size()); // sums are taken in the order of spans
  std::iota(in_order.begin(), in_order.end(), std::size_t{0});
  std::sort(in_order.begin(), in_order.end(), [&](std::size_t a, std::size_t b) { return steered.span[a] < steered.span[b]; });
  const auto concept_at = [&](std::size_t place) { return static_cast<Index>(spans[at(steered.span[place])].concept_number); };
  for (int half = 0; half < halves; ++half) {
    DocumentPlaces documents;
    std::map<Index, DocumentPlaces> at_concept;
    for (const std::size_t i : in_order) {
      const Span& span = spans[at(steered.span[i])];
      if (span.document_half != half) continue;
      documents[span.document].push_back(i);
      at_concept[span.concept_number][span.document].push_back(i);
    }
    for (std::size_t kind = 0; kind < directions.kinds.size(); ++kind)
      for (Index c = 0; c < concepts; ++c) {
        const std::size_t direction = directions.place(kind, c);
        if (directions.unit[direction].empty()) continue;
        const int number = static_cast<int>(directions.kinds[kind]);
        for (const auto& [other, of_documents] : at_concept) {
          const auto kl = over_documents(of_documents, [&](std::size_t place) { return steered.kl[place * count + direction]; });
          means.kl[means.place(number, half, c, other)] = kl.value;
          means.kl_error[means.place(number, half, c, other)] = kl.error;
        }
        for (Index other = 0; other < concepts; ++other)
          means.writes[means.place(number, half, c, other)] =
              over_documents(documents, [&](std::size_t place) {
                const bool own = concept_at(place) == c || concept_at(place) == other;
                return own ? not_known : static_cast<double>(steered.writes[(place * count + direction) * at(concepts) + at(other)]);
              }).value;
      }
  }
  return means;
}

agreement::Contrast writes_contrast(const SteeringMatrices& matrices, BasisKind kind, const std::vector<Index>& groups,
                                    const agreement::AgreementOptions& options) {
  std::vector<double> matrix;
  for (Index c = 0; c < matrices.concepts; ++c)
    for (Index other = 0; other < matrices.concepts; ++other)
      matrix.push_back((matrices.writes[matrices.place(static_cast<int>(kind), 0, c, other)] +
                        matrices.writes[matrices.place(static_cast<int>(kind), 1, c, other)]) /
                       2);
  return agreement::same_concept_contrast(matrix, matrices.concepts, groups, options);
}

} // namespace concord::subspaces
