#pragma once
/// Messages to the user: rank 0 speaks; errors name rank and host. Local.

#include <fmt/format.h>

#include <string_view>

namespace concord {

/// Only a speaker (rank 0) prints info and results; set once at start-up.
void set_speaker(bool speaks);
bool is_speaker();
/// Sets the level by name: debug, info, warn, error.
void set_log_level(std::string_view name);

void log_info_text(std::string_view text);
void log_warn_text(std::string_view text);
/// Prints one line of results on stdout (speaker only), unadorned.
void say_text(std::string_view text);

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_info_text(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log_warn_text(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  say_text(fmt::format(format, std::forward<Args>(args)...));
}

} // namespace concord
