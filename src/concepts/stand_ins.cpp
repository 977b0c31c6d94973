#include "concord/concepts/stand_ins.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/concepts/mining.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"

#include "concepts/word_runs.hpp"
#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <set>

namespace concord::concepts {
namespace {

constexpr std::size_t least_letters = 3;

/// The words of the lists, folded, by their first letters.
class ListedWords {
public:
  explicit ListedWords(const ConceptLists& lists) {
    for (const auto& phrase : lists.phrases) add(phrase.text);
    for (const auto& phrase : lists.silent) add(phrase);
  }
  /// Of the word, or of a part of it between hyphens. Upper and lower case are the same here, whatever the lists say.
  bool hold_kin_of(const std::string& word) const {
    const auto parts = content_words(folded_phrase(word, true));
    return std::any_of(parts.begin(), parts.end(), [&](const std::string& part) { return hold_kin_of_part(part); });
  }

private:
  bool hold_kin_of_part(const std::string& word) const {
    if (words_.contains(word)) return true;
    const auto alike = by_beginning_.find(word.substr(0, least_letters));
    return alike != by_beginning_.end() && std::any_of(alike->second.begin(), alike->second.end(), [&](const std::string& listed) {
             return share_a_stem(word, listed) || (listed.size() > least_letters && word.starts_with(listed));
           });
  }
  void add(const std::string& phrase) {
    for (const auto& word : content_words(folded_phrase(phrase, true))) {
      if (words_.insert(word).second) by_beginning_[word.substr(0, least_letters)].push_back(word);
    }
  }
  std::set<std::string> words_;
  std::map<std::string, std::vector<std::string>> by_beginning_;
};

struct Word {
  std::string text;
  Index count = 0;
};

/// The words of a sample of the corpus that may stand in for others, by count, then by text.
class Sample {
public:
  Sample(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists, const StandInOptions& options,
         const comm::StopWithin& stop)
      : comm_(comm), lists_(lists), options_(options), stop_(stop) {
    for (const auto& word : english_function_words()) function_words_.insert(folded_phrase(word, true));
    const auto texts = comm::agreed(comm, [&] { return std::make_shared<const ContextTexts>(tokens); });
    const auto reader = comm::agreed(comm, [&] { return std::make_shared<const corpus::TokenReader>(tokens); });
    share_ = std::min(1.0, static_cast<double>(options.sample) / static_cast<double>(std::max<Index>(reader->count(), 1)));
    count(*texts);
    sum_up();
  }
  double share() const { return share_; }
  const std::vector<Word>& words() const { return words_; }

private:
  void count(const ContextTexts& texts) {
    const Philox random(options_.seed, "contexts of words");
    comm::agree(comm_, [&] {
      const dist::Partition mine{texts.contexts(), comm_.size()};
      for (Index context = mine.begin(comm_.rank()); context < mine.end(comm_.rank()) && !stop_.wanted_here(); ++context) {
        if (static_cast<double>(random.bits(static_cast<std::uint64_t>(context))) * 0x1p-64 >= share_) continue;
        texts.each(
            context, context + 1,
            [&](const ContextText& text) {
              each_run(text, lists_.fold_case, [&](const WordRun& run) {
                for (Index i = 0; i < run.size(); ++i)
                  if (may_stand_in(run.word(i))) ++counts_[std::string(run.word(i))];
              });
            },
            [] { return false; });
      }
    });
    stop_.throw_if_wanted(comm_, "subspaces");
  }

  bool may_stand_in(std::string_view word) const {
    return word.size() >= least_letters && !function_words_.contains(lists_.fold_case ? word : folded_phrase(std::string(word), true));
  }

