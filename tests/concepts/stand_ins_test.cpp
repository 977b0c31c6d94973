// Words that stand in for phrases: what they may be, and how near they are.
#include "concord/comm/collectives.hpp"
#include "concord/concepts/stand_ins.hpp"
#include "concord/core/philox.hpp"

#include "concepts/token_file.hpp"
#include <cmath>
#include <map>
#include <set>

namespace concord::concepts {
namespace {

using test::world;

const std::string space = "\xE2\x96\x81";

std::string letters(Index number) {
  std::string word;
  for (int i = 0; i < 4; ++i, number /= 20) word += static_cast<char>('b' + number % 20);
  return word;
}

/// A corpus of made-up words, word i about 400 / (i + 1) times; every third of two tokens. Words 0, 3, 7, ... are of concepts.
constexpr Index words = 80;
std::string word_of(Index i) {
  return letters(37 * i + 5) + (i % 3 == 2 ? "xoq" : "x");
}
std::vector<std::string> pieces_of(Index i) {
  return i % 3 == 2 ? std::vector<std::string>{space + letters(37 * i + 5) + "x", "oq"} : std::vector<std::string>{space + word_of(i)};
}
bool is_listed(Index i) {
  return i % 4 == 3 || i == 0;
}

std::filesystem::path corpus_of(const std::string& name) {
  std::vector<Index> text;
  for (Index i = 0; i < words; ++i) text.insert(text.end(), static_cast<std::size_t>(400 / (i + 1) + 2), i);
  const auto order = shuffled(static_cast<Index>(text.size()), Philox(5, "text"));
  std::vector<test::PieceContext> contexts;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i % 25 == 0) contexts.push_back({static_cast<Index>(contexts.size()), {"<bos>", space + "the"}});
    const auto pieces = pieces_of(text[static_cast<std::size_t>(order[i])]);
    contexts.back().pieces.insert(contexts.back().pieces.end(), pieces.begin(), pieces.end());
  }
  return test::token_file(name, contexts);
}

ConceptLists some_lists() {
  ConceptLists lists;
  lists.concepts = {{"A", "g"}, {"B", "g"}};
  for (Index i = 0; i < words; ++i)
    if (is_listed(i)) lists.phrases.push_back({word_of(i), i % 2, 1});
  lists.phrases.push_back({"never there", 0, 1});
  lists.silent = {word_of(4)};
  return lists;
}

TEST(StandIns, AreAlikeInFrequencyAndLengthAndOfNoConcept) {
  const auto tokens = corpus_of("stand_ins");
  const auto lists = some_lists();
  const auto mine = find_occurrences(world(), tokens, lists);
  const auto counts = count_occurrences(world(), lists, mine);
  const auto found = find_stand_ins(world(), tokens, lists, mine, {.seed = 3});
  ASSERT_GT(found.words.size(), 15U);
  std::map<std::string, Index> number;
  for (Index i = 0; i < words; ++i) number[word_of(i)] = i;
  std::set<std::string> taken;
  Index before = -1;
  double apart = 0;
  for (const auto& word : found.words) {
    EXPECT_GT(word.phrase, before) << "by phrase, each once";
    before = word.phrase;
    ASSERT_TRUE(number.contains(word.word)) << word.word << " is a function word, or none at all";
    const Index i = number.at(word.word);
    EXPECT_FALSE(is_listed(i) || i == 4) << word.word;
    for (const auto& phrase : lists.phrases) EXPECT_FALSE(share_a_stem(word.word, phrase.text)) << word.word << " " << phrase.text;
    EXPECT_TRUE(taken.insert(word.word).second) << "twice";
    EXPECT_EQ(word.count, 400 / (i + 1) + 2);
    const auto& text = lists.phrases[static_cast<std::size_t>(word.phrase)].text;
    EXPECT_EQ(word.length, number.at(text) % 3 == 2 ? 2 : 1) << "as many tokens as the phrase";
    EXPECT_EQ(i % 3 == 2, number.at(text) % 3 == 2);
    const auto& kinds = counts.of_phrase[static_cast<std::size_t>(word.phrase)];
    apart += std::abs(std::log(static_cast<double>(word.count) / static_cast<double>(kinds[0] + kinds[1] + kinds[2])));
  }
  EXPECT_LT(apart / static_cast<double>(found.words.size()), 0.35) << "most frequent words have none as frequent";
  std::map<std::int32_t, Index> seen;
  for (const auto& occurrence : found.occurrences) ++seen[occurrence.phrase];
  for (std::size_t i = 0; i < found.words.size(); ++i)
    EXPECT_EQ(comm::sum_of(world(), seen[static_cast<std::int32_t>(i)]), found.words[i].count) << "this rank's, by number of the word";
}

