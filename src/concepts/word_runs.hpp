#pragma once
// Words of a context that follow one another, and the candidates of mining.hpp among them. Local.

#include "concord/concepts/mining.hpp"

#include "concepts/context_texts.hpp"
#include "concepts/folded_text.hpp"
#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace concord::concepts {

/// Hash of texts that also takes views of them.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <typename T>
using TextMap = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;
using TextSet = std::unordered_set<std::string, TextHash, std::equal_to<>>;

constexpr Index most_words = 4;

/// Words with one space between each two, in a folded text.
class WordRun {
public:
  struct Word {
    std::size_t begin = 0, end = 0;
  };
  explicit WordRun(const std::string& folded) : folded_(&folded) {}
  void add(Word word) { words_.push_back(word); }
  void clear() { words_.clear(); }
  Index size() const { return static_cast<Index>(words_.size()); }
  std::string_view word(Index i) const { return words(i, 1); }
  /// `count` words from the i-th on, with the spaces between them.
  std::string_view words(Index i, Index count) const {
    const auto begin = words_[static_cast<std::size_t>(i)].begin;
    return std::string_view(*folded_).substr(begin, words_[static_cast<std::size_t>(i + count - 1)].end - begin);
  }

private:
  const std::string* folded_;
  std::vector<Word> words_;
};

/// Calls `visit` for each run of whole words in a context.
void each_run(const ContextText& context, bool fold_case, const std::function<void(const WordRun&)>& visit);

/// Tells which runs of words are candidates.
class Candidates {
public:
  Candidates(const ConceptLists& lists, const MiningOptions& options);
  /// Calls `visit(phrase, concept)` for each candidate in a run, as often as it occurs. The concept of a phrase is always the same.
  void each(const WordRun& run, const std::function<void(std::string_view phrase, Index of_concept)>& visit) const;

private:
  bool is_content(std::string_view word) const {
    return !function_words_.contains(word) && (fold_case_ || !function_words_.contains(folded_phrase(std::string(word), true)));
  }
  bool may_be_listed(std::string_view phrase) const {
    return static_cast<Index>(phrase.size()) <= longest_phrase && !known_.contains(phrase);
  }
  void headed_by_last(const WordRun& run, Index head, Index of_concept,
                      const std::function<void(std::string_view phrase, Index of_concept)>& visit) const;
  void headed_by_first(const WordRun& run, Index head, Index of_concept,
                       const std::function<void(std::string_view phrase, Index of_concept)>& visit) const;
  TextMap<Index> heads_; ///< concept of each word
  TextSet known_;        ///< phrases of the lists
  TextSet function_words_;
  bool fold_case_;
  std::string of_, the_;
};

} // namespace concord::concepts
