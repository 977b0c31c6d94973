#include "concord/comm/collectives.hpp"
#include "concord/comm/failing_together.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"
#include "concord/io/contents.hpp"
#include "concord/io/npy/npy.hpp"
#include "concord/io/output.hpp"
#include "concord/io/rows/block_offsets.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/io/safetensors.hpp"

#include "io/file_system.hpp"
#include "support/support.hpp"
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <limits>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace concord::io {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

/// A rank that is late still works in the folder when rank 0 asks for it again, empty.
TEST(EmptyFolder, WaitsForRanksThatAreStillAtWorkInIt) {
  for (int round = 0; round < 3; ++round) {
    const auto folder = empty_folder("again");
    EXPECT_TRUE(std::filesystem::is_empty(folder));
    world().barrier(); // all have looked
    if (world().rank() == world().size() - 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::ofstream(folder / fmt::format("of_rank_{}", world().rank())) << "here";
  }
}

TEST(Hdf5, RowsWrittenByAnyRanksReadBackWhole) {
  const auto folder = empty_folder("hdf5_rows");
  const Index rows = 3; // fewer than four ranks: some have none
  const dist::Partition share{rows, world().size()};
  std::vector<float> mine;
  for (Index r = share.begin(world().rank()); r < share.end(world().rank()); ++r) mine.insert(mine.end(), {r * 10.0F, r * 10.0F + 1});
  if (world().rank() == 0) {
    auto file = File::create(folder / "x.h5");
    file.create_dataset("/group/x", {rows, 2}, Dtype::f32);
    file.close();
  }
  world().barrier();
  {
    auto file = File::open_parallel(folder / "x.h5", world());
    file.dataset("/group/x").write_rows(share.begin(world().rank()), share.size(world().rank()), mine.data());
    file.close();
  }
  world().barrier();
  EXPECT_EQ(File::open(folder / "x.h5").read<float>("/group/x"), (std::vector<float>{0, 1, 10, 11, 20, 21}));
}

TEST(Hdf5, KeepsEveryElementType) {
  const auto folder = empty_folder("hdf5_types");
  if (world().rank() == 0) {
    auto file = File::create(folder / "x.h5");
    for (const auto dtype : {Dtype::f64, Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::i64, Dtype::i32, Dtype::u32, Dtype::u8})
      EXPECT_EQ(file.create_dataset("/" + std::string(name_of(dtype)), {2}, dtype).dtype(), dtype);
    file.write_strings("/words", {"a", "", "long word"});
    EXPECT_EQ(file.read_strings("/words"), (std::vector<std::string>{"a", "", "long word"}));
    EXPECT_FALSE(file.has("/none/at/all"));
    expect_error(ExitCode::bad_data, "has no dataset", [&] { file.dataset("/none"); });
    expect_error(ExitCode::bad_data, "expected f64", [&] { file.read<double>("/f32"); });
  }
}

/// Rows are read past HDF5 where they lie in one piece as they are wanted, and by HDF5 where not: other byte order, chunks, within the
/// header, behind a user block, in another file.
TEST(Hdf5, ReadsTheSameRowsHoweverTheyAreStored) {
  const auto folder = empty_folder("hdf5_stored");
  if (world().rank() != 0) return;
  const std::vector<float> values{1, -2, 3.5F, 4, 5, 6e-20F};
  const hsize_t dims[2] = {3, 2};
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_userblock(creation.get(), 512);
  {
    const Handle file(H5Fcreate((folder / "x.h5").c_str(), H5F_ACC_TRUNC, creation.get(), H5P_DEFAULT), H5Fclose);
    const Handle space(H5Screate_simple(2, dims, nullptr), H5Sclose);
    const auto write = [&](const char* name, hid_t type, const Handle& how) {
      const Handle dataset(H5Dcreate2(file.get(), name, type, space.get(), H5P_DEFAULT, how.get(), H5P_DEFAULT), H5Dclose);
      ASSERT_GE(H5Dwrite(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    };
    const auto as = [](auto&& set) {
      Handle how(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
      set(how.get());
      return how;
    };
    write("plain", H5T_IEEE_F32LE, as([](hid_t) {}));
    write("big", H5T_IEEE_F32BE, as([](hid_t) {}));
    write("compact", H5T_IEEE_F32LE, as([](hid_t how) { H5Pset_layout(how, H5D_COMPACT); }));
    write("chunked", H5T_IEEE_F32LE, as([](hid_t how) {
            const hsize_t chunk[2] = {2, 2};
            H5Pset_chunk(how, 2, chunk);
          }));
    const Handle never(H5Dcreate2(file.get(), "never", H5T_IEEE_F32LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
  }
  File::create(folder / "linked.h5").create_external_link("/plain", "x.h5", "/plain");
  const auto file = File::open(folder / "x.h5");
  for (const char* name : {"plain", "big", "compact", "chunked"}) {
    EXPECT_EQ(file.read<float>(name), values) << name;
    EXPECT_EQ(file.dataset(name).read<float>(1, 2), (std::vector<float>{3.5F, 4, 5, 6e-20F})) << name;
  }
  EXPECT_EQ(File::open(folder / "linked.h5").dataset("plain").read<float>(2, 1), (std::vector<float>{5, 6e-20F}));
  expect_error(ExitCode::bad_data, "of which the file holds 0", [&] { file.read<float>("never"); });
}

/// What becomes shorter while it is read is no row of zeros.
TEST(Hdf5, AFileThatShrinksIsAnError) {
  const auto folder = empty_folder("hdf5_shrinks");
  if (world().rank() != 0) return;
  auto made = File::create(folder / "x.h5");
  made.write("/x", std::vector<float>(100000, 1.0F));
  made.close();
  const auto file = File::open(folder / "x.h5");
  const auto x = file.dataset("/x");
  std::filesystem::resize_file(folder / "x.h5", 100000);
  expect_error(ExitCode::io, "the file has become shorter", [&] { x.read_all<float>(); });
}

/// While another program has it locked a file is not taken for a damaged one.
TEST(Hdf5, ALockThatIsHeldIsNamedWithTheFileSystem) {
  const auto folder = empty_folder("hdf5_locked");
  if (world().rank() != 0) return;
  const auto path = folder / "x.h5";
  File::create(path).close();
  int ready[2];
  int done[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(done), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    char byte = ::flock(::open(path.c_str(), O_RDONLY), LOCK_EX) == 0 ? 'y' : 'n';
    static_cast<void>(::write(ready[1], &byte, 1));
    static_cast<void>(::read(done[0], &byte, 1));
    ::_exit(0);
  }
  char locked = 'n';
  ASSERT_EQ(::read(ready[0], &locked, 1), 1);
  ASSERT_EQ(locked, 'y');
  const auto named = fmt::format("cannot lock {} (file system: {})", path.string(), file_system_of(path));
  expect_error(ExitCode::io, named, [&] { File::open(path); });
  expect_error(ExitCode::io, "HDF5_USE_FILE_LOCKING=FALSE", [&] { File::open(path, File::Mode::write); });
  static_cast<void>(::write(done[1], &locked, 1));
  ::waitpid(other, nullptr, 0);
  EXPECT_NO_THROW(File::open(path));
}

TEST(FileSystem, IsKnownOfPathsThatAreNotThereYet) {
  EXPECT_EQ(file_system_of("/proc/self/status"), "type 0x9fa0");
  EXPECT_NE(file_system_of("."), "");
  EXPECT_EQ(file_system_of("not/there/yet.h5"), file_system_of("."));
  EXPECT_EQ(file_system_of(""), file_system_of("."));
}

/// HDF5 writes once more while it closes: a full disk may show itself there alone.
TEST(Hdf5, ACloseThatFailsIsAnError) {
  {
    const Handle refused(1, [](hid_t) -> herr_t { return -1; }); // as the dataset of a disk that is full
  }
  auto file = File::create(fmt::format("close{}.h5", world().rank()));
  EXPECT_THROW(file.close(), Error);
  Handle::close_failed() = false;
  File::create(fmt::format("close{}.h5", world().rank())).close();
}

/// Not by itself: tests/cli/test_close_fails.py starts it, and wants the job to end.
TEST(Hdf5, DISABLED_AParallelFileIsClosedWhereTheDiskTakesNothingMore) {
  const char* where = std::getenv("CLOSE_FAILS_ON");
  ASSERT_NE(where, nullptr);
  const auto folder = empty_folder("close_fails");
  if (world().rank() == 0) {
    auto file = File::create(folder / "x.h5");
    file.create_dataset("/x", {4, 2}, Dtype::f32);
    file.close();
  }
  world().barrier();
  auto file = File::open_parallel(folder / "x.h5", world());
  const std::vector<float> row{1, 2};
  if (world().rank() < 4) file.dataset("/x").write_rows(world().rank(), 1, row.data());
  if (std::string(where) == "all" || std::string(where) == std::to_string(world().rank())) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit none{0, 0};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  }
  file.close();
}

/// A rank that fails alone must not wait for others to close a file with it; ranks that fail together close it.
TEST(Hdf5, AParallelFileIsLeftOpenBehindAnErrorOfOneRank) {
  const auto fail_with_file = [](const std::string& name, bool together) {
    try {
      if (world().rank() == 0) File::create(name).close();
      world().barrier();
      const auto file = File::open_parallel(name, world());
      if (!together) fail(ExitCode::io, "alone");
      comm::agree(world(), [] { fail(ExitCode::io, "together"); });
    } catch (const Error&) {
      comm::note_failing_together(false);
    }
    const bool left_open = Handle::close_failed();
    Handle::close_failed() = false;
    return left_open;
  };
  EXPECT_FALSE(fail_with_file("together.h5", true));
  EXPECT_EQ(fail_with_file("alone.h5", false), world().size() > 1); // one rank closes it
}

TEST(Hdf5, RefusesWhatIsNoHdf5) {
  const auto folder = empty_folder("no_hdf5");
  if (world().rank() == 0) {
    write_text_atomic(folder / "x.h5", "not HDF5");
    expect_error(ExitCode::bad_data, "as HDF5", [&] { File::open(folder / "x.h5"); });
    expect_error(ExitCode::input_missing, "no file", [&] { File::open(folder / "y.h5"); });
  }
}

/// A group that cannot be read is neither empty nor missing: its datasets would be left out without a word.
TEST(Hdf5, AGroupThatCannotBeReadIsAnError) {
  const auto folder = empty_folder("no_group");
  if (world().rank() != 0) return;
  const auto path = folder / "x.h5";
  auto file = File::create(path);
  file.write("/layer_000/x", std::vector<float>{1, 2});
  file.close();
  EXPECT_EQ(File::open(path).members("/layer_000"), std::vector<std::string>{"x"});
  std::string bytes = read_text(path, "file");
  const auto heap = bytes.rfind("HEAP"); // names of the group's members
  ASSERT_NE(heap, std::string::npos);
  bytes.replace(heap, 4, "PAEH");
  write_text_atomic(path, bytes);
  const File damaged = File::open(path);
  expect_error(ExitCode::io, "cannot list the group /layer_000", [&] { damaged.members("/layer_000"); });
  expect_error(ExitCode::io, "cannot look for /layer_000/x", [&] { damaged.has("/layer_000/x"); });
  EXPECT_FALSE(damaged.has("/layer_001/x"));
  expect_error(ExitCode::io, "cannot list the datasets", [&] { check_content_digests(path, comm::StopWithin()); });
}

StageKey key(int value) {
  return {"extract", {{"value", value}}, {{"input", "abc"}}};
}

Output open_output(const std::filesystem::path& path, int value, bool force, Output::Writers writers) {
  return Output(world(), path, key(value), writers, force, 1000, [](File& file) { file.create_dataset("/x", {4}, Dtype::i64); });
}

class OutputWriters : public testing::TestWithParam<Output::Writers> {};

TEST_P(OutputWriters, ContinuesBehindTheLastCommit) {
  const auto path = empty_folder("output_resume") / "out.h5";
  {
    auto output = open_output(path, 1, false, GetParam());
    EXPECT_EQ(output.units_done(), 0);
    const Index value = 7;
    if (world().rank() == 0) output.file().dataset("/x").write_rows(0, 1, &value);
    output.commit(1);
    if (output.writes()) output.file().close();
  }
  world().barrier();
  EXPECT_FALSE(std::filesystem::exists(path));
  auto output = open_output(path, 1, false, GetParam());
  EXPECT_EQ(output.units_done(), 1);
  if (output.writes()) {
    EXPECT_EQ(output.file().read<Index>("/x")[0], 7);
  }
  output.finish();
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_TRUE(output_is_done(world(), path, key(1), false));
}

TEST_P(OutputWriters, RefusesResultsOfOtherSettingsUnlessForced) {
  const auto path = empty_folder("output_other") / "out.h5";
  open_output(path, 1, false, GetParam()).finish();
  expect_error(ExitCode::config, "setting value: 1 -> 2", [&] { output_is_done(world(), path, key(2), false); });
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_FALSE(output_is_done(world(), path, key(2), true));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_P(OutputWriters, StopsWhileItsContentIsDigestedAndIsFinishedByTheNextRun) {
  const auto path = empty_folder("output_stopped") / "out.h5";
  ::setenv("CONCORD_STOP_GRACE", "0", 1);
  comm::install_stop_flag(0);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  {
    auto output = open_output(path, 1, false, GetParam());
    expect_error(ExitCode::stopped, "out.h5.partial stopped early", [&] { output.finish(); });
  }
  ::unsetenv("CONCORD_STOP_GRACE");
  comm::install_stop_flag(0);
  comm::note_failing_together(false);
  world().barrier();
  EXPECT_FALSE(std::filesystem::exists(path));
  open_output(path, 1, false, GetParam()).finish();
  EXPECT_TRUE(std::filesystem::exists(path));
  if (world().rank() == 0) {
    EXPECT_TRUE(check_content_digests(path).changed.empty());
    EXPECT_EQ(check_content_digests(path).digested, 1U);
  }
  world().barrier(); // the next test empties the folder
}
INSTANTIATE_TEST_SUITE_P(Writers, OutputWriters, testing::Values(Output::Writers::all, Output::Writers::root));

TEST(Output, StartsAnewWhenThePartialFileIsNotWhole) {
  const auto path = empty_folder("output_torn") / "out.h5";
  if (world().rank() == 0) write_text_atomic(path.string() + ".partial", "torn");
  world().barrier();
  auto output = open_output(path, 1, false, Output::Writers::all); // no journal: nothing in it counts
  EXPECT_EQ(output.units_done(), 0);
  output.finish();
}

/// A small dataset is written where it is closed: what a full disk takes from it there must not count as done.
TEST(Output, CommitsNothingBehindADatasetThatCouldNotBeClosed) {
  const auto path = empty_folder("output_unclosed") / "out.h5";
  {
    auto output = open_output(path, 1, false, Output::Writers::root);
    output.commit(1);
    if (world().rank() == 0) {
      const Handle refused(1, [](hid_t) -> herr_t { return -1; });
    }
    expect_error(ExitCode::io, "cannot flush", [&] { output.commit(2); });
    Handle::close_failed() = false;
  }
  auto output = open_output(path, 1, false, Output::Writers::root);
  EXPECT_EQ(output.units_done(), 1);
  output.finish();
}

TEST(Output, RefusesADiskThatIsTooSmall) {
  const auto path = empty_folder("output_space") / "out.h5";
  expect_error(ExitCode::io, "needs 888.2 PiB", [&] { Output(world(), path, key(1), Output::Writers::all, false, 1e18, [](File&) {}); });
}

/// A small safetensors file as bytes.
std::string tensors(const std::string& header, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  const std::uint64_t size = header.size();
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\1');
}

TEST(Safetensors, RoundTrips) {
  const auto path = empty_folder("safetensors") / "x.safetensors";
  if (world().rank() != 0) return;
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const std::vector<Index> numbers{-1, 1};
  write_safetensors(path, {{"a", {Dtype::f32, {2, 3}, values.data()}}, {"b", {Dtype::i64, {2}, numbers.data()}}}, {{"k", "v"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.tensor("a").shape, (std::vector<Index>{2, 3}));
  EXPECT_EQ(std::memcmp(file.tensor("a").data, values.data(), 24), 0);
  EXPECT_EQ(std::memcmp(file.tensor("b").data, numbers.data(), 16), 0);
  expect_error(ExitCode::bad_data, "has no tensor c", [&] { file.tensor("c"); });
}

TEST(Safetensors, PiecesMakeTheSameFileAndAllMustCome) {
  const auto folder = empty_folder("safetensors_pieces");
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const std::vector<Index> numbers{7, 8};
  const std::map<std::string, TensorView> tensors{{"a", {Dtype::f32, {2, 3}, values.data()}}, {"b", {Dtype::i64, {2}, numbers.data()}}};
  const auto name = [&](const char* what) { return folder / fmt::format("{}{}", what, world().rank()); };
  write_safetensors(name("whole"), tensors, {{"k", "v"}});
  SafetensorsWriter writer(name("pieces"), tensors, {{"k", "v"}});
  writer.append(values.data(), 8);
  writer.append(values.data() + 2, 16);
  expect_error(ExitCode::internal, "bytes came", [&] { writer.finish(); });
  EXPECT_FALSE(std::filesystem::exists(name("pieces")));
  writer.append(numbers.data(), 16);
  writer.finish();
  EXPECT_EQ(read_text(name("pieces"), "file"), read_text(name("whole"), "file"));
}

TEST(Safetensors, NamesEveryKindOfDamage) {
  const auto path = empty_folder("safetensors_bad") / "x.safetensors";
  if (world().rank() != 0) return;
  const auto expect = [&](const std::string& bytes, const std::string& part) {
    write_text_atomic(path, bytes);
    expect_error(ExitCode::bad_data, part, [&] { const SafetensorsFile file(path); });
  };
  expect("abc", "truncated");
  expect(tensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4), "tensor a ends at byte 8 of 4");
  expect(tensors(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "its shape needs 12");
  expect(tensors(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "malformed");
  expect(tensors("{broken", 8), "not valid JSON");
  std::string huge = tensors("{}", 0);
  huge[6] = '\x7f';
  expect(huge, "header claims");
}

TEST(Safetensors, RefusesHostileHeaders) {
  const auto folder = empty_folder("hostile_tensors");
  if (world().rank() != 0) return;
  const auto path = folder / "x.safetensors";
  const auto refused = [&](const std::string& header, const char* message) {
    {
      std::ofstream out(path, std::ios::binary);
      const std::uint64_t size = header.size();
      out.write(reinterpret_cast<const char*>(&size), 8);
      out << header << std::string(64, '\0');
    }
    expect_error(ExitCode::bad_data, message, [&] { SafetensorsFile file(path); });
  };
  refused(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "malformed");
  refused(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", "malformed");
  refused(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,4]}})", "larger than any file");
  refused(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", "larger than any file");
  refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", "malformed");
  refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "malformed");
  refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
          "share the byte 4");
  refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[4,6]}})",
          "share the byte 4");
  refused(R"([1])", "not valid JSON");
  refused(R"({"a":)" + std::string(200000, '[') + std::string(200000, ']') + "}", "not valid JSON"); // no call a bracket
}

TEST(Safetensors, NamesTypesThatItDoesNotRead) {
  const auto folder = empty_folder("fp8");
  if (world().rank() != 0) return;
  const auto path = folder / "x.safetensors";
  {
    const std::string header = R"({"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})";
    std::ofstream out(path, std::ios::binary);
    const std::uint64_t size = header.size();
    out.write(reinterpret_cast<const char*>(&size), 8);
    out << header << std::string(4, '\0');
  }
  const SafetensorsFile file(path);
  expect_error(ExitCode::bad_data, "tensor w is of type F8_E4M3", [&] { file.tensor("w"); });
}

TEST(Hdf5, KeepsTextsOfAnyLength) {
  const auto folder = empty_folder("long_texts");
  const auto path = folder / fmt::format("x{}.h5", world().rank());
  const std::string text(200000, 'x');
  auto file = File::create(path);
  file.write_attribute("settings", text);
  file.write_attribute("short", "y");
  file.close();
  const auto read = File::open(path);
  EXPECT_TRUE(read.has_attribute("settings"));
  EXPECT_EQ(read.attribute("settings"), text);
  EXPECT_EQ(read.attribute("short"), "y");
  EXPECT_FALSE(read.has_attribute("none"));
}

/// An HDF5 file as another program would write it.
struct Foreign {
  explicit Foreign(const std::filesystem::path& path) : file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose) {}
  void add(const std::string& name, const std::vector<hsize_t>& dims, const Handle& creation) const {
    const Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
    const Handle made(H5Dcreate2(file.get(), name.c_str(), H5T_STD_I64LE, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Dclose);
    ASSERT_TRUE(made) << name;
  }
  Handle file;
};

TEST(Hdf5, TakesMemoryForWhatIsThereAlone) {
  const auto path = empty_folder("claims") / fmt::format("x{}.h5", world().rank());
  {
    const Foreign foreign(path);
    const Handle plain(H5Pcreate(H5P_DATASET_CREATE), H5Pclose); // rows that were never written take no room
    foreign.add("/never_written", {hsize_t{1} << 50}, plain);
    foreign.add("/too_many", {hsize_t{1} << 40, hsize_t{1} << 40}, plain);
    foreign.add("/empty_rows", {hsize_t{1} << 20, 0}, plain);
    foreign.add("/too_many_empty_rows", {hsize_t{1} << 40, 0}, plain);
    const Handle packed(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const hsize_t chunk = 1000;
    H5Pset_chunk(packed.get(), 1, &chunk);
    H5Pset_deflate(packed.get(), 9);
    foreign.add("/no_chunk", {hsize_t{1} << 50}, packed);
    foreign.add("/packed", {1000}, packed);
    const std::vector<Index> zeros(1000, 0);
    const Handle there(H5Dopen2(foreign.file.get(), "/packed", H5P_DEFAULT), H5Dclose);
    H5Dwrite(there.get(), H5T_STD_I64LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data());
    const Handle raw(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_external(raw.get(), "nowhere.raw", 0, 800);
    foreign.add("/raw", {100}, raw);
  }
  const auto file = File::open(path);
  EXPECT_EQ(file.read<Index>("/packed"), std::vector<Index>(1000, 0));
  EXPECT_TRUE(file.read<Index>("/empty_rows").empty());
  for (const char* name : {"/never_written", "/no_chunk", "/too_many_empty_rows"})
    expect_error(ExitCode::bad_data, "claims", [&] { file.read<Index>(name); });
  expect_error(ExitCode::bad_data, "more bytes than 2^63", [&] { file.dataset("/too_many"); });
  expect_error(ExitCode::bad_data, "raw file", [&] { file.dataset("/raw"); });
  expect_error(ExitCode::internal, "outside its 1000 rows", [&] { file.dataset("/packed").read<Index>(1, Index{1} << 60); });
  expect_error(ExitCode::internal, "outside its 1000 rows",
               [&] { file.dataset("/packed").read<Index>(std::numeric_limits<Index>::max(), 2); });
}

TEST(Hdf5, NumbersOfAnotherShapeAreRefused) {
  const auto path = empty_folder("shapes") / fmt::format("x{}.h5", world().rank());
  auto made = File::create(path);
  const std::vector<Index> numbers{0, 2, 3, 5, 7, 8};
  made.write("/list", numbers);
  made.write("/table", numbers, {2, 3});
  made.write("/no_columns", std::vector<Index>{}, {6, 0});
  made.close();
  const auto file = File::open(path);
  EXPECT_EQ(file.read<Index>("/list", {-1}), numbers);
  EXPECT_EQ(file.read<Index>("/list", {6}), numbers);
  EXPECT_EQ(file.read<Index>("/table", {2, -1}), numbers);
  for (const std::vector<Index>& dims : {std::vector<Index>{5}, {6, 1}, {}})
    expect_error(ExitCode::bad_data, "list has shape [6], which does not fit", [&] { file.read<Index>("/list", dims); });
  for (const std::vector<Index>& dims : {std::vector<Index>{6}, {-1}, {3, 2}, {2, -1, 1}})
    expect_error(ExitCode::bad_data, "table has shape [2, 3], which does not fit", [&] { file.dataset("/table", dims); });
  expect_error(ExitCode::bad_data, "shape [6, 0]", [&] { file.dataset("/no_columns", {-1}); });
}

TEST(Hdf5, BlocksOfActivationsAreAllOfTheirRows) {
  const auto offsets = [](const std::vector<Index>& written, Index rows) {
    const auto path = empty_folder("blocks") / fmt::format("x{}.h5", world().rank());
    auto made = File::create(path);
    made.write("/block_offsets", written);
    made.close();
    return read_block_offsets(File::open(path), rows);
  };
  EXPECT_EQ(offsets({0, 2, 2, 5}, 5), (std::vector<Index>{0, 2, 2, 5}));
  for (const std::vector<Index>& wrong : {std::vector<Index>{}, {0, 3, 2, 5}, {1, 5}, {0, 4}, {-1, 5}, {0, 6}})
    expect_error(ExitCode::bad_data, "no blocks of its 5 rows", [&] { offsets(wrong, 5); });
}

TEST(Hdf5, AttributesAreOneTextOrNumbersInOne) {
  const auto path = empty_folder("attributes") / fmt::format("x{}.h5", world().rank());
  auto file = File::create(path);
  const std::vector<std::pair<std::string, std::string>> texts{{"seven", "7"},
                                                               {"empty", ""},
                                                               {"word", "abc"},
                                                               {"behind", "7x"},
                                                               {"huge", "99999999999999999999"},
                                                               {"list", "[3, -1]"},
                                                               {"deep", std::string(50000, '[')},
                                                               {"real", "[1.5]"},
                                                               {"wide", "[4294967296]"}};
  for (const auto& [name, text] : texts) file.write_attribute(name, text);
  file.close();
  {
    const Handle id(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type.get(), 4);
    const hsize_t many = 1000;
    const Handle space(H5Screate_simple(1, &many, nullptr), H5Sclose);
    const Handle made(H5Acreate2(id.get(), "several", type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    const std::string written(4000, 'x');
    ASSERT_GE(H5Awrite(made.get(), type.get(), written.data()), 0);
  }
  const auto read = File::open(path);
  EXPECT_EQ(read.integer("seven"), 7);
  EXPECT_EQ(read.integers("list"), (std::vector<int>{3, -1}));
  for (const char* name : {"empty", "word", "behind", "huge"}) expect_error(ExitCode::bad_data, name, [&] { read.integer(name); });
  for (const char* name : {"seven", "word", "real", "wide", "deep"}) expect_error(ExitCode::bad_data, name, [&] { read.integers(name); });
  expect_error(ExitCode::bad_data, "no fixed text", [&] { read.attribute("several"); });
}

TEST(Npy, RefusesTruncatedAndForeignFiles) {
  expect_error(ExitCode::bad_data, "no NumPy array", [] { parse_npy({'a', 'b'}, "x"); });
  std::string header = "\x93NUMPY";
  header += std::string("\x01\x00", 2);
  const std::string text = "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }\n";
  header += static_cast<char>(text.size());
  header += '\0';
  header += text + std::string(16, '\0');
  expect_error(ExitCode::bad_data, "truncated", [&] { parse_npy({header.begin(), header.end()}, "x"); });
}

TEST(Csr, ChecksItsParts) {
  CsrMatrix good{2, 3, {0, 1, 2}, {2, 0}, {1, 2}};
  check_csr(good, "m");
  auto bad = good;
  bad.indices[0] = 3;
  expect_error(ExitCode::bad_data, "column 3 of 3", [&] { check_csr(bad, "m"); });
  bad = good;
  bad.indptr = {0, 2, 1};
  expect_error(ExitCode::bad_data, "", [&] { check_csr(bad, "m"); });
  bad = good;
  bad.values[1] = std::numeric_limits<float>::infinity();
  expect_error(ExitCode::bad_data, "not finite", [&] { check_csr(bad, "m"); });
  check_csr({1, 9, {0, 3}, {7, 2, 5}, {1, 1, 1}}, "in no order");
  expect_error(ExitCode::bad_data, "names column 7 twice", [&] { check_csr({2, 9, {0, 0, 3}, {7, 2, 7}, {1, 1, 1}}, "m"); });
}

TEST(RowSource, NamesTheRowThatIsNotFinite) {
  std::vector<float> values(12, 1.0F);
  check_finite(values, 3, 100, "x");
  values[7] = std::nanf("");
  expect_error(ExitCode::bad_data, "x: row 102 holds nan in column 1", [&] { check_finite(values, 3, 100, "x"); });
  expect_error(ExitCode::usage, "names no matrix", [] { RowSource("x.bin"); });
}

} // namespace
} // namespace concord::io
