#include "concord/comm/stop.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/documents.hpp"
#include "concord/corpus/text/text_files.hpp"
#include "concord/corpus/text/token_texts.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/corpus/tokenize.hpp"

#include <nlohmann/json.hpp>

#include "support/support.hpp"
#include "support/whole_tokens.hpp"
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>

namespace concord::corpus {
namespace {

using test::empty_folder;
using test::expect_error;
using test::read_tokens;
using test::Tokens;
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
  EXPECT_EQ(TokenReader(o.out).kinds_of_rows(0, 2), (std::vector<std::uint8_t>{1, 0}));
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
  expect_error(ExitCode::config, "corpus.context = 1 must be a whole number from 2", [&] { tokenize(world(), o); });
  o.context = 8;
  o.paths = {"nowhere/*.txt"};
  expect_error(ExitCode::input_missing, "nowhere", [&] { tokenize(world(), o); });
}

/// The documents of a text as the rule says it, over the whole text at once.
std::vector<std::string> documents_of(const std::string& text) {
  std::vector<std::string> documents{""};
  for (std::size_t line = 0; line < text.size();) {
    const std::size_t end = std::min(text.find('\n', line), text.size() - 1) + 1;
    const std::string here = text.substr(line, end - line);
    if (here.find_first_not_of(" \t\r\n") == std::string::npos)
      documents.emplace_back();
    else
      documents.back() += here;
    line = end;
  }
  std::erase(documents, "");
  return documents;
}

TEST(Documents, ArePiecesOfTheTextHoweverItIsCut) {
  const auto folder = empty_folder("cuts");
  std::uint64_t state = 7;
  const auto random = [&](std::uint64_t n) {
    return (state = state * 6364136223846793005ULL + 1442695040888963407ULL) / 8589934592ULL % n;
  };
  for (int trial = 0; trial < 120; ++trial) {
    std::string text;
    for (std::uint64_t i = random(60); i > 0; --i) text += std::array{"a", "\n", "\r\n", " ", "\n\n", "\xC3\xA9", "\t"}[random(7)];
    const auto path = folder / (std::to_string(world().rank()) + ".txt");
    const std::string mark = trial % 3 == 0 ? "\xEF\xBB\xBF" : "";
    write_text_atomic(path, mark + text);
    const DocumentReader reader({{path, static_cast<Index>((mark + text).size())}}, DocumentEnd::blank_line);
    for (const Index piece : {1, 2, 3, 5, 17, 1000}) {
      std::vector<std::string> got;
      std::string part_text;
      Index begin = 0;
      for (Index at = 0; at < reader.length(); at += piece)
        for (const auto& part : reader.parts(at, std::min(at + piece, reader.length())))
          for (const auto& document : reader.read(part, part_text, begin))
            got.push_back(part_text.substr(static_cast<std::size_t>(document.begin - begin),
                                           static_cast<std::size_t>(document.end - document.begin)));
      EXPECT_EQ(got, documents_of(text)) << "piece " << piece << " trial " << trial;
    }
  }
}

TEST(Documents, Utf8IsWellFormed) {
  for (const char* good : {"", "a", "\xC3\xA9", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad :
       {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\xAF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\xAF",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE2\x82", "\xC3\x28"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

TEST(TextFiles, AreReadOnceInTheOrderOfTheirPaths) {
  const auto folder = empty_folder("files");
  if (world().rank() == 0) {
    for (const char* name : {"run[1]", "run1", "sub", "else"}) std::filesystem::create_directory(folder / name);
    for (const char* name : {"run[1]/c.txt", "run1/c.txt", "sub/b.txt", "else/d.txt", "a.txt", "a.md"})
      write_text_atomic(folder / name, name);
    std::filesystem::create_directory_symlink(std::filesystem::absolute(folder / "else"), folder / "sub" / "link");
    std::filesystem::create_symlink(std::filesystem::absolute(folder / "a.txt"), folder / "z.txt");
  }
  world().barrier();
  const auto names = [&](const std::vector<std::string>& paths) {
    std::vector<std::string> found;
    for (const auto& path : paths) found.push_back((folder / path).string());
    const auto files = find_text_files(found);
    found.clear();
    for (const auto& file : files.files) found.push_back(file.path.lexically_relative(folder).string());
    return found;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({"run[1]/c.txt"}), Names{"run[1]/c.txt"});
  EXPECT_EQ(names({"run[1]"}), Names{"run[1]/c.txt"});
  EXPECT_EQ(names({"run[1]/*.txt"}), Names{"run1/c.txt"}); // no such path: a pattern
  EXPECT_EQ(names({"z.txt", "a.txt", "?.txt", "sub", "sub/../a.txt"}), (Names{"a.txt", "sub/b.txt"}));
  const auto found = find_text_files({(folder / "sub").string()});
  ASSERT_EQ(found.skipped.size(), 1);
  EXPECT_EQ(found.skipped[0], folder / "sub" / "link");
  EXPECT_EQ(find_text_files({(folder / "a.txt").string(), (folder / "a.txt").string()}).repeated, 1);
  expect_error(ExitCode::input_missing, "matches the folder", [&] { find_text_files({(folder / "su*").string()}); });
  EXPECT_EQ(find_text_files({pattern_below(folder / "run[1]", "*.txt")}).files.at(0).path, folder / "run[1]/c.txt");
  EXPECT_EQ(find_text_files({pattern_below(folder / "run[1]", "c.txt")}).files.at(0).path, folder / "run[1]/c.txt");
}

/// Some documents of different lengths, in two files.
TokenizeOptions two_files(const std::string& name) {
  std::string text;
  for (int d = 0; d < 40; ++d) {
    for (int i = 0; i <= d % 7; ++i) text += "Line " + std::to_string(d * i) + " tells of a king and his queen.\n";
    text += d % 3 == 0 ? "\n \t\r\n" : "\n";
  }
  auto o = options_for(name, text);
  if (world().rank() == 0) write_text_atomic(o.out.parent_path() / "second.txt", text.substr(100));
  world().barrier();
  return o;
}

TEST(Tokenize, PiecesOfAnySizeGiveTheSameFile) {
  auto o = two_files("pieces");
  tokenize(world(), o);
  const Tokens whole = read_tokens(o.out);
  EXPECT_EQ(whole.hash, "6655b810127407bf7d1480c2af2a38e6"); // of one rank that held all text
  for (const Index piece : {200, 333, 5000}) {
    o.piece_bytes = piece;
    o.out = o.out.parent_path() / std::to_string(piece);
    tokenize(world(), o);
    const Tokens tokens = read_tokens(o.out);
    EXPECT_EQ(tokens.ids, whole.ids);
    EXPECT_EQ(tokens.context_offsets, whole.context_offsets);
    EXPECT_EQ(tokens.context_document, whole.context_document);
    EXPECT_EQ(tokens.byte_begin, whole.byte_begin);
    EXPECT_EQ(tokens.byte_end, whole.byte_end);
    EXPECT_EQ(tokens.pieces, whole.pieces);
    EXPECT_FALSE(std::filesystem::exists(o.out.string() + ".pieces"));
  }
  for (const Index limit : {1, 9, 100, 333}) {
    o.max_tokens = limit;
    o.force = true;
    if (limit == 1) {
      expect_error(ExitCode::config, "less than the first context", [&] { tokenize(world(), o); });
      continue;
    }
    tokenize(world(), o);
    const Tokens tokens = read_tokens(o.out);
    const auto next = std::upper_bound(whole.context_offsets.begin(), whole.context_offsets.end(), limit);
    EXPECT_EQ(tokens.context_offsets, std::vector<Index>(whole.context_offsets.begin(), next)) << limit;
    EXPECT_EQ(tokens.ids, std::vector<std::int32_t>(whole.ids.begin(), whole.ids.begin() + tokens.count()));
  }
}

TEST(Tokenize, StopsOnRequestAndGoesOnToTheSameFile) {
  auto o = two_files("stop");
  tokenize(world(), o);
  const Tokens whole = read_tokens(o.out);
  o.out = o.out.parent_path() / "stopped.h5";
  o.piece_bytes = 200;
  comm::install_stop_flag(0);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  expect_error(ExitCode::stopped, "tokenize stopped early", [&] { tokenize(world(), o); });
  EXPECT_FALSE(std::filesystem::exists(o.out));
  comm::install_stop_flag(0);
  tokenize(world(), o);
  EXPECT_EQ(read_tokens(o.out).hash, whole.hash);
  EXPECT_EQ(read_tokens(o.out).byte_end, whole.byte_end);
}

/// A tokenizer.json beside the demo's tokenizer, all of whose tokens are three characters long, or what is left of a document.
void put_threes_beside(TokenizeOptions& o) {
  const auto folder = o.out.parent_path();
  if (world().rank() == 0) {
    std::filesystem::create_directories(folder / "threes");
    write_text_atomic(folder / "threes/tokenizer_config.json", R"({"bos_token": "<s>"})");
    write_text_atomic(
        folder / "threes/tokenizer.json",
        R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,)"
        R"( "decoder": null, "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "<s>": 1}, "unk_token": "<unk>"},)"
        R"( "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]{1,3}"}, "behavior": "Isolated", "invert": false}})");
  }
  world().barrier();
  o.beside = {{folder / "threes/tokenizer.json", folder / "threes.h5"}};
  o.context = 12;
}

