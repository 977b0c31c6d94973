#pragma once
/// Whether the error that unwinds this rank is one that all ranks throw. Local.

namespace concord::comm {

/// For destructors of what ranks close together: behind an error of this rank alone the others are elsewhere and would never come.
bool failing_together();

/// Noted where an agreed error is thrown, and taken back where one is caught.
void note_failing_together(bool together);

} // namespace concord::comm
