#include "concord/core/digest.hpp"
#include "concord/core/text.hpp"
#include "concord/io/file_digest.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/io/safetensors.hpp"

#include <nlohmann/json.hpp>

#include "support/support.hpp"
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <set>
#include <sys/stat.h>
#include <thread>

namespace concord::io {
namespace {

using test::empty_folder;
using test::world;

/// Remembered digests of this test alone.
std::filesystem::path empty_cache(const std::string& name) {
  auto folder = std::filesystem::absolute(empty_folder(name));
  ::setenv("XDG_CACHE_HOME", folder.c_str(), 1);
  return folder;
}

void change_byte(const std::filesystem::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const int byte = file.get();
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
}

TEST(FileDigest, SeesEveryByte) {
  empty_cache("digest_bytes_cache");
  const auto path = empty_folder("digest_bytes") / "weights";
  constexpr std::streamoff size = 20'000'000;
  std::mt19937_64 random(7);
  if (world().rank() == 0) {
    std::vector<std::uint64_t> words(size / 8);
    for (auto& word : words) word = random();
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(words.data()), size);
  }
  world().barrier();
  std::set<std::string> seen{file_digest(world(), path)};
  EXPECT_EQ(*seen.begin(), digest_of_file(path));
  world().barrier();
  const int places = world().size() == 1 ? 200 : 4; // one piece, which rank 0 reads: more ranks see the same
  for (int i = 0; i < places; ++i) {
    if (world().rank() == 0) change_byte(path, static_cast<std::streamoff>(random() % size));
    world().barrier();
    seen.insert(file_digest(world(), path));
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(places) + 1);
}

/// The digest by its definition, from the bytes of a file that is all zeros but for a few.
std::string oracle(const std::vector<std::uint64_t>& ones, std::uint64_t size) {
  Digest whole;
  whole.add(&size, sizeof size);
  for (std::uint64_t begin = 0; begin < size; begin += digest_piece) {
    std::vector<char> piece(std::min(digest_piece, size - begin), '\0');
    for (const auto at : ones)
      if (at >= begin && at < begin + piece.size()) piece[at - begin] = 1;
    const std::string hex = digest_of(std::string_view(piece.data(), piece.size()));
    const PieceDigest value{std::stoull(hex.substr(0, 16), nullptr, 16), std::stoull(hex.substr(16), nullptr, 16)};
    whole.add(&value, sizeof value);
  }
  return whole.hex();
}

TEST(FileDigest, IsTheSameWhateverTheRanks) {
  empty_cache("digest_ranks_cache");
  const auto path = empty_folder("digest_ranks") / "weights";
  const std::uint64_t size = 2 * digest_piece + 5; // three pieces: a fourth rank has none
  const std::vector<std::uint64_t> ones{0, digest_piece - 1, digest_piece, size - 1};
  if (world().rank() == 0) {
    std::ofstream(path, std::ios::binary).flush();
    std::filesystem::resize_file(path, size);
    for (const auto at : ones) change_byte(path, static_cast<std::streamoff>(at));
  }
  world().barrier();
  const auto expected = oracle(ones, size);
  EXPECT_EQ(file_digest(world(), path), expected);
  EXPECT_EQ(file_digest_alone(path), expected);
}

TEST(FileDigest, OfAnEmptyFile) {
  const auto path = empty_folder("digest_empty") / "weights";
  if (world().rank() == 0) std::ofstream(path).flush();
  world().barrier();
  EXPECT_EQ(file_digest(world(), path), digest_of(""));
  test::expect_error(ExitCode::input_missing, "cannot open", [&] { file_digest(world(), path.string() + ".none"); });
}

/// Makes the cache say something else, so that a digest that comes from it can be told.
void forge(const std::filesystem::path& cache) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cache)) {
    if (!entry.is_regular_file()) continue;
    auto record = nlohmann::json::parse(read_text(entry.path(), "record"));
    record["digest"] = std::string(32, 'f');
    write_text_atomic(entry.path(), record.dump());
  }
}

TEST(FileDigest, IsRememberedUntilTheFileChanges) {
  const auto cache = empty_cache("digest_cache");
  const auto path = empty_folder("digest_remembered") / "weights";
  if (world().rank() == 0) write_text_atomic(path, "abc");
  world().barrier();
  const auto young = file_digest(world(), path); // too young a file: a further write may leave its times as they are
  if (world().rank() == 0) {
    EXPECT_TRUE(std::filesystem::is_empty(cache));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(2100)); // what makes it old enough
  EXPECT_EQ(file_digest(world(), path), young);
  struct stat facts {};
  if (world().rank() == 0) forge(cache);
  world().barrier();
  EXPECT_EQ(file_digest(world(), path), std::string(32, 'f'));
  if (world().rank() == 0) {
    ::stat(path.c_str(), &facts);
    change_byte(path, 1);
    const timespec times[] = {facts.st_atim, facts.st_mtim};
    ::utimensat(AT_FDCWD, path.c_str(), times, 0); // as a careful copy does
  }
  world().barrier();
  const auto changed = file_digest(world(), path);
  EXPECT_NE(changed, std::string(32, 'f'));
  EXPECT_NE(changed, young);
}

TEST(RowSource, DigestsOfTensorsSeeEveryByte) {
  empty_cache("digest_rows_cache");
  const auto path = empty_folder("digest_rows") / "x.safetensors";
  const std::vector<float> values(2'500'000, 1.0F); // 10 MB
  if (world().rank() == 0) write_safetensors(path, {{"w", {Dtype::f32, {2500, 1000}, values.data()}}});
  world().barrier();
  const std::string location = path.string() + ":w";
  share_digest_of_rows(world(), location);
  const auto first = RowSource(location).digest();
  EXPECT_EQ(first, digest_of(digest_of_file(path) + ":w"));
  world().barrier();
  if (world().rank() == 0) change_byte(path, 3'333'333);
  world().barrier();
  share_digest_of_rows(world(), location);
  EXPECT_NE(RowSource(location).digest(), first);
}

} // namespace
} // namespace concord::io
