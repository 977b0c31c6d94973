#include "concord/comm/collectives.hpp"
#include "concord/concepts/mining.hpp"
#include "concord/concepts/occurrences.hpp"
#include "concord/core/philox.hpp"
#include "concord/corpus/text/documents.hpp"
#include "concord/corpus/tokenize.hpp"

#include "concepts/token_file.hpp"
#include <csignal>
#include <fstream>

namespace concord::concepts {
namespace {

namespace fs = std::filesystem;

using test::PieceContext;
using test::token_file;
using test::world;

/// One line for each occurrence of all ranks, on rank 0: as reference_occurrences.py writes them.
std::string lines_of(const std::vector<Occurrence>& mine, const comm::Communicator& comm = world()) {
  std::string text;
  for (const auto& o : comm::gather(comm, mine))
    text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\n", o.first_row, o.end_row, o.document, o.phrase, static_cast<int>(o.kind),
                        o.shares_token ? 1 : 0);
  return text;
}

ConceptLists lists_of(const std::string& name, const std::vector<std::string>& phrases, bool fold_case = true) {
  std::string table = "concept\tphrase\n";
  for (const auto& phrase : phrases) table += "C\t" + phrase + "\n";
  return read_concept_lists(world(), test::written(name, table), fold_case);
}

void expect_lines(const std::vector<Occurrence>& mine, const std::string& expected) {
  const auto lines = lines_of(mine);
  if (world().rank() == 0) {
    EXPECT_EQ(lines, expected);
  }
}

/// What was found in a text, and what tests/concepts/reference_occurrences.py is to be told of it.
struct Case {
  fs::path folder;
  std::string arguments;
  std::string lines;
  Index least = 0;
};

/// Occurrences in a text tokenized by the demo's tokenizer. On several ranks: those that one rank finds, which the run on one rank holds
/// against the reference.
Case found_in(const std::string& name, const fs::path& text, Index context, const fs::path& concepts, bool fold_case,
              corpus::DocumentEnd documents, Index least) {
  const auto folder = test::empty_folder(name);
  corpus::TokenizeOptions options;
  options.paths = {text.string()};
  options.tokenizer = test::source() / "data" / "demo" / "tokenizer.model";
  options.context = context;
  options.documents = documents;
  options.out = folder / "tokens.h5";
  corpus::tokenize(world(), options);
  const auto lists = read_concept_lists(world(), concepts, fold_case);
  const auto lines = lines_of(find_occurrences(world(), options.out, lists));
  if (world().size() > 1) {
    const auto alone = world().split(world().rank() == 0 ? 0 : 1);
    if (world().rank() == 0) {
      EXPECT_EQ(lines, lines_of(find_occurrences(alone, options.out, lists), alone)) << name;
    }
  }
  if (world().rank() == 0) {
    std::ofstream cut(folder / "documents");
    corpus::print_documents(cut, options.paths, documents);
  }
  const auto quoted = [](const fs::path& path) { return quoted_for_shell(path.string()) + " "; };
  return {folder,
          quoted(options.out) + quoted(folder / "documents") + quoted(concepts) + quoted(folder / "reference.tsv") +
              (fold_case ? "--fold-case " : "--keep-case "),
          lines, least};
}

/// Against the reference, which reads the texts themselves: one Python for all, on the only rank.
void expect_reference(const std::vector<Case>& cases) {
  if (world().rank() != 0) return;
  const auto quoted = [](const fs::path& path) { return quoted_for_shell(path.string()) + " "; };
  std::string command =
      quoted(test::source() / ".venv" / "bin" / "python") + quoted(test::source() / "tests" / "concepts" / "reference_occurrences.py");
  for (const auto& one : cases) command += one.arguments;
  if (world().size() == 1) {
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  for (const auto& one : cases) {
    EXPECT_GE(std::count(one.lines.begin(), one.lines.end(), '\n'), one.least);
    if (world().size() > 1) continue;
    write_text_atomic(one.folder / "found.tsv", one.lines);
    EXPECT_EQ(one.lines, read_text(one.folder / "reference.tsv", "reference"))
        << "diff " << one.folder.string() << "/found.tsv reference.tsv";
  }
}

TEST(Occurrences, EqualTheReferenceOnTheDemo) {
  const auto demo = test::source() / "data" / "demo";
  const auto whole = read_text(demo / "corpus" / "analysis.txt", "corpus");
  const auto text = test::written("demo_text", whole.substr(0, whole.find("\n\n", whole.size() / 3)));
  expect_reference({found_in("demo", text, 128, demo / "concepts.tsv", true, corpus::DocumentEnd::blank_line, 10000)});
}

const std::vector<std::string> nasty_phrases{"stra\xC3\x9F"
                                             "e",
                                             "istanbul",
                                             "\xC4\xB0zmir",
                                             "caf\xC3\xA9",
                                             "king",
                                             "king's crown",
                                             "well-known",
                                             "well",
                                             "new york",
                                             "new york city",
                                             "york",
                                             "city hall",
                                             "hall",
                                             "old house",
                                             "house",
                                             "of",
                                             "the old",
                                             "\xF0\x9F\x98\x80",
                                             "\xE4\xB8\x96\xE7\x95\x8C",
                                             "\xD0\xBA\xD0\xBE\xD1\x80\xD0\xBE\xD0\xBB\xD1\x8C",
                                             "end",
                                             "start",
                                             "don't",
                                             "a a",
                                             "a",
                                             "\xE2\x9D\xA4\xEF\xB8\x8F",
                                             "o'clock",
                                             "C++",
                                             "Polish",
                                             "long-lived"};

TEST(Occurrences, EqualTheReferenceOnNastyText) {
  std::string text =
      "start of the old\r\nhouse, STRASSE and Stra\xC3\x9F"
      "e; \xC4\xB0stanbul, ISTANBUL, \xC4\xB0ZMIR and i\xCC\x87zmir\r\n"
      "the king's crown, the KING\xE2\x80\x99S CROWN, kings, kingdom. New York City Hall; New\tYork \xE2\x80\x94York\r\n"
      "un-well-known well\xE2\x80\x91known \xE2\x80\x98king\xE2\x80\x99 \xF0\x9F\x98\x80king \xE2\x9D\xA4\xEF\xB8\x8Fking cafe\xCC\x81 "
      "CAF\xC3\x89 cafe end\r\n"
      "\r\n"
      "king a a a a \xE4\xB8\x96\xE7\x95\x8C, \xD0\x9A\xD0\x9E\xD0\xA0\xD0\x9E\xD0\x9B\xD0\xAC! don\xE2\x80\x99t C++. o\xE2\x80\x99"
      "clock polish end";
  const std::vector<std::string> gaps{" ",
                                      " ",
                                      " ",
                                      " ",
                                      "\n",
                                      "\r\n",
                                      "  ",
                                      "\t",
                                      ", ",
                                      ".\n",
                                      "-",
                                      "'",
                                      "\xE2\x80\x99",
                                      "",
                                      "\n\n",
                                      "\xC2\xA0",
                                      "\xCC\x81",
                                      "\xF0\x9F\x98\x80",
                                      "\xE2\x80\x94",
                                      "\xC2\xAD",
                                      "s ",
                                      "\xEF\xB8\x8F",
                                      "_"};
  const Philox random(7, "nasty");
  std::uint64_t draw = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string word = nasty_phrases[random.below(draw++, nasty_phrases.size())];
    if (random.below(draw++, 4) == 0)
      for (auto& c : word) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    text += word + gaps[random.below(draw++, gaps.size())];
  }
  const auto path = test::written("nasty_text", text);
  std::string table = "concept\tphrase\tweight\n";
  for (const auto& phrase : nasty_phrases)
    table += (phrase.size() % 2 == 0 ? "Even\t" : "Odd\t") + phrase + (phrase == "the old" ? "\t0\n" : "\t1\n");
  const auto concepts = test::written("nasty_concepts", table + "Third\tking\t1\nThird\trare\t1\nThird\thall\t1\n");
  std::vector<Case> cases;
  for (const Index context : {2, 3, 7, 16, 128, 100000})
    for (const bool fold_case : {true, false})
      for (const auto documents : {corpus::DocumentEnd::blank_line, corpus::DocumentEnd::file})
        cases.push_back(found_in(fmt::format("nasty{}{}{}", context, fold_case, settings::word_of(documents)), path, context, concepts,
                                 fold_case, documents, context < 16 ? 200 : 1000));
  expect_reference(cases);
}

TEST(Occurrences, SpansHoldTheWordsOfSeveralTokensAndTheirSpace) {
  const auto tokens = token_file("spans", {{0,
                                            {"<bos>", "\xE2\x96\x81the", "\xE2\x96\x81", "ki", "ng", "\xE2\x96\x81of", "\xE2\x96\x81New",
                                             "<0x0A>", "York", ".", "\xE2\x96\x81king"}},
                                           {0,
                                            {"<bos>", "s", "\xE2\x96\x81(king", ")",
                                             "\xE2\x96\x81"
                                             "caf",
                                             "<0xC3>", "<0xA9>", "\xE2\x96\x81old", "\xE2\x96\x81"}},
                                           {0, {"house", "\xE2\x96\x81York.king"}},
                                           {1, {"<bos>", "king", "<unk>", "\xE2\x96\x81king"}},
                                           {1, {"<unk>", "king", "\xE2\x96\x81king"}},
                                           {2, {"king"}}});
  const auto lists = lists_of("spans", {"king", "new york", "caf\xC3\xA9", "old house", "york", "of"});
  const auto found = find_occurrences(world(), tokens, lists);
  expect_lines(found, "2\t5\t0\t0\t1\t0\n" // the lone space is the word's
                      "5\t6\t0\t5\t0\t0\n"
                      "6\t9\t0\t1\t2\t0\n"   // across a line break; the king at the context's end is "kings"
                      "13\t14\t0\t0\t0\t1\n" // "(king"
                      "15\t18\t0\t2\t1\t0\n" // bytes of one character in two tokens; old house is cut
                      "21\t22\t0\t4\t0\t1\n"
                      "21\t22\t0\t0\t0\t1\n"   // two in one token
                      "28\t29\t1\t0\t0\t0\n"   // "king<unk>": what follows may be a letter, and so it may across contexts
                      "29\t30\t2\t0\t0\t0\n"); // another document begins
  const auto counts = count_occurrences(world(), lists, found);
  EXPECT_EQ(counts.total, 9);
  EXPECT_EQ(counts.sharing_tokens, 3);
  EXPECT_EQ(counts.longest, 3);
  EXPECT_EQ(counts.of_phrase[0], (std::array<Index, 3>{4, 1, 0}));
  EXPECT_EQ(counts.of_concept[0], (std::array<Index, 3>{6, 2, 1}));
  EXPECT_EQ(never_occurring(counts), std::vector<Index>{3});
}

TEST(Occurrences, AreNotLookedForToTheEndWhereAStopIsWanted) {
  const auto tokens = token_file("stopped", {{0, {"<bos>", "\xE2\x96\x81king"}}, {0, {"<bos>", "\xE2\x96\x81king"}}});
  const auto lists = lists_of("stopped", {"king"});
  comm::install_stop_flag(0);
  const comm::StopWithin now(0);
  EXPECT_EQ(count_occurrences(world(), lists, find_occurrences(world(), tokens, lists, now)).total, 2);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  EXPECT_EQ(count_occurrences(world(), lists, find_occurrences(world(), tokens, lists)).total, 2); // it has just begun
  test::expect_error(ExitCode::stopped, "subspaces stopped early", [&] { find_occurrences(world(), tokens, lists, now); });
  test::expect_error(ExitCode::stopped, "subspaces stopped early", [&] { mine_phrases(world(), tokens, lists, {}, now); });
  comm::install_stop_flag(0);
}

TEST(Occurrences, EachContextIsADocumentWhereNoneIsKnown) {
  const auto tokens = token_file("alone", {{0, {"<bos>", "king"}}, {0, {"<bos>", "s"}}}, false);
  const auto found = find_occurrences(world(), tokens, lists_of("alone", {"king", "s"}));
  expect_lines(found, "1\t2\t0\t0\t0\t0\n3\t4\t1\t1\t0\t0\n");
}

TEST(Occurrences, SilentPhrasesKeepShorterOnesOut) {
  const auto tokens = token_file("silent", {{0, {"\xE2\x96\x81New", "\xE2\x96\x81York", "\xE2\x96\x81York"}}});
  const auto lists = read_concept_lists(world(), test::written("silent", "concept\tphrase\tweight\nC\tYork\t1\nC\tNew York\t0\n"));
  expect_lines(find_occurrences(world(), tokens, lists), "2\t3\t0\t0\t0\t0\n");
}

TEST(Occurrences, SayWhichCommandMakesAFileWithPieces) {
  const auto folder = test::empty_folder("no_pieces");
  const auto path = folder / "tokens.h5";
  if (world().rank() == 0) {
    test::Tokens tokens;
    tokens.ids = {1, 2};
    tokens.context_offsets = {0, 2};
    auto file = io::File::create(path);
    file.write("/tokens", tokens.ids);
    file.write("/context_offsets", tokens.context_offsets);
    file.write_attribute("token_hash", test::token_hash(tokens));
    file.write_attribute("bos_id", "1");
  }
  world().barrier();
  const auto lists = lists_of("no_pieces", {"king"});
  test::expect_error(ExitCode::bad_data, "make it with `concord tokenize", [&] { find_occurrences(world(), path, lists); });
  test::expect_error(ExitCode::input_missing, "nowhere.h5", [&] { find_occurrences(world(), "nowhere.h5", lists); });
}

} // namespace
} // namespace concord::concepts
