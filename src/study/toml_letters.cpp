#include "toml_letters.hpp"

#include "concord/core/error.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <functional>

namespace concord::study {
namespace {

constexpr utf8proc_int32_t first = 0xA0, last = 0xFEFF, plane = 0x100000;

/// `text` with `moved` of each letter; `broken` is told the place of a byte that begins none.
std::string each_letter(std::string_view text, const std::function<utf8proc_int32_t(utf8proc_int32_t, std::size_t)>& moved,
                        const std::function<void(std::size_t)>& broken) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    if ((static_cast<unsigned char>(text[i]) & 0x80U) == 0) {
      out += text[i++];
      continue;
    }
    utf8proc_int32_t letter = 0;
    const auto rest = static_cast<utf8proc_ssize_t>(text.size() - i);
    const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i), rest, &letter);
    if (size <= 0) {
      broken(i);
      out += text[i++];
      continue;
    }
    std::array<utf8proc_uint8_t, 4> bytes{};
    const auto length = utf8proc_encode_char(moved(letter, i), bytes.data());
    out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length));
    i += static_cast<std::size_t>(size);
  }
  return out;
}

} // namespace

std::string letters_moved(std::string_view toml, const std::string& where) {
  const auto refuse = [&](std::size_t at, const char* why) {
    fail(ExitCode::config, "{}, line {}: {}", where, 1 + std::count(toml.begin(), toml.begin() + static_cast<std::ptrdiff_t>(at), '\n'),
         why);
  };
  const auto reserved = [](utf8proc_int32_t letter) { return letter >= plane + first && letter <= plane + last; };
  const std::size_t escaped = toml.find("\\U0010");
  if (escaped != std::string_view::npos) refuse(escaped, "letters of the plane U+100000 for private use are not taken");
  return each_letter(
      toml,
      [&](utf8proc_int32_t letter, std::size_t at) {
        if (reserved(letter)) refuse(at, "letters of the plane U+100000 for private use are not taken");
        return letter >= first && letter <= last ? letter + plane : letter;
      },
      [&](std::size_t at) { refuse(at, "the text is no UTF-8; save it as UTF-8"); });
}

std::string letters_moved_back(std::string_view text) {
  return each_letter(
      text,
      [](utf8proc_int32_t letter, std::size_t) { return letter >= plane + first && letter <= plane + last ? letter - plane : letter; },
      [](std::size_t) {});
}

} // namespace concord::study
