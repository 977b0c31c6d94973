#pragma once

#include <unistd.h>

namespace concord::comm {

/// After fork(): makes this process one that no launcher waits for. Open MPI's waits until the standard streams are closed, MPICH's until
/// the socket is by which it speaks with its rank. `kept`: the one file that stays open; -1: none. Local.
inline void leave_launcher(int kept = -1) {
  constexpr int most_files = 1024;
  for (int file = 0; file < most_files; ++file)
    if (file != kept) ::close(file);
  ::setsid();
}

} // namespace concord::comm
