#include "concord/core/run/spent.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <string_view>
#include <thread>
#include <vector>

namespace concord {
namespace {

/// Static variables are made by the main thread.
const std::thread::id main_thread = std::this_thread::get_id();

Spent& sums() {
  static Spent all;
  return all;
}
std::atomic<Index>& file_bytes() {
  static std::atomic<Index> bytes{0};
  return bytes;
}
bool inside = false; ///< of the main thread

struct Span {
  Spending what;
  const char* name;
  double begin, end;
};
constexpr std::size_t most_spans = 1'000'000;
struct Trace {
  bool kept = false;
  std::vector<Span> spans;
};
Trace& trace() {
  static Trace all;
  return all;
}

void append_event(std::string& text, std::string_view name, std::string_view category, int rank, double begin, double seconds) {
  text += fmt::format("{}\n{{\"name\":\"{}\",\"cat\":\"{}\",\"ph\":\"X\",\"pid\":{},\"tid\":0,\"ts\":{:.1f},\"dur\":{:.1f}}}",
                      text.ends_with('[') ? "" : ",", name, category, rank, begin * 1e6, seconds * 1e6);
}

} // namespace

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Spent spent() {
  Spent now = sums();
  now.bytes = file_bytes().load(std::memory_order_relaxed);
  return now;
}

Spent operator-(const Spent& later, const Spent& earlier) {
  return {later.mpi - earlier.mpi, later.files - earlier.files, later.gpu - earlier.gpu, later.calls - earlier.calls,
          later.bytes - earlier.bytes};
}

void note_file_bytes(Index bytes) {
  file_bytes().fetch_add(bytes, std::memory_order_relaxed);
}

void note_gpu_exchange(double seconds) {
  sums().gpu += seconds;
}

Spend::Spend(Spending what, const char* name) : what_(what), name_(name), counts_(std::this_thread::get_id() == main_thread && !inside) {
  if (!counts_) return;
  inside = true;
  begin_ = steady_seconds();
}

void keep_trace() {
  trace().kept = true;
}

std::string take_trace(const std::string& stage, int rank, double begin) {
  std::string text = "{\"traceEvents\":[";
  append_event(text, stage, "stage", rank, begin, steady_seconds() - begin);
  for (const Span& span : trace().spans)
    append_event(text, span.name, span.what == Spending::mpi ? "mpi" : "files", rank, span.begin, span.end - span.begin);
  trace().spans.clear();
  return text + "\n]}\n";
}

Spend::~Spend() {
  if (!counts_) return;
  inside = false;
  const double end = steady_seconds();
  (what_ == Spending::mpi ? sums().mpi : sums().files) += end - begin_;
  if (trace().kept && trace().spans.size() < most_spans) trace().spans.push_back({what_, name_, begin_, end});
  if (what_ == Spending::mpi) ++sums().calls;
}

} // namespace concord
