#include "subspaces/files/acts_file.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/at.hpp"
#include "concord/core/text.hpp"

#include <charconv>
#include <cmath>

namespace concord::subspaces {
namespace {

const std::map<std::string, std::vector<double>> no_similarity;
constexpr std::array<const char*, 5> contrast_names{"contrast", "diagonal", "rest", "contrast_p", "contrast_p_grouped"};

std::string group_of(char side, const char* of) {
  return fmt::format("/{}/{}/", side, of);
}

/// "/claim/loss/r" -> "/claim/resample/loss/r"; of steering "/claim/steering/writes/r".
std::string act_name(const std::string& claim, const char* act) {
  std::string rest = claim.substr(std::string("/claim/").size());
  if (act == std::string("steering") && rest.starts_with("loss/")) rest = "writes/" + rest.substr(5);
  return fmt::format("/claim/{}/{}", act, rest);
}

std::vector<double> contrast_numbers(const agreement::Contrast& of) {
  return {of.contrast, of.diagonal, of.rest, of.p_free, of.p_grouped};
}

/// Rows of a layer, strength after strength.
std::vector<double> of_strengths(const std::vector<SteeringMatrices>& steered, std::vector<double> SteeringMatrices::*values) {
  std::vector<double> all;
  for (const auto& of : steered) all.insert(all.end(), (of.*values).begin(), (of.*values).end());
  return all;
}

void write_steering(io::File& file, const Extent& e, char side, Index layer, const LayerActs& acts, const std::vector<Index>& groups,
                    const agreement::AgreementOptions& options) {
  const double not_known = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> length(at(basis_kinds * e.concepts), not_known);
  for (std::size_t kind = 0; kind < acts.directions.kinds.size(); ++kind)
    for (Index c = 0; c < e.concepts; ++c)
      length[at(static_cast<Index>(acts.directions.kinds[kind]) * e.concepts + c)] = acts.directions.length[acts.directions.place(kind, c)];
  std::vector<std::vector<double>> contrasts(contrast_names.size());
  for (const auto& matrices : acts.steered)
    for (int kind = 0; kind < basis_kinds; ++kind) {
      const auto numbers = contrast_numbers(writes_contrast(matrices, static_cast<BasisKind>(kind), groups, options));
      for (std::size_t i = 0; i < numbers.size(); ++i) contrasts[i].push_back(numbers[i]);
    }
  const auto write = [&](const std::string& name, const std::vector<double>& values) {
    auto dataset = file.dataset(group_of(side, "steering") + name);
    require(dataset.row_size() == static_cast<Index>(values.size()), ExitCode::internal, "steering/{}: {} values for a row of {}", name,
            values.size(), dataset.row_size());
    dataset.write_rows(layer, 1, values.data());
  };
  write("kl", of_strengths(acts.steered, &SteeringMatrices::kl));
  write("kl_error", of_strengths(acts.steered, &SteeringMatrices::kl_error));
  write("writes", of_strengths(acts.steered, &SteeringMatrices::writes));
  write("length", length);
  for (std::size_t i = 0; i < contrast_names.size(); ++i) write(contrast_names[i], contrasts[i]);
}

/// What claim_values() compares: effects of all spans, what is written in the place of the loss.
EffectMatrices read_steering(const io::File& file, const Extent& e, char side, Index layer, Index strength) {
  EffectMatrices effects(e.concepts);
  const Index size = basis_kinds * halves * e.concepts * e.concepts;
  const auto take = [&](const char* name, std::vector<double>& values) { // the first of the span sets
    const auto dataset = file.dataset(group_of(side, "steering") + name, {-1, e.strengths, basis_kinds, halves, e.concepts, e.concepts});
    const auto row = dataset.read<double>(layer, 1);
    std::copy_n(row.begin() + static_cast<std::ptrdiff_t>(strength * size), size, values.begin());
  };
  take("kl", effects.kl);
  take("writes", effects.loss);
  return effects;
}

using Layers = std::vector<EffectMatrices>;

/// Reads both sides' effects on rank 0.
std::pair<Layers, Layers> both_sides(const comm::Communicator& comm, const io::File* file, const Extent& e,
                                     const std::function<EffectMatrices(char side, Index layer)>& read) {
  std::pair<Layers, Layers> sides{Layers(e.layers_a.size(), EffectMatrices(e.concepts)),
                                  Layers(e.layers_b.size(), EffectMatrices(e.concepts))};
  comm::agree(comm, [&] {
    if (file == nullptr) return;
    for (auto [side, layers] : {std::pair{'a', &sides.first}, std::pair{'b', &sides.second}})
      for (std::size_t i = 0; i < layers->size(); ++i) (*layers)[i] = read(side, static_cast<Index>(i));
  });
  return sides;
}

/// Of effects that lie as those of removals do. @param act resample or equal
void removal_claim(const comm::Communicator& comm, io::File* file, const Extent& e, const ClaimInputs& inputs, const char* act) {
  auto [a, b] = both_sides(comm, file, e, [&](char side, Index layer) { return read_effects(*file, e, group_of(side, act), layer); });
  const auto values = claim_values(comm, std::move(a), std::move(b), inputs);
  const auto names = claim_datasets(inputs.similarity);
  comm::agree(comm, [&] {
    for (std::size_t i = 0; i < names.size() && file != nullptr; ++i) file->dataset(act_name(names[i], act)).write_all(values[i]);
  });
}

void steering_claim(const comm::Communicator& comm, io::File* file, const Extent& e, const ClaimInputs& inputs, Index strength) {
  auto [a, b] = both_sides(comm, file, e, [&](char side, Index layer) { return read_steering(*file, e, side, layer, strength); });
  const RemovedBases steered{kinds_to_steer(inputs.removed.kinds), inputs.removed.concepts};
  const auto values =
      claim_values(comm, std::move(a), std::move(b),
                   {steered, inputs.groups, inputs.together, no_similarity, inputs.permutations, inputs.seed, inputs.dealt});
  const auto names = claim_datasets(no_similarity);
  comm::agree(comm, [&] {
    for (std::size_t i = 0; i < names.size() && file != nullptr; ++i) // of all spans, which come first
      file->dataset(act_name(names[i], "steering")).write_rows(strength, 1, values[i].data());
  });
}

} // namespace

std::vector<double> strengths_of(const std::vector<std::string>& steering) {
  std::vector<double> strengths;
  for (const auto& text : steering) {
    double value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(error == std::errc() && rest == text.data() + text.size() && std::isfinite(value) && value != 0, ExitCode::config,
            "subspaces.steering: \"{}\" must be a number other than 0, such as 0.5", text);
    strengths.push_back(value);
  }
  return strengths;
}

void lay_out_acts(io::File& file, const Extent& e, const std::map<std::string, std::vector<double>>& similarity,
                  const std::vector<double>& strengths, const ConceptTokens& tokens) {
  for (const auto& [side, layers] : {std::pair{'a', &e.layers_a}, std::pair{'b', &e.layers_b}}) {
    const auto count = static_cast<Index>(layers->size());
    if (e.resampled) lay_out_effects(file, e, group_of(side, "resample"), count);
    if (e.equal_energy) {
      lay_out_effects(file, e, group_of(side, "equal"), count);
      for (const char* name : {"excess", "excess_error"})
        file.create_dataset(group_of(side, "equal") + name, {count, span_sets, basis_kinds, halves, e.concepts, e.concepts}, Dtype::f64);
    }
    if (e.strengths == 0) continue;
    const std::string group = group_of(side, "steering");
    for (const char* name : {"kl", "kl_error", "writes"})
      file.create_dataset(group + name, {count, e.strengths, basis_kinds, halves, e.concepts, e.concepts}, Dtype::f64);
    file.create_dataset(group + "length", {count, basis_kinds, e.concepts}, Dtype::f64);
    for (const char* name : contrast_names) file.create_dataset(group + name, {count, e.strengths, basis_kinds}, Dtype::f64);
  }
  for (const auto& [act, measured] : {std::pair{"resample", e.resampled}, std::pair{"equal", e.equal_energy}})
    if (measured)
      for (const auto& name : claim_datasets(similarity))
        file.create_dataset(act_name(name, act), {span_sets, basis_kinds, e.pairs()}, Dtype::f64);
  if (e.strengths == 0) return;
  for (const auto& name : claim_datasets(no_similarity))
    file.create_dataset(act_name(name, "steering"), {e.strengths, basis_kinds, e.pairs()}, Dtype::f64);
  file.write("/steering/strengths", strengths);
  file.write("/steering/tokens", tokens.count);
}

double acts_bytes(const Extent& e) {
  const auto layers = static_cast<double>(e.layers());
  const auto c = static_cast<double>(e.concepts);
  const auto s = static_cast<double>(e.strengths);
  const double matrices = basis_kinds * halves * c * c * 8;
  double bytes = e.resampled ? effects_bytes(e, layers) : 0;
  if (e.equal_energy) bytes += effects_bytes(e, layers) + 2 * layers * span_sets * matrices;
  if (e.strengths == 0) return bytes;
  const auto contrasts = static_cast<double>(contrast_names.size());
  return bytes + layers * (s * 3 * matrices + basis_kinds * c * 8 + contrasts * s * basis_kinds * 8) + 8 * s + 4 * c;
}

void write_acts(io::File& file, const Extent& e, char side, Index layer, const LayerActs& acts, const std::vector<Index>& groups,
                const agreement::AgreementOptions& options) {
  if (e.resampled) write_effects(file, group_of(side, "resample"), layer, acts.resampled);
  if (e.equal_energy) {
    const std::string group = group_of(side, "equal");
    write_effects(file, group, layer, acts.equal.control);
    file.dataset(group + "excess").write_rows(layer, 1, acts.equal.excess.data());
    file.dataset(group + "excess_error").write_rows(layer, 1, acts.equal.excess_error.data());
  }
  if (e.strengths > 0) write_steering(file, e, side, layer, acts, groups, options);
}

void run_act_claims(const comm::Communicator& comm, io::File* file, const Extent& e, const ClaimInputs& inputs) {
  if (e.resampled) removal_claim(comm, file, e, inputs, "resample");
  if (e.equal_energy) removal_claim(comm, file, e, inputs, "equal");
  for (Index strength = 0; strength < e.strengths; ++strength) steering_claim(comm, file, e, inputs, strength);
}

} // namespace concord::subspaces
