#include "concord/core/error.hpp"
#include "concord/io/npy/npy.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

namespace concord::io {
namespace {

/// As most rows do.
bool ascend(std::span<const std::int32_t> columns) {
  unsigned falls = 0;
#pragma omp simd reduction(| : falls)
  for (std::size_t i = 1; i < columns.size(); ++i) falls |= static_cast<unsigned>(columns[i - 1] >= columns[i]);
  return falls == 0;
}

/// A column that a row names twice; -1: none.
Index repeated_column(std::span<const std::int32_t> columns) {
  if (ascend(columns)) return -1;
  std::vector<std::int32_t> sorted(columns.begin(), columns.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  return twice == sorted.end() ? -1 : *twice;
}

std::span<const std::int32_t> columns_of(const CsrMatrix& m, Index row) {
  const auto begin = static_cast<std::size_t>(m.indptr[static_cast<std::size_t>(row)]);
  return std::span(m.indices).subspan(begin, static_cast<std::size_t>(m.indptr[static_cast<std::size_t>(row) + 1]) - begin);
}

bool parts_fit(const CsrMatrix& m) {
  return m.rows >= 0 && m.cols >= 0 && !m.indptr.empty() && static_cast<Index>(m.indptr.size()) - 1 == m.rows && m.indptr.front() == 0 &&
         m.indptr.back() == m.nnz() && m.values.size() == m.indices.size();
}

/// Whether all columns are there and all values finite.
bool entries_are_sound(const CsrMatrix& m) {
  constexpr std::uint32_t exponent = 0x7F800000; // all ones: infinite or no number
  const auto columns = static_cast<std::uint32_t>(std::min<Index>(m.cols, std::numeric_limits<std::int32_t>::max()));
  std::uint32_t wrong = 0;
#pragma omp simd reduction(| : wrong)
  for (std::size_t i = 0; i < m.indices.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(m.values[i]);
    wrong |= static_cast<std::uint32_t>(static_cast<std::uint32_t>(m.indices[i]) >= columns);
    wrong |= static_cast<std::uint32_t>((bits & exponent) == exponent);
  }
  return wrong == 0;
}

} // namespace

bool is_sound(const CsrMatrix& m) {
  if (!parts_fit(m) || !std::is_sorted(m.indptr.begin(), m.indptr.end()) || !entries_are_sound(m)) return false;
  for (Index r = 0; r < m.rows; ++r)
    if (repeated_column(columns_of(m, r)) >= 0) return false;
  return true;
}

void check_csr(const CsrMatrix& m, const std::string& name) {
  if (is_sound(m)) return;
  require(parts_fit(m), ExitCode::bad_data, "{}: indptr, indices and data do not fit each other", name);
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
    const Index twice = repeated_column(columns_of(m, r));
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
