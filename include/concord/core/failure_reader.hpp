#pragma once
/// Says what exceptions of libraries mean that core does not know. Local.

#include "concord/core/error.hpp"

#include <exception>
#include <optional>

namespace concord {

/// The failure behind a library's exception; nothing where it is a bug or of another library.
using FailureReader = std::optional<Failure> (*)(const std::exception&);

/// Makes current_failure() ask `reader` before it calls an exception a bug. Call it once, before threads start.
void read_failures_with(FailureReader reader);

} // namespace concord
