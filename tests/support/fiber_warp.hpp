#pragma once
/// Warps whose lanes are fibers, each with registers of its own, which stop where a GPU's threads wait for one another: what differs from a
/// GPU in LoopWarp, that all lanes share the variables outside of Lanes, does not here. In two orders of lanes, so that a kernel whose
/// lanes race within a phase gives two results.

#include "concord/core/machine/warp.hpp"

#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <ucontext.h>

namespace concord::test {

/// The lanes of one warp, and who is running.
class FiberGroup {
public:
  enum class Order { ascending, descending };
  explicit FiberGroup(Order order) : order_(order) {
    for (auto& stack : stacks_) stack = std::make_unique<std::array<char, stack_bytes>>();
  }
  /// Runs `body(lane)` on all lanes from one sync() to the next. @throws std::logic_error where not all come to the same number of them
  void run(const std::function<void(int lane)>& body) {
    body_ = &body;
    ended_.fill(false);
    for (int lane = 0; lane < warp_lanes; ++lane) {
      auto& context = contexts_[at(lane)];
      getcontext(&context);
      context.uc_stack.ss_sp = stacks_[at(lane)]->data();
      context.uc_stack.ss_size = stack_bytes;
      context.uc_link = &scheduler_;
      makecontext(&context, reinterpret_cast<void (*)()>(&FiberGroup::enter), 0);
    }
    int ended = 0;
    while (ended < warp_lanes) {
      ended = 0;
      for (int i = 0; i < warp_lanes; ++i) {
        lane_ = order_ == Order::ascending ? i : warp_lanes - 1 - i;
        current_ = this;
        if (!ended_[at(lane_)]) swapcontext(&scheduler_, &contexts_[at(lane_)]);
        ended += ended_[at(lane_)] ? 1 : 0;
      }
      if (ended != 0 && ended != warp_lanes) throw std::logic_error("some lanes wait for others that have ended");
    }
  }
  void sync() {
    const int lane = lane_;
    swapcontext(&contexts_[at(lane)], &scheduler_);
  }
  std::array<std::array<char, 16>, warp_lanes> slots; ///< what lanes show one another

private:
  static constexpr std::size_t stack_bytes = std::size_t{1} << 17;
  static std::size_t at(int lane) { return static_cast<std::size_t>(lane); }
  static void enter() {
    FiberGroup* group = current_;
    const int lane = group->lane_;
    (*group->body_)(lane);
    group->ended_[at(lane)] = true;
  }
  static inline FiberGroup* current_ = nullptr;
  Order order_;
  int lane_ = 0;
  const std::function<void(int)>* body_ = nullptr;
  std::array<bool, warp_lanes> ended_{};
  ucontext_t scheduler_{};
  std::array<ucontext_t, warp_lanes> contexts_{};
  std::array<std::unique_ptr<std::array<char, stack_bytes>>, warp_lanes> stacks_;
};

class FiberWarp {
public:
  template <typename T>
  class Lanes {
  public:
    T& operator[](int /*own*/) { return of_; }
    const T& operator[](int /*own*/) const { return of_; }

  private:
    T of_;
  };

  FiberWarp(FiberGroup& group, int lane) : group_(&group), lane_(lane) {}
  template <typename Work>
  void each(Work&& work) const {
    work(lane_);
    group_->sync();
  }
  template <typename Work>
  void each_alone(Work&& work) const {
    work(lane_);
  }
  template <typename Test>
  std::uint32_t ballot(Test&& test) const {
    show(static_cast<bool>(test(lane_)));
    std::uint32_t bits = 0;
    for (int lane = 0; lane < warp_lanes; ++lane) bits |= static_cast<std::uint32_t>(shown<bool>(lane)) << lane;
    group_->sync();
    return bits;
  }
  template <typename T>
  T from(const Lanes<T>& values, int lane) const {
    show(values[lane_]);
    const T value = shown<T>(lane);
    group_->sync();
    return value;
  }
  std::uint64_t take(std::uint64_t* counter, int count) const {
    Lanes<std::uint64_t> first;
    first[lane_] = *counter;
    group_->sync(); // all have read it
    if (lane_ == 0) *counter += static_cast<std::uint64_t>(count);
    return from(first, 0);
  }

private:
  template <typename T>
  void show(const T& value) const {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
    std::memcpy(group_->slots[static_cast<std::size_t>(lane_)].data(), &value, sizeof value);
    group_->sync();
  }
  template <typename T>
  T shown(int lane) const {
    T value;
    std::memcpy(&value, group_->slots[static_cast<std::size_t>(lane)].data(), sizeof value);
    return value;
  }
  FiberGroup* group_;
  int lane_;
};

template <typename Kernel>
void run_in_fibers(const Kernel& kernel, FiberGroup::Order order) {
  FiberGroup group(order);
  std::vector<std::max_align_t> shared(static_cast<std::size_t>(kernel.shared()) / sizeof(std::max_align_t) + 1);
  for (auto warp = kernel.warps() - 1; warp >= 0; --warp) {
    std::memset(shared.data(), 0x5A, shared.size() * sizeof(std::max_align_t));
    group.run([&](int lane) { run(FiberWarp(group, lane), kernel, warp, reinterpret_cast<std::byte*>(shared.data())); });
  }
}

} // namespace concord::test
