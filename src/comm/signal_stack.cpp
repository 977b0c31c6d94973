#include "comm/signal_stack.hpp"

#include <array>
#include <atomic>
#include <csignal>

namespace concord::comm {

void take_signal_stack() {
  stack_t stack{};
  if (::sigaltstack(nullptr, &stack) != 0 || (stack.ss_flags & SS_DISABLE) == 0) return;
  static std::atomic_flag taken = ATOMIC_FLAG_INIT;
  if (taken.test_and_set()) return;
  alignas(16) static std::array<char, 1 << 16> memory{};
  stack = {};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  ::sigaltstack(&stack, nullptr);
}

} // namespace concord::comm
