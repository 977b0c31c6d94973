#include "model/allocator.hpp"

#include <algorithm>
#include <bit>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <sys/mman.h>

namespace concord::model {
namespace {

constexpr std::size_t header = 64;          // holds the block's size; keeps the data aligned
constexpr std::size_t smallest = 256 << 10; // smaller blocks are malloc's business
constexpr std::size_t huge_page = 2 << 20;

/// Sizes in steps of an eighth of their power of two, so that batches of slightly different length share blocks.
std::size_t rounded(std::size_t bytes) {
  const std::size_t step = std::max<std::size_t>(4096, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

class ReusingAllocator final : public c10::Allocator {
public:
  c10::DataPtr allocate(std::size_t bytes) override {
    char* block = take(bytes + header);
    return {block + header, block + header, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }

private:
  struct Pool {
    std::mutex mutex;
    std::multimap<std::size_t, char*> free;
  };
  static Pool& pool() {
    static auto* const shared = new Pool; // never destroyed: tensors of static lifetime may outlive it
    return *shared;
  }

  static char* fresh(std::size_t size) {
    void* block = nullptr;
    if (::posix_memalign(&block, size >= smallest ? huge_page : header, size) != 0) throw std::bad_alloc();
    if (size >= 2 * huge_page) ::madvise(block, size, MADV_HUGEPAGE);
    return static_cast<char*>(block);
  }

  static char* take(std::size_t bytes) {
    std::size_t size = bytes >= smallest ? rounded(bytes) : bytes;
    char* block = nullptr;
    if (size >= smallest) {
      const std::lock_guard lock(pool().mutex);
      const auto found = pool().free.lower_bound(size);
      if (found != pool().free.end() && found->first <= 2 * size) {
        block = found->second;
        size = found->first;
        pool().free.erase(found);
      } else { // blocks of other sizes would only pile up
        for (const auto& [kept_size, kept] : pool().free) std::free(kept);
        pool().free.clear();
      }
    }
    if (block == nullptr) block = fresh(size);
    std::memcpy(block, &size, sizeof size);
    return block;
  }

  static void give_back(void* data) {
    if (data == nullptr) return;
    char* block = static_cast<char*>(data) - header;
    std::size_t size = 0;
    std::memcpy(&size, block, sizeof size);
    if (size < smallest) {
      std::free(block);
      return;
    }
    const std::lock_guard lock(pool().mutex);
    pool().free.emplace(size, block);
  }
};

} // namespace

void reuse_tensor_memory() {
  static ReusingAllocator allocator;
  static const bool once = [] {
    c10::SetCPUAllocator(&allocator, /*priority=*/1);
    return true;
  }();
  static_cast<void>(once);
}

} // namespace concord::model
