#pragma once
/// Files that ranks open, flush and close together, by HDF5 over MPI-IO; io::File does so under it. Local.

#include <string>

namespace concord::comm {

/// While it lives, a read or write of a file that MPI refuses on this rank ends the job with 74 and one line: `error`, and MPI's
/// reason. HDF5 1.10 goes on behind a write that fails, into calls that the other ranks never come to, and all wait for ever. One at a
/// time.
class FilesTogether {
public:
  explicit FilesTogether(std::string error);
  ~FilesTogether();
  FilesTogether(const FilesTogether&) = delete;
  FilesTogether& operator=(const FilesTogether&) = delete;
};

} // namespace concord::comm
