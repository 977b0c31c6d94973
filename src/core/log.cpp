#include "concord/core/log.hpp"

#include "concord/core/error.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/run/heartbeat.hpp"
#include "concord/core/text.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace concord {
namespace {

bool speaker = true;

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_color_mt("concord");
    made->set_pattern("%H:%M:%S %^%l%$ %v");
    return made;
  }();
  return *instance;
}

double log_interval_seconds() {
  const char* text = std::getenv("CONCORD_PROGRESS_SECONDS");
  return text != nullptr ? std::atof(text) : 10.0;
}

} // namespace

void set_speaker(bool speaks) {
  speaker = speaks;
}
bool is_speaker() {
  return speaker;
}

void set_log_level(std::string_view name) {
  const auto level = spdlog::level::from_str(std::string(name == "warn" ? "warning" : name));
  require(level != spdlog::level::off, ExitCode::usage, "unknown log level '{}'; use debug, info, warn or error", name);
  logger().set_level(level);
}

void log_info_text(std::string_view text) {
  if (speaker) logger().info("{}", text);
}
void log_warn_text(std::string_view text) {
  if (speaker) logger().warn("{}", text);
}
void say_text(std::string_view text) {
  if (!speaker) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

Progress::Progress(std::string stage, Index total, std::string unit, Index done)
    : stage_(std::move(stage)), unit_(std::move(unit)), total_(total), start_(done), done_(done), begin_(std::chrono::steady_clock::now()),
      last_(begin_),
      // mpirun gives ranks a pseudo-terminal for stdout even when its own output goes to a file; stderr tells the truth.
      terminal_(::isatty(STDOUT_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0) {
  if (!stage_.empty()) note_place(stage_, done_, total_, unit_);
}

Progress::~Progress() {
  if (drawn_) std::fputc('\n', stdout);
}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void Progress::update(Index done, const std::string& extra) {
  done_ = done;
  if (!stage_.empty()) note_place(stage_, done_, total_, unit_);
  if (!speaker) return;
  const auto now = std::chrono::steady_clock::now();
  const double interval = terminal_ ? 0.2 : log_interval_seconds();
  if (std::chrono::duration<double>(now - last_).count() < interval) return;
  last_ = now;
  print(extra, terminal_);
}

void Progress::print(const std::string& extra, bool redraw) {
  const double elapsed = seconds();
  const double rate = elapsed > 0 ? static_cast<double>(done_ - start_) / elapsed : 0.0;
  const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0.0;
  const double percent = total_ > 0 ? 100.0 * static_cast<double>(done_) / static_cast<double>(total_) : 100.0;
  const std::string line = fmt::format("{}: {}/{} {} ({:.0f}%) | {:.3g} {}/s | {} left{}{}", stage_, done_, total_, unit_, percent, rate,
                                       unit_, human_seconds(left), extra.empty() ? "" : " | ", extra);
  if (redraw) {
    std::fprintf(stdout, "\r\033[K%s", line.c_str());
    drawn_ = true;
  } else {
    std::fprintf(stdout, "%s\n", line.c_str());
  }
  std::fflush(stdout);
}

namespace {
Index said = 0;
}

void say_stage_ok(const std::string& stage, double wall_seconds, const std::string& details, const std::string& file) {
  ++said;
  say("concord {}: OK wall={:.1f}s {}{}file={}", stage, wall_seconds, details, details.empty() ? "" : " ", file);
}

Index stages_said() {
  return said;
}

} // namespace concord
