#pragma once
// A text as phrases are compared with it, and where each of its bytes comes from. Local.
//
// Each character gives its canonical decomposition (é is e and an accent however it was written), and with case folding that of its full
// case folding (CaseFolding.txt, statuses C and F: ß is ss; Turkish İ is i and a dot above, ı stays). Marks are not put in canonical order.
// A run of white space is one space; one with more than one line end, or with a paragraph separator, is a line feed, which no phrase holds.
// Apostrophes (U+2018, U+2019, U+02BC) are U+0027, hyphens (U+2010, U+2011) are U+002D, soft hyphens are left out. What is not known (bytes
// that are no UTF-8, U+FFFD) is the byte FF, which no phrase holds, and counts as a word character, since it may be one.

#include "concord/core/index.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace concord::concepts {

/// What is known of a byte of the folded text.
enum FoldedFlag : std::uint8_t {
  starts_character = 1, ///< it is the first that its character of the text gave
  word_character = 2,   ///< letter, digit, or a mark or format character behind one
  line_break = 4,       ///< the space holds a line end
  upper_case = 8        ///< its character is upper or title case
};

struct FoldedText {
  std::string bytes;
  std::vector<std::uint32_t> origin; ///< of each byte: where its character, or its run of white space, begins in the text
  std::vector<std::uint8_t> flags;   ///< of each byte: FoldedFlags

  bool is(std::size_t i, FoldedFlag flag) const { return (flags[i] & flag) != 0; }
  /// Whether a phrase may begin, or end, in front of byte i: a character begins there, and no word character lies on the other side.
  bool may_begin(std::size_t i) const { return is(i, starts_character) && (i == 0 || !is(i - 1, word_character)); }
  bool may_end(std::size_t i) const { return i == bytes.size() || (is(i, starts_character) && !is(i, word_character)); }
  /// The first byte of a character that begins at `at` in the text, or behind.
  std::size_t from(std::size_t at) const;
};

/// Folds `text` of less than 4 GiB into `folded`, whose memory is used again.
void fold(std::string_view text, bool fold_case, FoldedText& folded);

/// Where the character that begins at byte `at` of a text ends.
std::size_t end_of_character(std::string_view text, std::size_t at);

/// The folded form of a phrase, without white space around it: equal for phrases that match the same text.
std::string folded_phrase(std::string_view phrase, bool fold_case);

/// In its composed form (NFC), to be read by people.
std::string composed(std::string_view text);

} // namespace concord::concepts
