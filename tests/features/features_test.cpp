// features.h5 of others: every attribute and every shape that does not fit the rest is refused, before anything is read by it.
#include "concord/features/code_spool.hpp"
#include "concord/features/features.hpp"

#include "support/support.hpp"
#include <functional>
#include <limits>
#include <map>

namespace concord::features {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

/// Four rows, the first of which is not counted, and two features: feature 0 on row 1, both on row 3.
struct Parts {
  std::map<std::string, std::string> attributes{
      {"concord_stage", "encode"}, {"layers", "[0]"}, {"token_hash", "t"}, {"stage_digest", "s"}, {"counted_rows", "3"}};
  std::vector<std::uint8_t> row_kind{1, 0, 0, 0};
  std::vector<Index> indptr{0, 0, 1, 1, 3};
  std::vector<std::int32_t> indices{0, 0, 1};
  std::vector<float> data{1, 2, 3};
  std::vector<Index> count{2, 1};
  std::vector<double> sum{3, 3}, sum_squares{5, 9};
  std::vector<float> max{2, 3};
  std::vector<Index> top_rows{3, 1, 3, -1}, top_shape{2, 2};
  std::vector<float> top_values{2, 1, 3, 0};
};

std::filesystem::path write(const Parts& p) {
  const auto path = empty_folder("features_file") / fmt::format("x{}.h5", world().rank());
  auto file = io::File::create(path);
  for (const auto& [name, value] : p.attributes) file.write_attribute(name, value);
  file.write("/row_kind", p.row_kind);
  const std::string at = "/layer_000/";
  file.write(at + "indptr", p.indptr);
  file.write(at + "indices", p.indices);
  file.write(at + "data", p.data);
  file.write(at + "count", p.count);
  file.write(at + "sum", p.sum);
  file.write(at + "sum_squares", p.sum_squares);
  file.write(at + "max", p.max);
  file.write(at + "top_rows", p.top_rows, p.top_shape);
  file.write(at + "top_values", p.top_values, p.top_shape);
  file.close();
  return path;
}

void read_all(const FeaturesFile& file) {
  for (const int layer : file.layers()) {
    file.csr(layer, 0, file.rows());
    file.counted_csr(layer);
    file.counted_entries(layer, 0, file.counted_rows());
    file.entries(layer);
    file.statistics(layer);
    file.top(layer);
  }
}

void refused(const std::string& part, const std::function<void(Parts&)>& change) {
  Parts parts;
  change(parts);
  const auto path = write(parts);
  expect_error(ExitCode::bad_data, part, [&] { read_all(FeaturesFile(path)); });
}

TEST(Features, AreReadAsTheyStand) {
  const FeaturesFile file(write({}));
  EXPECT_EQ(file.counted_csr(0).indptr, (std::vector<Index>{0, 1, 1, 3}));
  EXPECT_EQ(file.counted_csr(0, 1, 3).indices, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(file.counted_entries(0, 0, 3), 3);
  EXPECT_EQ(file.entries(0), 3);
  EXPECT_EQ(file.counted_before(4), 3);
  EXPECT_EQ(file.top(0).places, 2);
}

TEST(Features, RowsAreReadPieceByPiece) {
  const FeaturesFile file(write({}));
  const auto codes = file.codes(0);
  std::vector<Index> offsets;
  codes.entry_offsets(1, 4, offsets);
  EXPECT_EQ(offsets, (std::vector<Index>{0, 1, 1, 3}));
  io::CsrMatrix rows;
  codes.rows_at(offsets, 1, rows);
  EXPECT_EQ(rows.values, (std::vector<float>{1, 2, 3}));
  codes.rows_at(std::span(offsets).subspan(2), 3, rows); // the memory of more rows is used again
  EXPECT_EQ(rows.indptr, (std::vector<Index>{0, 2}));
  EXPECT_EQ(rows.indices, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(rows.values, (std::vector<float>{2, 3}));
  codes.columns_at(std::span(offsets).first(2), 1, rows);
  EXPECT_EQ(rows.indices, (std::vector<std::int32_t>{0}));
  EXPECT_TRUE(rows.values.empty());
  codes.columns_at(std::span(offsets).subspan(1, 2), 2, rows);
  EXPECT_EQ(rows.rows, 1);
  EXPECT_TRUE(rows.indices.empty());
}

TEST(Features, ColumnsThatAreNotThereAreRefused) {
  for (const std::int32_t wrong : {-1, 2}) {
    Parts parts;
    parts.indices.back() = wrong;
    const FeaturesFile file(write(parts));
    io::CsrMatrix rows;
    file.codes(0).columns_at(std::vector<Index>{0, 1}, 1, rows);
    expect_error(ExitCode::bad_data, "of 2", [&] { file.codes(0).columns_at(std::vector<Index>{1, 3}, 3, rows); });
  }
}

TEST(Features, AttributesThatSayNothingAreRefused) {
  for (const char* layers : {"", "0", "[0", "[\"a\"]", "[1.5]", "{}", "[99999999999]"})
    refused("the attribute layers", [&](Parts& p) { p.attributes["layers"] = layers; });
  for (const char* rows : {"", "three", "3x", "99999999999999999999"})
    refused("the attribute counted_rows", [&](Parts& p) { p.attributes["counted_rows"] = rows; });
  for (const char* rows : {"2", "-1", "9223372036854775807"})
    refused("row_kind has 3 such rows", [&](Parts& p) { p.attributes["counted_rows"] = rows; });
  refused("has no dataset", [](Parts& p) { p.attributes["layers"] = "[0, 7]"; });
}

TEST(Features, ShapesAndOffsetsThatDoNotFitAreRefused) {
  refused("does not fit", [](Parts& p) { p.indptr.push_back(3); });
  refused("does not fit", [](Parts& p) { p.indptr.pop_back(); });
  refused("beyond the 3 entries", [](Parts& p) { p.indptr.back() = 4; });
  refused("beyond the 3 entries", [](Parts& p) { p.indptr.back() = std::numeric_limits<Index>::max(); });
  refused("decreases", [](Parts& p) { p.indptr = {0, 5, 1, 1, 3}; });
  refused("decreases", [](Parts& p) { p.indptr.front() = -1; });
  refused("decreases", [](Parts& p) { p.indptr = {2, 2, 2, 2, 1}; });
  refused("does not fit", [](Parts& p) { p.data.pop_back(); });
  refused("column 2 of 2", [](Parts& p) { p.indices.back() = 2; });
  refused("row 1, which is left out", [](Parts& p) { p.row_kind = {0, 1, 0, 0}; });
  refused("does not fit", [](Parts& p) { p.sum.push_back(1); });
  refused("does not fit", [](Parts& p) { p.sum_squares.pop_back(); });
  refused("does not fit", [](Parts& p) { p.max.push_back(1); });
  refused("does not fit", [](Parts& p) { p.top_shape = {1, 4}; });
  refused("does not fit", [](Parts& p) { p.top_shape = {4}; });
  refused("names row 4 of 4", [](Parts& p) { p.top_rows[0] = 4; });
}

TEST(CodeSpool, AFileThatCannotBeReadIsNoEmptyOne) {
  const auto folder = empty_folder("spool_unreadable") / "codes";
  { const CodeSpool spool(world(), folder, "d", false); }
  std::filesystem::create_symlink("/proc/self/mem", folder / "000000.rank00000.spool"); // opens; reading it fails with EIO
  expect_error(ExitCode::io, "cannot read", [&] { CodeSpool(world(), folder, "d", false); });
}

} // namespace
} // namespace concord::features
