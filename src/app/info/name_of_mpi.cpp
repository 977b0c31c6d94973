#include "app/info/name_of_mpi.hpp"

#include <fmt/format.h>

namespace concord::app {
namespace {

constexpr std::string_view blanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(blanks);
  return first == std::string_view::npos ? std::string_view() : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

} // namespace

std::string name_of_mpi(std::string_view library_version) {
  const auto line = trimmed(library_version.substr(0, library_version.find_first_of(",\n")));
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return std::string(line);
  const auto title = trimmed(line.substr(0, colon)); // "MPICH Version", or "MPI VERSION" of Cray, whose name stands behind it
  const auto rest = trimmed(line.substr(colon + 1));
  constexpr std::string_view word = " Version";
  return title.ends_with(word) ? fmt::format("{} {}", title.substr(0, title.size() - word.size()), rest) : std::string(rest);
}

} // namespace concord::app
