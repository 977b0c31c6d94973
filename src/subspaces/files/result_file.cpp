#include "subspaces/files/result_file.hpp"

#include "concord/core/at.hpp"
#include "concord/core/text.hpp"

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// Datasets of a layer: name, what follows the dimension of layers.
struct Field {
  std::string name;
  Dtype dtype;
  std::vector<Index> dims;
};

std::vector<Field> member_fields(const Extent& e) {
  const Index c = e.concepts;
  const Index m = e.members;
  return {{"candidates", Dtype::i32, {c}},
          {"members", Dtype::i32, {c, m}},
          {"member_auc", Dtype::f64, {c, m, 2, 2}},
          {"member_q", Dtype::f64, {c, m}},
          {"member_coverage", Dtype::f64, {c, m}},
          {"member_scale", Dtype::f64, {c, m}},
          {"sum_auc_chosen", Dtype::f64, {c, m}},
          {"sum_auc_held", Dtype::f64, {c, m}},
          {"probe_auc", Dtype::f64, {c, static_cast<Index>(probe_members.size())}},
          {"dimensions", Dtype::i32, {basis_kinds, c}},
          {"variance_share", Dtype::f64, {basis_kinds, c}},
          {"overlap_excess", Dtype::f64, {basis_kinds, c, c}},
          {"overlap_whitened", Dtype::f64, {basis_kinds, c, c}},
          {"whitening", Dtype::f64, {3}}};
}

std::vector<Field> effect_fields(const Extent& e) {
  const std::vector<Index> matrices{span_sets, basis_kinds, halves, e.concepts, e.concepts};
  return {{"kl", Dtype::f64, matrices},
          {"kl_error", Dtype::f64, matrices},
          {"loss", Dtype::f64, matrices},
          {"energy", Dtype::f64, matrices},
          {"effect_spans", Dtype::i32, {span_sets, halves, e.concepts}},
          {"effect_documents", Dtype::i32, {span_sets, halves, e.concepts}}};
}

std::vector<Field> pair_fields(const Extent& e) {
  const Index c = e.concepts;
  std::vector<Field> fields{{"alike/pairs", Dtype::i32, {c, c}},
                            {"alike/matrix", Dtype::f64, {c, c, small_measures}},
                            {"alike/contrast", Dtype::f64, {small_measures}},
                            {"alike/contrast_p", Dtype::f64, {small_measures}},
                            {"alike/contrast_p_grouped", Dtype::f64, {small_measures}}};
  std::vector<std::string> scored{"alike/features/", "alike/phrases/"};
  if (e.pseudo) scored.emplace_back("alike/pseudo/");
  for (const auto& of : scored) {
    fields.push_back({of + "count", Dtype::i32, {c}});
    for (const char* name : {"score", "shuffled_mean", "p"}) fields.push_back({of + name, Dtype::f64, {c, small_measures}});
  }
  return fields;
}

void create(io::File& file, const std::string& group, const std::vector<Field>& fields, Index first) {
  for (const auto& field : fields) {
    std::vector<Index> dims{first};
    dims.insert(dims.end(), field.dims.begin(), field.dims.end());
    file.create_dataset(group + field.name, dims, field.dtype);
  }
}

/// Of a row of each.
double bytes_of(const std::vector<Field>& fields) {
  double bytes = 0;
  for (const auto& field : fields) {
    double values = 1;
    for (const Index length : field.dims) values *= static_cast<double>(length);
    bytes += values * static_cast<double>(size_of(field.dtype));
  }
  return bytes;
}

template <typename T>
void write_row(io::File& file, const std::string& name, Index row, const std::vector<T>& values) {
  auto dataset = file.dataset(name);
  require(dataset.row_size() == static_cast<Index>(values.size()), ExitCode::internal, "{}: {} values for a row of {}", name, values.size(),
          dataset.row_size());
  dataset.write_rows(row, 1, values.data());
}

std::vector<std::int32_t> narrow(const std::vector<Index>& values) {
  return {values.begin(), values.end()};
}

std::string side_group(char side) {
  return std::string("/") + side + "/";
}

