#pragma once
/// Threads of a rank for loops of our own (the matrix libraries have theirs). Local.

#include "concord/core/index.hpp"

#include <functional>
#include <future>

namespace concord {

/// OMP_NUM_THREADS, as the matrix libraries read it; 1 where it is not set.
int thread_count();

/// Runs `work(thread, item)` for items [0, count): each thread takes the next item when it is done with one. Rethrows the exception of an
/// item after all threads have ended. Where the system refuses threads, the others do all the work.
void for_each_item(Index count, int threads, const std::function<void(int thread, Index item)>& work);

/// Runs `work` on a thread of its own. Where the system refuses one, it runs when its result is waited for.
std::future<void> read_ahead(const std::function<void()>& work);

} // namespace concord
