#include "concepts/folded_text.hpp"
#include "concepts/token_file.hpp"
#include <cstdlib>
#include <sstream>

namespace concord::concepts {
namespace {

std::string encoded(unsigned code) {
  if (code < 0x80) return {static_cast<char>(code)};
  const auto tail = [&](unsigned shift) { return static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
  if (code < 0x800) return {static_cast<char>(0xC0 | (code >> 6)), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xE0 | (code >> 12)), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | (code >> 18)), tail(12), tail(6), tail(0)};
}

/// Every character that Python's unicodedata knows, against normalize("NFD", casefold(normalize("NFD", c))) and its category.
TEST(FoldedText, FoldsEveryCharacterAsPythonDoes) {
  if (test::world().rank() != 0) return;
  const auto folder = std::filesystem::path("scratch");
  std::filesystem::create_directories(folder);
  const std::string script = R"(import sys, unicodedata as u
skip = {0xAD, 0x2018, 0x2019, 0x2BC, 0x2010, 0x2011, 0xFFFD, 0xFEFF}
with open(sys.argv[1], "w", encoding="utf-8") as f:
    for c in range(0x21, 0x110000):
        category = u.category(chr(c))
        if category in ("Cn", "Cs", "Co", "Cc", "Zs", "Zl", "Zp") or c in skip: continue
        word = category[0] in "LN" or category[0] == "M" or category == "Cf" and c != 0x200B
        upper = category in ("Lu", "Lt")
        f.write(f"{c} {int(word)} {int(upper)} {u.normalize('NFD', u.normalize('NFD', chr(c)).casefold())} {u.normalize('NFD', chr(c))}\n"))";
  write_text_atomic(folder / "fold.py", script + "\n");
  const std::string command =
      quoted_for_shell((test::source() / ".venv" / "bin" / "python").string()) + " scratch/fold.py scratch/fold.txt";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::istringstream in(read_text(folder / "fold.txt", "characters"));
  Index checked = 0;
  std::vector<std::string> wrong;
  FoldedText folded;
  for (std::string line; std::getline(in, line); ++checked) {
    std::istringstream fields(line);
    unsigned code = 0;
    bool word = false, upper = false;
    std::string with_case_folded, decomposed;
    fields >> code >> word >> upper >> with_case_folded >> decomposed;
    const std::string text = encoded(code);
    fold("a" + text, true, folded);
    const bool right = folded.bytes == "a" + with_case_folded && folded.is(1, word_character) == word && folded.is(1, upper_case) == upper;
    fold("a" + text, false, folded);
    if (!right || folded.bytes != "a" + decomposed) wrong.push_back(fmt::format("U+{:04X}", code));
    EXPECT_EQ(end_of_character(text + "a", 0), text.size());
  }
  EXPECT_GT(checked, 130000);
  EXPECT_TRUE(wrong.empty()) << wrong.size() << ": " << join(wrong, " ");
}

TEST(FoldedText, RemembersWhereCharactersComeFrom) {
  FoldedText folded;
  const std::string text = "A\xC3\x9F \t\nB\xC2\xAD"
                           "c";
  fold(text, true, folded);
  EXPECT_EQ(folded.bytes, "ass bc");
  EXPECT_EQ(folded.origin, (std::vector<std::uint32_t>{0, 1, 1, 3, 6, 9}));
  EXPECT_TRUE(folded.is(1, starts_character));
  EXPECT_FALSE(folded.is(2, starts_character));
  EXPECT_TRUE(folded.is(3, line_break));
  EXPECT_TRUE(folded.is(4, upper_case));
  EXPECT_EQ(folded.from(3), 3U);
  EXPECT_EQ(folded.from(7), 5U);
  EXPECT_EQ(composed("cafe\xCC\x81"), "caf\xC3\xA9");
}

} // namespace
} // namespace concord::concepts
