#pragma once
/// Whether the error that unwinds this rank is one that all ranks throw. Local.

namespace concord::comm {

/// For what ranks close together, as parallel files (io/hdf5.hpp): behind an error of this rank alone the others never come to it.
bool failing_together();

/// agree() and throw_stopped() note it where they throw; whoever catches an agreed error and goes on takes it back.
void note_failing_together(bool together);

} // namespace concord::comm
