#include "subspaces/members/paper_rule.hpp"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace concord::subspaces {
namespace {

constexpr Index strongest = 5;
constexpr Index before = 2;
constexpr Index behind = 2; // the token itself and one more

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string stripped(const std::string& text) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  const auto first = std::find_if_not(text.begin(), text.end(), space);
  const auto last = std::find_if_not(text.rbegin(), std::make_reverse_iterator(first), space).base();
  return {first, last};
}

std::set<std::string> words_of(const std::string& text) {
  std::string plain;
  for (const char c : text)
    if (std::string_view(".,?!\n").find(c) == std::string_view::npos) plain += c;
  std::istringstream stream(plain);
  std::set<std::string> words;
  for (std::string word; stream >> word;) words.insert(lower(word));
  return words;
}

} // namespace

std::vector<std::set<std::int32_t>> paper_features(const features::FeaturesFile& file, int layer, const corpus::TokenTexts& texts,
                                                   Index rows, const concepts::ConceptLists& lists) {
  std::map<std::string, Index> concept_of;
  for (const auto& phrase : lists.phrases) concept_of[lower(phrase.text)] = phrase.of_concept;
  const auto top = file.top(layer);
  const Index places = std::min(strongest, top.places);
  std::vector<Index> wanted;
  std::vector<std::int32_t> feature;
  for (Index f = 0; f < file.features(layer); ++f)
    for (Index i = 0; i < places; ++i) {
      const Index row = top.rows[static_cast<std::size_t>(f * top.places + i)];
      if (row < 0) continue;
      feature.push_back(static_cast<std::int32_t>(f));
      for (Index r = row - before; r < row + behind; ++r) wanted.push_back(r >= 0 && r < rows ? r : -1);
    }
  const auto text = texts.of_rows(wanted);
  std::vector<std::set<std::int32_t>> features(lists.concepts.size());
  constexpr auto width = static_cast<std::size_t>(before + behind);
  for (std::size_t i = 0; i < feature.size(); ++i) {
    const auto first = text.begin() + static_cast<std::ptrdiff_t>(i * width);
    const std::string token = lower(stripped(first[before]));
    const auto found = concept_of.find(token);
    if (found == concept_of.end()) continue;
    std::string window;
    for (std::size_t t = 0; t < width; ++t) window += first[static_cast<std::ptrdiff_t>(t)];
    if (words_of(window).contains(token)) features[static_cast<std::size_t>(found->second)].insert(feature[i]);
  }
  return features;
}

} // namespace concord::subspaces