void write_members(io::File& file, const Extent& e, const std::string& group, Index layer, const std::vector<ConceptMembers>& members) {
  std::vector<std::int32_t> candidates;
  std::vector<std::int32_t> feature(at(e.concepts * e.members), -1);
  const std::vector<double> unknown(at(e.concepts * e.members), not_known);
  auto q = unknown;
  auto coverage = unknown;
  auto scale = unknown;
  auto chosen = unknown;
  auto held = unknown;
  std::vector<double> auc(at(4 * e.concepts * e.members), not_known);
  std::vector<double> probes(at(e.concepts) * probe_members.size(), not_known);
  for (Index c = 0; c < e.concepts; ++c) {
    const ConceptMembers& of = members[at(c)];
    candidates.push_back(static_cast<std::int32_t>(of.candidates));
    for (std::size_t i = 0; i < of.members.size(); ++i) {
      const std::size_t place = at(c * e.members) + i;
      const Member& member = of.members[i];
      feature[place] = member.feature;
      q[place] = member.q;
      coverage[place] = member.coverage;
      scale[place] = member.scale;
      chosen[place] = of.sum_auc_chosen[i];
      held[place] = of.sum_auc_held[i];
      for (const std::size_t half : {0, 1})
        for (const std::size_t others : {0, 1}) auc[4 * place + 2 * half + others] = member.auc[half][others];
    }
    for (std::size_t i = 0; i < of.probes.size(); ++i) probes[at(c) * probe_members.size() + i] = of.probes[i].auc;
  }
  write_row(file, group + "candidates", layer, candidates);
  write_row(file, group + "members", layer, feature);
  write_row(file, group + "member_auc", layer, auc);
  write_row(file, group + "member_q", layer, q);
  write_row(file, group + "member_coverage", layer, coverage);
  write_row(file, group + "member_scale", layer, scale);
  write_row(file, group + "sum_auc_chosen", layer, chosen);
  write_row(file, group + "sum_auc_held", layer, held);
  write_row(file, group + "probe_auc", layer, probes);
}

/// Overlaps of the bases of each kind in the inner product in which the phrases' covariance is 1; NaN where it is not known.
std::vector<double> overlap_whitened(const LayerBases& bases) {
  std::vector<double> overlap;
  for (const auto& of_kind : bases.of) {
    if (!bases.whitening) {
      overlap.insert(overlap.end(), of_kind.size() * of_kind.size(), not_known);
      continue;
    }
    std::vector<Basis> moved;
    for (const Basis& basis : of_kind) moved.push_back(basis.k > 0 ? agreement::whitened(basis, bases.whitening->whitening) : basis);
    for (const Basis& basis : moved)
      for (const Basis& other : moved) overlap.push_back(agreement::overlap_excess(basis, other));
  }
  return overlap;
}

void write_bases(io::File& file, const Extent& e, const std::string& group, Index layer, const LayerBases& bases) {
  std::vector<std::int32_t> dimensions;
  std::vector<double> share;
  std::vector<double> overlap;
  for (const auto& of_kind : bases.of)
    for (Index c = 0; c < e.concepts; ++c) {
      const Basis& basis = of_kind[at(c)];
      dimensions.push_back(static_cast<std::int32_t>(basis.k));
      share.push_back(basis.k > 0 ? basis.variance_share : not_known);
      for (const Basis& other : of_kind) overlap.push_back(agreement::overlap_excess(basis, other));
    }
  write_row(file, group + "dimensions", layer, dimensions);
  write_row(file, group + "variance_share", layer, share);
  write_row(file, group + "overlap_excess", layer, overlap);
  write_row(file, group + "overlap_whitened", layer, overlap_whitened(bases));
  std::vector<double> whitening(3, not_known);
  if (const auto& of = bases.whitening) whitening = {static_cast<double>(of->rows), of->shrinkage, static_cast<double>(of->whitening.cut)};
  write_row(file, group + "whitening", layer, whitening);
}

void write_against_shuffled(io::File& file, const std::string& group, Index pair, const std::vector<AgainstShuffled>& of_concepts) {
  std::vector<std::int32_t> count;
  std::vector<double> score;
  std::vector<double> mean;
  std::vector<double> p;
  for (const auto& of : of_concepts) {
    count.push_back(static_cast<std::int32_t>(of.pairs));
    score.insert(score.end(), of.score.begin(), of.score.end());
    mean.insert(mean.end(), of.mean.begin(), of.mean.end());
    p.insert(p.end(), of.p.begin(), of.p.end());
  }
  write_row(file, group + "count", pair, count);
  write_row(file, group + "score", pair, score);
  write_row(file, group + "shuffled_mean", pair, mean);
  write_row(file, group + "p", pair, p);
}

} // namespace

