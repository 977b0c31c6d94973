#include "concord/concepts/phrase_trie.hpp"
#include "concord/core/philox.hpp"

#include "concepts/folded_text.hpp"
#include "support/support.hpp"

namespace concord::concepts {
namespace {

/// The texts that were found, split by "|".
std::string found(const std::vector<std::string>& phrases, const std::string& text, bool fold_case = true) {
  std::string all;
  for (const auto& match : PhraseTrie(phrases, fold_case).find(text))
    all += (all.empty() ? "" : "|") + text.substr(static_cast<std::size_t>(match.begin), static_cast<std::size_t>(match.end - match.begin));
  return all;
}

TEST(PhraseTrie, TakesTheLeftmostAndLongest) {
  const std::vector<std::string> phrases{"new york", "york", "new york city", "city hall", "new"};
  EXPECT_EQ(found(phrases, "new york city hall"), "new york city");
  EXPECT_EQ(found(phrases, "new york cityhall"), "new york");
  EXPECT_EQ(found(phrases, "a new yorker in york, new york city"), "new|york|new york city");
  EXPECT_EQ(found({"a b", "b c", "c"}, "a b c"), "a b|c");
  const auto matches = PhraseTrie(phrases, true).find("in new york city");
  ASSERT_EQ(matches.size(), 1U);
  EXPECT_EQ(matches[0], (Match{3, 16, 2}));
}

TEST(PhraseTrie, KnowsWordBoundaries) {
  const std::vector<std::string> phrases{"king", "well", "don", "homme", "c++", "'tis"};
  EXPECT_EQ(found(phrases, "king"), "king");
  EXPECT_EQ(found(phrases, "the king's, the king\xE2\x80\x99s and (king)"), "king|king|king");
  EXPECT_EQ(found(phrases, "kings kingdom asking 1king king2"), "");
  EXPECT_EQ(found(phrases, "_king_ well-known un-well"), "king|well|well");
  EXPECT_EQ(found(phrases, "don't L\xE2\x80\x99homme"), "don|homme");
  EXPECT_EQ(found(phrases, "C++, c++x xC++"), "C++");
  EXPECT_EQ(found(phrases, "\xE2\x80\x99tis it'tis"), "\xE2\x80\x99tis");
  EXPECT_EQ(found(phrases, "\xE2\x80\x98tis \xCA\xBCtis"), "\xE2\x80\x98tis|\xCA\xBCtis");
  EXPECT_EQ(found(phrases, "king\xCC\x81 \xC3\xA9king king\xE2\x80\x8D"), ""); // a mark, a letter, a joiner
  EXPECT_EQ(found(phrases, "\xD0\xB6king king\xE4\xB8\x96"), "");              // letters of other scripts
  EXPECT_EQ(found(phrases, "\xF0\x9F\x98\x80king\xF0\x9F\x98\x80"), "king");   // emoji
  EXPECT_EQ(found(phrases, "\xE2\x9D\xA4\xEF\xB8\x8Fking"), "king");           // a mark belongs to the heart before it
  EXPECT_EQ(found(phrases, "king\xC2\xB2"), "");                               // a superscript digit
}

TEST(PhraseTrie, FoldsCaseAndComposition) {
  const std::string sharp = "stra\xC3\x9F"
                            "e",
                    capital = "STRA\xE1\xBA\x9E"
                              "E";
  EXPECT_EQ(found({sharp}, "STRASSE Strasse " + sharp + " " + capital + " strase"), "STRASSE|Strasse|" + sharp + "|" + capital);
  EXPECT_EQ(found({"STRASSE"}, sharp), sharp);
  EXPECT_EQ(found({sharp}, "STRASSE " + sharp, false), sharp);
  EXPECT_EQ(found({"s"}, "\xC3\x9F"), "");
  EXPECT_EQ(found({"stras"}, "stra\xC3\x9F"), ""); // half a character is no match
  EXPECT_EQ(found({"caf\xC3\xA9"}, "cafe\xCC\x81 CAF\xC3\x89 cafe"), "cafe\xCC\x81|CAF\xC3\x89");
  EXPECT_EQ(found({"cafe\xCC\x81"}, "caf\xC3\xA9", false), "caf\xC3\xA9");
  EXPECT_EQ(found({"cafe"}, "caf\xC3\xA9 cafe\xCC\x81"), "");
  EXPECT_EQ(found({"istanbul", "i"}, "\xC4\xB0stanbul ISTANBUL \xC4\xB0 \xC4\xB1"), "ISTANBUL");
  EXPECT_EQ(found({"\xC4\xB0stanbul"}, "\xC4\xB0STANBUL i\xCC\x87stanbul istanbul"), "\xC4\xB0STANBUL|i\xCC\x87stanbul");
  EXPECT_EQ(found({"\xCF\x83\xCE\xBF\xCF\x86\xCF\x8C\xCF\x82"}, "\xCE\xA3\xCE\x9F\xCE\xA6\xCE\x8C\xCE\xA3"),
            "\xCE\xA3\xCE\x9F\xCE\xA6\xCE\x8C\xCE\xA3"); // final sigma
  EXPECT_EQ(found({"King"}, "king King KING", false), "King");
}

TEST(PhraseTrie, TakesRunsOfWhiteSpaceForOneSpace) {
  const std::vector<std::string> phrases{"old house"};
  for (const std::string gap : {" ", "  ", "\t", "\n", "\r\n", "\r", " \n ", "\xC2\xA0", "\xE2\x80\xA8"})
    EXPECT_EQ(found(phrases, "old" + gap + "house"), "old" + gap + "house");
  for (const std::string gap : {"", "\n\n", "\r\n\r\n", "\n \n", "\r\r", "\xE2\x80\xA9", ", ", "-", "\xE2\x80\x8B"})
    EXPECT_EQ(found(phrases, "old" + gap + "house"), "") << gap;
  EXPECT_EQ(found({" old   house "}, "old house"), "old house");
  EXPECT_EQ(found(phrases, "old ho\xC2\xADuse o\xC2\xADld house"), "old ho\xC2\xADuse|o\xC2\xADld house");
  EXPECT_EQ(found({"well-known"}, "well\xE2\x80\x91known well\xE2\x80\x90known"), "well\xE2\x80\x91known|well\xE2\x80\x90known");
}

TEST(PhraseTrie, FindsNothingBesideWhatIsNotKnown) {
  EXPECT_EQ(found({"king"}, "king\xFF \xE2\x80king king\xEF\xBF\xBD \xEF\xBF\xBDking king"), "king");
  test::expect_error(ExitCode::bad_data, "no text can hold", [] { PhraseTrie({"a\xEF\xBF\xBD"}, true); });
  test::expect_error(ExitCode::bad_data, "white space alone", [] { PhraseTrie({" "}, true); });
}

TEST(PhraseTrie, LooksAroundThePart) {
  const PhraseTrie trie({"king", "the king", "old house"}, true);
  const std::string text = "the king of the kingdom";
  EXPECT_EQ(trie.find(text, 4, 8), (std::vector<Match>{{4, 8, 0}}));
  EXPECT_EQ(trie.find(text, 0, 8), (std::vector<Match>{{0, 8, 1}}));
  EXPECT_EQ(trie.find(text, 0, 7), std::vector<Match>{});
  EXPECT_EQ(trie.find(text, 16, 20), std::vector<Match>{}); // "king" of "kingdom"
  EXPECT_EQ(trie.find(text, 5, 23), std::vector<Match>{});
  const PhraseTrie accent({"caf\xC3\xA9"}, true);
  EXPECT_EQ(accent.find("caf\xC3\xA9", 0, 4), std::vector<Match>{}); // half a character
}

TEST(PhraseTrie, EqualsTheSearchForEveryPhraseAtEveryPlace) {
  const std::vector<std::string> words{"a", "b", "ab", "ba", "A", "aab"};
  const std::vector<std::string> gaps{" ", "  ", "-", "", ", ", "\n\n"};
  for (std::uint64_t trial = 0; trial < 300; ++trial) {
    const Philox random(trial, "phrases");
    std::uint64_t draw = 0;
    const auto pick = [&](const std::vector<std::string>& of) { return of[random.below(draw++, of.size())]; };
    std::vector<std::string> phrases;
    for (int p = 0; p < 6; ++p) {
      std::string phrase = pick(words);
      for (auto more = random.below(draw++, 3); more > 0; --more) phrase += " " + pick(words);
      phrases.push_back(phrase);
    }
    std::string text;
    for (int w = 0; w < 40; ++w) text += pick(words) + pick(gaps);
    std::vector<std::string> keys;
    for (const auto& phrase : phrases) keys.push_back(folded_phrase(phrase, true));
    FoldedText folded;
    fold(text, true, folded);
    std::vector<Match> expected;
    for (std::size_t at = 0; at < folded.bytes.size();) {
      std::size_t length = 0, which = 0;
      for (std::size_t p = 0; p < keys.size(); ++p)
        if (keys[p].size() > length && folded.bytes.compare(at, keys[p].size(), keys[p]) == 0 && folded.may_begin(at) &&
            folded.may_end(at + keys[p].size())) {
          length = keys[p].size();
          which = p;
        }
      if (length > 0)
        expected.push_back({folded.origin[at], static_cast<Index>(folded.origin[at + length - 1]) + 1, static_cast<Index>(which)});
      at += std::max<std::size_t>(1, length);
    }
    EXPECT_EQ(PhraseTrie(phrases, true).find(text), expected) << text;
  }
}

} // namespace
} // namespace concord::concepts
