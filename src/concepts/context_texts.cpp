#include "concepts/context_texts.hpp"

#include "concord/corpus/tokens.hpp"

#include <algorithm>

namespace concord::concepts {
namespace {

constexpr Index rows_at_once = Index{1} << 18;
constexpr Index rows_around = 16; ///< tokens of neighbours that are looked at: a word's end needs one character and the marks behind it
const std::string unknown_text = "\xEF\xBF\xBD";

std::vector<std::string> piece_texts(const std::filesystem::path& path) {
  const auto file = corpus::open_tokens(path);
  require(file.has("/pieces"), ExitCode::bad_data,
          "{} holds no texts of its tokens, so no words can be found in it; make it with `concord tokenize --text ... --tokenizer "
          "tokenizer.model --out ...` (or tokenizer.json)",
          path.string());
  const auto pieces = file.read_strings("/pieces");
  std::vector<std::string> texts;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const bool unknown = pieces[id].empty() || pieces[id] == "<unk>" || pieces[id] == "[UNK]";
    texts.push_back(unknown ? unknown_text : corpus::text_of_token(static_cast<std::int32_t>(id), pieces));
  }
  return texts;
}

} // namespace

/// Contexts [low, high), of which all rows are in memory.
class ContextTexts::Window {
public:
  Window(const ContextTexts& of, Index low, Index high)
      : of_(of), low_(low), high_(high), ids_(of.reader_.ids(of.offset(low), of.offset(high) - of.offset(low))) {}

  ContextText context(Index c) const {
    ContextText context;
    context.document = of_.document(c);
    for (const Index row : rows_beside(c, -1)) context.text += text(row);
    context.begin = static_cast<Index>(context.text.size());
    context.first_row = first_text_row(c);
    for (Index row = context.first_row; row < of_.offset(c + 1); ++row) {
      context.text += text(row);
      context.token_ends.push_back(static_cast<Index>(context.text.size()));
    }
    context.end = static_cast<Index>(context.text.size());
    for (const Index row : rows_beside(c, 1)) context.text += text(row);
    return context;
  }

private:
  std::int32_t id(Index row) const { return ids_[static_cast<std::size_t>(row - of_.offset(low_))]; }
  const std::string& text(Index row) const {
    const auto number = static_cast<std::size_t>(id(row)); // of an id below 0 beyond all texts
    return number < of_.texts_.size() ? of_.texts_[number] : unknown_text;
  }
  /// Behind BOS, where it opens the context.
  Index first_text_row(Index c) const {
    const Index first = of_.offset(c);
    return first < of_.offset(c + 1) && id(first) == of_.reader_.bos_id() ? first + 1 : first;
  }
  /// The rows of text nearest to context `c` in its document, in front of it (`step` -1) or behind it (1), in the order of the corpus.
  std::vector<Index> rows_beside(Index c, Index step) const {
    std::vector<Index> rows;
    const auto room = [&] { return static_cast<Index>(rows.size()) < rows_around; };
    for (Index n = c + step; n >= low_ && n < high_ && of_.document(n) == of_.document(c) && room(); n += step) {
      const Index first = first_text_row(n);
      const Index end = of_.offset(n + 1);
      for (Index i = 0; i < end - first && room(); ++i) rows.push_back(step < 0 ? end - 1 - i : first + i);
    }
    if (step < 0) std::reverse(rows.begin(), rows.end());
    return rows;
  }

  const ContextTexts& of_;
  Index low_, high_;
  std::vector<std::int32_t> ids_;
};

ContextTexts::ContextTexts(const std::filesystem::path& path)
    : reader_(path), document_(corpus::read_contexts(path).document), texts_(piece_texts(path)) {}

void ContextTexts::each(Index begin, Index end, const std::function<void(const ContextText&)>& visit,
                        const std::function<bool()>& enough) const {
  for (Index first = begin; first < end && !enough();) {
    Index last = first + 1; // contexts [first, last) are visited with one read
    while (last < end && offset(last + 1) - offset(first) <= rows_at_once) ++last;
    // Contexts around them that may be looked at: `rows_around` rows of text on either side, whichever are visited together.
    Index low = first, high = last;
    const auto text_rows = [&](Index from, Index to) { return offset(to) - offset(from) - (to - from); };
    while (low > 0 && text_rows(low, first) < rows_around) --low;
    while (high < contexts() && text_rows(last, high) < rows_around) ++high;
    const Window window(*this, low, high);
    for (Index c = first; c < last; ++c) visit(window.context(c));
    first = last;
  }
}

} // namespace concord::concepts
