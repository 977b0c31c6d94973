#pragma once
/// The ids of a tokens.h5, read piece by piece: what a rank holds does not grow with the corpus but by 8 bytes a context.
/// Local.

#include "concord/comm/stop.hpp"
#include "concord/core/index.hpp"
#include "concord/io/hdf5.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace concord::corpus {

class TokenReader {
public:
  /// @throws Error input_missing or bad_data.
  explicit TokenReader(const std::filesystem::path& path);
  const std::vector<Index>& context_offsets() const { return context_offsets_; }
  Index contexts() const { return static_cast<Index>(context_offsets_.size()) - 1; }
  Index count() const { return context_offsets_.back(); }
  const std::string& hash() const { return hash_; }
  const std::string& row_hash() const { return row_hash_; } ///< as io::row_hash_of()
  Index pieces() const { return pieces_; }                  ///< size of the tokenizer's vocabulary, 0 when unknown
  std::int32_t bos_id() const { return bos_id_; }
  /// Ids of the rows [begin, begin + count).
  std::vector<std::int32_t> ids(Index begin, Index count) const;
  /// Kinds (io::RowKind) of the rows of contexts [begin, end).
  std::vector<std::uint8_t> row_kinds(Index begin, Index end) const;
  /// Kinds of the rows [begin, end).
  std::vector<std::uint8_t> kinds_of_rows(Index begin, Index end) const;
  /// Reads everything once: the recorded hash must be that of the content. Returns the largest id. Where `stop` wants an end it returns
  /// early: come to throw_if_wanted(). @throws Error bad_data.
  std::int32_t check(const comm::StopWithin* stop = nullptr) const;

private:
  std::filesystem::path path_;
  io::File file_;
  io::Dataset ids_;
  std::optional<io::Dataset> kinds_; ///< where models have tokenizers of their own
  std::vector<Index> context_offsets_;
  std::string hash_;
  std::string row_hash_;
  Index pieces_ = 0;
  std::int32_t bos_id_ = -1;
};

} // namespace concord::corpus