EffectMatrices::EffectMatrices(Index number_of_concepts) : concepts(number_of_concepts) {
  const std::size_t cells = at(span_sets * basis_kinds * halves * concepts * concepts);
  for (auto* values : {&kl, &kl_error, &loss, &energy}) values->assign(cells, not_known);
  for (auto* counts : {&spans, &documents}) counts->assign(at(span_sets * halves * concepts), 0);
}

std::size_t EffectMatrices::place(int set, int kind, int half, Index c, Index other) const {
  return at((((set * basis_kinds + kind) * halves + half) * concepts + c) * concepts + other);
}

std::size_t EffectMatrices::place(int set, int half, Index c) const {
  return at((set * halves + half) * concepts + c);
}

std::vector<double> EffectMatrices::matrix(const std::vector<double>& values, int set, int kind, int half) const {
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(place(set, kind, half, 0, 0));
  return {first, first + static_cast<std::ptrdiff_t>(concepts * concepts)};
}

void lay_out(io::File& file, const Extent& e) {
  for (const auto& [side, layers] : {std::pair{'a', &e.layers_a}, std::pair{'b', &e.layers_b}}) {
    const auto count = static_cast<Index>(layers->size());
    create(file, side_group(side), member_fields(e), count);
    if (e.effects) lay_out_effects(file, e, side_group(side), count);
  }
  std::vector<std::int32_t> pairs;
  for (const int a : e.layers_a)
    for (const int b : e.layers_b) pairs.insert(pairs.end(), {a, b});
  file.write("/pairs", pairs, {e.pairs(), 2});
  create(file, "/", pair_fields(e), e.pairs());
  file.write_attribute("layers_a", nlohmann::json(e.layers_a).dump());
  file.write_attribute("layers_b", nlohmann::json(e.layers_b).dump());
  std::vector<std::string> kinds;
  for (int kind = 0; kind < basis_kinds; ++kind) kinds.emplace_back(name_of(static_cast<BasisKind>(kind)));
  file.write_attribute("bases", nlohmann::json(kinds).dump());
  file.write_attribute("span_sets", nlohmann::json({"all", "one_token", "several_tokens", "phrase"}).dump());
  std::vector<std::string> measures;
  for (int measure = 0; measure < small_measures; ++measure) measures.emplace_back(name_of_small_measure(measure));
  file.write_attribute("measures", nlohmann::json(measures).dump());
}

void write_concepts(io::File& file, const concepts::ConceptLists& lists, const concepts::OccurrenceCounts& counts,
                    const std::vector<ConceptSpans>& defined) {
  std::vector<std::string> names;
  std::vector<std::string> groups;
  std::vector<Index> in_corpus;
  std::vector<std::int32_t> used;
  std::vector<std::int32_t> phrases_used;
  std::vector<std::uint8_t> is_defined;
  for (std::size_t c = 0; c < lists.concepts.size(); ++c) {
    names.push_back(lists.concepts[c].name);
    groups.push_back(lists.concepts[c].group);
    in_corpus.insert(in_corpus.end(), counts.of_concept[c].begin(), counts.of_concept[c].end());
    used.push_back(static_cast<std::int32_t>(defined[c].occurrences));
    phrases_used.push_back(static_cast<std::int32_t>(defined[c].phrases));
    is_defined.push_back(defined[c].defined ? 1 : 0);
  }
  const auto count = static_cast<Index>(names.size());
  file.write_strings("/concepts/names", names);
  file.write_strings("/concepts/groups", groups);
  file.write("/concepts/occurrences", in_corpus, {count, static_cast<Index>(concepts::span_kinds)});
  file.write("/concepts/spans", used);
  file.write("/concepts/phrases", phrases_used);
  file.write("/concepts/defined", is_defined);
  std::vector<std::string> texts;
  std::vector<std::int32_t> concept_of;
  std::vector<Index> occurrences;
  for (std::size_t p = 0; p < lists.phrases.size(); ++p) {
    texts.push_back(lists.phrases[p].text);
    concept_of.push_back(static_cast<std::int32_t>(lists.phrases[p].of_concept));
    occurrences.insert(occurrences.end(), counts.of_phrase[p].begin(), counts.of_phrase[p].end());
  }
  file.write_strings("/phrases/texts", texts);
  file.write("/phrases/concept", concept_of);
  file.write("/phrases/occurrences", occurrences, {static_cast<Index>(texts.size()), static_cast<Index>(concepts::span_kinds)});
}

