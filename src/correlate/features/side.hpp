#pragma once
/// One model's features as correlate takes them: a features.h5, or a single matrix as layer 0. Local but for the constructor.

#include "concord/corpus/text/token_texts.hpp"

#include "correlate/features/feature_source.hpp"
#include "correlate/matching/matching.hpp"
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace concord::correlate {

class Side {
public:
  /// `layers`: empty for all. Collective over `comm`, which must outlive it. @throws Error input_missing, bad_data, or config where a layer
  /// is not there; agreed.
  Side(const comm::Communicator& comm, const std::filesystem::path& path, const std::vector<int>& layers);
  const std::vector<int>& layers() const { return layers_; }
  const std::string& digest() const { return digest_; }
  /// Of the tokens behind the features; empty for a matrix.
  std::string token_hash() const { return file_ ? file_->token_hash() : ""; }
  /// What the features of two models must share; empty for a matrix.
  std::string row_hash() const { return file_ ? file_->row_hash() : ""; }
  Index rows() const { return file_ ? file_->counted_rows() : matrix_->rows(); }
  Index features(int layer) const { return file_ ? file_->features(layer) : matrix_->features(); }
  std::shared_ptr<const FeatureSource> source(int layer) const;
  /// Texts of the tokens on which each feature is strongest. Of a features.h5.
  TopTokens top_tokens(int layer, const corpus::TokenTexts& tokens) const;
  /// None for a matrix.
  const features::FeaturesFile* file() const { return file_ ? &*file_ : nullptr; }

private:
  std::optional<features::FeaturesFile> file_;
  std::shared_ptr<const MatrixSource> matrix_;
  std::vector<int> layers_;
  std::string digest_;
};

} // namespace concord::correlate
