#pragma once
/// Adds up the seconds that parts of a work take. Local.

#include <chrono>

namespace concord {

class Stopwatch {
public:
  /// Adds time to `seconds`, which must outlive it, until it is destroyed or go_on_with() is called.
  explicit Stopwatch(double& seconds) : seconds_(&seconds) {}
  ~Stopwatch() { take(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  /// Adds the time from now on to another number.
  void go_on_with(double& seconds) {
    take();
    seconds_ = &seconds;
  }

private:
  void take() {
    const auto now = std::chrono::steady_clock::now();
    *seconds_ += std::chrono::duration<double>(now - begin_).count();
    begin_ = now;
  }
  double* seconds_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

} // namespace concord
