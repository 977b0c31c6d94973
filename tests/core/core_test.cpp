#include "concord/core/digest.hpp"
#include "concord/core/dtype.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <sys/resource.h>

namespace concord {
namespace {

TEST(Philox, GivesThePublishedKnownAnswers) { // Random123, kat_vectors, philox4x32-10
  using Block = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox_block({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox_block({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox_block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Text, NumbersAreWholeOrNone) {
  EXPECT_EQ(whole_number("0042"), 42);
  EXPECT_EQ(whole_number("-1"), -1);
  EXPECT_EQ(whole_number("9223372036854775807"), std::numeric_limits<Index>::max());
  for (const char* text : {"", "-", "4x", "x4", " 4", "4 ", "1e3", "9223372036854775808"}) EXPECT_FALSE(whole_number(text)) << text;
}

TEST(Text, NamesOfLayersReadBack) {
  for (const int layer : {-1, 0, 7, 41, 1234}) EXPECT_EQ(layer_of_name(layer_name(layer)), layer);
  for (const char* name : {"", "layer", "layer_", "layer_x", "layer_-1", "layer_3.old", "block_3", "layer_99999999999"})
    EXPECT_FALSE(layer_of_name(name)) << name;
}

TEST(Text, LinesBecomeOne) {
  EXPECT_EQ(in_one_line("Other I/O error , error stack:\nADIOI_GEN_WRITECONTIG(80): No space left\n"),
            "Other I/O error , error stack:; ADIOI_GEN_WRITECONTIG(80): No space left");
  EXPECT_EQ(in_one_line("\n\n  a \t\r\n \nb"), "a; b");
  EXPECT_EQ(in_one_line("as it is"), "as it is");
  EXPECT_EQ(in_one_line("\n \n"), "");
}

/// The shell itself reads back what is quoted for it.
TEST(Text, AShellReadsBackQuotedWords) {
  EXPECT_EQ(quoted_for_shell("--set=sae.k=4,a/b:c%d+e@f-g_h"), "--set=sae.k=4,a/b:c%d+e@f-g_h");
  const std::vector<std::string> words{"",   "two words", "it's", "$HOME `id` \\ \"x\"", "*", "a\nb", "~", "study.name=caf\xc3\xa9",
                                       "!x", "a;b&c"};
  for (const auto& word : words) {
    FILE* shell = ::popen(("printf %s " + quoted_for_shell(word)).c_str(), "r");
    ASSERT_NE(shell, nullptr);
    char text[200];
    const std::size_t count = std::fread(text, 1, sizeof text, shell);
    ::pclose(shell);
    EXPECT_EQ(std::string(text, count), word);
  }
}

TEST(Text, AFileThatCannotBeReadIsNoShorterFile) {
  const auto code_of = [](const char* path) {
    try {
      read_text(path, "file");
    } catch (const Error& error) {
      return error.code();
    }
    return ExitCode::done;
  };
  EXPECT_EQ(code_of("/proc/self/mem"), ExitCode::io); // opens; reading its first byte fails with EIO
  EXPECT_FALSE(try_read("/proc/self/mem").has_value());
  EXPECT_EQ(code_of("/proc/self"), ExitCode::input_missing);
  EXPECT_EQ(code_of("/proc/self/nothing"), ExitCode::input_missing);
  EXPECT_EQ(code_of("/dev/zero"), ExitCode::input_missing); // has no end
  EXPECT_THROW(digest_of_file("/dev/zero"), Error);
  EXPECT_FALSE(read_text("/proc/self/stat", "file").empty()); // a size of 0 and yet bytes
  const std::string long_text(1'000'000, 'x');
  std::ofstream("scratch_long_text") << long_text;
  EXPECT_EQ(read_text("scratch_long_text", "file"), long_text);
}

TEST(Failures, OfTheStandardLibraryAreNoBugsOfOurs) {
  const auto code_of = [](auto&& thrown) {
    try {
      throw thrown;
    } catch (...) {
      return current_failure().code;
    }
  };
  EXPECT_EQ(code_of(std::system_error(EAGAIN, std::generic_category(), "thread")), ExitCode::unavailable); // a limit of processes
  EXPECT_EQ(code_of(std::ios_base::failure("reading the file")), ExitCode::io);
  EXPECT_EQ(code_of(std::filesystem::filesystem_error("x", std::make_error_code(std::errc::no_such_file_or_directory))),
            ExitCode::input_missing);
  EXPECT_EQ(code_of(std::logic_error("x")), ExitCode::internal);
}

TEST(Memory, ControlGroupsAboveCountAndPageCacheDoesNot) {
  namespace fs = std::filesystem;
  const fs::path root = fs::absolute("scratch_groups");
  fs::remove_all(root);
  const auto put = [&](const fs::path& path, const std::string& text) {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  };
  put("membership", "0::/job/step\n");
  put("job/step/memory.max", "max\n");
  put("job/step/memory.current", "500\n");
  put("job/memory.max", "1000\n"); // the batch system's limit, one level up
  put("job/memory.current", "900\n");
  put("job/memory.stat", "anon 300\ninactive_file 400\nactive_file 5\n");
  EXPECT_EQ(free_in_control_groups((root / "membership").string(), root.string()), 500); // 1000 - (900 - 400)
  put("membership1", "9:cpu,cpuacct:/x\n7:memory:/job/step\n");
  put("memory/job/step/memory.limit_in_bytes", "2000");
  put("memory/job/step/memory.usage_in_bytes", "700");
  put("memory/job/step/memory.stat", "total_inactive_file 100\n");
  put("memory/memory.limit_in_bytes", "9223372036854771712");
  put("memory/memory.usage_in_bytes", "5000");
  EXPECT_EQ(free_in_control_groups((root / "membership1").string(), root.string()), 1400);
  EXPECT_EQ(free_in_control_groups((root / "none").string(), root.string()), std::numeric_limits<double>::infinity());
}

TEST(Threads, WorkIsDoneWhereNoThreadCanBeHad) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer needs terabytes of addresses";
#endif
  // A process of its own: a limit of address space too small for another stack.
  EXPECT_EXIT(
      {
        rlimit limit{};
        getrlimit(RLIMIT_AS, &limit);
        std::ifstream statm("/proc/self/statm");
        rlim_t pages = 0;
        statm >> pages;
        limit.rlim_cur = pages * 4096 + (1 << 20); // stacks take 8 MiB
        setrlimit(RLIMIT_AS, &limit);
        std::atomic<Index> done{0};
        for_each_item(100, 4, [&](int, Index) { ++done; });
        bool ahead = false;
        read_ahead([&] { ahead = true; }).get();
        std::exit(done == 100 && ahead ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(Philox, StreamsDifferByPurposeAndNumbers) {
  std::set<std::uint64_t> firsts;
  for (const char* purpose : {"null", "sae-init"})
    for (std::uint64_t a = 0; a < 10; ++a)
      for (std::uint64_t b = 0; b < 10; ++b) firsts.insert(Philox(1, purpose, a, b).bits(0));
  EXPECT_EQ(firsts.size(), 200U);
}

TEST(Philox, NormalsHaveUnitMoments) {
  const Philox random(3, "moments");
  double sum = 0;
  double squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal(static_cast<std::uint64_t>(i));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / n, 0, 0.015);
  EXPECT_NEAR(squares / n, 1, 0.02);
}

class PermutationSize : public testing::TestWithParam<Index> {};
TEST_P(PermutationSize, VisitsEveryIndexOnce) {
  const Index n = GetParam();
  const IndexPermutation permutation(n, Philox(5, "permutation"));
  std::vector<int> seen(static_cast<std::size_t>(n), 0);
  for (Index i = 0; i < n; ++i) ++seen.at(static_cast<std::size_t>(permutation(i)));
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int c) { return c == 1; }));
}
INSTANTIATE_TEST_SUITE_P(Sizes, PermutationSize, testing::Values(1, 2, 3, 4, 5, 16, 17, 1000, 65537));

TEST(Permutation, ShufflesFarAndDiffersByKey) {
  const Index n = 10000;
  const IndexPermutation a(n, Philox(1, "p"));
  const IndexPermutation b(n, Philox(2, "p"));
  double distance = 0;
  int same = 0;
  for (Index i = 0; i < n; ++i) {
    distance += std::abs(static_cast<double>(a(i) - i));
    same += a(i) == b(i) ? 1 : 0;
  }
  EXPECT_NEAR(distance / static_cast<double>(n), static_cast<double>(n) / 3, 0.05 * static_cast<double>(n));
  EXPECT_LT(same, 20);
}

TEST(Shuffled, IsUniformOnThree) {
  std::map<std::vector<Index>, int> counts;
  for (std::uint64_t b = 0; b < 6000; ++b) ++counts[shuffled(3, Philox(1, "three", b))];
  EXPECT_EQ(counts.size(), 6U);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 130);
}

TEST(Dtype, HalfTypesRoundTripEveryPattern) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if (std::isfinite(bf16_to_float(half))) {
      EXPECT_EQ(float_to_bf16(bf16_to_float(half)), half);
    }
    if (std::isfinite(f16_to_float(half))) {
      EXPECT_EQ(float_to_f16(f16_to_float(half)), half);
    }
  }
}

TEST(Dtype, HalfTypesRoundToNearestEven) {
  EXPECT_EQ(bf16_to_float(float_to_bf16(1.0F + 0x1p-8F)), 1.0F);
  EXPECT_EQ(bf16_to_float(float_to_bf16(1.0F + 3 * 0x1p-8F)), 1.0F + 0x1p-6F);
  EXPECT_EQ(f16_to_float(float_to_f16(1.0F + 0x1p-11F)), 1.0F);
  EXPECT_EQ(f16_to_float(float_to_f16(65519.0F)), 65504.0F);
  EXPECT_TRUE(std::isinf(f16_to_float(float_to_f16(65520.0F))));
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::nanf("")))));
  EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(std::nanf("")))));
}