TEST(StandIns, AreTheSameOnAnyNumberOfRanksAndFromASample) {
  const auto tokens = corpus_of("ranks");
  const auto lists = some_lists();
  const auto alone = [&](const comm::Communicator& comm, Index sample) {
    const auto found = find_stand_ins(comm, tokens, lists, find_occurrences(comm, tokens, lists), {.seed = 3, .sample = sample});
    std::map<Index, std::string> words_of_phrases;
    for (const auto& word : found.words) words_of_phrases[word.phrase] = word.word;
    return words_of_phrases;
  };
  const comm::Communicator self(MPI_COMM_SELF, boost::mpi::comm_attach);
  EXPECT_EQ(alone(world(), 1 << 22), alone(self, 1 << 22));
  const auto sampled = alone(world(), 600);
  EXPECT_EQ(sampled, alone(self, 600));
  EXPECT_GT(sampled.size(), 10U);
  EXPECT_NE(sampled, alone(world(), 1 << 22)) << "from some of the contexts alone";
}

TEST(StandIns, AreNoneWhereNothingOccurs) {
  const auto tokens = corpus_of("nothing");
  ConceptLists lists;
  lists.concepts = {{"A", "g"}};
  lists.phrases = {{"never there", 0, 1}};
  const auto found = find_stand_ins(world(), tokens, lists, {}, {.seed = 3});
  EXPECT_TRUE(found.words.empty() && found.occurrences.empty());
}

/// Whatever the lists say of capitals: a listed word, one that begins with it or holds it between hyphens, and function words do not stand
/// in.
TEST(StandIns, AreNoKinOfListedWordsWhereCapitalsCount) {
  std::vector<test::PieceContext> contexts;
  for (Index i = 0; i < 40; ++i) {
    contexts.push_back({i, {"<bos>"}});
    for (const char* word : {"frog", "Frog", "FROGLIKENESS", "tree-frog", "The", "their", "stone", "Stone", "meadow", "Cloud"})
      contexts.back().pieces.push_back(space + word);
  }
  const auto tokens = test::token_file("capitals", contexts);
  for (const bool fold : {false, true}) {
    ConceptLists lists;
    lists.concepts = {{"A", "g"}};
    lists.phrases = {{"frog", 0, 1}};
    lists.fold_case = fold;
    const std::set<std::string> all =
        fold ? std::set<std::string>{"stone", "meadow", "cloud"} : std::set<std::string>{"stone", "Stone", "meadow", "Cloud"};
    std::set<std::string> chosen;
    for (std::uint64_t seed = 0; seed < 12; ++seed)
      for (const auto& word : find_stand_ins(world(), tokens, lists, find_occurrences(world(), tokens, lists), {.seed = seed}).words)
        chosen.insert(word.word);
    EXPECT_GT(chosen.size(), 0U);
    for (const auto& word : chosen) EXPECT_TRUE(all.contains(word)) << word;
  }
}

TEST(WordsThatShareAStem, AreTold) {
  EXPECT_TRUE(share_a_stem("morning", "mornings"));
  EXPECT_TRUE(share_a_stem("king", "king's"));
  EXPECT_TRUE(share_a_stem("it", "it"));
  EXPECT_FALSE(share_a_stem("time", "tin"));
  EXPECT_FALSE(share_a_stem("car", "cartload"));
}

} // namespace
} // namespace concord::concepts
