#pragma once
/// Which files a corpus is made of: each once, in the order of their paths. Local.

#include "concord/core/index.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::corpus {

struct TextFile {
  std::filesystem::path path;
  Index size = 0; ///< bytes
};

struct TextFiles {
  std::vector<TextFile> files;                ///< sorted by path
  std::vector<std::filesystem::path> skipped; ///< links to folders inside a corpus folder; they are not followed
  Index repeated = 0;                         ///< files that were named again, by another path or pattern
};

/// A path that exists is taken as it is: a file, or a folder with the .txt files below it. Any other is a pattern of files (glob(7)).
/// @throws Error config (no path) or input_missing (nothing matches, a pattern matches a folder, a folder cannot be read).
TextFiles find_text_files(const std::vector<std::string>& paths);

/// `value`, a path or pattern, counted from `folder`, whose own name is no pattern.
std::string pattern_below(const std::filesystem::path& folder, const std::string& value);

} // namespace concord::corpus
