#include "memory/byte_counter.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

class Counter {
public:
  void add(std::size_t bytes) {
    const auto now = live_.fetch_add(static_cast<long>(bytes)) + static_cast<long>(bytes);
    for (long most = most_; now > most && !most_.compare_exchange_weak(most, now);) {
    }
  }
  void remove(std::size_t bytes) { live_ -= static_cast<long>(bytes); }
  void start() { most_ = live_.load(); }
  double now() const { return static_cast<double>(live_); }
  double most() const { return static_cast<double>(most_); }

private:
  std::atomic<long> live_{0};
  std::atomic<long> most_{0};
};

Counter own, shared;

void* counted(void* block) {
  const std::size_t bytes = block == nullptr ? 0 : malloc_usable_size(block);
  if (bytes >= concord::test::counted_block) own.add(bytes);
  return block;
}

void uncount(void* block) {
  const std::size_t bytes = block == nullptr ? 0 : malloc_usable_size(block);
  if (bytes >= concord::test::counted_block) own.remove(bytes);
}

/// Mappings of a NodeArray that are there.
struct Mapping {
  void* begin = nullptr;
  std::size_t bytes = 0;
};
std::array<Mapping, 256> mappings;

bool is_node_array(int file) {
  char link[64];
  char name[64] = {};
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  return readlink(link, name, sizeof name - 1) > 0 && std::strncmp(name, "/memfd:concord", 14) == 0;
}

} // namespace

extern "C" {

void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t bytes) {
  return counted(__libc_malloc(bytes));
}
void* calloc(std::size_t count, std::size_t bytes) {
  return counted(__libc_calloc(count, bytes));
}
void* realloc(void* block, std::size_t bytes) {
  uncount(block);
  return counted(__libc_realloc(block, bytes));
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  return counted(__libc_memalign(alignment, bytes));
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return counted(__libc_memalign(alignment, bytes));
}
int posix_memalign(void** block, std::size_t alignment, std::size_t bytes) {
  *block = counted(__libc_memalign(alignment, bytes));
  return *block == nullptr ? ENOMEM : 0;
}
void free(void* block) {
  uncount(block);
  __libc_free(block);
}

void* mmap(void* where, std::size_t bytes, int protection, int flags, int file, off_t offset) {
  const long begin = syscall(SYS_mmap, where, bytes, protection, flags, file, offset);
  auto* mapped = reinterpret_cast<void*>(begin);
  const bool alone = (flags & MAP_ANONYMOUS) != 0 && (flags & (MAP_POPULATE | MAP_NORESERVE)) != 0 && (flags & MAP_STACK) == 0;
  const bool together = (flags & MAP_SHARED) != 0 && file >= 0 && is_node_array(file);
  if (mapped == MAP_FAILED || bytes < concord::test::counted_block || !(alone || together)) return mapped;
  const auto place = std::find_if(mappings.begin(), mappings.end(), [](const Mapping& m) { return m.begin == nullptr; });
  if (place == mappings.end()) return mapped;
  *place = {mapped, bytes};
  shared.add(bytes);
  return mapped;
}

int munmap(void* where, std::size_t bytes) {
  const auto place = std::find_if(mappings.begin(), mappings.end(), [&](const Mapping& m) { return m.begin == where; });
  if (where != nullptr && place != mappings.end()) {
    shared.remove(place->bytes);
    *place = {};
  }
  return static_cast<int>(syscall(SYS_munmap, where, bytes));
}

} // extern "C"

namespace concord::test {

Bytes bytes_now() {
  return {own.now(), shared.now()};
}

Bytes most_bytes() {
  return {own.most(), shared.most()};
}

void start_counting() {
  own.start();
  shared.start();
}

} // namespace concord::test