TEST(Dtype, NoElementsNeedNoMemory) { // what UndefinedBehaviorSanitizer watches: an empty array has a null pointer
  for (const auto dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    EXPECT_NO_THROW(to_float(nullptr, dtype, {}));
    EXPECT_NO_THROW(from_float({}, dtype, nullptr));
  }
  EXPECT_THROW(to_float(nullptr, Dtype::i32, {}), Error);
}

TEST(Dtype, FindsTheFirstValueThatIsNotFinite) {
  std::vector<float> wide(50000, -3.4e38F); // the largest finite values are fine
  EXPECT_EQ(first_non_finite(wide.data(), Dtype::f32, 50000), -1);
  wide[40001] = -std::numeric_limits<float>::infinity();
  wide[49999] = std::nanf("");
  EXPECT_EQ(first_non_finite(wide.data(), Dtype::f32, 50000), 40001);
  for (const auto dtype : {Dtype::f16, Dtype::bf16}) {
    std::vector<float> values(1000, -60000.0F);
    std::vector<std::uint16_t> stored(1000);
    from_float(values, dtype, stored.data());
    EXPECT_EQ(first_non_finite(stored.data(), dtype, 1000), -1);
    values[999] = 1e30F; // beyond f16, not beyond bf16
    values[7] = dtype == Dtype::bf16 ? std::nanf("") : 0.0F;
    from_float(values, dtype, stored.data());
    EXPECT_EQ(first_non_finite(stored.data(), dtype, 1000), dtype == Dtype::bf16 ? 7 : 999);
  }
}

