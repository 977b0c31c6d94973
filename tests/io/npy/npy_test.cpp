// Arrays and sparse matrices of others, right and hostile. Right ones are also read from files that numpy and scipy wrote (tests/cli).
#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/io/npy/npy.hpp"
#include "concord/io/npy/npy_rows.hpp"
#include "concord/io/rows/row_source.hpp"

#include <zip.h>

#include "support/support.hpp"
#include <cstring>
#include <fstream>
#include <limits>

namespace concord::io {
namespace {

using test::empty_folder;
using test::expect_error;

/// The bytes of a .npy with this header.
std::vector<char> npy(std::string header, const std::string& data, char major = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += major;
  bytes += '\0';
  const auto length = static_cast<std::uint32_t>(header.size());
  bytes.append(reinterpret_cast<const char*>(&length), major == 1 ? 2 : 4);
  bytes += header + data;
  return {bytes.begin(), bytes.end()};
}

std::string header(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

template <typename T>
std::string bytes_of(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

TEST(Npy, ReadsEveryWholeAndFloatingType) {
  const auto doubles = [](const std::string& descr, const std::string& data) {
    return parse_npy(npy(header(descr, "(2,)"), data), "x").as_double();
  };
  const std::vector<double> expected{-3, 7};
  EXPECT_EQ(doubles("<f8", bytes_of({-3.0, 7.0})), expected);
  EXPECT_EQ(doubles("<f4", bytes_of({-3.0F, 7.0F})), expected);
  EXPECT_EQ(doubles("<i8", bytes_of<std::int64_t>({-3, 7})), expected);
  EXPECT_EQ(doubles("<i4", bytes_of<std::int32_t>({-3, 7})), expected);
  EXPECT_EQ(doubles("<i2", bytes_of<std::int16_t>({-3, 7})), expected);
  EXPECT_EQ(doubles("|i1", bytes_of<std::int8_t>({-3, 7})), expected);
  EXPECT_EQ(doubles("<u8", bytes_of<std::uint64_t>({3, 7})), (std::vector<double>{3, 7}));
  EXPECT_EQ(doubles("|b1", std::string("\x01\x00", 2)), (std::vector<double>{1, 0}));
  EXPECT_EQ(doubles(">f8", std::string("\xC0\x08\0\0\0\0\0\0\x40\x1C\0\0\0\0\0\0", 16)), expected);
  EXPECT_EQ(doubles(">i2", std::string("\xFF\xFD\x00\x07", 4)), expected);
  EXPECT_EQ(doubles(">u4", std::string("\0\0\0\x03\0\0\0\x07", 8)), (std::vector<double>{3, 7}));
}

TEST(Npy, KeepsWholeNumbersBeyondDoublesExact) {
  const auto array = parse_npy(npy(header("<i8", "(1,)"), bytes_of<std::int64_t>({(std::int64_t{1} << 53) + 1})), "x");
  EXPECT_EQ(array.as_index().front(), (Index{1} << 53) + 1);
}

TEST(Npy, ReadsShapesAndOrders) {
  const auto fortran = parse_npy(npy(header("<i4", "(2, 3)", "True"), bytes_of<std::int32_t>({1, 4, 2, 5, 3, 6})), "x");
  EXPECT_EQ(fortran.as_index(), (std::vector<Index>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(parse_npy(npy(header("<i4", "()"), bytes_of<std::int32_t>({5})), "x").count(), 1);
  EXPECT_EQ(parse_npy(npy(header("<i4", "(0, 7)"), ""), "x").count(), 0);
  EXPECT_EQ(parse_npy(npy(header("<i4", "(1L,)"), bytes_of<std::int32_t>({5})), "x").count(), 1);
  EXPECT_EQ(parse_npy(npy("{\"shape\":(1,),\"fortran_order\":False,\"descr\":\"<i4\"}", bytes_of<std::int32_t>({5}), 2), "x").count(), 1);
}

TEST(NpyRows, AreThoseOfTheWholeArray) {
  const auto path = empty_folder("npy_rows") / fmt::format("{}.npy", test::world().rank());
  const std::vector<std::pair<std::string, std::string>> files{
      {header("<i4", "(3, 2)"), bytes_of<std::int32_t>({1, 2, 3, 4, 5, 6})},
      {header("<i8", "(3, 2)", "True"), bytes_of<std::int64_t>({1, 3, 5, 2, 4, 6})},
      {header(">u2", "(3, 2)"), std::string("\0\1\0\2\0\3\0\4\0\5\0\6", 12)},
      {header("|i1", "(3, 2)", "True"), std::string("\1\3\5\2\4\6", 6)}};
  for (const auto& [head, data] : files) {
    const auto bytes = npy(head, data);
    write_text_atomic(path, std::string(bytes.begin(), bytes.end()));
    const NpyRows rows(path);
    EXPECT_EQ(rows.rows(), 3);
    EXPECT_EQ(rows.cols(), 2);
    EXPECT_EQ(rows.read(0, 3).as_index(), (std::vector<Index>{1, 2, 3, 4, 5, 6})) << head;
    EXPECT_EQ(rows.read(1, 1).as_index(), (std::vector<Index>{3, 4})) << head;
    EXPECT_EQ(rows.read(1, 2).as_index(), (std::vector<Index>{3, 4, 5, 6})) << head;
  }
}

TEST(NpyRows, OfEitherOrderAreASourceOfRows) {
  const auto folder = empty_folder("npy_source");
  const auto rows_of = [&](const std::string& order, const std::string& data) {
    const auto path = folder / fmt::format("{}{}.npy", order, test::world().rank());
    const auto bytes = npy(header("<f4", "(3, 2)", order), data);
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const RowSource source(path.string());
    std::vector<float> values(4);
    source.read_float(1, 2, values);
    source.read_float(3, 0, {});
    return values;
  };
  const std::vector<float> expected{3, 4, 5, 6};
  EXPECT_EQ(rows_of("False", bytes_of<float>({1, 2, 3, 4, 5, 6})), expected);
  EXPECT_EQ(rows_of("True", bytes_of<float>({1, 3, 5, 2, 4, 6})), expected);
}

TEST(NpyRows, RefuseWhatIsNoTable) {
  const auto folder = empty_folder("npy_no_rows");
  const auto path = folder / fmt::format("{}.npy", test::world().rank());
  const auto refused = [&](const std::vector<char>& bytes, const std::string& message) {
    write_text_atomic(path, std::string(bytes.begin(), bytes.end()));
    expect_error(ExitCode::bad_data, message, [&] { const NpyRows rows(path); });
  };
  refused(npy(header("<i4", "(6,)"), std::string(24, '\0')), "1 dimensions");
  refused(npy(header("<i4", "(3, 2)"), std::string(23, '\0')), "truncated");
  refused(npy(header("<U4", "(3, 2)"), std::string(96, '\0')), "not supported");
  refused({'n', 'o'}, "no NumPy array");
  expect_error(ExitCode::input_missing, "nowhere.npy", [&] { const NpyRows rows(folder / "nowhere.npy"); });
}

TEST(Npy, RefusesHostileHeaders) {
  const std::string data(64, '\0');
  const std::vector<std::pair<std::string, std::string>> cases{
      {header("<f4", "(-1,)"), "no whole number"},
      {header("<f4", "(1.5,)"), "another form"},
      {header("<f4", "(99999999999999999999,)"), "no whole number"},
      {header("<f4", "(9223372036854775807, 3)"), "more elements than 2^63"},
      {header("<f4", "(4611686018427387904,)"), "truncated"},
      {header("<f4", "(3 4)"), "another form"},
      {header("<f4", "[3, 4]"), "another form"},
      {header("<f4", "(17,)"), "truncated"},
      {header("", "(1,)"), "element type"},
      {header("f", "(1,)"), "element type"},
      {header("<c8", "(1,)"), "element type"},
      {header("|O", "(1,)"), "element type"},
      {header("<f4", "(1,)", "Maybe"), "neither True nor False"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "structured"},
      {"{'descr': '<f4', 'fortran_order': False}", "too few keys"},
      {"{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", "twice"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", "unknown key"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "another form"},
      {header("<f4", "(1,)") + "x", "behind its end"},
      {"", "another form"},
      {header(std::string(200000, 'f'), "(1,)"), ""}};
  for (const auto& [text, message] : cases) {
    const bool is_long = text.size() > 65535;
    expect_error(ExitCode::bad_data, message, [&] { parse_npy(npy(text, data, is_long ? 2 : 1), "x"); });
  }
  const auto whole = npy(header("<f4", "(1,)"), std::string(4, '\0'), 2);
  for (std::size_t length = 0; length < whole.size(); ++length)
    expect_error(ExitCode::bad_data, "", [&] { parse_npy({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}, "x"); });
  expect_error(ExitCode::bad_data, "above 2^63",
               [&] { parse_npy(npy(header("<u8", "(1,)"), bytes_of<std::uint64_t>({~std::uint64_t{0}})), "x"); });
}

TEST(Npy, AnEmptyArrayOfManyRowsIsReadAtOnce) { // 2^62 rows of nothing: no loop goes over them
  const auto array = parse_npy(npy(header("<f4", "(4611686018427387904, 0)", "True"), ""), "x");
  EXPECT_EQ(array.count(), 0);
  EXPECT_TRUE(array.bytes.empty());
}

/// Writes an archive of arrays.
void write_npz(const std::filesystem::path& path, const std::vector<std::pair<std::string, std::vector<char>>>& members) {
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  for (const auto& [name, bytes] : members)
    zip_file_add(archive, name.c_str(), zip_source_buffer(archive, bytes.data(), bytes.size(), 0), 0);
  ASSERT_EQ(zip_close(archive), 0);
}

struct Parts {
  std::vector<std::int64_t> of_indptr{0, 1, 2}, indices{0, 2}, of_shape{2, 3};
};

void write_csr(const std::filesystem::path& path, const Parts& p) {
  const auto whole = [](const std::vector<std::int64_t>& v) {
    return npy(header("<i8", "(" + std::to_string(v.size()) + ",)"), {reinterpret_cast<const char*>(v.data()), 8 * v.size()});
  };
  const std::vector<float> ones(p.indices.size(), 1.0F);
  write_npz(path, {{"indptr.npy", whole(p.of_indptr)},
                   {"indices.npy", whole(p.indices)},
                   {"shape.npy", whole(p.of_shape)},
                   {"format.npy", npy(header("|S3", "()"), "csr")},
                   {"data.npy", npy(header("<f4", "(" + std::to_string(ones.size()) + ",)"),
                                    {reinterpret_cast<const char*>(ones.data()), 4 * ones.size()})}});
}

TEST(Csr, RefusesHostileFiles) {
  if (test::world().rank() != 0) return;
  const auto path = std::filesystem::path("scratch_csr.npz");
  const auto refused = [&](const Parts& parts, const char* message) {
    write_csr(path, parts);
    expect_error(ExitCode::bad_data, message, [&] { read_scipy_csr(path); });
  };
  write_csr(path, {});
  EXPECT_EQ(read_scipy_csr(path).nnz(), 2);
  refused({.of_shape = {6}}, "dimensions");
  refused({.of_shape = {2, std::int64_t{1} << 40}}, "at most 2^31 columns");
  refused({.of_shape = {-2, 3}}, "");
  refused({.indices = {0, (std::int64_t{1} << 32)}}, "has column 4294967296");
  refused({.indices = {0, -1}}, "has column -1");
  refused({.of_indptr = {0, 1000000, 2}}, "indptr decreases at row 1");
  refused({.of_indptr = {0, 3, 2}}, "indptr decreases at row 1");
  refused({.of_indptr = {0, 2}}, "do not fit");
  refused({.of_indptr = {0, 2}, .of_shape = {std::numeric_limits<std::int64_t>::max(), 3}}, "do not fit");
  std::filesystem::remove(path);
}

/// The places of a little-endian number in a file.
std::vector<std::size_t> places_of(const std::string& bytes, std::uint32_t number) {
  const std::string sought(reinterpret_cast<const char*>(&number), 4);
  std::vector<std::size_t> places;
  for (auto at = bytes.find(sought); at != std::string::npos; at = bytes.find(sought, at + 1)) places.push_back(at);
  return places;
}

TEST(Npz, MembersHoldWhatTheyClaim) {
  const auto path = empty_folder("npz_claims") / ("x" + std::to_string(test::world().rank()) + ".npz");
  std::string data(4 * 1021, '\0'); // alike, so that it packs well; its size occurs nowhere else
  const auto array = npy(header("<f4", "(1021,)"), data);
  write_npz(path, {{"a.npy", array}});
  EXPECT_EQ(read_npz(path).at("a").count(), 1021);
  const std::string whole = read_text(path, "archive");
  const auto size = static_cast<std::uint32_t>(array.size());
  for (const std::uint32_t claimed : {std::uint32_t{1}, size - 1, size + 1, std::uint32_t{0x7fffffff}}) {
    std::string changed = whole;
    for (const auto at : places_of(whole, size)) std::memcpy(changed.data() + at, &claimed, 4);
    ASSERT_NE(changed, whole);
    std::ofstream(path, std::ios::binary) << changed;
    expect_error(ExitCode::bad_data, "", [&] { read_npz(path); });
  }
}

TEST(Npz, MembersDoNotShareBytes) { // 500 names for one packed member would unpack to 500 times its size
  const auto path = empty_folder("npz_shared") / ("x" + std::to_string(test::world().rank()) + ".npz");
  std::string noise;
  for (std::uint32_t i = 0, x = 1; i < 4000; ++i) noise += static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
  const auto array = npy(header("|u1", "(4000,)"), noise);
  write_npz(path, {{"a.npy", array}, {"b.npy", npy(header("|u1", "(1,)"), "x")}});
  std::string bytes = read_text(path, "archive");
  // The second entry of the directory becomes a copy of the first, with the name and the place of its own.
  const auto first = bytes.find("PK\x01\x02");
  const auto second = bytes.find("PK\x01\x02", first + 4);
  ASSERT_NE(second, std::string::npos);
  bytes.replace(second + 10, 18, bytes, first + 10, 18); // method, time, checksum, sizes
  bytes.replace(second + 42, 4, bytes, first + 42, 4);   // where it lies
  std::ofstream(path, std::ios::binary) << bytes;
  expect_error(ExitCode::bad_data, "damaged at member 1", [&] { read_npz(path); });
}

} // namespace
} // namespace concord::io
