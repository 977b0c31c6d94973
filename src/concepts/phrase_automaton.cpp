#include "concord/concepts/phrase_automaton.hpp"

#include "concord/core/error.hpp"

#include "concepts/folded_text.hpp"
#include <algorithm>

namespace concord::concepts {
namespace {

constexpr std::int32_t none = -1;

} // namespace

PhraseAutomaton::PhraseAutomaton(const std::vector<std::string>& phrases, bool fold_case) : fold_case_(fold_case) {
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
  next_.assign(columns_, none);
  phrase_.assign(1, none);
  for (std::size_t p = 0; p < folded.size(); ++p) {
    folded_length_.push_back(static_cast<std::int32_t>(folded[p].size()));
    insert(folded[p], static_cast<std::int32_t>(p));
  }
  connect();
}

/// From its last byte to its first.
void PhraseAutomaton::insert(const std::string& folded, std::int32_t phrase) {
  std::int32_t state = 0;
  for (auto c = folded.rbegin(); c != folded.rend(); ++c) {
    const std::size_t at = cell(state, column_[static_cast<unsigned char>(*c)]);
    if (next_[at] == none) {
      next_[at] = static_cast<std::int32_t>(phrase_.size());
      phrase_.push_back(none);
      next_.resize(next_.size() + columns_, none);
    }
    state = next_[at];
  }
  if (phrase_[static_cast<std::size_t>(state)] == none) phrase_[static_cast<std::size_t>(state)] = phrase;
}

/// Breadth first: the failure links, by which every state gets a step for every byte and the chain of the phrases that it also spells.
void PhraseAutomaton::connect() {
  shorter_.assign(phrase_.size(), none);
  std::vector<std::int32_t> failure(phrase_.size(), 0);
  std::vector<std::int32_t> queue;
  for (std::size_t column = 0; column < columns_; ++column) {
    auto& to = next_[column];
    if (to == none) to = 0;
    if (to != 0) queue.push_back(to);
  }
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const std::int32_t state = queue[i];
    const std::int32_t behind = failure[static_cast<std::size_t>(state)];
    const bool spells = phrase_[static_cast<std::size_t>(behind)] != none;
    shorter_[static_cast<std::size_t>(state)] = spells ? behind : shorter_[static_cast<std::size_t>(behind)];
    for (std::size_t column = 0; column < columns_; ++column) {
      auto& to = next_[cell(state, column)];
      const std::int32_t over_there = next_[cell(behind, column)];
      if (to == none) {
        to = over_there;
      } else {
        failure[static_cast<std::size_t>(to)] = over_there;
        queue.push_back(to);
      }
    }
  }
}

std::vector<Match> PhraseAutomaton::find(std::string_view text, Index begin, Index end) const {
  FoldedText folded;
  fold(text, fold_case_, folded);
  const std::size_t first = folded.from(static_cast<std::size_t>(begin));
  std::vector<Match> found; // one for each place where one begins, the last place first
  std::int32_t state = 0;
  for (std::size_t i = folded.from(static_cast<std::size_t>(end)); i-- > first;) {
    state = next_[cell(state, column_[static_cast<unsigned char>(folded.bytes[i])])];
    if (state == 0 || !folded.may_begin(i)) continue;
    std::int32_t spelt = phrase_[static_cast<std::size_t>(state)] != none ? state : shorter_[static_cast<std::size_t>(state)];
    for (; spelt != none; spelt = shorter_[static_cast<std::size_t>(spelt)]) {
      const std::int32_t phrase = phrase_[static_cast<std::size_t>(spelt)];
      const std::size_t behind = i + static_cast<std::size_t>(folded_length_[static_cast<std::size_t>(phrase)]);
      if (!folded.may_end(behind)) continue;
      const auto stop = static_cast<Index>(end_of_character(text, folded.origin[behind - 1]));
      if (stop > end) continue; // a character that lies across the end
      found.push_back({static_cast<Index>(folded.origin[i]), stop, phrase});
      break;
    }
  }
  std::vector<Match> matches;
  for (auto match = found.rbegin(); match != found.rend(); ++match)
    if (matches.empty() || match->begin >= matches.back().end) matches.push_back(*match);
  return matches;
}

} // namespace concord::concepts