TEST(Text, SharedFilesLeaveNoTemporaries) {
  namespace fs = std::filesystem;
  const fs::path folder = "scratch/shared_text";
  fs::remove_all(folder);
  fs::create_directories(folder);
  write_text_atomic(folder / "x.toml.killed.new", "half"); // of a run that was killed an hour ago
  fs::last_write_time(folder / "x.toml.killed.new", fs::file_time_type::clock::now() - std::chrono::hours(1));
  write_text_atomic(folder / "x.toml.other.new", "half"); // of one that writes now
  write_text_shared(folder / "x.toml", "a");
  const auto written = fs::last_write_time(folder / "x.toml");
  write_text_shared(folder / "x.toml", "a");
  EXPECT_EQ(fs::last_write_time(folder / "x.toml"), written); // it was so already
  write_text_shared(folder / "x.toml", "b");
  EXPECT_EQ(read_text(folder / "x.toml", "file"), "b");
  EXPECT_FALSE(fs::exists(folder / "x.toml.killed.new"));
  EXPECT_TRUE(fs::exists(folder / "x.toml.other.new"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 2);
  EXPECT_NE(unique_name("a"), unique_name("a"));
}

TEST(Provenance, KnowsTheBuild) {
  EXPECT_EQ(build_id().find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_GE(build_id().size(), 16U);
}

TEST(Text, NearestFindsSlipsOnly) {
  const std::vector<std::string> keys{"sae.latents", "sae.k", "correlate.min_r"};
  EXPECT_EQ(nearest("sae.latnts", keys).value_or(""), "sae.latents");
  EXPECT_EQ(nearest("corelate.minr", keys).value_or(""), "correlate.min_r");
  EXPECT_FALSE(nearest("zzzzzz", keys).has_value());
}

TEST(StageKey, DigestFollowsSettingsAndInputs) {
  const StageKey key{"extract", {{"dtype", "bf16"}}, {{"tokens", "12"}}};
  StageKey other = key;
  EXPECT_EQ(key.digest(), other.digest());
  other.settings["dtype"] = "f32";
  EXPECT_NE(key.digest(), other.digest());
  EXPECT_EQ(difference(key, other), "setting dtype: \"bf16\" -> \"f32\"");
  other = key;
  other.inputs["sae_a/layer_002"] = "34"; // as a path of JSON it would be sae_a~1layer_002
  other.inputs["a~b"] = "56";
  EXPECT_EQ(difference(key, other), "input a~b is new; input sae_a/layer_002 is new");
}

TEST(ParseJson, GoesNoDeeperThanFilesOfPeople) { // copying and printing go down by calls
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(parse_json(nested(100)).is_array());
  EXPECT_TRUE(parse_json(nested(101)).is_discarded());
  EXPECT_TRUE(parse_json(nested(5'000'000)).is_discarded());
  EXPECT_TRUE(parse_json("{\"a\": [" + std::string(200, '[')).is_discarded());
  const auto quoted = parse_json("[\"\\\"" + std::string(200, '{') + "\", {\"b\": [1]}, []]");
  EXPECT_EQ(quoted.at(1).at("b").at(0), 1) << "brackets inside texts are letters";
  std::string many = "[";
  for (int i = 0; i < 1000; ++i) many += "[{}],";
  EXPECT_EQ(parse_json(many + "0]").size(), 1001U) << "side by side they may be many";
  EXPECT_TRUE(parse_json("{").is_discarded());
}

TEST(Narrow, RefusesWhatDoesNotFit) {
  EXPECT_EQ(narrow_int(7, "seven"), 7);
  EXPECT_THROW(narrow_int(Index{1} << 31, "rows"), Error);
}

TEST(Threads, TakeEachItemOnce) {
  for (const int threads : {1, 3, 8})
    for (const Index count : {0, 1, 5, 1000}) {
      std::vector<std::atomic<int>> taken(static_cast<std::size_t>(count));
      for_each_item(count, threads, [&](int thread, Index item) {
        EXPECT_LT(thread, threads);
        ++taken[static_cast<std::size_t>(item)];
      });
      EXPECT_TRUE(std::all_of(taken.begin(), taken.end(), [](const auto& times) { return times == 1; }));
    }
}

TEST(Threads, AnErrorOfAnItemIsThrown) {
  std::atomic<int> done{0};
  EXPECT_THROW(for_each_item(100, 4,
                             [&](int, Index item) {
                               if (item == 7) fail(ExitCode::io, "item {}", item);
                               ++done;
                             }),
               Error);
  EXPECT_LT(done, 100);
}

} // namespace
} // namespace concord
