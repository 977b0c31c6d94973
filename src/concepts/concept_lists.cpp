#include "concord/concepts/concept_lists.hpp"

#include "concord/comm/decided.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/documents.hpp"

#include "concepts/folded_text.hpp"
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

namespace concord::concepts {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

/// Lists as they are read: one entry a line that holds a phrase.
struct Entry {
  std::string group, name, text;
  double weight = 1;
  std::string where; ///< "FILE, line N"
};

/// Path and content of each file, one after the other.
std::vector<std::string> read_files(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path.string(), read_text(path, "concept list")};
  std::vector<fs::path> files;
  for (auto at = fs::recursive_directory_iterator(path, error); !error && at != fs::recursive_directory_iterator(); at.increment(error))
    if (at->path().extension() == ".txt" && at->is_regular_file()) {
      require(at.depth() < 2, ExitCode::bad_data, "{} lies more than one folder below {}; its folder is the group", at->path().string(),
              path.string());
      files.push_back(at->path());
    }
  require(!error, ExitCode::input_missing, "cannot read the folder {}: {}", path.string(), error.message());
  require(!files.empty(), ExitCode::input_missing, "the folder {} holds no .txt lists; give one file a concept, or a concepts.tsv",
          path.string());
  std::sort(files.begin(), files.end());
  std::vector<std::string> read;
  for (const auto& file : files) {
    read.push_back(file.string());
    read.push_back(read_text(file, "concept list"));
  }
  return read;
}

/// Calls visit(line, where) for each line that is not empty. @throws Error bad_data where one is not UTF-8.
template <typename Visit>
void each_line(const std::string& file, std::string_view text, Visit&& visit) {
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  for (Index number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::string where = fmt::format("{}, line {}", file, number);
    require(corpus::is_utf8(line), ExitCode::bad_data, "{}: not UTF-8; if the file is in Latin-1, convert it: iconv -f LATIN1 -t UTF-8 {}",
            where, quoted_for_shell(file));
    for (const char c : line)
      require(static_cast<unsigned char>(c) >= 0x20 || c == '\t', ExitCode::bad_data,
              "{}: it holds the control character {:#04x}; take it out", where, static_cast<unsigned>(static_cast<unsigned char>(c)));
    if (line.find_first_not_of(" \t") != std::string_view::npos) visit(line, where);
  }
}

std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells;
  while (true) {
    const auto tab = line.find('\t');
    std::string_view cell = line.substr(0, tab);
    while (cell.starts_with(' ')) cell.remove_prefix(1);
    while (cell.ends_with(' ')) cell.remove_suffix(1);
    cells.emplace_back(cell);
    if (tab == std::string_view::npos) return cells;
    line.remove_prefix(tab + 1);
  }
}

