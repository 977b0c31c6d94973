#include "subspaces/files/removals_file.hpp"

#include <limits>

namespace concord::subspaces {
namespace {

std::string dataset_of(char side) {
  return std::string("/removals/") + side + "_kl";
}

} // namespace

void lay_out_removals(io::File& file, const Extent& extent, const std::vector<Span>& spans, const std::vector<std::int32_t>& removals) {
  if (removals.empty()) return;
  std::vector<Index> rows;
  std::vector<Index> documents;
  std::vector<std::uint8_t> halves_of;
  std::vector<std::uint8_t> kinds;
  std::vector<std::int32_t> concepts_of;
  for (const std::int32_t number : removals) {
    const Span& span = spans[static_cast<std::size_t>(number)];
    rows.push_back(span.begin);
    documents.push_back(span.document);
    halves_of.push_back(static_cast<std::uint8_t>(span.document_half));
    kinds.push_back(static_cast<std::uint8_t>(span.kind));
    concepts_of.push_back(span.concept_number);
  }
  file.write("/removals/row", rows);
  file.write("/removals/document", documents);
  file.write("/removals/half", halves_of);
  file.write("/removals/kind", kinds);
  file.write("/removals/concept", concepts_of);
  const auto count = static_cast<Index>(removals.size());
  for (const auto& [side, layers] : {std::pair{'a', extent.layers_a.size()}, std::pair{'b', extent.layers_b.size()}})
    file.create_dataset(dataset_of(side), {static_cast<Index>(layers), count, basis_kinds, extent.concepts}, Dtype::f32);
}

void write_removals(io::File& file, char side, Index layer, const EffectMatrices& effects) {
  if (!file.has(dataset_of(side))) return;
  auto dataset = file.dataset(dataset_of(side));
  std::vector<float> values = effects.kl_of_spans;
  if (values.empty()) values.assign(static_cast<std::size_t>(dataset.row_size()), std::numeric_limits<float>::quiet_NaN());
  require(static_cast<Index>(values.size()) == dataset.row_size(), ExitCode::internal, "{} effects of spans for a row of {}", values.size(),
          dataset.row_size());
  dataset.write_rows(layer, 1, values.data());
}

std::vector<float> read_removals(const io::File& file, char side, Index layer) {
  return file.has(dataset_of(side)) ? file.dataset(dataset_of(side)).read<float>(layer, 1) : std::vector<float>{};
}

double removals_bytes(const Extent& extent, double removals) {
  constexpr double of_span = 8 + 8 + 1 + 1 + 4; // row, document, half, kind, concept
  return removals * (of_span + static_cast<double>(extent.layers() * basis_kinds * extent.concepts) * 4);
}

} // namespace concord::subspaces