struct OfBoth {
  Tokens a, b;
  std::vector<std::uint8_t> kinds_a, kinds_b;
};

OfBoth read_both(const TokenizeOptions& o) {
  const auto kinds = [](const std::filesystem::path& path) { return io::File::open(path).read<std::uint8_t>("/row_kind"); };
  const auto& b = o.beside.front().out;
  EXPECT_EQ(TokenReader(o.out).row_hash(), TokenReader(b).row_hash());
  return {read_tokens(o.out), read_tokens(b), kinds(o.out), kinds(b)};
}

TEST(Tokenize, SeveralTokenizersGiveTheSameFilesInPiecesOfAnySize) {
  auto o = two_files("several");
  put_threes_beside(o);
  tokenize(world(), o);
  const OfBoth whole = read_both(o);
  ASSERT_GT(whole.a.contexts(), 10);
  EXPECT_EQ(whole.a.context_document, whole.b.context_document);
  EXPECT_EQ(std::count(whole.kinds_a.begin(), whole.kinds_a.end(), 0), std::count(whole.kinds_b.begin(), whole.kinds_b.end(), 0));
  EXPECT_GT(std::count(whole.kinds_a.begin(), whole.kinds_a.end(), 2), 0);
  EXPECT_GT(std::count(whole.kinds_b.begin(), whole.kinds_b.end(), 2), 0);
  for (const Index piece : {200, 333}) {
    for (const Index limit : {0, 100, 333}) {
      o.piece_bytes = piece;
      o.max_tokens = limit;
      o.force = true;
      tokenize(world(), o);
      const OfBoth cut = read_both(o);
      const auto contexts = static_cast<std::size_t>(cut.a.contexts());
      ASSERT_EQ(cut.b.contexts(), cut.a.contexts());
      for (const auto& [part, all, kinds, all_kinds] :
           {std::tie(cut.a, whole.a, cut.kinds_a, whole.kinds_a), std::tie(cut.b, whole.b, cut.kinds_b, whole.kinds_b)}) {
        EXPECT_EQ(part.context_offsets,
                  std::vector<Index>(all.context_offsets.begin(), all.context_offsets.begin() + static_cast<Index>(contexts) + 1));
        EXPECT_EQ(part.ids, std::vector<std::int32_t>(all.ids.begin(), all.ids.begin() + part.count()));
        EXPECT_EQ(part.byte_end, std::vector<Index>(all.byte_end.begin(), all.byte_end.begin() + part.count()));
        EXPECT_EQ(kinds, std::vector<std::uint8_t>(all_kinds.begin(), all_kinds.begin() + part.count()));
        EXPECT_LE(limit == 0 ? 0 : part.count(), limit);
      }
      // one context more would be too much for one of them
      if (limit > 0) {
        EXPECT_GT(std::max(whole.a.context_offsets[contexts + 1], whole.b.context_offsets[contexts + 1]), limit);
      }
      EXPECT_EQ(limit == 0 ? whole.a.contexts() : cut.a.contexts(), cut.a.contexts());
    }
  }
}