/// A phrase with one space where it has white space.
std::string tidy(std::string_view cell) {
  std::string text;
  for (const char c : cell)
    if (c != ' ')
      text += c;
    else if (!text.empty() && text.back() != ' ')
      text += ' ';
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

void check_phrase(const Entry& entry) {
  require(!folded_phrase(entry.text, true).empty(), ExitCode::bad_data, "{}: the phrase is empty; write one or take the line out",
          entry.where);
  require(static_cast<Index>(entry.text.size()) <= longest_phrase, ExitCode::bad_data, "{}: the phrase has {} bytes, more than {}",
          entry.where, entry.text.size(), longest_phrase);
  require(folded_phrase(entry.text, true).find_first_of("\n\xFF") == std::string::npos, ExitCode::bad_data,
          "{}: the phrase holds U+FFFD or a paragraph separator, which no text matches; write what was meant", entry.where);
}

/// Where the columns of a table are.
class Columns {
public:
  Columns(const std::vector<std::string>& header, const std::string& where) : count_(header.size()) {
    static const std::vector<std::string> known{"group", "concept", "category", "phrase", "weight", "n_words", "count", "g2"};
    for (std::size_t i = 0; i < header.size(); ++i) {
      const auto meant = nearest(header[i], known);
      require(std::find(known.begin(), known.end(), header[i]) != known.end(), ExitCode::bad_data,
              "{}: there is no column \"{}\"{}; the first line names the columns, split by tabs: group, concept, phrase, weight", where,
              header[i], meant ? fmt::format(" (did you mean {}?)", *meant) : "");
      const std::string name = header[i] == "category" ? "concept" : header[i];
      require(places_.emplace(name, i).second, ExitCode::bad_data, "{}: two columns \"{}\"; keep one", where, name);
    }
    for (const char* name : {"concept", "phrase"})
      require(places_.contains(name), ExitCode::bad_data,
              "{}: no column \"{}\"; the first line names the columns, split by tabs: group, concept, phrase, weight", where, name);
  }
  bool has(const std::string& name) const { return places_.contains(name); }
  Entry entry(const std::vector<std::string>& cells, const std::string& where) const {
    require(cells.size() == count_ || (cells.size() + 1 == count_ && places_.contains("weight") && places_.at("weight") + 1 == count_),
            ExitCode::bad_data, "{}: {} columns, where the first line names {}; columns are split by single tabs", where, cells.size(),
            count_);
    const auto cell = [&](const char* name) {
      return has(name) && places_.at(name) < cells.size() ? cells[places_.at(name)] : std::string();
    };
    Entry entry{cell("group"), cell("concept"), tidy(cell("phrase")), 1, where};
    require(!entry.name.empty(), ExitCode::bad_data, "{}: the concept is empty; name it", where);
    require(!entry.group.empty() || !has("group"), ExitCode::bad_data, "{}: the group is empty; name it, or take the column out", where);
    if (const auto weight = cell("weight"); !weight.empty()) {
      const auto [end, error] = std::from_chars(weight.data(), weight.data() + weight.size(), entry.weight);
      require(error == std::errc() && end == weight.data() + weight.size() && std::isfinite(entry.weight) && entry.weight >= 0,
              ExitCode::bad_data, "{}: the weight \"{}\" is no finite number of at least 0; 0 leaves the phrase out", where, weight);
    }
    check_phrase(entry);
    return entry;
  }

private:
  std::size_t count_;
  std::map<std::string, std::size_t> places_;
};

std::vector<Entry> entries_of_table(const std::string& file, const std::string& text) {
  std::vector<Entry> entries;
  std::optional<Columns> columns;
  each_line(file, text, [&](std::string_view line, const std::string& where) {
    if (columns)
      entries.push_back(columns->entry(cells_of(line), where));
    else
      columns.emplace(cells_of(line), where);
  });
  require(!entries.empty(), ExitCode::bad_data, "{} holds no phrases; give a header line, group, concept, phrase, and one phrase a line",
          file);
  return entries;
}

std::vector<Entry> entries_of_lists(const fs::path& root, const std::vector<std::string>& files) {
  std::vector<Entry> entries;
  for (std::size_t i = 0; i + 1 < files.size(); i += 2) {
    const fs::path path = files[i];
    const std::string group = path.parent_path() == root ? "" : path.parent_path().filename().string();
    const std::string name = path.stem().string();
    require(corpus::is_utf8(group) && corpus::is_utf8(name), ExitCode::bad_data,
            "{}: the names of a list and of its folder are those of a concept and its group, and one is not UTF-8; rename it", files[i]);
    const std::size_t before = entries.size();
    each_line(files[i], files[i + 1], [&](std::string_view line, const std::string& where) {
      require(line.find('\t') == std::string_view::npos, ExitCode::bad_data,
              "{}: a tab; a list has one phrase a line (weights stand in a concepts.tsv)", where);
      entries.push_back({group, name, tidy(line), 1, where});
      check_phrase(entries.back());
    });
    require(entries.size() > before, ExitCode::bad_data, "{} holds no phrase; add one a line, or remove the file", files[i]);
    require(entries.back().group.empty() == entries.front().group.empty(), ExitCode::bad_data,
            "{}: some lists lie in folders, which are groups, and some do not; give all a group or none", files[i]);
  }
  return entries;
}

/// Puts the entries together.
class Builder {
public:
  explicit Builder(bool fold_case) { lists_.fold_case = fold_case; }

  void add(const Entry& entry) {
    const Index of_concept = concept_of(entry);
    auto& keys = keys_[static_cast<std::size_t>(of_concept)];
    std::string key = folded_phrase(entry.text, lists_.fold_case);
    const auto [at, is_new] = keys.emplace(key, entries_.size());
    if (!is_new) {
      const auto& first = entries_[at->second];
      require(first.entry.weight == entry.weight, ExitCode::bad_data,
              "{}: the phrase \"{}\" of {} has the weight {}, and {} in {}; keep one", entry.where, entry.text, entry.name, entry.weight,
              first.entry.weight, first.entry.where);
      ++lists_.merged;
      return;
    }
    const auto [user, first_user] = users_.emplace(key, std::vector<Index>{});
    user->second.push_back(of_concept);
    if (first_user) order_.push_back(key);
    entries_.push_back({entry, of_concept, std::move(key)});
  }

  ConceptLists build() && {
    check_weights();
    std::unordered_map<std::string, Index> kept;
    for (const auto& key : order_) {
      const auto& concepts = users_.at(key);
      kept[key] = smallest(concepts);
      if (concepts.size() > 1) lists_.shared.push_back({first_text(key), concepts, kept[key]});
      if (kept[key] < 0) lists_.silent.push_back(first_text(key));
    }
    for (const auto& [entry, of_concept, key] : entries_) {
      if (kept.at(key) != of_concept) continue;
      if (entry.weight > 0)
        lists_.phrases.push_back({entry.text, of_concept, entry.weight});
      else
        lists_.silent.push_back(entry.text);
    }
    return std::move(lists_);
  }

private:
  struct Placed {
    Entry entry;
    Index of_concept;
    std::string key;
  };

  Index concept_of(const Entry& entry) {
    const auto [at, is_new] = numbers_.emplace(entry.name, static_cast<Index>(lists_.concepts.size()));
    if (is_new) {
      lists_.concepts.push_back({entry.name, entry.group});
      keys_.emplace_back();
    }
    const auto& known = lists_.concepts[static_cast<std::size_t>(at->second)];
    require(known.group == entry.group, ExitCode::bad_data,
            "{}: the concept {} is of the group \"{}\" here and of \"{}\" above; give it one", entry.where, entry.name, entry.group,
            known.group);
    return at->second;
  }

  void check_weights() const {
    std::vector<bool> weighs(lists_.concepts.size(), false);
    for (const auto& placed : entries_)
      if (placed.entry.weight > 0) weighs[static_cast<std::size_t>(placed.of_concept)] = true;
    for (const auto& placed : entries_)
      require(weighs[static_cast<std::size_t>(placed.of_concept)], ExitCode::bad_data,
              "{}: every phrase of {} has the weight 0, which leaves the concept empty; take it out of the file", placed.entry.where,
              placed.entry.name);
  }

  bool is_part(Index small, Index large) const {
    const auto& of_large = keys_[static_cast<std::size_t>(large)];
    const auto& of_small = keys_[static_cast<std::size_t>(small)];
    return of_small.size() < of_large.size() &&
           std::all_of(of_small.begin(), of_small.end(), [&](const auto& item) { return of_large.contains(item.first); });
  }

  /// The one concept whose list is part of another's, and holds no other such list; -1 where there is none, or several.
  Index smallest(const std::vector<Index>& concepts) const {
    if (concepts.size() == 1) return concepts.front();
    std::vector<Index> parts;
    for (const Index mine : concepts)
      if (std::any_of(concepts.begin(), concepts.end(), [&](Index other) { return is_part(mine, other); })) parts.push_back(mine);
    Index kept = -1;
    for (const Index mine : parts) {
      if (std::any_of(parts.begin(), parts.end(), [&](Index other) { return is_part(other, mine); })) continue;
      if (kept >= 0) return -1;
      kept = mine;
    }
    return kept;
  }

  const std::string& first_text(const std::string& key) const {
    return entries_[keys_[static_cast<std::size_t>(users_.at(key).front())].at(key)].entry.text;
  }

  ConceptLists lists_;
  std::vector<Placed> entries_;
  std::vector<std::unordered_map<std::string, std::size_t>> keys_; ///< of each concept: its phrases' folded forms and entries
  std::unordered_map<std::string, Index> numbers_;                 ///< of concepts
  std::unordered_map<std::string, std::vector<Index>> users_;      ///< concepts of each phrase
  std::vector<std::string> order_;                                 ///< of users_
};

ConceptLists lists_of(const std::vector<Entry>& entries, bool fold_case) {
  Builder builder(fold_case);
  for (const auto& entry : entries) builder.add(entry);
  return std::move(builder).build();
}

} // namespace

ConceptLists parse_concept_table(const std::string& file, const std::string& text, bool fold_case) {
  return lists_of(entries_of_table(file, text), fold_case);
}

ConceptLists read_concept_lists(const comm::Communicator& comm, const fs::path& path, bool fold_case) {
  const fs::path root = path.has_filename() ? path : path.parent_path(); // a slash at the end says nothing
  // What it is, then paths and contents.
  const auto files = comm::decided(comm, [&] {
    std::error_code error;
    std::vector<std::string> all{fs::is_directory(root, error) ? "lists" : "table"};
    auto read = read_files(root);
    std::move(read.begin(), read.end(), std::back_inserter(all));
    return all;
  });
  return comm::agreed(comm, [&] {
    if (files[0] == "table") return parse_concept_table(files[1], files[2], fold_case);
    return lists_of(entries_of_lists(root, {files.begin() + 1, files.end()}), fold_case);
  });
}

} // namespace concord::concepts
