#pragma once
/// How an MPI library is called in provenance and in `concord info`. Local.

#include <string>
#include <string_view>

namespace concord::app {

/// Name and version of what MPI_Get_library_version says: of Open MPI all up to the first comma, of MPICH and its descendants the first
/// line ("MPICH 4.0.2"), without the title that stands before the name.
std::string name_of_mpi(std::string_view library_version);

} // namespace concord::app
