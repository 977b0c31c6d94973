#include "concord/concepts/mining.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/philox.hpp"
#include "concord/corpus/tokenize.hpp"

#include "concepts/token_file.hpp"
#include <map>
#include <set>
#include <sstream>

namespace concord::concepts {
namespace {

using test::world;

TEST(LogLikelihoodRatio, EqualsTheWorkedNumbers) {
  // Dunning 1993, by scipy.stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").
  EXPECT_NEAR(log_likelihood_ratio(110, 2442, 111, 29114), 270.7219, 5e-5);
  EXPECT_NEAR(log_likelihood_ratio(29, 13, 123, 31612), 263.8966, 5e-5);
  EXPECT_NEAR(log_likelihood_ratio(31, 23, 139, 31584), 256.8365, 5e-5);
  EXPECT_NEAR(log_likelihood_ratio(10, 0, 3, 31764), 167.2298, 5e-5);
  EXPECT_NEAR(log_likelihood_ratio(76, 104, 2476, 29121), 157.2124, 5e-5);
  EXPECT_NEAR(log_likelihood_ratio(30, 10, 20, 140), 59.3807946760, 1e-9);
  EXPECT_NEAR(log_likelihood_ratio(10, 20, 30, 60), 0, 1e-12); // independent
  EXPECT_EQ(log_likelihood_ratio(5, 0, 0, 0), 0);
  EXPECT_EQ(log_likelihood_ratio(0, 0, 3, 7), 0);
}

std::filesystem::path tokenized(const std::string& name, const std::string& text, Index context) {
  corpus::TokenizeOptions options;
  options.paths = {test::written(name, text).string()};
  options.tokenizer = test::source() / "data" / "demo" / "tokenizer.model";
  options.context = context;
  options.out = test::empty_folder("mined_" + name) / "tokens.h5";
  corpus::tokenize(world(), options);
  return options.out;
}

ConceptLists lists_of(const std::string& name, const std::string& rows) {
  return read_concept_lists(world(), test::written(name, "group\tconcept\tphrase\n" + rows));
}

const std::string concepts = "g\tRulers\tking\ng\tRulers\tqueen\nh\tTime\ttime\nh\tTime\tlong time\nh\tTime\tday\nh\tPlaces\thouse\n";

std::map<std::string, std::pair<Index, Index>> counts_of(const Mined& mined) {
  std::map<std::string, std::pair<Index, Index>> counts;
  for (const auto& phrase : mined.phrases) counts[phrase.text] = {phrase.of_concept, phrase.count};
  return counts;
}

MiningOptions everything() {
  MiningOptions options;
  options.min_count = 1;
  options.min_g2 = 0;
  options.most_per_concept = 1000;
  return options;
}

TEST(Mining, TakesRunsHeadedByAConceptsWord) {
  const std::string text = "A long time, a very good old house. The king of France saw the Queen of the\nnorth; an old\nhouse!\n"
                           "Old-fashioned house of the King's own day\nTime of day: night-time, the old-king time\n"
                           "Weary queen\nof sorrow";
  const auto mined = mine_phrases(world(), tokenized("runs", text, 512), lists_of("runs", concepts), everything());
  const std::map<std::string, std::pair<Index, Index>> expected{
      {"good old house", {2, 1}},     {"old house", {2, 2}},           {"king of france", {0, 1}},     {"the king of france", {0, 1}},
      {"queen of the north", {0, 1}}, {"old-fashioned house", {2, 1}}, {"time of day", {1, 1}},        {"old-king time", {1, 1}},
      {"weary queen", {0, 1}},        {"queen of sorrow", {0, 1}},     {"house of the king's", {2, 1}}};
  EXPECT_EQ(counts_of(mined), expected); // "day Time" is cut by a line that begins with a capital
  EXPECT_EQ(mined.words, 39);
}

TEST(Mining, CountsWordsThatLieWholeInAContext) {
  const std::string space = "\xE2\x96\x81";
  const auto tokens = test::token_file("whole", {{0, {"<bos>", space + "old", space + "house"}},
                                                 {0, {"<bos>", "s", space + "good", space + "king"}},
                                                 {0, {"<bos>", "'", "s", space + "good", space + "old"}},
                                                 {0, {"<bos>", space + "house", space + "long", space + "da"}},
                                                 {0, {"<bos>", "y", space + "bad", "<unk>", "<unk>", space + "king"}},
                                                 {1, {"<bos>", "fine", space + "king"}},
                                                 {2, {"<bos>", "s", space + "dear", space + "king"}}});
  const auto mined = mine_phrases(world(), tokens, lists_of("whole", concepts), everything());
  const std::map<std::string, std::pair<Index, Index>> expected{{"fine king", {0, 1}}, {"dear king", {0, 1}}, {"s dear king", {0, 1}}};
  EXPECT_EQ(counts_of(mined), expected);
  // old | good | good old | house long | bad(unk) none, king | fine king | s dear king
  EXPECT_EQ(mined.words, 1 + 1 + 2 + 2 + 1 + 2 + 3);
}

/// Words of a line without punctuation.
std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string joined(const std::vector<std::string>& words, std::size_t begin, std::size_t count) {
  std::string text;
  for (std::size_t i = begin; i < begin + count; ++i) text += (i == begin ? "" : " ") + words[i];
  return text;
}

double best_g2(const std::map<std::string, double>& counts, double total, const std::string& phrase) {
  const auto words = words_of(phrase);
  double best = 0;
  for (std::size_t cut = 1; cut < words.size(); ++cut) {
    const double both = counts.at(phrase), first = counts.at(joined(words, 0, cut)),
                 second = counts.at(joined(words, cut, words.size() - cut));
    if (both > first * second / total)
      best = std::max(best, log_likelihood_ratio(both, first - both, second - both, std::max(0.0, total - first - second + both)));
  }
  return best;
}

/// Against counts of every run of words in lines that each are a document and fit into a context.
TEST(Mining, EqualsPlainCountsWhateverTheTablesAre) {
  const std::vector<std::string> vocabulary{"old",  "long", "good",  "the",    "of",  "king",  "queen",
                                            "time", "day",  "house", "france", "and", "winter"};
  const Philox random(3, "mining");
  std::uint64_t draw = 0;
  std::string text;
  std::map<std::string, double> counts;
  double total = 0;
  for (int line = 0; line < 400; ++line) {
    std::vector<std::string> words;
    for (int w = 0; w < 12; ++w)
      words.push_back(vocabulary[random.below(draw, vocabulary.size()) * random.below(draw + 1, vocabulary.size()) / vocabulary.size()]),
          draw += 2;
    text += joined(words, 0, words.size()) + ".\n\n";
    total += static_cast<double>(words.size());
    for (std::size_t count = 1; count <= 4; ++count)
      for (std::size_t i = 0; i + count <= words.size(); ++i) ++counts[joined(words, i, count)];
  }
  const auto tokens = tokenized("random", text, 64);
  const auto lists = lists_of("random", concepts);
  const std::map<std::string, Index> heads{{"king", 0}, {"queen", 0}, {"time", 1}, {"day", 1}, {"house", 2}};
  const std::set<std::string> functions{"the", "of", "and"};
  std::map<std::string, std::pair<Index, double>> expected;
  for (const auto& [phrase, count] : counts) {
    const auto words = words_of(phrase);
    const auto content = [&](std::size_t begin, std::size_t end) {
      return std::none_of(words.begin() + static_cast<std::ptrdiff_t>(begin), words.begin() + static_cast<std::ptrdiff_t>(end),
                          [&](const auto& w) { return functions.contains(w); });
    };
    if (words.size() < 2 || count < 4 || phrase == "long time") continue;
    const std::size_t head = words[0] == "the" ? 1 : 0;
    Index of_concept = -1;
    if (heads.contains(words.back()) && content(0, words.size() - 1)) of_concept = heads.at(words.back());
    if (words.size() > head + 2 && heads.contains(words[head]) && words[head + 1] == "of" && content(words.size() - 1, words.size()) &&
        (words.size() == head + 3 || (words.size() == head + 4 && words[head + 2] == "the")))
      of_concept = heads.at(words[head]);
    const double g2 = best_g2(counts, total, phrase);
    if (of_concept >= 0 && g2 >= 1) expected[phrase] = {of_concept, g2};
  }
  ASSERT_GT(expected.size(), 25U);
  for (const int bits : {0, 3, 8, 22}) {
    auto options = everything();
    options.min_count = 4;
    options.min_g2 = 1;
    options.table_bits = bits;
    const auto mined = mine_phrases(world(), tokens, lists, options);
    EXPECT_EQ(mined.words, static_cast<Index>(total));
    EXPECT_EQ(mined.min_count, 4);
    EXPECT_EQ(mined.phrases.size(), expected.size());
    for (const auto& phrase : mined.phrases) {
      ASSERT_TRUE(expected.contains(phrase.text)) << phrase.text;
      EXPECT_EQ(phrase.of_concept, expected[phrase.text].first) << phrase.text;
      EXPECT_EQ(phrase.count, static_cast<Index>(counts[phrase.text])) << phrase.text;
      EXPECT_NEAR(phrase.g2, expected[phrase.text].second, 1e-9) << phrase.text;
    }
    EXPECT_TRUE(std::is_sorted(mined.phrases.begin(), mined.phrases.end(),
                               [](const auto& a, const auto& b) { return std::tie(a.of_concept, b.g2) < std::tie(b.of_concept, a.g2); }));
  }
}

TEST(Mining, RaisesTheMinimumWithTheCorpusAndKeepsTheMostOfAConcept) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += "old house. good king. ";
  for (int i = 0; i < 9; ++i) text += "long day. ";
  const auto tokens = tokenized("minimum", text, 1024);
  const auto lists = lists_of("minimum", concepts);
  auto options = everything();
  options.most_candidates = 6;
  const auto mined = mine_phrases(world(), tokens, lists, options);
  EXPECT_EQ(mined.candidates, 69);
  EXPECT_EQ(mined.min_count, 12);
  EXPECT_EQ(counts_of(mined).size(), 2U);
  options = everything();
  options.most_per_concept = 1;
  EXPECT_EQ(counts_of(mine_phrases(world(), tokens, lists, options)).size(), 3U);
  options.table_bits = 40;
  test::expect_error(ExitCode::config, "table_bits must be 0 to 32", [&] { mine_phrases(world(), tokens, lists, options); });
}

TEST(Mining, WritesATableThatIsReadAgain) {
  const auto lists = lists_of("written", concepts);
  const std::vector<MinedPhrase> phrases{{"the king of france", 0, 4, 12, 40.5}, {"old house", 2, 2, 7, 11}};
  const auto path = test::empty_folder("written_table") / "mined.tsv";
  if (world().rank() == 0) write_mined(path, lists, phrases);
  world().barrier();
  const auto again = read_concept_lists(world(), path);
  ASSERT_EQ(again.phrases.size(), 2U);
  EXPECT_EQ(again.phrases[0].text, "the king of france");
  EXPECT_EQ(again.concepts[0].name, "Rulers");
  EXPECT_EQ(again.concepts[0].group, "g");
  EXPECT_EQ(again.concepts[1].name, "Places");
  EXPECT_EQ(again.phrases[1].weight, 1);
}

TEST(Mining, FindsPhrasesOfTheDemo) {
  corpus::TokenizeOptions tokenize;
  tokenize.paths = {(test::source() / "data" / "demo" / "corpus" / "analysis.txt").string()};
  tokenize.tokenizer = test::source() / "data" / "demo" / "tokenizer.model";
  tokenize.context = 128;
  tokenize.out = test::empty_folder("mined_demo") / "tokens.h5";
  corpus::tokenize(world(), tokenize);
  const auto lists = read_concept_lists(world(), test::source() / "data" / "demo" / "concepts.tsv");
  const auto mined = mine_phrases(world(), tokenize.out, lists);
  EXPECT_EQ(mined.min_count, 5);
  EXPECT_EQ(mined.words, 766717);
  const auto table = tokenize.out.parent_path() / "mined.tsv";
  if (world().rank() == 0) {
    write_mined(table, lists, mined.phrases);
    EXPECT_EQ(digest_of(read_text(table, "table")), "aa0928b74c743fa8b47d76f29dfd0c7f"); // of the run on one rank
  }
}

} // namespace
} // namespace concord::concepts
