#pragma once
/// The matches of all pairs of layers as text. Local.

#include "concord/comm/stop.hpp"

#include <filesystem>

namespace concord::correlate {

/// Writes `csv` from a finished `matches`; leaves nothing where `stop` wants an end. @throws Error io.
void write_csv(const std::filesystem::path& matches, const std::filesystem::path& csv, const comm::StopWithin& stop);

} // namespace concord::correlate
