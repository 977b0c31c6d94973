#include "concord/corpus/text/token_texts.hpp"

#include "concord/core/error.hpp"
#include "concord/corpus/tokens.hpp"

#include <algorithm>
#include <numeric>

namespace concord::corpus {

TokenTexts::TokenTexts(const std::filesystem::path& path) : file_(open_tokens(path)), ids_(file_.dataset("/tokens")) {
  if (file_.has("/pieces")) pieces_ = file_.read_strings("/pieces");
}

std::vector<std::string> TokenTexts::of_rows(const std::vector<Index>& rows) const {
  constexpr Index window = Index{1} << 20; // ids read at once
  const auto row = [&](std::size_t i) { return rows[i]; };
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return row(a) < row(b); });
  std::vector<std::string> texts(rows.size());
  std::vector<std::int32_t> ids;
  Index begin = 0;
  for (const std::size_t i : order) {
    if (row(i) < 0) continue;
    require(row(i) < ids_.rows(), ExitCode::bad_data, "{} has {} tokens, none of row {}", file_.path().string(), ids_.rows(), row(i));
    if (row(i) >= begin + static_cast<Index>(ids.size())) {
      begin = row(i);
      ids = ids_.read<std::int32_t>(begin, std::min(window, ids_.rows() - begin));
    }
    texts[i] = text_of_token(ids[static_cast<std::size_t>(row(i) - begin)], pieces_);
  }
  return texts;
}

} // namespace concord::corpus
