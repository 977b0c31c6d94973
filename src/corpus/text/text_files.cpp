#include "concord/corpus/text/text_files.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <glob.h>
#include <set>

namespace concord::corpus {

namespace fs = std::filesystem;

namespace {

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

void add_folder(const fs::path& folder, std::vector<fs::path>& files, std::vector<fs::path>& skipped) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    std::error_code unknown; // a link to nothing is neither file nor folder
    if (entry->is_symlink() && entry->is_directory(unknown))
      skipped.push_back(entry->path());
    else if (entry->is_regular_file(unknown) && entry->path().extension() == ".txt")
      files.push_back(entry->path());
  }
  require(!error, ExitCode::input_missing, "cannot read the corpus folder {}: {}", folder.string(), error.message());
}

void add_pattern(const std::string& pattern, std::vector<fs::path>& files) {
  glob_t matches{};
  const int status = ::glob(pattern.c_str(), 0, nullptr, &matches);
  std::vector<fs::path> found;
  for (std::size_t i = 0; status == 0 && i < matches.gl_pathc; ++i) found.emplace_back(matches.gl_pathv[i]);
  ::globfree(&matches);
  require(status == 0, ExitCode::input_missing, "no file matches corpus path {}", pattern);
  for (const auto& path : found) {
    std::error_code error;
    require(!fs::is_directory(path, error), ExitCode::input_missing,
            "the corpus path {} matches the folder {}; name the folder itself, or a pattern of files such as {}/*.txt", pattern,
            path.string(), path.string());
    files.push_back(path);
  }
}

/// Keeps the first path to each file.
std::vector<TextFile> each_once(const std::vector<fs::path>& paths, Index& repeated) {
  std::vector<TextFile> files;
  std::set<fs::path> seen;
  for (const auto& path : paths) {
    std::error_code error;
    const fs::path target = fs::canonical(path, error);
    const auto size = error ? 0 : fs::file_size(target, error);
    require(!error, ExitCode::input_missing, "cannot read the text {}: {}", path.string(), error.message());
    if (seen.insert(target).second)
      files.push_back({path, static_cast<Index>(size)});
    else
      ++repeated;
  }
  return files;
}

} // namespace

TextFiles find_text_files(const std::vector<std::string>& paths) {
  require(!paths.empty(), ExitCode::config, "no text was given: set corpus.paths (or --text) to files, folders or patterns");
  std::vector<fs::path> found;
  TextFiles out;
  for (const auto& path : paths) {
    std::error_code error;
    if (fs::is_directory(path, error))
      add_folder(path, found, out.skipped);
    else if (is_there(path))
      found.emplace_back(path);
    else
      add_pattern(path, found);
  }
  // The order is that of the places, however they are written: "study/../text" sorts as "text".
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    const auto x = a.lexically_normal();
    const auto y = b.lexically_normal();
    return x != y ? x < y : a < b;
  });
  std::sort(out.skipped.begin(), out.skipped.end());
  out.files = each_once(found, out.repeated);
  require(!out.files.empty(), ExitCode::input_missing, "no .txt file in {}", join(paths, ", "));
  return out;
}

std::string pattern_below(const fs::path& folder, const std::string& value) {
  const std::string whole = (folder / value).string(); // `value` alone when it is absolute
  if (fs::path(value).is_absolute() || is_there(whole)) return whole;
  std::string escaped;
  for (const char c : folder.string()) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return (fs::path(escaped) / value).string();
}

} // namespace concord::corpus
