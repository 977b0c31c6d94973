#include "corpus/text/common_contexts.hpp"

#include "concord/core/at.hpp"
#include "concord/io/rows/row_kinds.hpp"

#include <algorithm>

namespace concord::corpus {
namespace {

/// A byte behind which no token of a document has a part of what is before it, and the tokens before it.
struct Cut {
  Index byte = 0;
  Index tokens = 0;
};

/// Behind each token that ends further than the last cut, unless the next one begins before that: then they share a character. Tokens
/// without text (a dummy prefix, all but the last byte of a character) are no place to cut.
std::vector<Cut> cuts_of(const std::vector<TextToken>& tokens) {
  std::vector<Cut> cuts;
  Index cut = 0;
  Index end = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    end = std::max(end, tokens[i].end);
    if (end == cut || (i + 1 < tokens.size() && tokens[i + 1].begin < end)) continue;
    cut = end;
    cuts.push_back({cut, static_cast<Index>(i) + 1});
  }
  return cuts;
}

/// A place where the tokens of all sides end, and how many of each side lie before it.
struct CommonCut {
  Index byte = 0;
  std::vector<Index> tokens;
  bool paired = true; ///< the last tokens before it end there; not so at the end of a document where the tokenizers disagree on it
};

class CommonDocument {
public:
  CommonDocument(const std::vector<TokensOfDocument>& sides, Index context, std::vector<TokenPiece>& out)
      : sides_(sides), context_(context), out_(out) {
    find_cuts();
  }

  Index add() {
    Index left_out = 0;
    for (std::size_t first = 0; first + 1 < cuts_.size();) {
      std::size_t last = first;
      while (last + 1 < cuts_.size() && fits(cuts_[first], cuts_[last + 1])) ++last;
      if (last == first || !cuts_[first + 1].paired) { // too much text without a place to cut, or none that all read
        left_out += cuts_[first + 1].byte - cuts_[first].byte;
        ++first;
        continue;
      }
      for (std::size_t side = 0; side < sides_.size(); ++side) add_context(side, first, last);
      first = last;
    }
    for (auto& piece : out_) ++piece.documents;
    return left_out;
  }

private:
  void find_cuts() {
    std::vector<std::vector<Cut>> cuts;
    for (const auto& side : sides_) cuts.push_back(cuts_of(side.tokens));
    cuts_.push_back({0, std::vector<Index>(sides_.size(), 0), false});
    std::vector<std::size_t> next(sides_.size(), 0);
    for (const Cut& cut : cuts.front()) {
      CommonCut common{cut.byte, {}, true};
      for (std::size_t side = 0; side < sides_.size() && common.paired; ++side) {
        auto& n = next[side];
        while (n < cuts[side].size() && cuts[side][n].byte < cut.byte) ++n;
        common.paired = n < cuts[side].size() && cuts[side][n].byte == cut.byte;
        if (common.paired) common.tokens.push_back(cuts[side][n].tokens);
      }
      if (common.paired) cuts_.push_back(std::move(common));
    }
    add_end();
  }

  /// What lies behind the last common cut goes with the text before it, if there is room.
  void add_end() {
    CommonCut end{cuts_.back().byte, {}, false};
    bool more = false;
    for (std::size_t side = 0; side < sides_.size(); ++side) {
      const auto& tokens = sides_[side].tokens;
      end.tokens.push_back(static_cast<Index>(tokens.size()));
      more |= end.tokens.back() > cuts_.back().tokens[side];
      for (const auto& token : tokens) end.byte = std::max(end.byte, token.end);
    }
    if (more) cuts_.push_back(std::move(end));
  }

  bool fits(const CommonCut& begin, const CommonCut& end) const {
    for (std::size_t side = 0; side < sides_.size(); ++side) {
      const Index room = context_ - (sides_[side].bos_id >= 0 ? 1 : 0);
      if (end.tokens[side] - begin.tokens[side] > room) return false;
    }
    return true;
  }

  /// The text between two cuts.
  void add_context(std::size_t side, std::size_t first, std::size_t last) {
    TokenPiece& piece = out_[side];
    const auto& [tokens, bos_id] = sides_[side];
    const auto add = [&](std::int32_t id, Index begin, Index end, io::RowKind kind) {
      piece.ids.push_back(id);
      piece.byte_begin.push_back(begin);
      piece.byte_end.push_back(end);
      piece.kinds.push_back(static_cast<std::uint8_t>(kind));
    };
    const Index begin = cuts_[first].tokens[side];
    const Index place = begin < static_cast<Index>(tokens.size()) ? tokens[at(begin)].begin : cuts_[first].byte;
    if (bos_id >= 0) add(bos_id, place, place, io::RowKind::bos);
    for (std::size_t cut = first + 1; cut <= last; ++cut)
      for (Index i = cuts_[cut - 1].tokens[side]; i < cuts_[cut].tokens[side]; ++i) {
        const bool paired = cuts_[cut].paired && i + 1 == cuts_[cut].tokens[side];
        add(tokens[at(i)].id, tokens[at(i)].begin, tokens[at(i)].end, paired ? io::RowKind::text : io::RowKind::unpaired);
      }
    piece.context_ends.push_back(static_cast<Index>(piece.ids.size()));
    piece.context_document.push_back(piece.documents);
  }

  const std::vector<TokensOfDocument>& sides_;
  Index context_;
  std::vector<TokenPiece>& out_;
  std::vector<CommonCut> cuts_; ///< the document's begin first
};

} // namespace

Index add_common_document(const std::vector<TokensOfDocument>& sides, Index context, std::vector<TokenPiece>& out) {
  return CommonDocument(sides, context, out).add();
}

} // namespace concord::corpus
