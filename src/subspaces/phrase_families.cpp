#include "concord/concepts/mining.hpp"
#include "concord/subspaces/spans.hpp"

#include <algorithm>
#include <cctype>
#include <map>
#include <numeric>
#include <set>

namespace concord::subspaces {
namespace {

/// Words of a phrase in lower case, as far as ASCII goes, without those that say nothing of its meaning.
std::vector<std::string> words_of(const std::string& phrase) {
  static const std::set<std::string> function_words(concepts::english_function_words().begin(), concepts::english_function_words().end());
  std::vector<std::string> words(1);
  for (const char c : phrase) {
    if (c == ' ' || c == '-')
      words.emplace_back();
    else
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  const bool alone = words.size() == 1;
  std::erase_if(words, [&](const std::string& word) { return !alone && (word.size() < 3 || function_words.contains(word)); });
  return words;
}

bool are_kin(const std::string& a, const std::string& b) {
  if (a == b) return true;
  constexpr std::size_t least = 3;
  const auto alike = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  return alike >= least && alike + 3 >= std::max(a.size(), b.size());
}

/// Sets that are joined one by one.
class Sets {
public:
  explicit Sets(std::size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), 0); }
  std::size_t first_of(std::size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(std::size_t a, std::size_t b) {
    a = first_of(a);
    b = first_of(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

private:
  std::vector<std::size_t> parent_;
};

} // namespace

std::vector<std::int32_t> phrase_families(const concepts::ConceptLists& lists) {
  Sets sets(lists.phrases.size());
  std::map<Index, std::vector<std::pair<std::string, std::size_t>>> of_concept; // words and their phrases
  for (std::size_t i = 0; i < lists.phrases.size(); ++i)
    for (auto& word : words_of(lists.phrases[i].text)) of_concept[lists.phrases[i].of_concept].emplace_back(std::move(word), i);
  for (const auto& [number, words] : of_concept)
    for (std::size_t i = 0; i < words.size(); ++i)
      for (std::size_t j = i + 1; j < words.size(); ++j)
        if (are_kin(words[i].first, words[j].first)) sets.join(words[i].second, words[j].second);
  std::vector<std::int32_t> families;
  for (std::size_t i = 0; i < lists.phrases.size(); ++i) families.push_back(static_cast<std::int32_t>(sets.first_of(i)));
  return families;
}

} // namespace concord::subspaces
