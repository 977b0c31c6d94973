#include "concord/concepts/mining.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"

#include <xxhash.h>

#include "concepts/word_runs.hpp"
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace concord::concepts {

double log_likelihood_ratio(double k11, double k12, double k21, double k22) {
  const double total = k11 + k12 + k21 + k22;
  const auto term = [&](double observed, double row, double column) {
    return observed > 0 ? observed * std::log(observed * total / (row * column)) : 0;
  };
  return 2 * (term(k11, k11 + k12, k11 + k21) + term(k12, k11 + k12, k12 + k22) + term(k21, k21 + k22, k11 + k21) +
              term(k22, k21 + k22, k12 + k22));
}

const std::vector<std::string>& english_function_words() {
  static const std::vector<std::string> words{
      "a",       "about",  "above",   "after",   "again",     "against", "all",     "also",    "am",       "among",   "an",      "and",
      "another", "any",    "are",     "as",      "at",        "be",      "because", "been",    "before",   "behind",  "being",   "below",
      "beneath", "beside", "between", "beyond",  "both",      "but",     "by",      "can",     "could",    "did",     "do",      "does",
      "doing",   "done",   "down",    "during",  "each",      "either",  "else",    "even",    "ever",     "every",   "few",     "for",
      "from",    "had",    "has",     "hath",    "have",      "having",  "he",      "her",     "here",     "hers",    "herself", "him",
      "himself", "his",    "how",     "however", "i",         "if",      "in",      "into",    "is",       "it",      "its",     "itself",
      "just",    "less",   "many",    "may",     "me",        "might",   "mine",    "more",    "most",     "much",    "must",    "my",
      "myself",  "near",   "neither", "never",   "no",        "nor",     "not",     "now",     "o",        "of",      "off",     "on",
      "only",    "or",     "other",   "our",     "ours",      "out",     "over",    "own",     "quite",    "rather",  "same",    "shall",
      "she",     "should", "since",   "so",      "some",      "still",   "such",    "than",    "that",     "the",     "thee",    "their",
      "theirs",  "them",   "then",    "there",   "therefore", "these",   "they",    "thine",   "this",     "those",   "thou",    "though",
      "through", "thus",   "thy",     "till",    "to",        "too",     "toward",  "towards", "under",    "unless",  "until",   "unto",
      "up",      "upon",   "us",      "very",    "was",       "we",      "were",    "what",    "whatever", "when",    "where",   "whether",
      "which",   "while",  "who",     "whom",    "whose",     "why",     "will",    "with",    "within",   "without", "would",   "ye",
      "yet",     "you",    "your",    "yours",   "yourself"};
  return words;
}

namespace {

/// What is known of a candidate, or of a part of one.
struct Counted {
  Index of_concept = 0;
  Index count = 0;
};

class Miner {
public:
  Miner(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists, const MiningOptions& options,
        const comm::StopWithin& stop)
      : comm_(comm), lists_(lists), options_(options), stop_(stop), candidates_(lists, options),
        texts_(comm::agreed(comm, [&] { return std::make_shared<const ContextTexts>(tokens); })) {}

  Mined run() {
    filter();
    count_candidates();
    sum_candidates();
    count_parts();
    rank();
    return std::move(mined_);
  }

private:
  /// Calls `visit` for the runs of this rank's contexts, under one agreement. @throws Error stopped, agreed.
  void each_run_here(const std::function<void(const WordRun&)>& visit) {
    comm::agree(comm_, [&] {
      const dist::Partition share{texts_->contexts(), comm_.size()};
      texts_->each(
          share.begin(comm_.rank()), share.end(comm_.rank()),
          [&](const ContextText& context) { each_run(context, lists_.fold_case, visit); }, [&] { return stop_.wanted_here(); });
    });
    stop_.throw_if_wanted(comm_, "subspaces");
  }

  std::array<std::size_t, 2> cells(std::string_view phrase) const {
    const XXH128_hash_t hash = XXH3_128bits(phrase.data(), phrase.size());
    const auto mask = (std::uint64_t{1} << options_.table_bits) - 1;
    return {static_cast<std::size_t>(hash.low64 & mask), static_cast<std::size_t>(hash.high64 & mask)};
  }

  void filter() {
    for (auto& table : tables_) table.assign(std::size_t{1} << options_.table_bits, 0);
    each_run_here([&](const WordRun& run) {
      mined_.words += run.size();
      candidates_.each(run, [&](std::string_view phrase, Index) {
        ++mined_.candidates;
        const auto at = cells(phrase);
        for (std::size_t t = 0; t < at.size(); ++t) ++tables_[t][at[t]];
      });
    });
    for (auto& table : tables_) comm::sum(comm_, table);
    mined_.words = comm::sum_of(comm_, mined_.words);
    mined_.candidates = comm::sum_of(comm_, mined_.candidates);
    mined_.min_count = std::max(options_.min_count, (mined_.candidates + options_.most_candidates - 1) / options_.most_candidates);
  }

  void count_candidates() {
    each_run_here([&](const WordRun& run) {
      candidates_.each(run, [&](std::string_view phrase, Index of_concept) {
        const auto at = cells(phrase);
        if (tables_[0][at[0]] < mined_.min_count || tables_[1][at[1]] < mined_.min_count) return;
        count(phrase, {of_concept, 1});
      });
    });
    for (auto& table : tables_) std::vector<Index>().swap(table);
  }

  void count(std::string_view phrase, Counted more) {
    auto found = counts_.find(phrase);
    if (found == counts_.end()) {
      require(static_cast<Index>(counts_.size()) < 4 * options_.most_candidates, ExitCode::unavailable,
              "more than {} candidate phrases pass the filter; raise min_count or table_bits", 4 * options_.most_candidates);
      found = counts_.emplace(std::string(phrase), Counted{more.of_concept, 0}).first;
    }
    found->second.count += more.count;
  }

  /// Every rank's counts, added on rank 0, which hands on those that reach the minimum.
  void sum_candidates() {
    std::string mine;
    for (const auto& [phrase, counted] : counts_) mine += fmt::format("{} {} {}\n", counted.of_concept, counted.count, phrase);
    counts_.clear();
    comm::gather_each(comm_, mine, [&](int, std::vector<char>& bytes) { take({bytes.data(), bytes.size()}); });
    std::erase_if(counts_, [&](const auto& item) { return item.second.count < mined_.min_count; });
    std::string all;
    for (const auto& [phrase, counted] : std::map<std::string, Counted>(counts_.begin(), counts_.end()))
      all += fmt::format("{} {} {}\n", counted.of_concept, counted.count, phrase);
    comm::spread(comm_, all);
    counts_.clear();
    take(all);
  }

  void take(std::string_view lines) {
    while (!lines.empty()) {
      const std::string_view line = lines.substr(0, lines.find('\n'));
      lines.remove_prefix(line.size() + 1);
      const auto first = line.find(' ');
      const auto second = line.find(' ', first + 1);
      count(line.substr(second + 1), {*whole_number(line.substr(0, first)), *whole_number(line.substr(first + 1, second - first - 1))});
    }
  }

  /// Calls visit(first part, second part) for each split of a phrase.
  static void each_split(std::string_view phrase, const std::function<void(std::string_view, std::string_view)>& visit) {
    for (auto space = phrase.find(' '); space != std::string_view::npos; space = phrase.find(' ', space + 1))
      visit(phrase.substr(0, space), phrase.substr(space + 1));
  }

  void count_parts() {
    for (const auto& item : counts_)
      each_split(item.first, [&](std::string_view first, std::string_view second) {
        parts_.emplace(first, 0);
        parts_.emplace(second, 0);
      });
    Index number = 0;
    std::vector<std::string_view> order;
    for (const auto& part : parts_) order.push_back(part.first);
    std::sort(order.begin(), order.end());
    for (const auto part : order) parts_.find(part)->second = number++;
    part_counts_.assign(order.size(), 0);
    each_run_here([&](const WordRun& run) {
      for (Index i = 0; i < run.size(); ++i)
        for (Index words = 1; words < most_words && i + words <= run.size(); ++words)
          if (const auto part = parts_.find(run.words(i, words)); part != parts_.end())
            ++part_counts_[static_cast<std::size_t>(part->second)];
    });
    comm::sum(comm_, part_counts_);
  }

  double part_count(std::string_view part) const {
    return static_cast<double>(part_counts_[static_cast<std::size_t>(parts_.find(part)->second)]);
  }

  /// Of the best split; 0 where no split's parts attract each other.
  double g2_of(std::string_view phrase, Index count) const {
    double best = 0;
    each_split(phrase, [&](std::string_view first, std::string_view second) {
      const auto k11 = static_cast<double>(count);
      const double k12 = part_count(first) - k11;
      const double k21 = part_count(second) - k11;
      const double k22 = std::max(0.0, static_cast<double>(mined_.words) - k11 - k12 - k21);
      const double expected = (k11 + k12) * (k11 + k21) / (k11 + k12 + k21 + k22);
      if (k11 > expected) best = std::max(best, log_likelihood_ratio(k11, k12, k21, k22));
    });
    return best;
  }

  void rank() {
    for (const auto& [phrase, counted] : counts_) {
      const double g2 = g2_of(phrase, counted.count);
      const auto words = static_cast<Index>(std::count(phrase.begin(), phrase.end(), ' ')) + 1;
      if (g2 >= options_.min_g2) mined_.phrases.push_back({composed(phrase), counted.of_concept, words, counted.count, g2});
    }
    auto& phrases = mined_.phrases;
    std::sort(phrases.begin(), phrases.end(), [](const MinedPhrase& a, const MinedPhrase& b) {
      return std::tie(a.of_concept, b.g2, a.text) < std::tie(b.of_concept, a.g2, b.text);
    });
    std::vector<Index> taken(lists_.concepts.size(), 0);
    std::erase_if(phrases, [&](const MinedPhrase& phrase) {
      return ++taken[static_cast<std::size_t>(phrase.of_concept)] > options_.most_per_concept;
    });
  }

  const comm::Communicator& comm_;
  const ConceptLists& lists_;
  const MiningOptions& options_;
  const comm::StopWithin& stop_;
  Candidates candidates_;
  std::shared_ptr<const ContextTexts> texts_;
  std::array<std::vector<Index>, 2> tables_;
  TextMap<Counted> counts_;
  TextMap<Index> parts_; ///< number of each
  std::vector<Index> part_counts_;
  Mined mined_;
};

void check(const MiningOptions& options) {
  require(options.min_count >= 1, ExitCode::config, "min_count must be at least 1, not {}", options.min_count);
  require(options.most_per_concept >= 1 && options.most_candidates >= 1, ExitCode::config,
          "most_per_concept and most_candidates must be at least 1, not {} and {}", options.most_per_concept, options.most_candidates);
  require(options.table_bits >= 0 && options.table_bits <= 32, ExitCode::config, "table_bits must be 0 to 32, not {}", options.table_bits);
}

} // namespace

Mined mine_phrases(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists,
                   const MiningOptions& options, const comm::StopWithin& stop) {
  comm::agree(comm, [&] { check(options); });
  return Miner(comm, tokens, lists, options, stop).run();
}

void write_mined(const std::filesystem::path& path, const ConceptLists& lists, const std::vector<MinedPhrase>& phrases) {
  const bool groups = std::any_of(lists.concepts.begin(), lists.concepts.end(), [](const Concept& c) { return !c.group.empty(); });
  std::string text = groups ? "group\tconcept\tphrase\tweight\tcount\tg2\n" : "concept\tphrase\tweight\tcount\tg2\n";
  for (const auto& phrase : phrases) {
    const auto& of = lists.concepts[static_cast<std::size_t>(phrase.of_concept)];
    if (groups) text += of.group + "\t";
    text += fmt::format("{}\t{}\t1\t{}\t{:.2f}\n", of.name, phrase.text, phrase.count, phrase.g2);
  }
  write_text_atomic(path, text);
}

} // namespace concord::concepts
