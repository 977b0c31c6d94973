#include "concord/core/error.hpp"
#include "concord/io/npy/npy.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>

namespace concord::io {
namespace {

/// A column that a row names twice; -1: none.
Index repeated_column(std::span<const std::int32_t> columns) {
  if (std::adjacent_find(columns.begin(), columns.end(), std::greater_equal<>()) == columns.end()) return -1; // ascending, as most are
  std::vector<std::int32_t> sorted(columns.begin(), columns.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  return twice == sorted.end() ? -1 : *twice;
}

} // namespace

void check_csr(const CsrMatrix& m, const std::string& name) {
  require(m.rows >= 0 && m.cols >= 0 && !m.indptr.empty() && static_cast<Index>(m.indptr.size()) - 1 == m.rows && m.indptr.front() == 0 &&
              m.indptr.back() == m.nnz() && m.values.size() == m.indices.size(),
          ExitCode::bad_data, "{}: indptr, indices and data do not fit each other", name);
  for (Index r = 0; r < m.rows; ++r) // all of it first: rows are where it says
    require(m.indptr[static_cast<std::size_t>(r)] <= m.indptr[static_cast<std::size_t>(r) + 1], ExitCode::bad_data,
            "{}: indptr decreases at row {}", name, r);
  for (Index r = 0; r < m.rows; ++r) {
    const auto row = static_cast<std::size_t>(r);
    for (Index e = m.indptr[row]; e < m.indptr[row + 1]; ++e) {
      const auto i = static_cast<std::size_t>(e);
      require(m.indices[i] >= 0 && m.indices[i] < m.cols, ExitCode::bad_data, "{}: row {} has column {} of {}", name, r, m.indices[i],
              m.cols);
      require(std::isfinite(m.values[i]), ExitCode::bad_data, "{}: row {} holds a value that is not finite", name, r);
    }
    const auto begin = static_cast<std::size_t>(m.indptr[row]);
    const Index twice = repeated_column(std::span(m.indices).subspan(begin, static_cast<std::size_t>(m.indptr[row + 1]) - begin));
    require(twice < 0, ExitCode::bad_data, "{}: row {} names column {} twice; in scipy, call sum_duplicates() before it is saved", name, r,
            twice);
  }
}

namespace {

/// Removes stored zeros: an entry of a feature matrix means that the feature is active.
void drop_zeros(CsrMatrix& m) {
  std::size_t kept = 0;
  Index begin = 0;
  for (std::size_t r = 0; r < static_cast<std::size_t>(m.rows); ++r) {
    const Index end = m.indptr[r + 1];
    for (auto e = static_cast<std::size_t>(begin); e < static_cast<std::size_t>(end); ++e) {
      if (m.values[e] == 0) continue;
      m.indices[kept] = m.indices[e];
      m.values[kept++] = m.values[e];
    }
    m.indptr[r + 1] = static_cast<Index>(kept);
    begin = end;
  }
  m.indices.resize(kept);
  m.values.resize(kept);
}

} // namespace

CsrMatrix read_scipy_csr(const std::filesystem::path& path) {
  const auto arrays = read_npz(path);
  const std::string name = path.string();
  for (const char* part : {"indptr", "indices", "data", "shape", "format"})
    require(arrays.contains(part), ExitCode::bad_data, "{} has no member {}; save it with scipy.sparse.save_npz", name, part);
  const auto& format = arrays.at("format").bytes;
  const std::string letters(format.begin(), format.end());
  require(letters.find('c') == 0 && letters.find('s') != std::string::npos && letters.find('r') != std::string::npos, ExitCode::bad_data,
          "{} is not in CSR format; convert it with .tocsr()", name);
  const auto whole = [&](const char* part) {
    try {
      return arrays.at(part).as_index();
    } catch (const Error& error) {
      fail(error.code(), "{}: {}: {}", name, part, error.what());
    }
  };
  const auto shape = whole("shape");
  require(shape.size() == 2, ExitCode::bad_data,
          "{} has {} dimensions; a matrix of rows and features has two: reshape it before it is saved", name, shape.size());
  CsrMatrix matrix;
  matrix.rows = shape[0];
  matrix.cols = shape[1];
  require(matrix.rows >= 0 && matrix.cols >= 0 && matrix.cols <= std::numeric_limits<std::int32_t>::max(), ExitCode::bad_data,
          "{} is {} x {}; at most 2^31 columns are supported", name, matrix.rows, matrix.cols);
  matrix.indptr = whole("indptr");
  const auto indices = whole("indices");
  for (const Index column : indices) // before they are narrowed
    require(column >= 0 && column < matrix.cols, ExitCode::bad_data, "{} has column {} of {}", name, column, matrix.cols);
  matrix.indices.assign(indices.begin(), indices.end());
  const auto values = arrays.at("data").as_double();
  matrix.values.assign(values.begin(), values.end());
  check_csr(matrix, name);
  drop_zeros(matrix);
  return matrix;
}

} // namespace concord::io
