#include "concepts/folded_text.hpp"

#include "concord/core/error.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <memory>

namespace concord::concepts {
namespace {

constexpr char unknown = '\xFF';
constexpr utf8proc_int32_t replacement = 0xFFFD;

const utf8proc_uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
}

/// The character at `at`, below 0 where the bytes are no UTF-8, and how many bytes it has.
utf8proc_int32_t character(std::string_view text, std::size_t at, std::size_t& size) {
  utf8proc_int32_t code = -1;
  const auto got = utf8proc_iterate(bytes_of(text) + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
  size = got > 0 ? static_cast<std::size_t>(got) : 1;
  return got > 0 ? code : -1;
}

bool is_white(utf8proc_int32_t code) {
  if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r');
  const auto category = utf8proc_category(code);
  return code == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/// Some characters are written in several ways.
utf8proc_int32_t unified(utf8proc_int32_t code) {
  if (code == 0x2018 || code == 0x2019 || code == 0x02BC) return '\'';
  if (code == 0x2010 || code == 0x2011) return '-';
  return code;
}

enum class CharacterClass { other, word, as_before };

/// Letters and digits are word characters. Marks, and format characters but the zero-width space, belong to what is before them (as in
/// rule WB4 of Unicode's annex 29).
CharacterClass class_of(utf8proc_int32_t code) {
  switch (utf8proc_category(code)) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_NO:
    return CharacterClass::word;
  case UTF8PROC_CATEGORY_MN:
  case UTF8PROC_CATEGORY_MC:
  case UTF8PROC_CATEGORY_ME:
    return CharacterClass::as_before;
  case UTF8PROC_CATEGORY_CF:
    return code == 0x200B ? CharacterClass::other : CharacterClass::as_before;
  default:
    return CharacterClass::other;
  }
}

/// Of each byte value the flags of the character, or 0: white space, and bytes of characters beyond ASCII.
constexpr std::array<std::uint8_t, 256> flags_of_ascii = [] {
  std::array<std::uint8_t, 256> flags{};
  for (std::size_t c = 0; c < 0x80; ++c) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool word = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const bool white = c == ' ' || (c >= '\t' && c <= '\r');
    if (!white) flags[c] = static_cast<std::uint8_t>(starts_character | (word ? word_character : 0) | (upper ? upper_case : 0));
  }
  return flags;
}();

class Folder {
public:
  Folder(std::string_view text, bool fold_case, FoldedText& out) : text_(text), fold_case_(fold_case), out_(out) {
    out.bytes.clear();
    out.origin.clear();
    out.flags.clear();
    out.bytes.reserve(text.size() + text.size() / 8);
    out.origin.reserve(out.bytes.capacity());
    out.flags.reserve(out.bytes.capacity());
  }

  void run() {
    while (true) {
      ascii_run();
      if (at_ == text_.size()) return;
      std::size_t size = 1;
      const auto lead = static_cast<unsigned char>(text_[at_]);
      const utf8proc_int32_t code = lead < 0x80 ? lead : character(text_, at_, size);
      if (code >= 0 && is_white(code)) {
        white_run();
        continue;
      }
      if (code < 0 || code == replacement)
        put(&unknown, 1, word_ = true, false);
      else
        other(unified(code));
      at_ += size;
    }
  }

private:
  void put(const char* bytes, std::size_t count, bool word, bool upper) {
    out_.bytes.append(bytes, count);
    out_.origin.insert(out_.origin.end(), count, static_cast<std::uint32_t>(at_));
    const auto flags = static_cast<std::uint8_t>((word ? word_character : 0) | (upper ? upper_case : 0));
    out_.flags.insert(out_.flags.end(), count, flags);
    out_.flags[out_.flags.size() - count] |= starts_character;
  }

  char folded(char letter) const { return fold_case_ && letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + ('a' - 'A')) : letter; }
  static std::uint8_t flags_of(char letter) { return flags_of_ascii[static_cast<unsigned char>(letter)]; }

  /// Most text is ASCII with single spaces: as much of it as comes.
  void ascii_run() {
    const std::size_t size = text_.size();
    std::size_t end = at_;
    while (end < size && (flags_of(text_[end]) != 0 || (text_[end] == ' ' && end + 1 < size && flags_of(text_[end + 1]) != 0))) ++end;
    if (end == at_) return;
    const std::size_t first = out_.bytes.size();
    const std::size_t count = end - at_;
    out_.bytes.resize(first + count);
    out_.origin.resize(first + count);
    out_.flags.resize(first + count);
    for (std::size_t i = 0; i < count; ++i) {
      const char letter = text_[at_ + i];
      out_.bytes[first + i] = folded(letter);
      out_.origin[first + i] = static_cast<std::uint32_t>(at_ + i);
      out_.flags[first + i] = static_cast<std::uint8_t>(flags_of(letter) | starts_character);
    }
    word_ = (out_.flags.back() & word_character) != 0;
    at_ = end;
  }

