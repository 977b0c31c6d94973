#include "subspaces/claim/claim_tests.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> columns(1);
  for (const char c : line)
    if (c == '\t')
      columns.emplace_back();
    else if (c != '\r')
      columns.back() += c;
  return columns;
}

const std::vector<std::string>& agreement_names() {
  static const std::vector<std::string> names{"r",
                                              "t",
                                              "robust_t",
                                              "spearman",
                                              "p",
                                              "p_grouped",
                                              "p_max",
                                              "p_max_grouped",
                                              "p_spearman",
                                              "p_least",
                                              "p_least_grouped",
                                              "reliability_a",
                                              "reliability_b",
                                              "ceiling",
                                              "ratio",
                                              "concepts"};
  return names;
}

/// Headline p: of the robust t, which holds its level where interactions have both signs, too.
std::vector<double> agreement_numbers(const agreement::Agreement& of, const agreement::Agreement& in_family,
                                      const agreement::MatrixPair& matrices) {
  const auto reliable = agreement::reliability(of_concepts(matrices, of.kept));
  return {of.r,
          of.t,
          of.robust_t,
          of.spearman,
          of.free.p_robust,
          of.grouped.p_robust,
          in_family.free.p_max_robust,
          in_family.grouped.p_max_robust,
          of.free.p_spearman,
          std::isnan(of.free.p) ? not_known : of.free.count.smallest_p,
          std::isnan(of.grouped.p) ? not_known : of.grouped.count.smallest_p,
          reliable.a,
          reliable.b,
          reliable.half_ceiling,
          reliable.half_ratio,
          static_cast<double>(of.kept.size())};
}

const std::vector<std::string>& meaning_names() {
  static const std::vector<std::string> names{"effect_a_r", "effect_a_p", "effect_b_r", "effect_b_p",
                                              "nearer_r",   "nearer_p",   "beside_r",   "beside_p"};
  return names;
}

std::vector<double> meaning_numbers(const agreement::SemanticAnswers& answers) {
  std::vector<double> numbers;
  for (const auto* of : {&answers.effect_a, &answers.effect_b, &answers.nearer, &answers.beside})
    numbers.insert(numbers.end(), {of->r, std::isnan(of->grouped.p_robust) ? of->free.p_robust : of->grouped.p_robust});
  return numbers;
}

constexpr std::array<const char*, 2> effect_measures{"kl", "loss"};

const std::vector<double>& values_of(const EffectMatrices& effects, std::size_t measure) {
  return measure == 0 ? effects.kl : effects.loss;
}

/// The ranks' parts of a test.
agreement::Sharing shared_over(const comm::Communicator& comm, const comm::StopWithin& stop) {
  return {comm.rank(), comm.size(), [&comm](std::vector<Index>& counts) { comm::sum(comm, counts); },
          [&comm, &stop] { stop.throw_if_wanted(comm, "subspaces"); }};
}

} // namespace

std::vector<ClaimFamily> claim_families(const RemovedBases& removed) {
  std::vector<ClaimFamily> families;
  for (std::size_t measure = 0; measure < effect_measures.size(); ++measure)
    for (int set = 0; set < span_sets; ++set)
      for (const BasisKind kind : removed.kinds) families.push_back({measure, set, static_cast<int>(kind)});
  return families;
}

std::vector<std::vector<double>> family_values(const comm::Communicator& comm, const std::vector<EffectMatrices>& a,
                                               const std::vector<EffectMatrices>& b, const ClaimFamily& of, const ClaimInputs& inputs) {
  std::vector<agreement::MatrixPair> pairs; // those that were measured, and their numbers among all
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < a.size() * b.size(); ++i) {
    auto pair = matrices_of(a[i / b.size()], b[i % b.size()], of.measure, of.set, of.kind, inputs);
    if (!is_measured(pair)) continue;
    which.push_back(i);
    pairs.push_back(std::move(pair));
  }
  const comm::StopWithin stop;
  const agreement::AgreementOptions options{inputs.permutations, inputs.seed, shared_over(comm, stop)};
  const auto family = agreement::agreement_family(pairs, options);
  const std::size_t width = agreement_names().size() + inputs.similarity.size() * meaning_names().size();
  std::vector<std::vector<double>> numbers(width, std::vector<double>(a.size() * b.size(), not_known));
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    // A family leaves out concepts that are undefined in any of its pairs; a pair by itself has all of its own.
    const auto alone = pairs.size() == 1 ? family[0] : agreement::matrix_agreement(pairs[pair], options);
    std::vector<double> of_pair = agreement_numbers(alone, family[pair], pairs[pair]);
    constexpr Index enough = 999; // four tests a measure of meaning
    if (of.set == 0)
      for (const auto& [name, matrix] : inputs.similarity) {
        const auto more = meaning_numbers(
            agreement::semantic_answers(pairs[pair], matrix, {std::min(inputs.permutations, enough), inputs.seed, options.sharing}));
        of_pair.insert(of_pair.end(), more.begin(), more.end());
      }
    for (std::size_t i = 0; i < of_pair.size(); ++i) numbers[i][which[pair]] = of_pair[i];
  }
  return numbers;
}

