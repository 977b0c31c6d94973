#pragma once
// `concord info`: what this build is made of and what the ranks see. Collective over `comm`.

#include "concord/comm/session.hpp"

#include <string>

namespace concord::app {

void print_info(const comm::Communicator& comm);

/// "Open MPI v4.1.4, HDF5 1.10.8, libtorch 2.11.0". Local.
std::string library_versions();

} // namespace concord::app
