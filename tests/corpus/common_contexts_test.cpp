#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/io/rows/row_kinds.hpp"

#include <gtest/gtest.h>

#include "corpus/text/common_contexts.hpp"
#include <algorithm>
#include <set>

namespace concord::corpus {
namespace {

constexpr auto text_kind = static_cast<std::uint8_t>(io::RowKind::text);
constexpr auto unpaired = static_cast<std::uint8_t>(io::RowKind::unpaired);
constexpr auto bos = static_cast<std::uint8_t>(io::RowKind::bos);

/// Tokens that end at these bytes, each beginning where the last one ended; their ids are their numbers.
std::vector<TextToken> ending_at(const std::vector<Index>& ends) {
  std::vector<TextToken> tokens;
  for (const Index end : ends)
    tokens.push_back({static_cast<std::int32_t>(tokens.size()) + 10, tokens.empty() ? 0 : tokens.back().end, end});
  return tokens;
}

std::vector<TokenPiece> common(const std::vector<std::vector<TextToken>>& sides, Index context, Index left_out = 0,
                               std::int32_t bos_id = 2) {
  std::vector<TokenPiece> out(sides.size());
  std::vector<TokensOfDocument> of_sides;
  for (const auto& tokens : sides) of_sides.push_back({tokens, bos_id});
  EXPECT_EQ(add_common_document(of_sides, context, out), left_out);
  for (const auto& piece : out) {
    EXPECT_EQ(piece.documents, 1);
    EXPECT_EQ(piece.kinds.size(), piece.ids.size());
    EXPECT_EQ(piece.context_ends.size(), out.front().context_ends.size());
  }
  return out;
}

using Kinds = std::vector<std::uint8_t>;

TEST(CommonContexts, PairTokensThatEndAtOneByte) {
  const auto out = common({ending_at({3, 5, 9}), ending_at({2, 5, 6, 9})}, 16);
  EXPECT_EQ(out[0].ids, (std::vector<std::int32_t>{2, 10, 11, 12}));
  EXPECT_EQ(out[0].kinds, (Kinds{bos, unpaired, text_kind, text_kind}));
  EXPECT_EQ(out[1].kinds, (Kinds{bos, unpaired, text_kind, unpaired, text_kind}));
  EXPECT_EQ(out[0].context_ends, (std::vector<Index>{4}));
  EXPECT_EQ(out[1].context_ends, (std::vector<Index>{5}));
}

TEST(CommonContexts, AreCutWhereAllEndAndNoneHasTooManyTokens) {
  const auto out = common({ending_at({1, 2, 3, 4, 5, 6, 7, 8}), ending_at({2, 4, 7, 8})}, 4); // three tokens of text each
  EXPECT_EQ(out[0].context_ends, (std::vector<Index>{3, 6, 10, 12}));                         // 1-2, 3-4, 5-7, 8
  EXPECT_EQ(out[1].context_ends, (std::vector<Index>{2, 4, 6, 8}));
  EXPECT_EQ(out[0].byte_begin[at(out[0].context_ends[0])], 2); // BOS stands where the context begins
  EXPECT_EQ(out[1].context_document, (std::vector<Index>{0, 0, 0, 0}));
}

TEST(CommonContexts, WithoutBosTakeOneTokenMore) {
  const auto out = common({ending_at({1, 2, 3, 4}), ending_at({1, 2, 3, 4})}, 4, 0, -1);
  EXPECT_EQ(out[0].context_ends, (std::vector<Index>{4}));
  EXPECT_EQ(out[0].kinds, (Kinds{text_kind, text_kind, text_kind, text_kind}));
}

/// Tokens without text, and those that share a character, are no place to cut: the last one of it is.
TEST(CommonContexts, TokensOfOneCharacterStayTogether) {
  const std::vector<TextToken> bytes{{10, 0, 0}, {11, 0, 1}, {12, 1, 1},
                                     {13, 1, 1}, {14, 1, 4}, {15, 4, 5}};              // SentencePiece's: the last one has it
  const std::vector<TextToken> shares{{10, 0, 1}, {11, 1, 4}, {12, 1, 4}, {13, 4, 5}}; // Hugging Face's: each has it
  const auto out = common({bytes, shares}, 16);
  EXPECT_EQ(out[0].kinds, (Kinds{bos, unpaired, text_kind, unpaired, unpaired, text_kind, text_kind}));
  EXPECT_EQ(out[1].kinds, (Kinds{bos, text_kind, unpaired, text_kind, text_kind}));
}

TEST(CommonContexts, TextWithoutAPlaceToCutIsLeftOut) {
  const auto out = common({ending_at({1, 2, 3, 4, 5, 6, 7}), ending_at({1, 6, 7})}, 4, 5); // 1 to 6 takes five tokens of A
  EXPECT_EQ(out[0].ids, (std::vector<std::int32_t>{2, 10, 2, 16}));
  EXPECT_EQ(out[1].ids, (std::vector<std::int32_t>{2, 10, 2, 12}));
}

TEST(CommonContexts, WhatLiesBehindTheLastCommonTokenGoesWithItsContext) {
  const auto out = common({ending_at({2, 4}), ending_at({2, 5})}, 8);
  EXPECT_EQ(out[0].kinds, (Kinds{bos, text_kind, unpaired}));
  EXPECT_EQ(out[1].kinds, (Kinds{bos, text_kind, unpaired}));
  const auto full = common({ending_at({2, 4}), ending_at({2, 5})}, 2, 3); // no room for it, and no row in a context of its own
  EXPECT_EQ(full[0].ids, (std::vector<std::int32_t>{2, 10}));
  const auto nothing = common({ending_at({4}), ending_at({5})}, 8, 5);
  EXPECT_TRUE(nothing[0].ids.empty() && nothing[1].ids.empty());
  const auto empty = common({{}, ending_at({5})}, 8, 5);
  EXPECT_TRUE(empty[1].ids.empty());
}

/// Against sets of ends: of two and three tokenizers that cut at random.
TEST(CommonContexts, AreThoseOfSetsOfEnds) {
  for (std::uint64_t draw = 0; draw < 200; ++draw) {
    const Philox random(draw, "common contexts");
    std::uint64_t drawn = 0;
    const auto below = [&](std::uint64_t n) { return static_cast<Index>(random.below(drawn++, n)); };
    const std::size_t count = 2 + draw % 2;
    const Index length = 1 + below(60);
    const Index context = 2 + below(12);
    std::vector<std::vector<TextToken>> sides;
    std::vector<std::set<Index>> ends(count);
    for (std::size_t side = 0; side < count; ++side) {
      for (Index byte = 1; byte <= length; ++byte)
        if (byte == length || below(10) < 6) ends[side].insert(byte);
      sides.push_back(ending_at({ends[side].begin(), ends[side].end()}));
    }
    std::set<Index> shared = ends[0];
    for (const auto& other : ends) std::erase_if(shared, [&](Index byte) { return !other.contains(byte); });
    std::vector<TokenPiece> out(count);
    std::vector<TokensOfDocument> of_sides;
    for (const auto& tokens : sides) of_sides.push_back({tokens, 2});
    const Index left_out = add_common_document(of_sides, context, out);
    Index covered = 0;
    for (std::size_t c = 0; c < out[0].context_ends.size(); ++c) {
      std::vector<std::vector<Index>> rows(count);
      std::set<std::pair<Index, Index>> reach;
      for (std::size_t side = 0; side < count; ++side) {
        const Index begin = c == 0 ? 0 : out[side].context_ends[c - 1];
        const Index end = out[side].context_ends[c];
        ASSERT_LE(end - begin, context);
        ASSERT_EQ(out[side].kinds[at(begin)], bos);
        for (Index i = begin + 1; i < end; ++i) {
          ASSERT_EQ(out[side].kinds[at(i)], shared.contains(out[side].byte_end[at(i)]) ? text_kind : unpaired);
          if (out[side].kinds[at(i)] == text_kind) rows[side].push_back(out[side].byte_end[at(i)]);
        }
        reach.insert({out[side].byte_begin[at(begin)], out[side].byte_end[at(end - 1)]});
        ASSERT_EQ(rows[side], rows[0]);
      }
      ASSERT_EQ(reach.size(), 1U); // one text
      covered += reach.begin()->second - reach.begin()->first;
    }
    ASSERT_EQ(covered + left_out, length);
  }
}

} // namespace
} // namespace concord::corpus
