#include "correlate/features/side.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/io/npy/npy.hpp"

#include <algorithm>

namespace concord::correlate {

Side::Side(const comm::Communicator& comm, const std::filesystem::path& path, const std::vector<int>& layers) {
  const auto extension = path.extension();
  if (extension == ".npz" || extension == ".npy") {
    matrix_ = std::make_shared<MatrixSource>(
        comm, [&] { return extension == ".npz" ? io::read_scipy_csr(path) : csr_of(io::NpyRows(path), path.string()); });
    layers_ = {0};
    digest_ = comm::decided(comm, [&] { return digest_of_file(path); });
  } else {
    comm::agree(comm, [&] {
      file_.emplace(path);
      layers_ = file_->layers();
      digest_ = file_->digest();
    });
  }
  comm::agree(comm, [&] {
    for (const int layer : layers)
      require(std::find(layers_.begin(), layers_.end(), layer) != layers_.end(), ExitCode::config, "{} has no {}", path.string(),
              layer_name(layer));
  });
  if (!layers.empty()) layers_ = layers;
}

std::shared_ptr<const FeatureSource> Side::source(int layer) const {
  if (matrix_) return matrix_;
  return std::make_shared<FileSource>(*file_, layer);
}

TopTokens Side::top_tokens(int layer, const corpus::TokenTexts& tokens) const {
  constexpr Index strongest = 5;
  const auto top = file_->top(layer);
  const auto places = static_cast<std::size_t>(top.places);
  const auto taken = static_cast<std::size_t>(std::min(strongest, top.places));
  TopTokens of_features(top.rows.size() / places);
  std::vector<Index> rows;
  for (std::size_t j = 0; j < of_features.size(); ++j)
    rows.insert(rows.end(), top.rows.begin() + static_cast<Index>(j * places), top.rows.begin() + static_cast<Index>(j * places + taken));
  auto texts = tokens.of_rows(rows);
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i] >= 0) of_features[i / taken].push_back(std::move(texts[i]));
  return of_features;
}

} // namespace concord::correlate
