#pragma once
/// Finds many phrases in a text at once, at word boundaries, by a trie of their bytes. Local.
///
/// Text and phrases are compared in canonical decomposition and, where wanted, full case folding: Straße, STRASSE and strasse are one, é is
/// é however it was written; İ (U+0130) folds to i and a dot above, so it is not i, and ı stays as it is. Both apostrophes are one, both
/// hyphens are one, soft hyphens are not seen. A run of white space in the text, with at most one line end, is a space of a phrase; so a
/// phrase may lie across a line break, but not across a blank line.
///
/// Word boundaries: the character in front of a match, and that behind it, is no word character. Letters and digits of any script are word
/// characters, and so is a mark, or a format character, behind one. Hyphens, apostrophes and underscores are not: "king's" holds king,
/// "well-known" holds well, "l'homme" holds homme, "_king_" holds king, since lists hold words and texts add to them. The price is that
/// "can't" holds can. A character that is not known (bytes that are no UTF-8, U+FFFD) counts as a word character.
///
/// The leftmost match wins, of those that begin at one place the longest, and matches do not overlap. The trie is walked from each place
/// where a word may begin, as far as a phrase goes on there: two or three bytes for most words, the longest phrase at most. Time does not
/// grow with the number of phrases.

#include "concord/core/index.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace concord::concepts {

/// Bytes [begin, end) of a text hold the phrase.
struct Match {
  Index begin = 0;
  Index end = 0;
  Index phrase = 0;
  bool operator==(const Match&) const = default;
};

class PhraseTrie {
public:
  /// Of phrases that are equal when compared the first is found. Memory: 4 bytes for each byte of the phrases and each byte value in them.
  /// @throws Error bad_data for a phrase of white space alone, or one that no text can hold (a blank line in it, no UTF-8).
  PhraseTrie(const std::vector<std::string>& phrases, bool fold_case);

  /// Matches in `text`, in order.
  std::vector<Match> find(std::string_view text) const { return find(text, 0, static_cast<Index>(text.size())); }
  /// Those that lie within bytes [begin, end) of `text`; what lies around tells where words end, and takes part in no match.
  std::vector<Match> find(std::string_view text, Index begin, Index end) const;

private:
  void insert(const std::string& folded, std::int32_t phrase);
  std::int32_t step(std::int32_t state, char byte) const {
    return next_[static_cast<std::size_t>(state) * columns_ + column_[static_cast<unsigned char>(byte)]];
  }

  bool fold_case_;
  std::size_t columns_ = 1;                ///< column 0: bytes of no phrase
  std::array<std::uint8_t, 256> column_{}; ///< of each byte value
  std::vector<std::int32_t> next_;         ///< [states, columns]; 0, the root: no phrase goes on so
  std::vector<std::int32_t> phrase_;       ///< the phrase that a state spells, or -1
};

} // namespace concord::concepts
