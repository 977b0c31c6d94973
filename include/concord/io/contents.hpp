#pragma once
/// What the datasets of a finished file hold, as a digest beside each: `concord verify` finds a byte that changed since.

#include "concord/comm/stop.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::io {

/// Writes the digest of each dataset's elements as its attribute `content`. Datasets are shared among the ranks; links to other files, and
/// rows that carry checksums of their blocks, are left out. Collective over `comm`. @throws Error io, stopped; agreed.
void write_content_digests(const comm::Communicator& comm, const std::filesystem::path& path);

/// Datasets with a digest, and the names of those that hold something else; none where `stop` wants an end. Local.
/// @throws Error input_missing, bad_data or io.
struct ContentCheck {
  std::size_t digested = 0;
  std::vector<std::string> changed;
};
ContentCheck check_content_digests(const std::filesystem::path& path, const comm::StopWithin& stop = comm::StopWithin());

} // namespace concord::io
