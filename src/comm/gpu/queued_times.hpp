#pragma once
/// How long work takes that is queued on a device and that nobody waits for. Local.

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

namespace concord::comm {

/// Marks a place in front of each piece of queued work and one behind it, and adds up their distances once the device has passed them. It
/// never waits: what is not done yet is looked at again with the next piece.
///
/// Marks: `Mark make()`, `void put(Mark)` behind what is queued by now, `bool passed(Mark)`, `double seconds(Mark, Mark)` between passed
/// ones, `void drop(Mark)`; `Mark{}` is none, where the device has no more.
template <typename Marks>
class QueuedTimes {
public:
  using Mark = decltype(std::declval<Marks&>().make());

  explicit QueuedTimes(Marks marks = {}) : marks_(std::move(marks)) {}
  ~QueuedTimes() {
    for (const auto* spans : {&free_, &queued_})
      for (const Span& span : *spans) drop(span);
  }
  QueuedTimes(const QueuedTimes&) = delete;
  QueuedTimes& operator=(const QueuedTimes&) = delete;

  /// Queues what `work` queues. @returns the seconds of earlier pieces that are done since the last call.
  template <typename Work>
  double around(const Work& work) {
    const double done = take_done();
    Span span = next();
    const bool is_timed = span.begin != Mark{} && span.end != Mark{};
    if (is_timed) marks_.put(span.begin);
    work();
    if (is_timed) {
      marks_.put(span.end);
      queued_.push_back(span);
    } else {
      drop(span);
    }
    return done;
  }

  /// The seconds of pieces that are done since the last call.
  double take_done() {
    double seconds = 0;
    while (!queued_.empty() && marks_.passed(queued_.front().end)) { // the device takes them in order
      seconds += marks_.seconds(queued_.front().begin, queued_.front().end);
      free_.push_back(queued_.front());
      queued_.pop_front();
    }
    return seconds;
  }

private:
  struct Span {
    Mark begin{}, end{};
  };
  /// Pieces under way at once; of more the times are not taken.
  static constexpr std::size_t most = 256;

  Span next() {
    if (!free_.empty()) {
      const Span span = free_.back();
      free_.pop_back();
      return span;
    }
    if (queued_.size() >= most) return {};
    return {marks_.make(), marks_.make()};
  }
  void drop(const Span& span) {
    for (const Mark& mark : {span.begin, span.end})
      if (mark != Mark{}) marks_.drop(mark);
  }

  Marks marks_;
  std::deque<Span> free_, queued_;
};

} // namespace concord::comm
