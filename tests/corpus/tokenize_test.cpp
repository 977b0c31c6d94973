#include "concord/core/text.hpp"
#include "concord/corpus/tokenize.hpp"

#include <nlohmann/json.hpp>

#include "support/support.hpp"
#include <cstdlib>
#include <fstream>

namespace concord::corpus {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

const std::string source = std::getenv("CONCORD_SOURCE") != nullptr ? std::getenv("CONCORD_SOURCE") : ".";

TokenizeOptions options_for(const std::string& name, const std::string& text) {
  const auto folder = empty_folder(name);
  if (world().rank() == 0) write_text_atomic(folder / "text.txt", text);
  world().barrier();
  TokenizeOptions o;
  o.paths = {folder.string()};
  o.tokenizer = source + "/data/demo/tokenizer.model";
  o.context = 8;
  o.out = folder / "tokens.h5";
  return o;
}

TEST(Tokenize, EqualsSentencePieceAndOpensEveryContextWithBos) {
  const auto golden = nlohmann::json::parse(read_text(source + "/tests/golden/tokens.json", "golden"));
  std::string text;
  for (const auto& document : golden["documents"]) text += document.get<std::string>() + "\n\n";
  const auto o = options_for("golden", text);
  tokenize(world(), o);
  const Tokens tokens = read_tokens(o.out);
  std::vector<std::vector<std::int32_t>> documents(golden["documents"].size());
  for (Index c = 0; c < tokens.contexts(); ++c) {
    const Index begin = tokens.context_offsets[static_cast<std::size_t>(c)];
    const Index end = tokens.context_offsets[static_cast<std::size_t>(c) + 1];
    EXPECT_EQ(tokens.ids[static_cast<std::size_t>(begin)], 2);
    EXPECT_LE(end - begin, 8);
    auto& document = documents[static_cast<std::size_t>(tokens.context_document[static_cast<std::size_t>(c)])];
    document.insert(document.end(), tokens.ids.begin() + begin + 1, tokens.ids.begin() + end);
  }
  for (std::size_t d = 0; d < documents.size(); ++d) {
    auto expected = golden["ids"][d].get<std::vector<std::int32_t>>();
    auto got = documents[d];
    // The last line end belongs to the document when a blank line follows.
    if (got.size() > expected.size()) got.resize(expected.size());
    EXPECT_EQ(got, expected) << "document " << d;
  }
}

TEST(Tokenize, ByteRangesCoverTheDocument) {
  const std::string document = "Once upon a time there was a dwarf.";
  const auto o = options_for("bytes", document);
  tokenize(world(), o);
  const Tokens tokens = read_tokens(o.out);
  std::string joined;
  for (std::size_t r = 0; r < tokens.ids.size(); ++r)
    joined += document.substr(static_cast<std::size_t>(tokens.byte_begin[r]),
                              static_cast<std::size_t>(tokens.byte_end[r] - tokens.byte_begin[r]));
  EXPECT_EQ(joined, document);
  EXPECT_EQ(tokens.context_of(0), 0);
  EXPECT_EQ(tokens.row_kinds()[0], 1);
  EXPECT_EQ(tokens.row_kinds()[1], 0);
}

TEST(Tokenize, GivesTheSameTokensAtAnyRanksAndStopsAtMaxTokens) {
  std::string text;
  for (int d = 0; d < 7; ++d) text += "Document number " + std::to_string(d) + " is about kings and queens.\n\n";
  auto o = options_for("ranks", text);
  o.max_tokens = 60;
  tokenize(world(), o);
  const Tokens tokens = read_tokens(o.out);
  EXPECT_LE(tokens.count(), 60);
  EXPECT_GT(tokens.count(), 60 - 8);
  EXPECT_EQ(tokens.hash, "5f42fd5f15dbaea47454a20c91cde724"); // of the run on one rank
}

TEST(Tokenize, RefusesBadInput) {
  auto o = options_for("bad", "caf\xe9 is Latin-1");
  expect_error(ExitCode::bad_data, "not valid UTF-8", [&] { tokenize(world(), o); });
  o = options_for("empty", " \n\n \n");
  expect_error(ExitCode::bad_data, "holds no text", [&] { tokenize(world(), o); });
  o = options_for("missing", "text");
  o.tokenizer = "none.model";
  expect_error(ExitCode::input_missing, "none.model", [&] { tokenize(world(), o); });
  o.tokenizer = source + "/README.md";
  expect_error(ExitCode::bad_data, "no SentencePiece model", [&] { tokenize(world(), o); });
  o.tokenizer = source + "/data/demo/tokenizer.model";
  o.context = 1;
  expect_error(ExitCode::config, "at least 2", [&] { tokenize(world(), o); });
  o.context = 8;
  o.paths = {"nowhere/*.txt"};
  expect_error(ExitCode::input_missing, "nowhere", [&] { tokenize(world(), o); });
}

TEST(Tokens, TextOfATokenIsWhatPeopleRead) {
  Tokens tokens;
  tokens.pieces = {"\xE2\x96\x81king", "<0x0A>", "s", "<0x0", "\xE2\x96\x81\xE2\x96\x81"};
  EXPECT_EQ(tokens.text_of(0), " king");
  EXPECT_EQ(tokens.text_of(1), "\n");
  EXPECT_EQ(tokens.text_of(2), "s");
  EXPECT_EQ(tokens.text_of(3), "<0x0");
  EXPECT_EQ(tokens.text_of(4), "  ");
  EXPECT_EQ(tokens.text_of(9), "#9");
}

} // namespace
} // namespace concord::corpus