void write_layer(io::File& file, const Extent& e, char side, Index layer, const LayerResult& result) {
  const std::string group = side_group(side);
  write_members(file, e, group, layer, result.members);
  write_bases(file, e, group, layer, result.bases);
  if (e.effects) write_effects(file, group, layer, result.effects);
}

double result_bytes(const Extent& e) {
  const auto layers = static_cast<double>(e.layers());
  const auto pairs = static_cast<double>(e.pairs());
  return layers * bytes_of(member_fields(e)) + (e.effects ? effects_bytes(e, layers) : 0) + pairs * (8 + bytes_of(pair_fields(e)));
}

double effects_bytes(const Extent& e, double layers) {
  return layers * bytes_of(effect_fields(e));
}

void lay_out_effects(io::File& file, const Extent& e, const std::string& group, Index layers) {
  create(file, group, effect_fields(e), layers);
}

void write_effects(io::File& file, const std::string& group, Index layer, const EffectMatrices& effects) {
  write_row(file, group + "kl", layer, effects.kl);
  write_row(file, group + "kl_error", layer, effects.kl_error);
  write_row(file, group + "loss", layer, effects.loss);
  write_row(file, group + "energy", layer, effects.energy);
  write_row(file, group + "effect_spans", layer, narrow(effects.spans));
  write_row(file, group + "effect_documents", layer, narrow(effects.documents));
}

std::vector<ConceptMembers> read_members(const io::File& file, const Extent& e, char side, Index layer) {
  const std::string group = side_group(side);
  const auto feature = file.dataset(group + "members", {-1, e.concepts, e.members}).read<std::int32_t>(layer, 1);
  std::vector<ConceptMembers> members(at(e.concepts));
  for (Index c = 0; c < e.concepts; ++c)
    for (Index i = 0; i < e.members && feature[at(c * e.members + i)] >= 0; ++i) {
      members[at(c)].members.emplace_back();
      members[at(c)].members.back().feature = feature[at(c * e.members + i)];
    }
  return members;
}

EffectMatrices read_effects(const io::File& file, const Extent& e, const std::string& group, Index layer) {
  EffectMatrices effects(e.concepts);
  const auto row = [&](const char* name) {
    return file.dataset(group + name, {-1, span_sets, basis_kinds, halves, e.concepts, e.concepts}).read<double>(layer, 1);
  };
  effects.kl = row("kl");
  effects.kl_error = row("kl_error");
  effects.loss = row("loss");
  effects.energy = row("energy");
  return effects;
}

void write_pair(io::File& file, Index pair, const Alike& alike, const std::vector<agreement::Contrast>& contrasts) {
  write_row(file, "/alike/pairs", pair, narrow(alike.pairs));
  std::vector<double> matrix;
  for (const auto& scores : alike.matrix) matrix.insert(matrix.end(), scores.begin(), scores.end());
  write_row(file, "/alike/matrix", pair, matrix);
  std::vector<double> contrast;
  std::vector<double> p;
  std::vector<double> p_grouped;
  for (const auto& of : contrasts) {
    contrast.push_back(of.contrast);
    p.push_back(of.p_free);
    p_grouped.push_back(of.p_grouped);
  }
  write_row(file, "/alike/contrast", pair, contrast);
  write_row(file, "/alike/contrast_p", pair, p);
  write_row(file, "/alike/contrast_p_grouped", pair, p_grouped);
  write_against_shuffled(file, "/alike/features/", pair, alike.features);
  write_against_shuffled(file, "/alike/phrases/", pair, alike.phrases);
  if (!alike.pseudo.empty()) write_against_shuffled(file, "/alike/pseudo/", pair, alike.pseudo);
}

} // namespace concord::subspaces
