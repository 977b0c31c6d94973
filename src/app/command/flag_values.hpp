#pragma once
// Values of flags that are more than a number. Local.

#include "concord/app/stage.hpp"

#include <string>

namespace concord::app {

/// "90", "15:00" or "1:30:00" in seconds; 0 for "". @throws Error usage, naming the flag.
double seconds_of(const std::string& text, const char* flag);
/// "2/8": the third of eight shares. @throws Error usage.
Share share_of(const std::string& text);

} // namespace concord::app
