#include "subspaces/members/dealing.hpp"

#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include <algorithm>

namespace concord::subspaces {

Dealing::Dealing(const std::vector<Span>& spans) : family_of_(spans.size(), -1) {
  std::vector<std::int32_t> numbers;           // by name
  std::vector<std::map<Index, Index>> lengths; // [families] length -> spans
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (span.phrase_half != 0) continue;
    const auto name = at(family_of(span));
    if (name >= numbers.size()) numbers.resize(name + 1, -1);
    if (numbers[name] < 0) {
      numbers[name] = static_cast<std::int32_t>(lengths.size());
      lengths.emplace_back();
      concept_of_.push_back(span.concept_number);
    }
    family_of_[i] = numbers[name];
    if (!span.random) ++lengths[at(family_of_[i])][span.length()];
  }
  for (const std::int32_t family : numbers) {
    if (family < 0) continue;
    const auto& counts = lengths[at(family)];
    const auto most = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != counts.end()) of_length_[most->first].push_back(family);
  }
}

std::vector<std::int32_t> Dealing::concepts(std::uint64_t seed, int draw) const {
  std::vector<std::int32_t> dealt(concept_of_.size(), -1);
  for (const auto& [length, families] : of_length_) {
    const auto order = shuffled(static_cast<Index>(families.size()),
                                Philox(seed, "phrases dealt anew", static_cast<std::uint64_t>(draw), static_cast<std::uint64_t>(length)));
    for (std::size_t i = 0; i < families.size(); ++i) dealt[at(families[i])] = concept_of_[at(families[at(order[i])])];
  }
  std::vector<std::int32_t> concepts(family_of_.size(), -1);
  for (std::size_t i = 0; i < concepts.size(); ++i)
    if (family_of_[i] >= 0) concepts[i] = dealt[at(family_of_[i])];
  return concepts;
}

} // namespace concord::subspaces
