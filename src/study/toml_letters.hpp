/// Letters beyond ASCII, kept out of toml++'s way.
#pragma once

#include <string>
#include <string_view>

namespace concord::study {

/// `toml` with every letter from U+00A0 to U+FEFF moved to a plane for private use. Local.
/// toml++ 3.3 does what is not defined when it meets some of these letters outside of quotes; of higher ones it asks nothing.
/// Throws Error (config) where the text is no UTF-8, or has letters of that plane itself.
std::string letters_moved(std::string_view toml, const std::string& where);

/// A text that toml++ gave, with its letters moved back. Local.
std::string letters_moved_back(std::string_view text);

} // namespace concord::study
