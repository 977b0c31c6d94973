#pragma once
/// For calls of MPI that work on files (concord/comm/files_together.hpp). Local.

namespace concord::comm {

/// Gives the code of a call back; ends the job where ranks work on a file together and MPI refused this rank's part.
int unless_refused(int code);

} // namespace concord::comm
