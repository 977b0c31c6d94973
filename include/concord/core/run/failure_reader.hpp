#pragma once
/// What exceptions of libraries mean that core does not know. Local.

#include "concord/core/error.hpp"

#include <exception>
#include <optional>

namespace concord {

/// The failure that an exception of a library stands for, or nothing where it is a bug or another library's.
using FailureReader = std::optional<Failure> (*)(const std::exception&);

/// current_failure() asks `reader` before it calls an exception a bug. Once, before threads start.
void read_failures_with(FailureReader reader);

} // namespace concord
