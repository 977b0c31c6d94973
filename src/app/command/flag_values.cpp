#include "app/command/flag_values.hpp"

#include "concord/core/error.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace concord::app {

double seconds_of(const std::string& text, const char* flag) {
  double seconds = 0;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(':', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    double value = 0;
    const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), value, std::chars_format::fixed);
    const bool number = error == std::errc() && rest == part.data() + part.size() && value >= 0 && part[0] != '-' && std::isfinite(value);
    require(number && end + 1 != text.size(), ExitCode::usage, "{} {}: write seconds, MM:SS or HH:MM:SS", flag, text);
    seconds = seconds * 60 + value;
    begin = end + 1;
  }
  return seconds;
}

Share share_of(const std::string& text) {
  Share share;
  const char* end = text.data() + text.size();
  const auto [slash, error] = std::from_chars(text.data(), end, share.number);
  const bool split = error == std::errc() && slash != end && *slash == '/';
  const auto [rest, error_of] =
      split ? std::from_chars(slash + 1, end, share.of) : std::from_chars_result{slash, std::errc::invalid_argument};
  require(error_of == std::errc() && rest == end && share.number < share.of, ExitCode::usage,
          "--share {}: write K/N, the number of the share from 0 on and how many there are", text);
  return share;
}

} // namespace concord::app