TEST(Tokenize, SeveralTokenizersStopOnRequestAndAMissingFileIsMadeAgain) {
  auto o = two_files("several_stop");
  put_threes_beside(o);
  o.piece_bytes = 200;
  comm::install_stop_flag(0);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  expect_error(ExitCode::stopped, "tokenize stopped early", [&] { tokenize(world(), o); });
  comm::install_stop_flag(0);
  EXPECT_FALSE(std::filesystem::exists(o.out));
  tokenize(world(), o);
  const OfBoth first = read_both(o);
  for (const auto* lost : {&o.out, &o.beside.front().out}) {
    world().barrier();
    if (world().rank() == 0) std::filesystem::remove(*lost);
    world().barrier();
    tokenize(world(), o);
    const OfBoth again = read_both(o);
    EXPECT_EQ(again.a.hash, first.a.hash);
    EXPECT_EQ(again.b.hash, first.b.hash);
    EXPECT_EQ(again.kinds_a, first.kinds_a);
    EXPECT_EQ(again.kinds_b, first.kinds_b);
  }
}

/// A .npy [contexts, length] of ids, BOS first.
std::filesystem::path ids_file(const std::filesystem::path& folder, Index contexts, Index length) {
  std::string header = fmt::format("{{'descr': '<i4', 'fortran_order': False, 'shape': ({}, {}), }}\n", contexts, length);
  std::string bytes = std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + '\0' + header;
  for (Index i = 0; i < contexts * length; ++i) {
    const auto id = static_cast<std::int32_t>(i % length == 0 ? 2 : 3 + i % 977);
    bytes.append(reinterpret_cast<const char*>(&id), 4);
  }
  if (world().rank() == 0) write_text_atomic(folder / "ids.npy", bytes);
  world().barrier();
  return folder / "ids.npy";
}

