#include "concord/concepts/phrase_trie.hpp"

#include "concord/core/error.hpp"

#include "concepts/folded_text.hpp"
#include <algorithm>

namespace concord::concepts {
namespace {

constexpr std::int32_t none = -1;

} // namespace

PhraseTrie::PhraseTrie(const std::vector<std::string>& phrases, bool fold_case) : fold_case_(fold_case) {
  std::vector<std::string> folded;
  for (const auto& phrase : phrases) {
    folded.push_back(folded_phrase(phrase, fold_case));
    require(!folded.back().empty(), ExitCode::bad_data, "a phrase of white space alone");
    require(folded.back().find_first_of("\n\xFF") == std::string::npos, ExitCode::bad_data, "no text can hold the phrase \"{}\"", phrase);
  }
  for (const auto& text : folded)
    for (const char c : text) {
      auto& column = column_[static_cast<unsigned char>(c)];
      if (column == 0) column = static_cast<std::uint8_t>(columns_++);
    }
  next_.assign(columns_, 0);
  phrase_.assign(1, none);
  for (std::size_t p = 0; p < folded.size(); ++p) insert(folded[p], static_cast<std::int32_t>(p));
}

void PhraseTrie::insert(const std::string& folded, std::int32_t phrase) {
  std::int32_t state = 0;
  for (const char c : folded) {
    const std::size_t cell = static_cast<std::size_t>(state) * columns_ + column_[static_cast<unsigned char>(c)];
    if (next_[cell] == 0) {
      next_[cell] = static_cast<std::int32_t>(phrase_.size());
      phrase_.push_back(none);
      next_.resize(next_.size() + columns_, 0);
    }
    state = next_[cell];
  }
  auto& spelt = phrase_[static_cast<std::size_t>(state)];
  if (spelt == none) spelt = phrase;
}

std::vector<Match> PhraseTrie::find(std::string_view text, Index begin, Index end) const {
  FoldedText folded;
  fold(text, fold_case_, folded);
  const std::size_t stop = folded.from(static_cast<std::size_t>(end));
  std::vector<Match> matches;
  for (std::size_t i = folded.from(static_cast<std::size_t>(begin)); i < stop; ++i) {
    std::int32_t state = step(0, folded.bytes[i]);
    if (state == 0 || !folded.may_begin(i)) continue;
    std::size_t behind = i; // the longest match that begins at i
    Match match{static_cast<Index>(folded.origin[i]), 0, none};
    for (std::size_t at = i + 1;; ++at) {
      const std::int32_t phrase = phrase_[static_cast<std::size_t>(state)];
      if (phrase != none && folded.may_end(at)) {
        const auto last = static_cast<Index>(end_of_character(text, folded.origin[at - 1]));
        if (last <= end) { // no character lies across the end
          match.end = last;
          match.phrase = phrase;
          behind = at;
        }
      }
      if (at == stop) break;
      state = step(state, folded.bytes[at]);
      if (state == 0) break;
    }
    if (match.phrase == none) continue;
    matches.push_back(match);
    i = behind - 1;
  }
  return matches;
}

} // namespace concord::concepts
