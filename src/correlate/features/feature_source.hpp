#pragma once
/// The features of one layer as rows of non-zeros, wherever they lie. Local.

#include "concord/comm/node/node_array.hpp"
#include "concord/features/features.hpp"
#include "concord/io/npy/npy.hpp"
#include "concord/io/npy/npy_rows.hpp"

#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace concord::correlate {

/// Of every feature of a layer over all rows.
struct FeatureTotals {
  std::vector<Index> count; ///< rows on which it is active
  std::vector<double> sum;  ///< of its activations
};

/// What load_postings() and load_rows() read a layer from: every rank has one of the same layer and reads other rows.
class FeatureSource {
public:
  FeatureSource() = default;
  FeatureSource(const FeatureSource&) = delete;
  FeatureSource& operator=(const FeatureSource&) = delete;
  virtual ~FeatureSource() = default;
  virtual Index rows() const = 0; ///< N of every correlation
  const FeatureTotals& totals() const { return totals_; }
  Index features() const { return static_cast<Index>(totals_.count.size()); }
  /// Active entries of all rows.
  Index entries() const;
  /// Those of rows [begin, end). @throws Error io.
  virtual Index entries(Index begin, Index end) const = 0;
  /// Rows [begin, end). @throws Error io, or bad_data where they are not what a matrix of non-zeros must be.
  virtual io::CsrMatrix read(Index begin, Index end) const = 0;

protected:
  FeatureTotals totals_;
};

/// A matrix in memory.
class MatrixSource final : public FeatureSource {
public:
  explicit MatrixSource(io::CsrMatrix matrix);
  /// Rank 0 reads the matrix; then each node holds one copy for all its ranks. Collective over `comm`, which must outlive it.
  /// @throws Error of `read`, or as comm::NodeArray does; agreed.
  MatrixSource(const comm::Communicator& comm, const std::function<io::CsrMatrix()>& read);
  Index rows() const override { return static_cast<Index>(indptr_.size()) - 1; }
  using FeatureSource::entries;
  Index entries(Index begin, Index end) const override {
    return indptr_[static_cast<std::size_t>(end)] - indptr_[static_cast<std::size_t>(begin)];
  }
  io::CsrMatrix read(Index begin, Index end) const override;

private:
  void count(Index cols);
  io::CsrMatrix own_; ///< empty where the node has it
  std::unique_ptr<comm::NodeArray> node_;
  std::span<const Index> indptr_;
  std::span<const std::int32_t> indices_;
  std::span<const float> values_;
};

/// A layer of a features.h5; counted rows alone.
class FileSource final : public FeatureSource {
public:
  FileSource(const features::FeaturesFile& file, int layer);
  Index rows() const override { return file_.counted_rows(); }
  using FeatureSource::entries;
  Index entries(Index begin, Index end) const override { return file_.counted_entries(layer_, begin, end); }
  io::CsrMatrix read(Index begin, Index end) const override;

private:
  const features::FeaturesFile& file_;
  int layer_;
};

/// The non-zeros of a dense [rows, features] array, read window by window. @throws Error bad_data where it is not finite, or io.
io::CsrMatrix csr_of(const io::NpyRows& array, const std::string& name);

} // namespace concord::correlate