TEST(Tokenize, CopiesIdsMadeElsewhere) {
  const auto folder = empty_folder("copied_ids");
  TokenizeOptions o;
  o.token_ids = ids_file(folder, 5, 4);
  o.out = folder / "of_npy.h5";
  tokenize(world(), o);
  const Tokens tokens = read_tokens(o.out); // which checks the hash
  EXPECT_EQ(tokens.ids, (std::vector<std::int32_t>{2, 4, 5, 6, 2, 8, 9, 10, 2, 12, 13, 14, 2, 16, 17, 18, 2, 20, 21, 22}));
  EXPECT_EQ(tokens.context_offsets, (std::vector<Index>{0, 4, 8, 12, 16, 20}));
  EXPECT_EQ(tokens.bos_id, 2);
  o.max_tokens = 13;
  o.out = folder / "short.h5";
  tokenize(world(), o);
  EXPECT_EQ(read_tokens(o.out).context_offsets, (std::vector<Index>{0, 4, 8, 12}));
  o.max_tokens = 3;
  o.out = folder / "none.h5";
  expect_error(ExitCode::config, "less than the first context", [&] { tokenize(world(), o); });
}

TEST(Tokenize, CopiesAllThatATokensFileKnows) {
  auto o = two_files("copied_file");
  tokenize(world(), o);
  const Tokens whole = read_tokens(o.out);
  TokenizeOptions copy;
  copy.token_ids = o.out;
  for (const Index limit : {Index{0}, Index{100}}) {
    copy.max_tokens = limit;
    copy.out = o.out.parent_path() / fmt::format("copy_{}.h5", limit);
    tokenize(world(), copy);
    const Tokens tokens = read_tokens(copy.out);
    const auto rows = static_cast<std::ptrdiff_t>(tokens.count());
    EXPECT_TRUE(limit == 0 ? tokens.count() == whole.count() && tokens.hash == whole.hash
                           : tokens.count() <= limit && tokens.count() > limit - 8);
    EXPECT_EQ(tokens.ids, std::vector<std::int32_t>(whole.ids.begin(), whole.ids.begin() + rows));
    EXPECT_EQ(tokens.byte_begin, std::vector<Index>(whole.byte_begin.begin(), whole.byte_begin.begin() + rows));
    EXPECT_EQ(tokens.byte_end, std::vector<Index>(whole.byte_end.begin(), whole.byte_end.begin() + rows));
    EXPECT_EQ(tokens.context_document,
              std::vector<Index>(whole.context_document.begin(), whole.context_document.begin() + tokens.contexts()));
    EXPECT_EQ(tokens.pieces, whole.pieces);
  }
}