  void other(utf8proc_int32_t code) {
    if (code < 0x80) { // an apostrophe or a hyphen, however it was written
      const char letter = static_cast<char>(code);
      return put(&letter, 1, word_ = false, false);
    }
    constexpr utf8proc_int32_t soft_hyphen = 0xAD;
    if (code == soft_hyphen) return;
    const auto kind = class_of(code);
    if (kind != CharacterClass::as_before) word_ = kind == CharacterClass::word;
    constexpr std::size_t most = 32; // the longest decomposition of one character has 4, of its case folding 3 times as many at most
    std::array<utf8proc_int32_t, most> units{};
    const int options = UTF8PROC_DECOMPOSE | (fold_case_ ? UTF8PROC_CASEFOLD : 0);
    const auto count =
        utf8proc_decompose_char(code, units.data(), static_cast<utf8proc_ssize_t>(most), static_cast<utf8proc_option_t>(options), nullptr);
    require(count >= 0 && count <= static_cast<utf8proc_ssize_t>(most), ExitCode::internal, "U+{:04X} has no decomposition", code);
    std::array<char, 4 * most> bytes{};
    std::size_t length = 0;
    for (utf8proc_ssize_t i = 0; i < count; ++i)
      length += static_cast<std::size_t>(
          utf8proc_encode_char(units[static_cast<std::size_t>(i)], reinterpret_cast<utf8proc_uint8_t*>(bytes.data()) + length));
    const auto category = utf8proc_category(code);
    if (length > 0) put(bytes.data(), length, word_, category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT);
  }

  void white_run() {
    const std::size_t begin = at_;
    int line_ends = 0;
    std::size_t at = at_;
    for (std::size_t size = 1; at < text_.size(); at += size) {
      const utf8proc_int32_t code = character(text_, at, size);
      if (code < 0 || !is_white(code)) break;
      const bool second_of_crlf = code == '\n' && at > begin && text_[at - 1] == '\r';
      constexpr utf8proc_int32_t next_line = 0x85, line_separator = 0x2028, paragraph_separator = 0x2029;
      if ((code >= '\n' && code <= '\r') || code == next_line || code == line_separator) line_ends += second_of_crlf ? 0 : 1;
      if (code == paragraph_separator) line_ends += 2;
    }
    word_ = false;
    put(line_ends > 1 ? "\n" : " ", 1, false, false);
    if (line_ends > 0) out_.flags.back() |= line_break;
    at_ = at;
  }

  std::string_view text_;
  bool fold_case_;
  FoldedText& out_;
  std::size_t at_ = 0;
  bool word_ = true; ///< whether what is before is a word character; a mark at the text's start counts as one
};

} // namespace

std::size_t FoldedText::from(std::size_t at) const {
  return static_cast<std::size_t>(std::lower_bound(origin.begin(), origin.end(), at) - origin.begin());
}

void fold(std::string_view text, bool fold_case, FoldedText& folded) {
  require(text.size() < std::numeric_limits<std::uint32_t>::max(), ExitCode::internal, "a text of {} bytes at once", text.size());
  Folder(text, fold_case, folded).run();
}

std::size_t end_of_character(std::string_view text, std::size_t at) {
  std::size_t size = 1;
  character(text, at, size);
  return at + size;
}

std::string folded_phrase(std::string_view phrase, bool fold_case) {
  FoldedText folded;
  fold(phrase, fold_case, folded);
  const auto first = folded.bytes.find_first_not_of(" \n");
  if (first == std::string::npos) return {};
  return folded.bytes.substr(first, folded.bytes.find_last_not_of(" \n") + 1 - first);
}

std::string composed(std::string_view text) {
  utf8proc_uint8_t* out = nullptr;
  const auto size = utf8proc_map(bytes_of(text), static_cast<utf8proc_ssize_t>(text.size()), &out,
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  if (size < 0) return std::string(text);
  return {reinterpret_cast<const char*>(out), static_cast<std::size_t>(size)};
}

} // namespace concord::concepts
