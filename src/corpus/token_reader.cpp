#include "concord/corpus/token_reader.hpp"

#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/io/rows/row_hash.hpp"
#include "concord/io/rows/row_kinds.hpp"

#include <algorithm>

namespace concord::corpus {

TokenReader::TokenReader(const std::filesystem::path& path) : path_(path), file_(open_tokens(path)), ids_(file_.dataset("/tokens")) {
  context_offsets_ = file_.read<Index>("/context_offsets", {-1});
  hash_ = file_.attribute("token_hash");
  row_hash_ = io::row_hash_of(file_);
  if (file_.has("/row_kind")) kinds_ = file_.dataset("/row_kind", {ids_.rows()});
  bos_id_ = bos_id_of(file_);
  if (file_.has("/pieces")) pieces_ = file_.dataset("/pieces/ends", {-1}).rows();
  require(context_offsets_.size() >= 2 && context_offsets_.front() == 0 && context_offsets_.back() == ids_.rows() &&
              std::is_sorted(context_offsets_.begin(), context_offsets_.end()),
          ExitCode::bad_data, "{}: context_offsets do not fit the tokens", path.string());
}

std::vector<std::int32_t> TokenReader::ids(Index begin, Index count) const {
  return ids_.read<std::int32_t>(begin, count);
}

std::vector<std::uint8_t> TokenReader::row_kinds(Index begin, Index end) const {
  const auto at = [&](Index c) { return context_offsets_[static_cast<std::size_t>(c)]; };
  if (kinds_) return kinds_->read<std::uint8_t>(at(begin), at(end) - at(begin));
  const auto rows = ids(at(begin), at(end) - at(begin));
  std::vector<std::uint8_t> kinds(rows.size(), static_cast<std::uint8_t>(io::RowKind::text));
  for (Index c = begin; c < end; ++c) {
    const auto first = static_cast<std::size_t>(at(c) - at(begin));
    if (first < rows.size() && rows[first] == bos_id_) kinds[first] = static_cast<std::uint8_t>(io::RowKind::bos);
  }
  return kinds;
}

std::vector<std::uint8_t> TokenReader::kinds_of_rows(Index begin, Index end) const {
  if (begin >= end) return {};
  const auto first = std::upper_bound(context_offsets_.begin(), context_offsets_.end(), begin) - 1; // the context that holds `begin`
  const auto last = std::lower_bound(first, context_offsets_.end(), end);
  const auto kinds = row_kinds(first - context_offsets_.begin(), last - context_offsets_.begin());
  return {kinds.begin() + (begin - *first), kinds.begin() + (end - *first)};
}

std::int32_t TokenReader::check(const comm::StopWithin* stop) const {
  constexpr Index piece = 1 << 22;
  Digest digest;
  std::int32_t largest = 0;
  for (Index begin = 0; begin < count(); begin += piece) {
    if (stop != nullptr && stop->wanted_here()) return largest;
    const auto part = ids(begin, std::min(piece, count() - begin));
    const auto [low, high] = std::minmax_element(part.begin(), part.end());
    require(*low >= 0, ExitCode::bad_data, "{} holds the token id {}", path_.string(), *low);
    largest = std::max(largest, *high);
    digest.add(std::span<const std::int32_t>(part));
  }
  digest.add(std::span<const Index>(context_offsets_));
  require(digest.hex() == hash_, ExitCode::bad_data, "{} is damaged: its tokens do not have the recorded hash", path_.string());
  return largest;
}

} // namespace concord::corpus