TEST(Tokenize, IdsThatAreWrongAreRefusedAndNothingIsLeft) {
  const auto folder = empty_folder("wrong_ids");
  TokenizeOptions o;
  o.out = folder / "tokens.h5";
  const auto refused = [&](ExitCode code, const std::string& message) {
    expect_error(code, message, [&] { tokenize(world(), o); });
    EXPECT_FALSE(std::filesystem::exists(o.out));
  };
  o.token_ids = folder / "nowhere.npy";
  refused(ExitCode::input_missing, "nowhere.npy");
  o.token_ids = ids_file(folder, 3, 1);
  refused(ExitCode::bad_data, "integer array [contexts, length]");
  o.token_ids = ids_file(folder, 3, 4);
  auto bytes = read_text(o.token_ids, "ids");
  bytes.back() = static_cast<char>(0x80); // a sign
  world().barrier();
  if (world().rank() == 0) write_text_atomic(o.token_ids, bytes);
  world().barrier();
  refused(ExitCode::bad_data, "context 2 holds the token id -");
}

TEST(Tokenize, CopyingIdsStopsOnRequestAndGoesOnToTheSameFile) {
  const auto folder = empty_folder("stopped_ids");
  TokenizeOptions o;
  o.token_ids = ids_file(folder, 40, 50);
  o.out = folder / "tokens.h5";
  ::setenv("CONCORD_STOP_GRACE", "0", 1);
  comm::install_stop_flag(0);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  expect_error(ExitCode::stopped, "tokenize stopped early", [&] { tokenize(world(), o); });
  ::unsetenv("CONCORD_STOP_GRACE");
  EXPECT_FALSE(std::filesystem::exists(o.out));
  comm::install_stop_flag(0);
  tokenize(world(), o);
  EXPECT_EQ(read_tokens(o.out).count(), 2000);
}

TEST(Tokenize, FinishedPiecesAreTakenOverAndBrokenOnesMadeAgain) {
  auto o = two_files("taken");
  tokenize(world(), o);
  const Tokens whole = read_tokens(o.out);
  o.out = o.out.parent_path() / "later.h5";
  o.piece_bytes = 1000;
  const std::filesystem::path obstacle = o.out.string() + ".partial"; // a folder in the way, met when all pieces are made
  if (world().rank() == 0) std::filesystem::create_directories(obstacle / "inside");
  world().barrier();
  EXPECT_ANY_THROW(tokenize(world(), o));
  const std::filesystem::path pieces = o.out.string() + ".pieces";
  if (world().rank() == 0) {
    ASSERT_TRUE(std::filesystem::exists(pieces / "1"));
    std::filesystem::remove_all(obstacle);
    std::filesystem::resize_file(pieces / "1", std::filesystem::file_size(pieces / "1") - 1);
    std::fstream piece(pieces / "0", std::ios::binary | std::ios::in | std::ios::out);
    const std::int32_t other = 77;
    piece.seekp(24 + 4);
    piece.write(reinterpret_cast<const char*>(&other), sizeof other); // the second token: shows that piece 0 is not made again
  }
  world().barrier();
  o.context = 16;
  expect_error(ExitCode::config, "other settings or inputs", [&] { tokenize(world(), o); });
  o.context = 8;
  tokenize(world(), o);
  auto ids = read_tokens(o.out).ids;
  EXPECT_EQ(ids[1], 77);
  ids[1] = whole.ids[1];
  EXPECT_EQ(ids, whole.ids);
}

TEST(Tokenize, ByteOrderMarksAreNoText) {
  auto plain = options_for("plain", "Once upon a time.\n\nAgain.");
  tokenize(world(), plain);
  auto marked = options_for("marked", "\xEF\xBB\xBFOnce upon a time.\n\nAgain.");
  tokenize(world(), marked);
  const Tokens a = read_tokens(plain.out);
  const Tokens b = read_tokens(marked.out);
  EXPECT_EQ(a.hash, b.hash);
  EXPECT_EQ(a.byte_begin, b.byte_begin);
  marked.documents = plain.documents = DocumentEnd::file;
  marked.force = plain.force = true;
  tokenize(world(), plain);
  tokenize(world(), marked);
  EXPECT_EQ(read_tokens(plain.out).hash, read_tokens(marked.out).hash);
}

