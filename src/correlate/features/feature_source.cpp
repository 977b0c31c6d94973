#include "correlate/features/feature_source.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace concord::correlate {

Index FeatureSource::entries() const {
  return std::accumulate(totals_.count.begin(), totals_.count.end(), Index{0});
}

MatrixSource::MatrixSource(io::CsrMatrix matrix)
    : own_(std::move(matrix)), indptr_(own_.indptr), indices_(own_.indices), values_(own_.values) {
  count(own_.cols);
}

namespace {

constexpr Index floats_an_index = sizeof(Index) / sizeof(float);
static_assert(sizeof(std::int32_t) == sizeof(float));

} // namespace

MatrixSource::MatrixSource(const comm::Communicator& comm, const std::function<io::CsrMatrix()>& read) {
  comm::agree(comm, [&] {
    if (comm.rank() == 0) own_ = read();
  });
  std::array<Index, 3> shape{own_.rows, own_.cols, own_.nnz()};
  comm::broadcast_bytes(comm, shape.data(), sizeof shape);
  const auto [rows, cols, entries] = shape;
  const Index all = floats_an_index * (rows + 1) + 2 * entries;
  node_ = std::make_unique<comm::NodeArray>(comm, all, std::vector<int>{}, comm::NodeArray::Taking::as_written);
  float* const memory = node_->values().data();
  float* const columns = memory + floats_an_index * (rows + 1);
  if (comm.rank() == 0) {
    std::memcpy(memory, own_.indptr.data(), own_.indptr.size() * sizeof(Index));
    std::memcpy(columns, own_.indices.data(), own_.indices.size() * sizeof(float));
    std::memcpy(columns + entries, own_.values.data(), own_.values.size() * sizeof(float));
    own_ = {};
  }
  constexpr Index piece = Index{1} << 30; // MPI counts are 32 bits wide
  std::vector<Index> of_ranks(static_cast<std::size_t>(comm.size()), 0);
  for (Index done = 0; done < all; done += piece) {
    of_ranks.front() = std::min(piece, all - done);
    node_->share(done, of_ranks, 1);
  }
  indptr_ = {reinterpret_cast<const Index*>(memory), static_cast<std::size_t>(rows) + 1};
  indices_ = {reinterpret_cast<const std::int32_t*>(columns), static_cast<std::size_t>(entries)};
  values_ = {columns + entries, static_cast<std::size_t>(entries)};
  count(cols);
}

void MatrixSource::count(Index cols) {
  totals_ = {std::vector<Index>(static_cast<std::size_t>(cols), 0), std::vector<double>(static_cast<std::size_t>(cols), 0.0)};
  for (std::size_t e = 0; e < indices_.size(); ++e) {
    const auto feature = static_cast<std::size_t>(indices_[e]);
    ++totals_.count[feature];
    totals_.sum[feature] += values_[e];
  }
}

io::CsrMatrix MatrixSource::read(Index begin, Index end) const {
  const auto first = indptr_.begin() + begin;
  io::CsrMatrix rows{end - begin, features(), {first, indptr_.begin() + end + 1}, {}, {}};
  rows.indices.assign(indices_.begin() + rows.indptr.front(), indices_.begin() + rows.indptr.back());
  rows.values.assign(values_.begin() + rows.indptr.front(), values_.begin() + rows.indptr.back());
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

io::CsrMatrix csr_of(const io::NpyRows& array, const std::string& name) {
  io::CsrMatrix matrix{array.rows(), array.cols(), {0}, {}, {}};
  const Index rows_a_window = std::max<Index>(1, (Index{1} << 21) / std::max<Index>(1, matrix.cols));
  for (Index begin = 0; begin < matrix.rows; begin += rows_a_window) {
    const Index count = std::min(rows_a_window, matrix.rows - begin);
    const auto values = array.read(begin, count).as_double();
    for (Index r = 0; r < count; ++r) {
      for (Index c = 0; c < matrix.cols; ++c)
        if (const double value = values[static_cast<std::size_t>(r * matrix.cols + c)]; value != 0) {
          matrix.indices.push_back(static_cast<std::int32_t>(c));
          matrix.values.push_back(static_cast<float>(value));
        }
      matrix.indptr.push_back(matrix.nnz());
    }
  }
  io::check_csr(matrix, name);
  return matrix;
}

} // namespace concord::correlate
