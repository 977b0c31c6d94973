#include "correlate/features/feature_source.hpp"

#include "concord/core/error.hpp"

#include <numeric>

namespace concord::correlate {

Index FeatureSource::entries() const {
  return std::accumulate(totals_.count.begin(), totals_.count.end(), Index{0});
}

MatrixSource::MatrixSource(io::CsrMatrix matrix) : matrix_(std::move(matrix)) {
  totals_ = {std::vector<Index>(static_cast<std::size_t>(matrix_.cols), 0),
             std::vector<double>(static_cast<std::size_t>(matrix_.cols), 0.0)};
  for (std::size_t e = 0; e < matrix_.indices.size(); ++e) {
    const auto feature = static_cast<std::size_t>(matrix_.indices[e]);
    ++totals_.count[feature];
    totals_.sum[feature] += matrix_.values[e];
  }
}

io::CsrMatrix MatrixSource::read(Index begin, Index end) const {
  const auto first = matrix_.indptr.begin() + begin;
  io::CsrMatrix rows{end - begin, matrix_.cols, {first, matrix_.indptr.begin() + end + 1}, {}, {}};
  rows.indices.assign(matrix_.indices.begin() + rows.indptr.front(), matrix_.indices.begin() + rows.indptr.back());
  rows.values.assign(matrix_.values.begin() + rows.indptr.front(), matrix_.values.begin() + rows.indptr.back());
  for (Index i = end - begin; i >= 0; --i) rows.indptr[static_cast<std::size_t>(i)] -= rows.indptr.front();
  return rows;
}

FileSource::FileSource(const features::FeaturesFile& file, int layer) : file_(file), layer_(layer) {
  auto statistics = file.statistics(layer);
  totals_ = {std::move(statistics.count), std::move(statistics.sum)};
}

io::CsrMatrix FileSource::read(Index begin, Index end) const {
  return file_.counted_csr(layer_, begin, end);
}

io::CsrMatrix csr_of(const io::NpyArray& array, const std::string& name) {
  require(array.shape.size() == 2, ExitCode::bad_data, "{} has {} dimensions; features must be [rows, features]", name, array.shape.size());
  const auto values = array.as_double();
  io::CsrMatrix matrix{array.shape[0], array.shape[1], {0}, {}, {}};
  for (Index r = 0; r < matrix.rows; ++r) {
    for (Index c = 0; c < matrix.cols; ++c)
      if (const double value = values[static_cast<std::size_t>(r * matrix.cols + c)]; value != 0) {
        matrix.indices.push_back(static_cast<std::int32_t>(c));
        matrix.values.push_back(static_cast<float>(value));
      }
    matrix.indptr.push_back(matrix.nnz());
  }
  io::check_csr(matrix, name);
  return matrix;
}

} // namespace concord::correlate
