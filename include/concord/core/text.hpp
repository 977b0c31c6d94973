#pragma once
/// Small text and file helpers. Local.

#include "concord/core/index.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concord {

/// The candidate nearest to `word` by edit distance, if any is near enough to be a likely slip.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);
std::string join(const std::vector<std::string>& words, std::string_view separator);
/// "layer_007"; "embedding" of -1.
std::string layer_name(int layer);
/// The layer of such a name; nothing where it is none.
std::optional<int> layer_of_name(std::string_view name);
/// Parses all of `text` as a whole number with an optional sign; nothing where it is none or too large.
std::optional<Index> whole_number(std::string_view text);
/// The lines of a text, blanks at their ends and empty ones left out, behind one another: "a; b". MPICH's reasons have several.
std::string in_one_line(std::string_view text);
/// A word as a POSIX shell reads it back: as it is where that is safe, else in single quotes.
std::string quoted_for_shell(std::string_view word);
/// "1.5 GiB".
std::string human_bytes(double bytes);
/// "12.3s", "4m05s", "2h10m".
std::string human_seconds(double seconds);
/// All bytes of a file; nothing, and the reason in errno, where it cannot be read.
std::optional<std::string> try_read(const std::filesystem::path& path);
/// Whole file as text. @throws Error input_missing or io naming the path and `what`.
std::string read_text(const std::filesystem::path& path, std::string_view what);
/// Writes a file under a temporary name, syncs it and renames it, so that readers see the old or the new content only.
/// @throws Error io.
void write_text_atomic(const std::filesystem::path& path, std::string_view text);
/// The same for a file that several runs may write at once, under a temporary name of this run's own; nothing is written where the file
/// holds the text already. @throws Error io.
void write_text_shared(const std::filesystem::path& path, std::string_view text);
/// `stem` and a suffix that is unique over calls and hosts.
std::string unique_name(const std::string& stem);
/// fsync of a file or folder by path. @throws Error io.
void sync_path(const std::filesystem::path& path);
/// Creates a folder and its parents. @throws Error io with what to do.
void make_folder(const std::filesystem::path& path);

} // namespace concord
