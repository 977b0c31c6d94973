#pragma once
// `concord info`: what this build is made of and what the ranks see.

#include "concord/comm/session.hpp"

#include <string>

namespace concord::app {

/// Build and libraries. Local; rank 0 alone speaks.
void print_info();

/// A line a rank. Collective over `comm`.
void print_ranks_in_short(const comm::Communicator& comm);

/// "Open MPI v4.1.4, HDF5 1.10.8, libtorch 2.11.0". Local.
std::string library_versions();

} // namespace concord::app