std::map<std::string, std::vector<double>> read_similarity(const std::filesystem::path& path, const std::vector<std::string>& measures,
                                                           const concepts::ConceptLists& lists) {
  const std::string text = read_text(path, "similarity of concepts");
  std::map<std::string, Index> number;
  for (std::size_t c = 0; c < lists.concepts.size(); ++c) number[lists.concepts[c].name] = static_cast<Index>(c);
  const auto count = static_cast<Index>(lists.concepts.size());
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  const auto header = split(line);
  require(header.size() >= 3 && header[0] == "concept" && header[1] == "other", ExitCode::bad_data,
          "{}, line 1: the columns must be concept, other and at least one measure, split by tabs", path.string());
  std::map<std::string, std::vector<double>> matrices;
  Index number_of_pairs = 0;
  std::vector<std::size_t> wanted;
  for (const auto& measure : measures) {
    const auto& taken = agreement_names();
    require(std::find(taken.begin(), taken.end(), measure) == taken.end(), ExitCode::config,
            "subspaces.meaning: {} names a number of the claim itself; give that column of {} another name", measure, path.string());
    const auto found = std::find(header.begin() + 2, header.end(), measure);
    require(found != header.end(), ExitCode::config, "{} has no column {} (subspaces.meaning); it has {}", path.string(), measure,
            join({header.begin() + 2, header.end()}, ", "));
    wanted.push_back(static_cast<std::size_t>(found - header.begin()));
    matrices[measure].assign(at(count * count), not_known);
  }
  for (Index at_line = 2; std::getline(lines, line); ++at_line) {
    if (line.empty() || line == "\r") continue;
    const auto columns = split(line);
    require(columns.size() == header.size(), ExitCode::bad_data, "{}, line {}: {} columns, where line 1 has {}", path.string(), at_line,
            columns.size(), header.size());
    const auto a = number.find(columns[0]);
    const auto b = number.find(columns[1]);
    if (a == number.end() || b == number.end()) continue;
    ++number_of_pairs;
    for (const std::size_t i : wanted) {
      double value = 0;
      const auto [rest, error] = std::from_chars(columns[i].data(), columns[i].data() + columns[i].size(), value);
      require(error == std::errc() && rest == columns[i].data() + columns[i].size() && std::isfinite(value), ExitCode::bad_data,
              "{}, line {}: \"{}\" is no finite number", path.string(), at_line, columns[i]);
      for (const auto& [row, column] : {std::pair{a->second, b->second}, std::pair{b->second, a->second}})
        matrices[header[i]][at(row * count + column)] = value;
    }
  }
  if (number_of_pairs == 0) log_warn("{} names no pair of the concepts that are looked at: nothing is said of meaning", path.string());
  return matrices;
}

std::vector<Index> groups_of(const concepts::ConceptLists& lists) {
  std::map<std::string, Index> number;
  std::vector<Index> groups;
  for (const auto& of : lists.concepts) groups.push_back(number.emplace(of.group, static_cast<Index>(number.size())).first->second);
  return number.size() > 1 ? groups : std::vector<Index>{};
}

const std::vector<std::string>& single_names() {
  static const std::vector<std::string> names{
      "r", "t", "robust_t", "spearman", "p", "p_grouped", "p_max", "p_max_grouped", "p_spearman", "p_least", "p_least_grouped", "concepts"};
  return names;
}

std::vector<std::vector<double>> family_numbers(const comm::Communicator& comm, const std::vector<agreement::MatrixPair>& pairs,
                                                Index permutations, std::uint64_t seed) {
  if (pairs.empty()) return {};
  const comm::StopWithin stop;
  const agreement::AgreementOptions options{permutations, seed, shared_over(comm, stop)};
  const auto family = agreement::agreement_family(pairs, options);
  const auto& all = agreement_names();
  std::vector<std::vector<double>> numbers;
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    const auto alone = pairs.size() == 1 ? family[0] : agreement::matrix_agreement(pairs[pair], options);
    const auto of_pair = agreement_numbers(alone, family[pair], pairs[pair]);
    numbers.emplace_back();
    for (const auto& name : single_names())
      numbers.back().push_back(of_pair[static_cast<std::size_t>(std::find(all.begin(), all.end(), name) - all.begin())]);
  }
  return numbers;
}

