#include "concord/core/text.hpp"

#include "concord/core/error.hpp"
#include "concord/core/run/spent.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace concord {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

} // namespace

std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 2) + 1;
  for (const auto& candidate : candidates) {
    const std::size_t longer = std::max(word.size(), candidate.size()) - std::min(word.size(), candidate.size());
    if (longer >= best_distance) continue; // as many edits at least; a word may be a whole file
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = &candidate;
    }
  }
  return best != nullptr ? std::optional<std::string>(*best) : std::nullopt;
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

std::optional<Index> whole_number(std::string_view text) {
  Index number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return number;
}

std::optional<int> layer_of_name(std::string_view name) {
  constexpr std::string_view prefix = "layer_";
  if (name == "embedding") return -1;
  if (!name.starts_with(prefix)) return {};
  const auto number = whole_number(name.substr(prefix.size()));
  if (!number || *number < 0 || *number > std::numeric_limits<int>::max()) return {};
  return static_cast<int>(*number);
}

std::string in_one_line(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  std::string whole;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const auto line = text.substr(begin, end - begin);
    const auto first = line.find_first_not_of(blanks);
    if (first != std::string_view::npos) {
      if (!whole.empty()) whole += "; ";
      whole += line.substr(first, line.find_last_not_of(blanks) - first + 1);
    }
    begin = end + 1;
  }
  return whole;
}

std::string quoted_for_shell(std::string_view word) {
  constexpr std::string_view safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!word.empty() && word.find_first_not_of(safe) == std::string_view::npos) return std::string(word);
  std::string quoted = "'";
  for (const char letter : word) quoted += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return quoted + "'";
}

std::string layer_name(int layer) {
  return layer < 0 ? std::string("embedding") : fmt::format("layer_{:03d}", layer);
}

std::string human_bytes(double bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  while (bytes >= 1024.0 && unit < 5) {
    bytes /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string human_seconds(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f}s", seconds);
  const auto total = static_cast<long>(std::lround(seconds));
  if (total < 3600) return fmt::format("{}m{:02d}s", total / 60, total % 60);
  return fmt::format("{}h{:02d}m", total / 3600, total / 60 % 60);
}

// Not by a stream: one that is copied from a file which fails on the way looks like one of a shorter file.
std::optional<std::string> try_read(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  struct stat facts {};
  const bool asked = ::fstat(file, &facts) == 0;
  if (asked && S_ISCHR(facts.st_mode)) { // some have no end
    ::close(file);
    errno = ENODEV;
    return std::nullopt;
  }
  const auto known = asked ? static_cast<std::size_t>(std::max<off_t>(facts.st_size, 0)) : 0;
  constexpr std::size_t smallest = std::size_t{1} << 12; // of files in /proc, whose size is 0
  std::string bytes(std::max(smallest, known + 1), '\0');
  for (std::size_t used = 0;;) {
    if (used == bytes.size()) bytes.resize(2 * used);
    const ssize_t got = ::read(file, bytes.data() + used, bytes.size() - used);
    const int reason = errno;
    used += static_cast<std::size_t>(std::max<ssize_t>(got, 0));
    if (got > 0 || (got < 0 && reason == EINTR)) continue;
    ::close(file);
    bytes.resize(used);
    errno = reason;
    return got == 0 ? std::optional(std::move(bytes)) : std::nullopt;
  }
}

std::string read_text(const std::filesystem::path& path, std::string_view what) {
  auto text = try_read(path);
  const int reason = errno;
  if (text) return std::move(*text);
  if (reason == EISDIR || reason == ENODEV)
    fail(ExitCode::input_missing, "cannot open the {} {}: it is a {}", what, path.string(), reason == EISDIR ? "folder" : "device");
  const bool missing = reason == ENOENT || reason == ENOTDIR || reason == EACCES || reason == ENAMETOOLONG || reason == ELOOP;
  fail(missing ? ExitCode::input_missing : ExitCode::io, "cannot {} the {} {}: {}", missing ? "open" : "read", what, path.string(),
       std::strerror(reason));
}

void sync_path(const std::filesystem::path& path) {
  const Spend spend(Spending::files, "fsync");
  const int fd = ::open(path.c_str(), O_RDONLY);
  require(fd >= 0, ExitCode::io, "cannot open {} to flush it: {}", path.string(), std::strerror(errno));
  const int result = ::fsync(fd);
  const int reason = errno;
  ::close(fd);
  require(result == 0, ExitCode::io, "cannot flush {} to disk: {}", path.string(), std::strerror(reason));
}

namespace {

void write_by_way_of(const std::filesystem::path& temporary, const std::filesystem::path& path, std::string_view text) {
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out << text;
    out.flush();
    require(out.good(), ExitCode::io, "cannot write {}: {}", temporary.string(), std::strerror(errno));
  }
  sync_path(temporary);
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  require(!error, ExitCode::io, "cannot rename {} to {}: {}", temporary.string(), path.string(), error.message());
}

/// Temporary files of `path` that runs left which were killed: older than any that is being written.
void remove_stale(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto written = fs::last_write_time(path, error);
  if (error) return;
  for (const auto& entry : fs::directory_iterator(path.has_parent_path() ? path.parent_path() : ".", error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(path.filename().string() + ".") || !name.ends_with(".new")) continue;
    if (written - entry.last_write_time(error) > std::chrono::minutes(1) && !error) fs::remove(entry.path(), error);
  }
}

} // namespace

void write_text_atomic(const std::filesystem::path& path, std::string_view text) {
  write_by_way_of(path.string() + ".new", path, text);
}

void write_text_shared(const std::filesystem::path& path, std::string_view text) {
  std::error_code error;
  if (std::filesystem::exists(path, error) && read_text(path, "file") == text) return;
  const std::filesystem::path temporary = unique_name(path.string()) + ".new";
  try {
    write_by_way_of(temporary, path, text);
    remove_stale(path);
  } catch (...) {
    std::filesystem::remove(temporary, error);
    throw;
  }
}

std::string unique_name(const std::string& stem) {
  static std::atomic<unsigned> calls{0};
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return fmt::format("{}.{}-{}-{:x}-{}", stem, host.data(), ::getpid(), now.tv_sec * 1'000'000'000 + now.tv_nsec, calls++);
}

void make_folder(const std::filesystem::path& path) {
  std::error_code error;
  if (!path.empty()) std::filesystem::create_directories(path, error);
  require(!error, ExitCode::io, "cannot create the folder {}: {}; choose another study.output or mend its permissions", path.string(),
          error.message());
}

} // namespace concord
