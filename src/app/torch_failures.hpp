#pragma once
/// What libtorch's exceptions mean to a user. Local.

#include "concord/core/run/failure_reader.hpp"

namespace concord::app {

/// Memory that libtorch could not have, on a GPU or here: unavailable. All else is none of its business.
std::optional<Failure> torch_failure(const std::exception& error);

} // namespace concord::app
