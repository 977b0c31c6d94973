#include "concord/concepts/concept_lists.hpp"
#include "concord/core/text.hpp"

#include "concepts/token_file.hpp"
#include "support/support.hpp"
#include <map>

namespace concord::concepts {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

ConceptLists read_table(const std::string& name, const std::string& text, bool fold_case = true) {
  return read_concept_lists(world(), test::written(name, text), fold_case);
}

std::map<std::string, std::string> concept_of_phrases(const ConceptLists& lists) {
  std::map<std::string, std::string> names;
  for (const auto& phrase : lists.phrases) names[phrase.text] = lists.concepts[static_cast<std::size_t>(phrase.of_concept)].name;
  return names;
}

TEST(ConceptLists, ReadsTablesOfBothShapes) {
  const auto lists = read_table("both", "\xEF\xBB\xBFgroup\tconcept\tphrase\tweight\r\n"
                                        "time\tDays\tmonday\t1\r\n\r\n"
                                        "time\tDays\t  tuesday \t0.5\r\n"
                                        "place\tTowns\tNew   York\r\n"
                                        "time\tDays\tlast  day\t2\r\n");
  ASSERT_EQ(lists.concepts.size(), 2U);
  EXPECT_EQ(lists.concepts[0].name, "Days");
  EXPECT_EQ(lists.concepts[0].group, "time");
  EXPECT_EQ(lists.concepts[1].group, "place");
  ASSERT_EQ(lists.phrases.size(), 4U);
  EXPECT_EQ(lists.phrases[1].text, "tuesday");
  EXPECT_EQ(lists.phrases[1].weight, 0.5);
  EXPECT_EQ(lists.phrases[2].text, "New York");
  EXPECT_EQ(lists.phrases[2].of_concept, 1);
  EXPECT_EQ(lists.phrases[3].text, "last day");
  EXPECT_TRUE(lists.shared.empty());
  EXPECT_TRUE(lists.silent.empty());

  const auto old = read_table("old", "category\tphrase\tn_words\nTime\tday\t1\nTime\tlong ago\t2\n");
  ASSERT_EQ(old.concepts.size(), 1U);
  EXPECT_EQ(old.concepts[0].group, "");
  EXPECT_EQ(old.phrases[1].text, "long ago");
}

TEST(ConceptLists, ReadsFoldersOfLists) {
  const auto folder = empty_folder("lists");
  if (world().rank() == 0) {
    std::filesystem::create_directories(folder / "time");
    std::filesystem::create_directories(folder / "place");
    write_text_atomic(folder / "time" / "Days.txt", "\xEF\xBB\xBFmonday\r\n\r\ntuesday");
    write_text_atomic(folder / "place" / "Towns.txt", "Paris\nNew York\n");
    write_text_atomic(folder / "LICENSE", "not a list");
  }
  world().barrier();
  for (const std::string slash : {"", "/"}) {
    const auto lists = read_concept_lists(world(), folder.string() + slash);
    ASSERT_EQ(lists.concepts.size(), 2U);
    EXPECT_EQ(lists.concepts[0].name, "Towns");
    EXPECT_EQ(lists.concepts[0].group, "place");
    EXPECT_EQ(lists.concepts[1].name, "Days");
    EXPECT_EQ(lists.phrases.size(), 4U);
    EXPECT_EQ(lists.phrases[2].text, "monday");
  }
  if (world().rank() == 0) write_text_atomic(folder / "Other.txt", "word\n");
  world().barrier();
  expect_error(ExitCode::bad_data, "give all a group or none", [&] { read_concept_lists(world(), folder); });
}

TEST(ConceptLists, GivesSharedPhrasesToTheSmallerListOrToNone) {
  const auto lists = read_table("shared", "concept\tphrase\n"
                                          "Calendar\tJanuary\nCalendar\tmonday\nCalendar\tyear\n"
                                          "Months\tjanuary\n"
                                          "Colours\torange\nColours\tred\nFood\torange\nFood\tbread\n"
                                          "Twin\tsame\nOther\tsame\n"
                                          "All\tjanuary\nAll\tmonday\nAll\tyear\nAll\tsame thing\n"
                                          "Capped\tjanuary\nCapped\tlater\n"
                                          "PartA\tx\nPartA\ty\nPartB\tx\nPartB\tz\nWhole\tx\nWhole\ty\nWhole\tz\nWhole\tw\n");
  const std::map<std::string, std::string> expected{{"january", "Months"}, {"monday", "Calendar"}, {"year", "Calendar"}, {"red", "Colours"},
                                                    {"bread", "Food"},     {"same thing", "All"},  {"later", "Capped"},  {"y", "PartA"},
                                                    {"z", "PartB"},        {"w", "Whole"}};
  EXPECT_EQ(concept_of_phrases(lists), expected);
  ASSERT_EQ(lists.shared.size(), 8U);
  EXPECT_EQ(lists.shared[0].text, "January");
  EXPECT_EQ(lists.shared[0].concepts, (std::vector<Index>{0, 1, 6, 7}));
  EXPECT_EQ(lists.shared[0].kept_by, 1);
  EXPECT_EQ(lists.shared[3].text, "orange");
  EXPECT_EQ(lists.shared[3].kept_by, -1);
  EXPECT_EQ(lists.shared[4].kept_by, -1); // lists that are equal are part of each other
  EXPECT_EQ(lists.silent, (std::vector<std::string>{"orange", "same", "x"}));
}

TEST(ConceptLists, KeepsTheDemosMonthsAndWeekdays) {
  const auto lists = read_concept_lists(world(), test::source() / "data" / "demo" / "concepts.tsv");
  EXPECT_EQ(lists.concepts.size(), 30U);
  EXPECT_EQ(lists.shared.size(), 99U); // the number that a count of its own found in the same lists
  std::map<std::string, Index> sizes;
  for (const auto& phrase : lists.phrases) ++sizes[lists.concepts[static_cast<std::size_t>(phrase.of_concept)].name];
  EXPECT_EQ(sizes["MonthNames"], 15);
  EXPECT_EQ(sizes["Weekdays"], 12);
}

TEST(ConceptLists, MergesRepeatsAndLeavesWeightZeroOut) {
  const std::string text =
      "concept\tphrase\tweight\nMonths\tMay\t0\nMonths\tjune\t1\nMonths\tJune\t1\nMonths\tcaf\xC3\xA9\t1\nMonths\tcafe\xCC\x81\t1\n";
  const auto lists = read_table("weights", text);
  EXPECT_EQ(lists.merged, 2);
  EXPECT_EQ(lists.phrases.size(), 2U);
  EXPECT_EQ(lists.silent, std::vector<std::string>{"May"});
  EXPECT_EQ(read_table("cased", text, false).merged, 1);
}

TEST(ConceptLists, SaysWhatIsWrongAndWhere) {
  const auto expect = [](const std::string& text, const std::string& part) {
    expect_error(ExitCode::bad_data, part, [&] { read_table("bad", text); });
  };
  const std::string head = "concept\tphrase\tweight\n";
  expect(head + "Food\tcaf\xE9\t1\n", "bad.tsv, line 2: not UTF-8");
  expect(head + "Food\tcaf\xE9\t1\n", "iconv -f LATIN1 -t UTF-8");
  expect(head + "Food\tbread\t1\nFood\t \t1\n", "line 3: the phrase is empty");
  expect(head + "Food\tbread\t-1\n", "the weight \"-1\" is no finite number");
  expect(head + "Food\tbread\tnan\n", "the weight \"nan\" is no finite number");
  expect(head + "Food\tbread\tinf\n", "the weight \"inf\" is no finite number");
  expect(head + "Food\tbread\t1x\n", "the weight \"1x\" is no finite number");
  expect(head + "Food\tbread\t0\n", "leaves the concept empty");
  expect(head + "Food\tbread\t1\nFood\tbread\t2\n", "line 3: the phrase \"bread\" of Food has the weight 2, and 1 in");
  expect(head + "Food\tbread\t1\textra\n", "line 2: 4 columns, where the first line names 3");
  expect(head + "\tbread\t1\n", "line 2: the concept is empty");
  expect(head + "Food\tbre\xEF\xBF\xBD"
                "ad\t1\n",
         "U+FFFD");
  expect(head + "Food\t" + std::string(300, 'x') + "\t1\n", "300 bytes");
  expect(head, "holds no phrases");
  expect("", "holds no phrases");
  expect("concept\tphrase\twieght\nFood\tbread\t1\n", "no column \"wieght\" (did you mean weight?)");
  expect("concept\tweight\nFood\t1\n", "no column \"phrase\"");
  expect("group\tconcept\tphrase\na\tFood\tbread\nb\tFood\tmeat\n",
         "line 3: the concept Food is of the group \"b\" here and of \"a\" above");
  expect("group\tconcept\tphrase\n\tFood\tbread\n", "the group is empty");
  expect_error(ExitCode::input_missing, "nowhere.tsv", [] { read_concept_lists(world(), "nowhere.tsv"); });
  const auto folder = empty_folder("no_lists");
  expect_error(ExitCode::input_missing, "holds no .txt lists", [&] { read_concept_lists(world(), folder); });
  if (world().rank() == 0) write_text_atomic(folder / "Empty.txt", "\n \n");
  world().barrier();
  expect_error(ExitCode::bad_data, "Empty.txt holds no phrase", [&] { read_concept_lists(world(), folder); });
}

} // namespace
} // namespace concord::concepts
