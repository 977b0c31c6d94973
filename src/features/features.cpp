#include "concord/features/features.hpp"

#include "concord/core/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace concord::features {

FeaturesFile::FeaturesFile(const std::filesystem::path& path) : file_(io::File::open(path)) {
  require(file_.has_attribute("concord_stage") && file_.attribute("concord_stage") == "encode", ExitCode::bad_data,
          "{} is no features file; make it with `concord encode`", path.string());
  layers_ = nlohmann::json::parse(file_.attribute("layers")).get<std::vector<int>>();
  token_hash_ = file_.attribute("token_hash");
  digest_ = file_.attribute("stage_digest");
  counted_rows_ = std::stoll(file_.attribute("counted_rows"));
}

std::string FeaturesFile::group(int layer) const {
  require(std::find(layers_.begin(), layers_.end(), layer) != layers_.end(), ExitCode::bad_data, "{} has no {}", file_.path().string(),
          layer_name(layer));
  return "/" + layer_name(layer) + "/";
}

io::CsrMatrix FeaturesFile::csr(int layer) const {
  const std::string at = group(layer);
  io::CsrMatrix matrix;
  matrix.indptr = file_.read<Index>(at + "indptr");
  matrix.indices = file_.read<std::int32_t>(at + "indices");
  matrix.values = file_.read<float>(at + "data");
  matrix.rows = static_cast<Index>(matrix.indptr.size()) - 1;
  matrix.cols = file_.dataset(at + "count").rows();
  if (!matrix.indptr.empty() && matrix.indptr.back() == 0) { // an empty layer is stored with one unused place
    matrix.indices.clear();
    matrix.values.clear();
  }
  check_csr(matrix, file_.path().string() + ":" + at);
  return matrix;
}

io::CsrMatrix FeaturesFile::counted_csr(int layer) const {
  io::CsrMatrix matrix = csr(layer);
  if (counted_rows_ == matrix.rows) return matrix;
  const auto kinds = file_.read<std::uint8_t>("/row_kind");
  require(static_cast<Index>(kinds.size()) == matrix.rows, ExitCode::bad_data, "{}: row_kind does not fit the layers",
          file_.path().string());
  std::vector<Index> indptr{0};
  for (Index r = 0; r < matrix.rows; ++r)
    if (kinds[static_cast<std::size_t>(r)] == 0) indptr.push_back(matrix.indptr[static_cast<std::size_t>(r) + 1]);
  matrix.indptr = std::move(indptr); // rows left out are empty, so dropping their ends drops them
  matrix.rows = counted_rows_;
  check_csr(matrix, file_.path().string() + ":" + group(layer));
  return matrix;
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
