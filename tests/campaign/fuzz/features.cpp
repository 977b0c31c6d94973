// features.h5: attributes, shapes, and the rows of each layer.
#include "concord/features/features.hpp"

#include "hdf5_parts.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto path = fuzz::folder() / "features.h5";
  fuzz::Hdf5Parts parts(path, fuzz::text_of(data, size));
  parts.attribute("concord_stage", "encode");
  parts.attribute("layers", "[0]");
  parts.attribute("token_hash", "t");
  parts.attribute("stage_digest", "s");
  parts.attribute("counted_rows", "3");
  parts.dataset("/row_kind", std::vector<std::uint8_t>{1, 0, 0, 0});
  parts.dataset("/layer_000/indptr", std::vector<Index>{0, 0, 1, 1, 3});
  parts.dataset("/layer_000/indices", std::vector<std::int32_t>{0, 0, 1});
  parts.dataset("/layer_000/data", std::vector<float>{1, 2, 3});
  parts.dataset("/layer_000/count", std::vector<Index>{2, 1});
  parts.dataset("/layer_000/sum", std::vector<double>{3, 3});
  parts.dataset("/layer_000/sum_squares", std::vector<double>{5, 9});
  parts.dataset("/layer_000/max", std::vector<float>{2, 3});
  parts.dataset("/layer_000/top_rows", std::vector<Index>{3, 3}, {2, 1});
  parts.dataset("/layer_000/top_values", std::vector<float>{2, 3}, {2, 1});
  parts.close();
  fuzz::expect_error_or_result([&] {
    const features::FeaturesFile file(path);
    file.counted_before(file.rows());
    for (const int layer : file.layers()) {
      fuzz::expect_error_or_result([&] { file.csr(layer, 0, file.rows()); });
      fuzz::expect_error_or_result([&] { file.counted_csr(layer); });
      fuzz::expect_error_or_result([&] { file.counted_entries(layer, 0, file.counted_rows()); });
      fuzz::expect_error_or_result([&] { file.entries(layer); });
      fuzz::expect_error_or_result([&] { file.statistics(layer); });
      fuzz::expect_error_or_result([&] { file.top(layer); });
    }
  });
  return 0;
}