std::vector<agreement::Contrast> contrasts_of(const Alike& alike, const std::vector<Index>& groups, Index permutations,
                                              std::uint64_t seed) {
  std::vector<agreement::Contrast> contrasts;
  const auto concepts = static_cast<Index>(alike.features.size());
  for (std::size_t measure = 0; measure < small_measures; ++measure) {
    std::vector<double> matrix;
    for (const auto& scores : alike.matrix) matrix.push_back(scores[measure]);
    // The chance level of the others depends on the number of pairs, which differs between cells.
    const bool chance_is_zero = measure < 2;
    contrasts.push_back(chance_is_zero ? agreement::same_concept_contrast(matrix, concepts, groups, {permutations, seed})
                                       : agreement::Contrast{});
  }
  return contrasts;
}

Alike gathered(const comm::Communicator& comm, const Alike& mine, const dist::Partition& shares) {
  const auto part = [&](const auto& values, Index width) {
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(shares.begin(comm.rank()) * width);
    return comm::all_gather(comm, std::vector(first, first + static_cast<std::ptrdiff_t>(shares.size(comm.rank()) * width)));
  };
  return {part(mine.pairs, shares.n), part(mine.matrix, shares.n), part(mine.features, 1), part(mine.phrases, 1),
          mine.pseudo.empty() ? std::vector<AgainstShuffled>() : part(mine.pseudo, 1)};
}

agreement::MatrixPair matrices_of(const EffectMatrices& a, const EffectMatrices& b, std::size_t measure, int set, int kind,
                                  const ClaimInputs& inputs) {
  agreement::MatrixPair pair;
  pair.concepts = a.concepts;
  pair.covariates = {inputs.together};
  if (kind == static_cast<int>(BasisKind::dealt) && !inputs.dealt.empty()) {
    pair.covariates.push_back(inputs.dealt);
    pair.covariates.push_back(inputs.dealt); // those beyond the first: two words of a concept lie closer to its subspace than twice one
    for (double& count : pair.covariates.back()) count = std::max(0.0, count - 1);
  }
  pair.groups = inputs.groups;
  for (int half = 0; half < halves; ++half) {
    pair.a.push_back(a.matrix(values_of(a, measure), set, kind, half));
    pair.b.push_back(b.matrix(values_of(b, measure), set, kind, half));
  }
  return pair;
}

bool is_measured(const agreement::MatrixPair& pair) {
  const auto measured = [](const std::vector<double>& matrix) {
    return std::any_of(matrix.begin(), matrix.end(), [](double value) { return !std::isnan(value); });
  };
  return std::any_of(pair.a.begin(), pair.a.end(), measured) && std::any_of(pair.b.begin(), pair.b.end(), measured);
}

agreement::MatrixPair of_concepts(agreement::MatrixPair matrices, const std::vector<Index>& kept) {
  std::vector<bool> is_kept(at(matrices.concepts));
  for (const Index c : kept) is_kept[at(c)] = true;
  for (auto* side : {&matrices.a, &matrices.b})
    for (auto& matrix : *side)
      for (Index i = 0; i < matrices.concepts * matrices.concepts; ++i)
        if (!is_kept[at(i / matrices.concepts)] || !is_kept[at(i % matrices.concepts)]) matrix[at(i)] = not_known;
  return matrices;
}

std::vector<std::string> claim_datasets(const std::map<std::string, std::vector<double>>& similarity) {
  std::vector<std::string> names;
  for (const char* measure : effect_measures) {
    for (const auto& name : agreement_names()) names.push_back(fmt::format("/claim/{}/{}", measure, name));
    for (const auto& [meaning, matrix] : similarity)
      for (const auto& name : meaning_names()) names.push_back(fmt::format("/claim/{}/{}/{}", measure, meaning, name));
  }
  return names;
}

void share_effects(const comm::Communicator& comm, std::vector<EffectMatrices>& layers) {
  for (auto& effects : layers) {
    comm::broadcast(comm, effects.kl);
    comm::broadcast(comm, effects.loss);
  }
}

std::vector<std::vector<double>> claim_values(const comm::Communicator& comm, std::vector<EffectMatrices> a, std::vector<EffectMatrices> b,
                                              const ClaimInputs& inputs) {
  share_effects(comm, a);
  share_effects(comm, b);
  const std::size_t pairs = a.size() * b.size();
  const std::size_t names = claim_datasets(inputs.similarity).size();
  std::vector<std::vector<double>> values(names, std::vector<double>(static_cast<std::size_t>(span_sets * basis_kinds) * pairs, not_known));
  for (const auto& family : claim_families(inputs.removed)) {
    const auto numbers = family_values(comm, a, b, family, inputs);
    for (std::size_t i = 0; i < numbers.size(); ++i)
      std::copy(numbers[i].begin(), numbers[i].end(),
                values[family.measure * numbers.size() + i].begin() +
                    static_cast<std::ptrdiff_t>(static_cast<std::size_t>(family.set * basis_kinds + family.kind) * pairs));
  }
  return values;
}

} // namespace concord::subspaces