  /// Every rank's counts, added on rank 0, which hands them on.
  void sum_up() {
    std::string mine;
    for (const auto& [word, count] : counts_) mine += fmt::format("{} {}\n", count, word);
    std::map<std::string, Index> all;
    comm::gather_each(comm_, mine, [&](int, std::vector<char>& bytes) { take({bytes.data(), bytes.size()}, all); });
    std::string lines;
    for (const auto& [word, count] : all) lines += fmt::format("{} {}\n", count, word);
    comm::spread(comm_, lines);
    all.clear();
    take(lines, all);
    for (const auto& [word, count] : all) words_.push_back({word, count});
    std::stable_sort(words_.begin(), words_.end(), [](const Word& a, const Word& b) { return a.count < b.count; });
  }

  static void take(std::string_view lines, std::map<std::string, Index>& counts) {
    while (!lines.empty()) {
      const std::string_view line = lines.substr(0, lines.find('\n'));
      lines.remove_prefix(line.size() + 1);
      const auto space = line.find(' ');
      counts[std::string(line.substr(space + 1))] += *whole_number(line.substr(0, space));
    }
  }

  const comm::Communicator& comm_;
  const ConceptLists& lists_;
  const StandInOptions& options_;
  const comm::StopWithin& stop_;
  TextSet function_words_;
  double share_ = 1;
  TextMap<Index> counts_;
  std::vector<Word> words_;
};

/// Of each phrase: how often it occurs, and in how many tokens most often.
struct Uses {
  std::vector<Index> count, length;
};

Uses uses_of(const comm::Communicator& comm, Index phrases, const std::vector<Occurrence>& mine) {
  Index longest = 0;
  for (const auto& occurrence : mine) longest = std::max(longest, occurrence.length());
  const Index width = comm::max_of(comm, longest) + 1;
  std::vector<Index> counts(at(phrases * width));
  for (const auto& occurrence : mine) ++counts[at(occurrence.phrase * width + occurrence.length())];
  comm::sum(comm, counts);
  Uses uses;
  for (Index phrase = 0; phrase < phrases; ++phrase) {
    const auto first = counts.begin() + static_cast<std::ptrdiff_t>(phrase * width);
    uses.length.push_back(std::max_element(first, first + static_cast<std::ptrdiff_t>(width)) - first);
    uses.count.push_back(std::accumulate(first, first + static_cast<std::ptrdiff_t>(width), Index{0}));
  }
  return uses;
}

/// Words near in frequency, several for each phrase that occurs. Local.
std::vector<std::vector<std::string>> candidates_of(const Sample& sample, const ListedWords& listed, const Uses& phrases,
                                                    const StandInOptions& options) {
  const auto& words = sample.words();
  std::vector<std::vector<std::string>> candidates(phrases.count.size());
  for (std::size_t phrase = 0; phrase < candidates.size(); ++phrase) {
    if (phrases.count[phrase] == 0 || words.empty()) continue;
    const auto wanted = std::max<Index>(1, std::llround(static_cast<double>(phrases.count[phrase]) * sample.share()));
    const auto like = std::partition_point(words.begin(), words.end(), [&](const Word& word) { return word.count < wanted; });
    const auto beyond = std::partition_point(like, words.end(), [&](const Word& word) { return word.count == wanted; });
    // Those as frequent, and as many as are wanted on either side.
    const auto side = static_cast<std::ptrdiff_t>(options.candidates);
    const auto begin = std::max<std::ptrdiff_t>(0, like - words.begin() - side);
    const auto end = std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(words.size()), beyond - words.begin() + side);
    const IndexPermutation order(end - begin, Philox(options.seed, "words that stand in", static_cast<std::uint64_t>(phrase)));
    for (Index i = 0; i < end - begin && static_cast<Index>(candidates[phrase].size()) < options.candidates; ++i) {
      const auto& word = words[static_cast<std::size_t>(begin) + at(order(i))].text;
      if (!listed.hold_kin_of(word)) candidates[phrase].push_back(word);
    }
  }
  return candidates;
}

/// One concept, whose phrases are the candidates; equal texts once.
ConceptLists lists_of(const std::vector<std::vector<std::string>>& candidates, bool fold_case) {
  std::set<std::string> words;
  for (const auto& of_phrase : candidates) words.insert(of_phrase.begin(), of_phrase.end());
  ConceptLists lists;
  lists.concepts.push_back({"", ""});
  for (const auto& word : words) lists.phrases.push_back({word, 0, 1});
  lists.fold_case = fold_case;
  return lists;
}

/// Frequent phrases, which have few words like them, choose first.
std::vector<StandIn> assigned(const std::vector<std::vector<std::string>>& candidates, const ConceptLists& words, const Uses& phrases,
                              const Uses& of_words) {
  std::map<std::string, std::size_t> number;
  for (std::size_t i = 0; i < words.phrases.size(); ++i) number[words.phrases[i].text] = i;
  std::vector<std::size_t> order;
  for (std::size_t phrase = 0; phrase < candidates.size(); ++phrase)
    if (!candidates[phrase].empty()) order.push_back(phrase);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return phrases.count[a] > phrases.count[b]; });
  std::set<std::size_t> taken;
  std::vector<StandIn> chosen;
  for (const std::size_t phrase : order) {
    double best = std::numeric_limits<double>::infinity();
    std::size_t best_word = 0;
    for (const auto& word : candidates[phrase]) {
      const std::size_t i = number.at(word);
      if (of_words.count[i] == 0 || of_words.length[i] != phrases.length[phrase] || taken.contains(i)) continue;
      const double apart = std::abs(std::log(static_cast<double>(of_words.count[i]) / static_cast<double>(phrases.count[phrase])));
      if (apart >= best) continue;
      best = apart;
      best_word = i;
    }
    if (std::isinf(best)) continue;
    taken.insert(best_word);
    chosen.push_back({words.phrases[best_word].text, static_cast<Index>(phrase), of_words.count[best_word], of_words.length[best_word]});
  }
  std::sort(chosen.begin(), chosen.end(), [](const StandIn& a, const StandIn& b) { return a.phrase < b.phrase; });
  return chosen;
}

} // namespace

