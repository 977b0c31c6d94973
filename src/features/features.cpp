#include "concord/features/features.hpp"

#include "concord/core/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace concord::features {
namespace {

constexpr Index rows_a_mark = Index{1} << 16;

} // namespace

FeaturesFile::FeaturesFile(const std::filesystem::path& path) : file_(io::File::open(path)) {
  require(file_.has_attribute("concord_stage") && file_.attribute("concord_stage") == "encode", ExitCode::bad_data,
          "{} is no features file; make it with `concord encode`", path.string());
  layers_ = nlohmann::json::parse(file_.attribute("layers")).get<std::vector<int>>();
  token_hash_ = file_.attribute("token_hash");
  digest_ = file_.attribute("stage_digest");
  counted_rows_ = std::stoll(file_.attribute("counted_rows"));
  rows_ = file_.dataset("/row_kind").rows();
  if (counted_rows_ == rows_) return;
  for (Index counted = 0, row = 0; row < rows_; row += rows_a_mark) {
    counted_marks_.push_back(counted);
    const auto kinds = row_kinds(row, std::min(rows_, row + rows_a_mark));
    counted += std::count(kinds.begin(), kinds.end(), std::uint8_t{0});
  }
}

std::vector<std::uint8_t> FeaturesFile::row_kinds(Index begin, Index end) const {
  return file_.dataset("/row_kind").read<std::uint8_t>(begin, end - begin);
}

Index FeaturesFile::counted_before(Index rows) const {
  if (counted_marks_.empty() || rows == 0) return rows;
  const Index mark = std::min(rows / rows_a_mark, static_cast<Index>(counted_marks_.size()) - 1);
  const auto kinds = row_kinds(mark * rows_a_mark, rows);
  return counted_marks_[static_cast<std::size_t>(mark)] + std::count(kinds.begin(), kinds.end(), std::uint8_t{0});
}

Index FeaturesFile::row_of_counted(Index counted) const {
  if (counted_marks_.empty()) return counted;
  const auto next = std::upper_bound(counted_marks_.begin(), counted_marks_.end(), counted);
  const Index mark = next - counted_marks_.begin() - 1;
  const Index first = mark * rows_a_mark;
  const auto kinds = row_kinds(first, std::min(rows_, first + rows_a_mark));
  Index left = counted - counted_marks_[static_cast<std::size_t>(mark)];
  for (std::size_t i = 0; i < kinds.size(); ++i)
    if (kinds[i] == 0 && left-- == 0) return first + static_cast<Index>(i);
  fail(ExitCode::bad_data, "{} has no {} counted rows", file_.path().string(), counted + 1);
}

std::string FeaturesFile::group(int layer) const {
  require(std::find(layers_.begin(), layers_.end(), layer) != layers_.end(), ExitCode::bad_data, "{} has no {}", file_.path().string(),
          layer_name(layer));
  return "/" + layer_name(layer) + "/";
}

io::CsrMatrix FeaturesFile::csr(int layer, Index begin, Index end) const {
  const std::string at = group(layer);
  io::CsrMatrix matrix{end - begin, features(layer), file_.dataset(at + "indptr").read<Index>(begin, end - begin + 1), {}, {}};
  const Index first = matrix.indptr.front();
  const Index count = matrix.indptr.back() - first;
  require(first >= 0 && count >= 0, ExitCode::bad_data, "{}:{} indptr decreases", file_.path().string(), at);
  if (count > 0) { // an empty layer is stored with one unused place
    matrix.indices = file_.dataset(at + "indices").read<std::int32_t>(first, count);
    matrix.values = file_.dataset(at + "data").read<float>(first, count);
  }
  for (Index& offset : matrix.indptr) offset -= first;
  check_csr(matrix, fmt::format("{}:{} from row {}", file_.path().string(), at, begin));
  return matrix;
}

Index FeaturesFile::entries(int layer) const {
  return file_.dataset(group(layer) + "indptr").read<Index>(rows_, 1).front();
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
  for (std::size_t r = 0; r < kinds.size(); ++r) // rows that do not count are empty, so dropping their ends drops them
    if (kinds[r] == 0) matrix.indptr.push_back(all.indptr[r + 1]);
  require(matrix.indptr.back() == matrix.nnz(), ExitCode::bad_data, "{}:{} has features on rows that are left out, near row {}",
          file_.path().string(), group(layer), first);
  return matrix;
}

Index FeaturesFile::counted_entries(int layer, Index begin, Index end) const {
  if (begin == end) return 0;
  const auto indptr = file_.dataset(group(layer) + "indptr");
  return indptr.read<Index>(row_of_counted(end - 1) + 1, 1).front() - indptr.read<Index>(row_of_counted(begin), 1).front();
}

Index FeaturesFile::features(int layer) const {
  return file_.dataset(group(layer) + "count").rows();
}

FeatureStatistics FeaturesFile::statistics(int layer) const {
  const std::string at = group(layer);
  return {file_.read<Index>(at + "count"), file_.read<double>(at + "sum"), file_.read<double>(at + "sum_squares"),
          file_.read<float>(at + "max")};
}

TopActivations FeaturesFile::top(int layer) const {
  const std::string at = group(layer);
  return {file_.dataset(at + "top_rows").row_size(), file_.read<Index>(at + "top_rows"), file_.read<float>(at + "top_values")};
}

} // namespace concord::features
