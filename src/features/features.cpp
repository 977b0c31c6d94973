#include "concord/features/features.hpp"

#include "concord/core/text.hpp"
#include "concord/io/rows/row_hash.hpp"
#include "concord/io/rows/row_kinds.hpp"

#include <algorithm>

namespace concord::features {
namespace {

constexpr Index rows_a_mark = Index{1} << 16;

/// Numbers [begin, begin + count) of a list that has as many, into memory that is used again.
template <typename T>
void read_into(const io::Dataset& dataset, Index begin, Index count, std::vector<T>& out) {
  require(dataset.dtype() == dtype_of<T>(), ExitCode::bad_data, "dataset {} holds {}, expected {}", dataset.name(),
          name_of(dataset.dtype()), name_of(dtype_of<T>()));
  out.resize(static_cast<std::size_t>(count));
  dataset.read_rows(begin, count, out.data());
}

} // namespace

FeaturesFile::FeaturesFile(const std::filesystem::path& path) : file_(io::File::open(path)) {
  require(file_.has_attribute("concord_stage") && file_.attribute("concord_stage") == "encode", ExitCode::bad_data,
          "{} is no features file; make it with `concord encode`", path.string());
  layers_ = file_.integers("layers");
  token_hash_ = file_.attribute("token_hash");
  row_hash_ = io::row_hash_of(file_);
  keep_special_ = file_.has_attribute("keep_special") && file_.attribute("keep_special") == "1";
  digest_ = file_.attribute("stage_digest");
  counted_rows_ = file_.integer("counted_rows");
  rows_ = file_.dataset("/row_kind", {-1}).rows();
  if (counted_rows_ == rows_) return;
  Index counted = 0;
  for (Index row = 0; row < rows_; row += rows_a_mark) {
    counted_marks_.push_back(counted);
    const auto kinds = row_kinds(row, std::min(rows_, row + rows_a_mark));
    counted += counted_among(kinds);
  }
  require(counted == counted_rows_, ExitCode::bad_data, "{}: counted_rows is {}, row_kind has {} such rows", path.string(), counted_rows_,
          counted);
}

std::vector<std::uint8_t> FeaturesFile::row_kinds(Index begin, Index end) const {
  return file_.dataset("/row_kind").read<std::uint8_t>(begin, end - begin);
}

Index FeaturesFile::counted_among(const std::vector<std::uint8_t>& kinds) const {
  return std::count_if(kinds.begin(), kinds.end(), [&](std::uint8_t kind) { return io::is_counted(kind, keep_special_); });
}

Index FeaturesFile::counted_before(Index rows) const {
  if (counted_marks_.empty() || rows == 0) return rows;
  const Index mark = std::min(rows / rows_a_mark, static_cast<Index>(counted_marks_.size()) - 1);
  const auto kinds = row_kinds(mark * rows_a_mark, rows);
  return counted_marks_[static_cast<std::size_t>(mark)] + counted_among(kinds);
}

Index FeaturesFile::row_of_counted(Index counted) const {
  if (counted_marks_.empty()) return counted;
  const auto next = std::upper_bound(counted_marks_.begin(), counted_marks_.end(), counted);
  const Index mark = next - counted_marks_.begin() - 1;
  const Index first = mark * rows_a_mark;
  const auto kinds = row_kinds(first, std::min(rows_, first + rows_a_mark));
  Index left = counted - counted_marks_[static_cast<std::size_t>(mark)];
  for (std::size_t i = 0; i < kinds.size(); ++i)
    if (io::is_counted(kinds[i], keep_special_) && left-- == 0) return first + static_cast<Index>(i);
  fail(ExitCode::bad_data, "{} has no {} counted rows", file_.path().string(), counted + 1);
}

std::string FeaturesFile::group(int layer) const {
  require(std::find(layers_.begin(), layers_.end(), layer) != layers_.end(), ExitCode::bad_data, "{} has no {}", file_.path().string(),
          layer_name(layer));
  return "/" + layer_name(layer) + "/";
}

io::Dataset FeaturesFile::indptr(int layer) const {
  return file_.dataset(group(layer) + "indptr", {rows_ + 1});
}

LayerCodes::LayerCodes(const io::File& file, const std::string& group, io::Dataset indptr, Index features)
    : name_(fmt::format("{}:{}", file.path().string(), group)), indptr_(std::move(indptr)), indices_(file.dataset(group + "indices", {-1})),
      values_(file.dataset(group + "data", {indices_.rows()})), features_(features) {}

io::CsrMatrix LayerCodes::rows(Index begin, Index end) const {
  std::vector<Index> offsets;
  entry_offsets(begin, end, offsets);
  io::CsrMatrix matrix;
  rows_at(offsets, begin, matrix);
  return matrix;
}

void LayerCodes::entry_offsets(Index begin, Index end, std::vector<Index>& out) const {
  read_into(indptr_, begin, end - begin + 1, out);
  require(out.front() >= 0 && std::is_sorted(out.begin(), out.end()), ExitCode::bad_data, "{} indptr decreases", name_);
  if (out.front() < out.back()) // an empty layer is stored with one unused place
    require(out.back() <= indices_.rows(), ExitCode::bad_data, "{} indptr goes beyond the {} entries", name_, indices_.rows());
}

void LayerCodes::columns_of_rows(std::span<const Index> offsets, io::CsrMatrix& out) const {
  out.rows = static_cast<Index>(offsets.size()) - 1;
  out.cols = features_;
  out.indptr.assign(offsets.begin(), offsets.end());
  for (Index& offset : out.indptr) offset -= offsets.front();
  const bool none = out.indptr.back() == 0; // wherever their offsets say that it is
  read_into(indices_, none ? 0 : offsets.front(), out.indptr.back(), out.indices);
}

void LayerCodes::rows_at(std::span<const Index> offsets, Index first_row, io::CsrMatrix& out) const {
  columns_of_rows(offsets, out);
  read_into(values_, out.indices.empty() ? 0 : offsets.front(), out.indptr.back(), out.values);
  if (!io::is_sound(out)) check_csr(out, fmt::format("{} from row {}", name_, first_row));
}

void LayerCodes::columns_at(std::span<const Index> offsets, Index first_row, io::CsrMatrix& out) const {
  columns_of_rows(offsets, out);
  out.values.clear();
  std::uint32_t most = 0; // of the columns; one below 0 is larger than all others
#pragma omp simd reduction(max : most)
  for (std::size_t i = 0; i < out.indices.size(); ++i) most = std::max(most, static_cast<std::uint32_t>(out.indices[i]));
  require(out.indices.empty() || static_cast<Index>(most) < features_, ExitCode::bad_data, "{} from row {} has column {} of {}", name_,
          first_row, static_cast<std::int32_t>(most), features_);
}

namespace {

Index entries_before(const io::Dataset& indptr, Index row) {
  const Index entries = indptr.read<Index>(row, 1).front();
  require(entries >= 0, ExitCode::bad_data, "dataset {} holds {}", indptr.name(), entries);
  return entries;
}

} // namespace

Index FeaturesFile::entries(int layer) const {
  const Index entries = entries_before(indptr(layer), rows_);
  const auto indices = file_.dataset(group(layer) + "indices", {-1});
  require(entries <= indices.rows(), ExitCode::bad_data, "dataset {} holds {} of the {} entries that indptr names", indices.name(),
          indices.rows(), entries);
  return entries;
}

io::CsrMatrix FeaturesFile::counted_csr(int layer, Index begin, Index end) const {
  if (end < 0) end = counted_rows_;
  io::CsrMatrix matrix{end - begin, features(layer), {0}, {}, {}};
  if (begin == end) return matrix;
  const Index first = row_of_counted(begin);
  const Index last = row_of_counted(end - 1) + 1;
  auto all = csr(layer, first, last);
  if (counted_marks_.empty()) return all;
  const auto kinds = row_kinds(first, last);
  matrix.indices = std::move(all.indices);
  matrix.values = std::move(all.values);
  for (std::size_t r = 0; r < kinds.size(); ++r) { // rows that do not count are empty, so dropping their ends drops them
    const bool counted = io::is_counted(kinds[r], keep_special_);
    if (counted) matrix.indptr.push_back(all.indptr[r + 1]);
    require(counted || all.indptr[r] == all.indptr[r + 1], ExitCode::bad_data, "{}:{} has features on row {}, which is left out",
            file_.path().string(), group(layer), first + static_cast<Index>(r));
  }
  return matrix;
}

Index FeaturesFile::counted_entries(int layer, Index begin, Index end) const {
  if (begin == end) return 0;
  const auto ends = indptr(layer);
  const Index first = entries_before(ends, row_of_counted(begin));
  const Index last = entries_before(ends, row_of_counted(end - 1) + 1);
  require(first <= last, ExitCode::bad_data, "dataset {} decreases", ends.name());
  return last - first;
}

Index FeaturesFile::features(int layer) const {
  return file_.dataset(group(layer) + "count", {-1}).rows();
}

FeatureStatistics FeaturesFile::statistics(int layer) const {
  const Index f = features(layer);
  const auto part = [&](const char* name) { return file_.dataset(group(layer) + name, {f}); };
  return {part("count").read_all<Index>(), part("sum").read_all<double>(), part("sum_squares").read_all<double>(),
          part("max").read_all<float>()};
}

TopActivations FeaturesFile::top(int layer) const {
  const auto rows = file_.dataset(group(layer) + "top_rows", {features(layer), -1});
  const auto values = file_.dataset(group(layer) + "top_values", rows.dims());
  TopActivations top{rows.row_size(), rows.read_all<Index>(), values.read_all<float>()};
  for (const Index row : top.rows)
    require(row >= -1 && row < rows_, ExitCode::bad_data, "dataset {} names row {} of {}", rows.name(), row, rows_);
  return top;
}

} // namespace concord::features
