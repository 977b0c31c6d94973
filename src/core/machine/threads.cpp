#include "concord/core/machine/threads.hpp"

#include "concord/core/run/heartbeat.hpp"

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

namespace concord {

int thread_count() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  return text == nullptr ? 1 : std::max(1, std::atoi(text));
}

void for_each_item(Index count, int threads, const std::function<void(int, Index)>& work) {
  std::atomic<Index> next{0};
  std::exception_ptr error;
  std::mutex lock;
  const auto run = [&](int thread) {
    try {
      for (Index item = next++; item < count; item = next++) {
        work(thread, item);
        beat();
      }
    } catch (...) {
      const std::lock_guard guard(lock);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> others;
  try {
    for (int thread = 1; thread < std::min<Index>(threads, count); ++thread) others.emplace_back(run, thread);
  } catch (const std::system_error&) { // no more threads to be had (a process limit): those there are do the work
  }
  run(0);
  for (auto& other : others) other.join();
  if (error) std::rethrow_exception(error);
}

std::future<void> read_ahead(const std::function<void()>& work) {
  try {
    return std::async(std::launch::async, work);
  } catch (const std::system_error&) {
    return std::async(std::launch::deferred, work);
  }
}

} // namespace concord
