// Write bandwidth of RowWriter (checksums, commit marks and all) beside a plain sequential write of the same bytes.
//   build/bench_row_writer FOLDER [GIB]
#include "concord/io/rows/row_writer.hpp"

#include "concord/io/hdf5.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

using namespace concord;

namespace {

constexpr Index block_bytes = Index{24} << 20;

double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void fill(char* bytes, Index block) {
  for (Index i = 0; i < block_bytes; i += 8) {
    const std::uint64_t value = static_cast<std::uint64_t>(block * block_bytes + i) * 0x9E3779B97F4A7C15ULL;
    std::memcpy(bytes + i, &value, 8);
  }
}

void plain(const std::filesystem::path& path, Index blocks) {
  std::vector<char> bytes(block_bytes);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  for (Index b = 0; b < blocks; ++b) {
    fill(bytes.data(), b);
    if (::write(file, bytes.data(), bytes.size()) != block_bytes) std::exit(74);
  }
  if (::fdatasync(file) != 0) std::exit(74);
  ::close(file);
}

void by_row_writer(const std::filesystem::path& path, Index blocks) {
  {
    auto file = io::File::create(path, Index{1} << 20);
    file.create_dataset("/x", {blocks, block_bytes}, Dtype::u8);
    file.write("/marks", std::vector<Index>(static_cast<std::size_t>(blocks), 0));
    file.close();
  }
  std::uint64_t rows = 0;
  std::uint64_t marks = 0;
  {
    const auto file = io::File::open(path);
    rows = file.dataset("/x").file_offset();
    marks = file.dataset("/marks").file_offset();
  }
  io::BufferPool pool;
  io::RowWriter writer(path, pool, 10, 4 * block_bytes);
  for (Index b = 0; b < blocks; ++b) {
    auto buffer = pool.take(block_bytes);
    fill(buffer.bytes.get(), b);
    writer.write(rows + static_cast<std::uint64_t>(b * block_bytes), std::move(buffer), marks + 8 * static_cast<std::uint64_t>(b));
  }
  writer.commit();
}

} // namespace

int main(int argc, char** argv) {
  const std::filesystem::path folder = argc > 1 ? argv[1] : ".";
  const double gib = argc > 2 ? std::atof(argv[2]) : 2;
  const auto blocks = std::max<Index>(1, static_cast<Index>(gib * 0x1p30) / block_bytes);
  const double bytes = static_cast<double>(blocks * block_bytes);
  double best_plain = 1e30;
  double best_writer = 1e30;
  for (int repeat = 0; repeat < 3; ++repeat) { // in turn, so that a slow minute of the disk meets both
    best_plain = std::min(best_plain, seconds_of([&] { plain(folder / "bench_plain.bin", blocks); }));
    std::filesystem::remove(folder / "bench_plain.bin");
    best_writer = std::min(best_writer, seconds_of([&] { by_row_writer(folder / "bench_rows.h5", blocks); }));
    std::filesystem::remove(folder / "bench_rows.h5");
  }
  std::printf("plain sequential write %.0f MB/s, RowWriter %.0f MB/s, ratio %.2f\n", bytes / best_plain / 1e6, bytes / best_writer / 1e6,
              best_plain / best_writer);
  return 0;
}
