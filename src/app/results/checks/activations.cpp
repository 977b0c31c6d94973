#include "concord/core/text.hpp"
#include "concord/io/rows/block_offsets.hpp"
#include "concord/io/rows/row_writer.hpp"

#include "app/results/checks/checks.hpp"
#include "app/results/checks/common.hpp"

namespace concord::app {
namespace {

/// Every block of every layer must have the checksum that its writer recorded.
void verify_blocks(const io::File& file, int layer, const std::vector<Index>& block_offsets, const comm::StopWithin& stop) {
  const std::string group = "/" + layer_name(layer);
  const auto rows = file.dataset(group + "/x", {block_offsets.back(), -1});
  const auto checksums = file.read<std::int64_t>(group + "/checksums", {static_cast<Index>(block_offsets.size()) - 1});
  require(rows.dtype() == Dtype::f32 || rows.dtype() == Dtype::f16 || rows.dtype() == Dtype::bf16, ExitCode::bad_data,
          "{} holds {}, which no activations are", rows.name(), name_of(rows.dtype()));
  std::vector<char> bytes;
  for (std::size_t b = 0; b < checksums.size(); ++b) {
    look(stop);
    const Index count = block_offsets[b + 1] - block_offsets[b];
    bytes.resize(static_cast<std::size_t>(count * rows.row_bytes()));
    rows.read_rows(block_offsets[b], count, bytes.data());
    require(static_cast<std::int64_t>(io::block_checksum(bytes.data(), bytes.size())) == checksums[b], ExitCode::bad_data,
            "{}:{}: rows {} to {} are not what was written (their checksum differs); extract the file again", file.path().string(), group,
            block_offsets[b], block_offsets[b + 1] - 1);
    const Index bad = first_non_finite(bytes.data(), rows.dtype(), count * rows.row_size());
    require(bad < 0, ExitCode::bad_data, "{}:{}: row {} is not finite", file.path().string(), group,
            block_offsets[b] + bad / rows.row_size());
  }
}

} // namespace

std::string check_activations(const std::filesystem::path& path, std::string& /*warning*/, const comm::StopWithin& stop) {
  const auto file = io::File::open(path);
  const auto layers = file.integers("layers");
  const auto block_offsets = io::read_block_offsets(file, file.dataset("/row_kind", {-1}).rows());
  for (const int layer : layers) verify_blocks(file, layer, block_offsets, stop);
  return fmt::format("activations of {} layers, {} rows, {} blocks", layers.size(), block_offsets.back(), block_offsets.size() - 1);
}

} // namespace concord::app