/// A tokens.h5 of three tokens, changed by `change` before it is closed.
std::filesystem::path tokens_file(const std::function<void(io::File&)>& change) {
  const auto path = std::filesystem::path("scratch") / fmt::format("tokens_file{}.h5", world().rank()); // every rank makes its own
  make_folder(path.parent_path());
  Tokens tokens;
  tokens.ids = {2, 5, 7};
  tokens.context_offsets = {0, 3};
  auto file = io::File::create(path);
  file.write_attribute("token_hash", token_hash(tokens));
  change(file);
  if (!file.has_attribute("bos_id")) file.write_attribute("bos_id", "2");
  if (!file.has("/tokens")) file.write("/tokens", tokens.ids);
  if (!file.has("/context_offsets")) file.write("/context_offsets", tokens.context_offsets);
  file.close();
  return path;
}

TEST(Tokens, PartsThatDoNotFitAreRefused) {
  const auto whole = tokens_file([](io::File& file) { file.write("/context_document", std::vector<Index>{0}); });
  EXPECT_EQ(TokenReader(whole).bos_id(), 2);
  EXPECT_EQ(TokenReader(whole).check(), 7);
  EXPECT_EQ(read_contexts(whole).document, std::vector<Index>{0});
  for (const char* id : {"", "two", "2x", "99999999999", "-2"}) {
    const auto path = tokens_file([&](io::File& file) { file.write_attribute("bos_id", id); });
    expect_error(ExitCode::bad_data, "bos_id", [&] { TokenReader reader(path); });
  }
  const auto of_documents = tokens_file([](io::File& file) { file.write("/context_document", std::vector<Index>{0, 1}); });
  expect_error(ExitCode::bad_data, "do not fit", [&] { read_contexts(of_documents); });
  auto of_bytes = options_for("of_bytes", "");
  of_bytes.paths.clear();
  of_bytes.tokenizer.clear();
  tokens_file([](io::File& file) {
    file.write("/byte_begin", std::vector<Index>{0, 1, 2});
    file.write("/byte_end", std::vector<Index>{1, 2});
  });
  of_bytes.token_ids = std::filesystem::path("scratch") / "tokens_file0.h5";
  world().barrier();
  expect_error(ExitCode::bad_data, "does not fit the rest", [&] { tokenize(world(), of_bytes); });
  const auto empty_rows = tokens_file([](io::File& file) { file.write("/tokens", std::vector<std::int32_t>{}, {3, 0}); });
  expect_error(ExitCode::bad_data, "does not fit the rest", [&] { TokenReader reader(empty_rows); });
  expect_error(ExitCode::bad_data, "does not fit the rest", [&] { TokenTexts texts(empty_rows); });
  const auto table = tokens_file([](io::File& file) { file.write("/tokens", std::vector<std::int32_t>{2, 5, 7, 1, 1, 1}, {3, 2}); });
  expect_error(ExitCode::bad_data, "does not fit the rest", [&] { TokenReader reader(table); });
}

TEST(TokenTexts, AreThoseOfTheRowsInTheirOrder) {
  const auto path = tokens_file([](io::File& file) { file.write_strings("/pieces", {"zero", "one", "\xE2\x96\x81two"}); });
  const Tokens tokens = read_tokens(path);
  const TokenTexts texts(path);
  std::vector<Index> rows;
  std::vector<std::string> expected;
  for (Index i = 0; i < 20; ++i) {
    rows.push_back((7 * i) % tokens.count());
    expected.push_back(text_of_token(tokens.ids[static_cast<std::size_t>(rows.back())], tokens.pieces));
    rows.push_back(-1);
    expected.emplace_back();
  }
  EXPECT_EQ(texts.of_rows(rows), expected);
  expect_error(ExitCode::bad_data, "none of row", [&] { texts.of_rows({tokens.count()}); });
}

TEST(Tokens, TextOfATokenIsWhatPeopleRead) {
  const std::vector<std::string> pieces{"\xE2\x96\x81king", "<0x0A>", "s", "<0x0", "\xE2\x96\x81\xE2\x96\x81"};
  EXPECT_EQ(text_of_token(0, pieces), " king");
  EXPECT_EQ(text_of_token(1, pieces), "\n");
  EXPECT_EQ(text_of_token(2, pieces), "s");
  EXPECT_EQ(text_of_token(3, pieces), "<0x0");
  EXPECT_EQ(text_of_token(4, pieces), "  ");
  EXPECT_EQ(text_of_token(9, pieces), "#9");
}

} // namespace
} // namespace concord::corpus
