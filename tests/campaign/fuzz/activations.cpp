// activations.h5: rows, their kinds, the blocks they were made in.
#include "concord/io/rows/block_offsets.hpp"
#include "concord/io/rows/row_writer.hpp"
#include "concord/sae/rows/buffer_order.hpp"

#include "app/results/checks/checks.hpp"
#include "features/file_codes.hpp"
#include "hdf5_parts.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto path = fuzz::folder() / "activations.h5";
  fuzz::Hdf5Parts parts(path, fuzz::text_of(data, size));
  parts.attribute("concord_stage", "extract");
  parts.attribute("layers", "[0]");
  parts.attribute("token_hash", "t");
  parts.attribute("stage_digest", "s");
  parts.dataset("/row_kind", std::vector<std::uint8_t>{1, 0, 0, 0});
  parts.dataset("/block_offsets", std::vector<Index>{0, 2, 4});
  const std::vector<float> rows{1, 2, 3, 4, 5, 6, 7, 8};
  const auto checksum = [&](std::size_t row) {
    return static_cast<std::int64_t>(io::block_checksum(&rows[2 * row], 2 * 2 * sizeof(float)));
  };
  parts.dataset("/layer_000/x", rows, {4, 2});
  parts.dataset("/layer_000/checksums", std::vector<std::int64_t>{checksum(0), checksum(2)});
  parts.close();
  const comm::StopWithin stop(0);
  std::string warning;
  fuzz::expect_error_or_result([&] { app::check_activations(path, warning, stop); });
  fuzz::expect_error_or_result([&] {
    features::EncodeOptions options;
    options.activations = path;
    const auto facts = features::facts_of(options);
    features::PieceWindows windows(facts.block_offsets, facts.rows);
    for (Index window = 0; window < windows.count(); ++window)
      windows.for_pieces(window, [&](Index begin, Index end) { facts.row_kinds(begin, end); });
    sae::BufferOrder order(facts.block_offsets, sae::usable_rows_of(facts.row_kinds, false), 0.25, 2, 1, 1);
    order.rows_of(3, 0, 1);
    order.held_out_rows(0, 1);
  });
  fuzz::expect_error_or_result([&] {
    const io::RowSource source(path.string() + ":/layer_000/x");
    std::vector<float> read(static_cast<std::size_t>(source.rows() * source.cols()));
    source.read_float(0, source.rows(), read);
    source.row_kinds(0, source.rows());
    source.digest();
  });
  return 0;
}
