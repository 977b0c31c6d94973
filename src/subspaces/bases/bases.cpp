#include "concord/subspaces/bases/bases.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/dist/partition.hpp"

#include "subspaces/bases/linear_bases.hpp"
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

namespace concord::subspaces {
namespace {

/// Columns of a d x n matrix, one behind the other, as leading_subspace() wants them: row-major.
class Columns {
public:
  explicit Columns(Index d) : d_(d) {}
  void add(std::vector<double> column) { columns_.push_back(std::move(column)); }
  Basis leading(Index k) const {
    const auto n = static_cast<Index>(columns_.size());
    if (n == 0) return {d_, 0, {}, 0};
    std::vector<double> x(at(d_ * n));
    for (Index i = 0; i < d_; ++i)
      for (Index j = 0; j < n; ++j) x[at(i * n + j)] = columns_[at(j)][at(i)];
    return agreement::leading_subspace(x, d_, n, k);
  }

private:
  Index d_;
  std::vector<std::vector<double>> columns_;
};

std::vector<double> unit(std::vector<double> column) {
  double squares = 0;
  for (const double value : column) squares += value * value;
  const double factor = squares > 0 ? 1 / std::sqrt(squares) : 0;
  for (double& value : column) value *= factor;
  return column;
}

std::vector<double> decoder_row(const LayerFeatures& features, Index feature) {
  std::vector<double> row(at(features.d));
  for (Index i = 0; i < features.d; ++i) row[at(i)] = static_cast<double>((*features.decoder)[at(feature * features.d + i)]);
  return row;
}

std::vector<double> random_direction(std::uint64_t seed, Index feature, Index d) {
  const Philox random(seed, "random decoder", static_cast<std::uint64_t>(feature));
  std::vector<double> direction(at(d));
  for (Index i = 0; i < d; ++i) direction[at(i)] = random.normal(static_cast<std::uint64_t>(i));
  return unit(std::move(direction));
}

/// For each feature those outside all concepts that are active about as often and have about the same norm.
class Matched {
public:
  Matched(const LayerFeatures& features, const std::vector<ConceptMembers>& members, std::uint64_t seed)
      : random_(seed, "matched features") {
    std::set<std::int32_t> taken;
    for (const auto& of_concept : members) taken.insert(of_concept.candidate_features.begin(), of_concept.candidate_features.end());
    for (const auto& of_concept : members)
      for (const Member& member : of_concept.members) taken.insert(member.feature);
    for (Index f = 0; f < static_cast<Index>(features.count.size()); ++f) {
      key_.push_back(key_of(features, f));
      if (features.count[at(f)] > 0 && !taken.contains(static_cast<std::int32_t>(f))) like_[key_.back()].push_back(f);
    }
  }
  /// One for a feature, the draw-th; -1: there is none.
  Index one_for(Index feature, Index draw) const {
    const auto found = like_.find(key_[at(feature)]);
    if (found == like_.end()) return -1;
    return found->second[at(static_cast<Index>(random_.below(static_cast<std::uint64_t>((feature << 8) + draw), found->second.size())))];
  }

private:
  /// Half a power of ten in rate, a tenth of one in norm.
  static std::pair<Index, Index> key_of(const LayerFeatures& features, Index f) {
    double squares = 0;
    for (Index i = 0; i < features.d; ++i) {
      const auto value = static_cast<double>((*features.decoder)[at(f * features.d + i)]);
      squares += value * value;
    }
    const auto bin = [](double value, double width) { return value > 0 ? std::llround(width * std::log10(value)) : Index{-1000}; };
    return {bin(static_cast<double>(features.count[at(f)]), 2), bin(std::sqrt(squares), 10)};
  }
  Philox random_;
  std::vector<std::pair<Index, Index>> key_;
  std::map<std::pair<Index, Index>, std::vector<Index>> like_;
};

constexpr int dealt_draw = 1'000'000; // one that members are not judged by

/// Half and concept of each phrase, by the spans given.
struct PhraseFacts {
  std::map<std::int32_t, std::int8_t> half;
  std::map<std::int32_t, std::int32_t> concept_number;
};
PhraseFacts facts_of(const std::vector<Span>& spans) {
  PhraseFacts facts;
  for (const Span& span : spans) {
    if (span.random) continue;
    facts.half[span.phrase] = span.phrase_half;
    facts.concept_number[span.phrase] = span.concept_number;
  }
  return facts;
}

/// Bases of phrase means less the centre, for concepts as `facts` has them, of the half that members are chosen on.
std::vector<Basis> of_phrases(const PhraseMeans& means, const std::vector<double>& centre, const PhraseFacts& facts,
                              const std::vector<ConceptMembers>& members, Index k) {
  std::vector<Columns> columns(members.size(), Columns(means.d));
  for (std::size_t i = 0; i < means.phrase.size(); ++i) {
    const auto half = facts.half.find(means.phrase[i]);
    const auto number = facts.concept_number.find(means.phrase[i]);
    if (half == facts.half.end() || half->second != 0 || number->second < 0) continue;
    std::vector<double> column(centre);
    for (Index j = 0; j < means.d; ++j) column[at(j)] = means.means[i * at(means.d) + at(j)] - centre[at(j)];
    columns[at(number->second)].add(std::move(column));
  }
  std::vector<Basis> bases;
  for (std::size_t c = 0; c < columns.size(); ++c) bases.push_back(members[c].defined ? columns[c].leading(k) : Basis{means.d, 0, {}, 0});
  return bases;
}

void add_further(LayerBases& bases, const RowsOfConcepts& rows, const std::vector<ConceptMembers>& members,
                 const std::vector<BasisKind>& further) {
  const auto asked = [&](BasisKind kind) { return std::find(further.begin(), further.end(), kind) != further.end(); };
  const auto of = [&](BasisKind kind) -> std::vector<Basis>& { return bases.of[static_cast<std::size_t>(kind)]; };
  std::vector<bool> wanted;
  for (const auto& of_concept : members) wanted.push_back(of_concept.defined);
  if (!asked(BasisKind::lda) && !asked(BasisKind::leace)) {
    if (asked(BasisKind::means)) of(BasisKind::means) = means_bases(rows, wanted);
    return;
  }
  bases.whitening = layer_whitening(rows);
  auto linear = linear_bases(rows, *bases.whitening, wanted);
  if (asked(BasisKind::means)) of(BasisKind::means) = std::move(linear.means);
  if (asked(BasisKind::lda)) of(BasisKind::lda) = std::move(linear.lda);
  if (asked(BasisKind::leace)) of(BasisKind::leace) = std::move(linear.leace);
}

constexpr std::array<const char*, basis_kinds> kind_names{"sae",   "residual", "random", "matched", "dealt",
                                                          "means", "lda",      "leace",  "pseudo"};

} // namespace

const char* name_of(BasisKind kind) {
  return kind_names[static_cast<std::size_t>(kind)];
}

std::vector<double> PhraseMeans::centre(const std::vector<std::int8_t>& half_of_phrase, int half) const {
  std::vector<double> sum(at(d));
  double count = 0;
  for (std::size_t i = 0; i < phrase.size(); ++i) {
    if (half_of_phrase[i] != half) continue;
    ++count;
    for (Index j = 0; j < d; ++j) sum[at(j)] += means[i * at(d) + at(j)];
  }
  require(count > 0, ExitCode::bad_data, "no phrase of the half that members are chosen on occurs");
  for (double& value : sum) value /= count;
  return sum;
}

PhraseMeans phrase_means(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans, SpanRow row,
                         const comm::StopWithin& stop) {
  PhraseMeans result;
  result.d = rows.cols();
  std::map<std::int32_t, std::size_t> place;
  for (const Span& span : spans)
    if (!span.random) place.emplace(span.phrase, 0);
  for (auto& [phrase, number] : place) {
    number = result.phrase.size();
    result.phrase.push_back(phrase);
  }
  result.spans.assign(result.phrase.size(), 0);
  result.means.assign(result.phrase.size() * at(result.d), 0);
  comm::agree(comm, [&] {
    const dist::Partition shares{static_cast<Index>(spans.size()), comm.size()};
    std::vector<float> values;
    for (Index i = shares.begin(comm.rank()); i < shares.end(comm.rank()) && !stop.wanted_here(); ++i) {
      const Span& span = spans[at(i)];
      if (span.random) continue;
      const Index first = row == SpanRow::last ? span.end - 1 : span.begin;
      const Index count = span.end - first;
      values.resize(at(count * result.d));
      rows.read_float(first, count, values);
      const std::size_t number = place.at(span.phrase);
      ++result.spans[number];
      for (Index r = 0; r < count; ++r)
        for (Index j = 0; j < result.d; ++j)
          result.means[number * at(result.d) + at(j)] += static_cast<double>(values[at(r * result.d + j)]) / static_cast<double>(count);
    }
  });
  stop.throw_if_wanted(comm, "subspaces");
  comm::sum(comm, result.spans);
  comm::sum(comm, result.means);
  for (std::size_t i = 0; i < result.phrase.size(); ++i)
    for (Index j = 0; j < result.d; ++j) result.means[i * at(result.d) + at(j)] /= static_cast<double>(result.spans[i]);
  return result;
}

std::pair<PhraseMeans, PhraseMeans> of_common_phrases(const PhraseMeans& a, const PhraseMeans& b) {
  const auto of_those_in = [](const PhraseMeans& means, const PhraseMeans& other) {
    PhraseMeans kept;
    kept.d = means.d;
    for (std::size_t i = 0; i < means.phrase.size(); ++i) {
      if (!std::binary_search(other.phrase.begin(), other.phrase.end(), means.phrase[i])) continue;
      kept.phrase.push_back(means.phrase[i]);
      kept.spans.push_back(means.spans[i]);
      const auto row = means.means.begin() + static_cast<std::ptrdiff_t>(i * at(means.d));
      kept.means.insert(kept.means.end(), row, row + static_cast<std::ptrdiff_t>(means.d));
    }
    return kept;
  };
  return {of_those_in(a, b), of_those_in(b, a)};
}

LayerBases make_bases(const std::vector<Span>& spans, const std::vector<ConceptMembers>& members, const LayerFeatures& features,
                      const PhraseMeans* means, Index k, std::uint64_t seed, std::uint64_t own_seed,
                      const std::vector<BasisKind>& further) {
  LayerBases bases;
  bases.d = features.d;
  bases.centre.assign(at(features.d), 0);
  bases.of.assign(basis_kinds, std::vector<Basis>(members.size(), Basis{features.d, 0, {}, 0}));
  const Matched matched(features, members, own_seed);
  for (std::size_t c = 0; c < members.size(); ++c) {
    Columns own(features.d);
    Columns random(features.d);
    Columns others(features.d);
    std::set<Index> used;
    for (const Member& member : members[c].members) {
      own.add(unit(decoder_row(features, member.feature)));
      random.add(random_direction(own_seed, member.feature, features.d));
      for (Index draw = 0; draw < 16; ++draw) { // the first that this concept has not taken
        const Index other = matched.one_for(member.feature, draw);
        if (other < 0 || !used.insert(other).second) continue;
        others.add(unit(decoder_row(features, other)));
        break;
      }
    }
    bases.of[static_cast<std::size_t>(BasisKind::sae)][c] = own.leading(k);
    bases.of[static_cast<std::size_t>(BasisKind::random)][c] = random.leading(k);
    bases.of[static_cast<std::size_t>(BasisKind::matched)][c] = others.leading(k);
  }
  if (means == nullptr) return bases;
  const auto facts = facts_of(spans);
  std::vector<std::int8_t> halves;
  for (const auto phrase : means->phrase) halves.push_back(facts.half.at(phrase));
  bases.centre = means->centre(halves, 0);
  bases.of[static_cast<std::size_t>(BasisKind::residual)] = of_phrases(*means, bases.centre, facts, members, k);
  bases.of[static_cast<std::size_t>(BasisKind::dealt)] =
      of_phrases(*means, bases.centre, facts_of(dealt_anew(spans, seed, dealt_draw)), members, k);
  if (!further.empty()) add_further(bases, rows_chosen_on(spans, *means), members, further);
  return bases;
}

std::vector<Basis> phrase_bases(const std::vector<Span>& spans, const std::vector<ConceptMembers>& members, const PhraseMeans& means,
                                Index k) {
  const auto facts = facts_of(spans);
  std::vector<std::int8_t> halves;
  for (const auto phrase : means.phrase) halves.push_back(facts.half.at(phrase));
  if (std::find(halves.begin(), halves.end(), 0) == halves.end()) return std::vector<Basis>(members.size(), Basis{means.d, 0, {}, 0});
  return of_phrases(means, means.centre(halves, 0), facts, members, k);
}

RowsOfConcepts rows_chosen_on(const std::vector<Span>& spans, const PhraseMeans& means) {
  const auto facts = facts_of(spans);
  RowsOfConcepts rows;
  rows.d = means.d;
  for (std::size_t i = 0; i < means.phrase.size(); ++i) {
    if (facts.half.at(means.phrase[i]) != 0) continue;
    const auto row = means.means.begin() + static_cast<std::ptrdiff_t>(i * at(means.d));
    rows.rows.insert(rows.rows.end(), row, row + static_cast<std::ptrdiff_t>(means.d));
    rows.concept_number.push_back(facts.concept_number.at(means.phrase[i]));
  }
  return rows;
}

std::vector<double> dealt_counts(const std::vector<Span>& spans, Index concepts, std::uint64_t seed) {
  const auto facts = facts_of(spans);
  std::vector<double> counts(at(concepts * concepts));
  for (const auto& [phrase, number] : facts_of(dealt_anew(spans, seed, dealt_draw)).concept_number)
    if (number >= 0 && facts.half.at(phrase) == 0) ++counts[at(number * concepts + facts.concept_number.at(phrase))];
  return counts;
}

} // namespace concord::subspaces
