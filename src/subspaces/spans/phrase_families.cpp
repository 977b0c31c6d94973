#include "concord/concepts/stand_ins.hpp"
#include "concord/subspaces/spans/spans.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace concord::subspaces {
namespace {

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
    for (auto& word : concepts::content_words(lists.phrases[i].text))
      of_concept[lists.phrases[i].of_concept].emplace_back(std::move(word), i);
  for (const auto& [number, words] : of_concept)
    for (std::size_t i = 0; i < words.size(); ++i)
      for (std::size_t j = i + 1; j < words.size(); ++j)
        if (concepts::share_a_stem(words[i].first, words[j].first)) sets.join(words[i].second, words[j].second);
  std::vector<std::int32_t> families;
  for (std::size_t i = 0; i < lists.phrases.size(); ++i) families.push_back(static_cast<std::int32_t>(sets.first_of(i)));
  return families;
}

} // namespace concord::subspaces
