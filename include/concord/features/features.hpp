#pragma once
/// Sparse features of the layers of a model, as `features.h5` holds them (docs/formats.md). Local.

#include "concord/io/hdf5.hpp"
#include "concord/io/npy/npy.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace concord::features {

/// Statistics of every feature of a layer over the counted rows.
struct FeatureStatistics {
  std::vector<Index> count; ///< rows on which the feature is active
  std::vector<double> sum;
  std::vector<double> sum_squares;
  std::vector<float> max;
};

/// The strongest activations of each feature, strongest first (ties: the earlier row); unused places hold row -1.
struct TopActivations {
  Index places = 0;
  std::vector<Index> rows;   ///< [F, places]
  std::vector<float> values; ///< [F, places]
};

/// The codes of one layer, opened for many reads.
class LayerCodes {
public:
  /// Rows [begin, end) of the tokens, rows left out being empty. @throws Error bad_data where its parts do not fit.
  io::CsrMatrix rows(Index begin, Index end) const;
  /// Where the entries of rows [begin, end) begin, and where those of the last end. @throws Error bad_data where they descend.
  void entry_offsets(Index begin, Index end, std::vector<Index>& out) const;
  /// Rows whose entry_offsets() these are, into memory that is used again. @param first_row for messages. @throws Error bad_data.
  void rows_at(std::span<const Index> offsets, Index first_row, io::CsrMatrix& out) const;
  /// Only their columns; values are empty. @throws Error bad_data.
  void columns_at(std::span<const Index> offsets, Index first_row, io::CsrMatrix& out) const;

private:
  void columns_of_rows(std::span<const Index> offsets, io::CsrMatrix& out) const;
  friend class FeaturesFile;
  LayerCodes(const io::File& file, const std::string& group, io::Dataset indptr, Index features);
  std::string name_;
  io::Dataset indptr_, indices_, values_;
  Index features_;
};

/// A features.h5 opened for reading.
class FeaturesFile {
public:
  /// @throws Error input_missing or bad_data.
  explicit FeaturesFile(const std::filesystem::path& path);
  const std::vector<int>& layers() const { return layers_; }
  const std::string& token_hash() const { return token_hash_; }
  const std::string& row_hash() const { return row_hash_; } ///< as io::row_hash_of(): of two models alike
  const std::string& digest() const { return digest_; }
  Index counted_rows() const { return counted_rows_; } ///< rows that are not left out (BOS, unpaired ones): N of every statistic
  /// Rows [begin, end) of the tokens, rows left out being empty. @throws Error bad_data when the layer is not there or its parts
  /// do not fit.
  io::CsrMatrix csr(int layer, Index begin, Index end) const { return codes(layer).rows(begin, end); }
  /// The same for successive reads. @throws Error bad_data when the layer is not there or its parts do not fit.
  LayerCodes codes(int layer) const { return {file_, group(layer), indptr(layer), features(layer)}; }
  /// The counted rows [begin, end) alone, in order; every row where `end` is left out. @throws as csr().
  io::CsrMatrix counted_csr(int layer, Index begin = 0, Index end = -1) const;
  /// Active entries of the counted rows [begin, end). @throws Error bad_data when the layer is not there.
  Index counted_entries(int layer, Index begin, Index end) const;
  /// Counted rows among the first `rows` rows of the tokens.
  Index counted_before(Index rows) const;
  Index features(int layer) const;
  /// Rows of the tokens, left out or not.
  Index rows() const { return rows_; }
  /// Active entries of a layer. @throws Error bad_data when it is not there.
  Index entries(int layer) const;
  FeatureStatistics statistics(int layer) const;
  TopActivations top(int layer) const;

private:
  std::string group(int layer) const;
  io::Dataset indptr(int layer) const;
  std::vector<std::uint8_t> row_kinds(Index begin, Index end) const;
  Index counted_among(const std::vector<std::uint8_t>& kinds) const;
  Index row_of_counted(Index counted) const;
  io::File file_;
  std::vector<int> layers_;
  std::string token_hash_;
  std::string row_hash_;
  bool keep_special_ = false;
  std::string digest_;
  Index rows_ = 0;
  Index counted_rows_ = 0;
  std::vector<Index> counted_marks_; ///< counted rows before every 2^16-th row; empty: all rows are counted
};

} // namespace concord::features
