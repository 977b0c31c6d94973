#pragma once

namespace concord::comm {

/// Gives this thread a stack of its own for signal handlers (SA_ONSTACK), where it has none yet and no other thread took it. Local.
void take_signal_stack();

} // namespace concord::comm
