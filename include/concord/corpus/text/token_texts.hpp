#pragma once
/// Texts of single tokens of a tokens.h5. What is held is the vocabulary and some MB of ids, however long the corpus. Local.

#include "concord/core/index.hpp"
#include "concord/io/hdf5.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::corpus {

class TokenTexts {
public:
  /// @throws Error input_missing or bad_data.
  explicit TokenTexts(const std::filesystem::path& path);
  /// text_of_token() of the ids of these rows, in their order; a row below 0 has none. @throws Error bad_data for a row that is not there.
  std::vector<std::string> of_rows(const std::vector<Index>& rows) const;

private:
  io::File file_;
  io::Dataset ids_;
  std::vector<std::string> pieces_;
};

} // namespace concord::corpus