bool share_a_stem(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const auto alike = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  return alike >= least_letters && alike + 3 >= std::max(a.size(), b.size());
}

std::vector<std::string> content_words(const std::string& phrase) {
  static const std::set<std::string> function_words(english_function_words().begin(), english_function_words().end());
  std::vector<std::string> words(1);
  for (const char c : phrase) {
    if (c == ' ' || c == '-')
      words.emplace_back();
    else
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  const bool alone = words.size() == 1;
  std::erase_if(words, [&](const std::string& word) { return !alone && (word.size() < least_letters || function_words.contains(word)); });
  return words;
}

StandIns find_stand_ins(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists,
                        const std::vector<Occurrence>& mine, const StandInOptions& options, const comm::StopWithin& stop) {
  const auto phrases = uses_of(comm, static_cast<Index>(lists.phrases.size()), mine);
  const auto candidates = [&] {
    const Sample sample(comm, tokens, lists, options, stop);
    return candidates_of(sample, ListedWords(lists), phrases, options);
  }();
  const auto words = lists_of(candidates, lists.fold_case);
  StandIns found;
  if (words.phrases.empty()) return found;
  auto occurrences = find_occurrences(comm, tokens, words, stop);
  const auto of_words = uses_of(comm, static_cast<Index>(words.phrases.size()), occurrences);
  found.words = assigned(candidates, words, phrases, of_words);
  std::map<std::string, std::int32_t> number;
  for (std::size_t i = 0; i < found.words.size(); ++i) number[found.words[i].word] = static_cast<std::int32_t>(i);
  for (auto& occurrence : occurrences) {
    const auto chosen = number.find(words.phrases[at(occurrence.phrase)].text);
    if (chosen == number.end()) continue;
    occurrence.phrase = chosen->second;
    found.occurrences.push_back(occurrence);
  }
  return found;
}

} // namespace concord::concepts
