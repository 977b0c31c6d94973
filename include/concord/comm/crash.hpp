#pragma once
/// What a process says when it crashes. Local.

namespace concord::comm {

/// Makes a crash (SIGSEGV, SIGABRT, SIGFPE, SIGILL) say one line and where it was, and end with 70, without taking memory. Before MPI
/// starts, whose own handlers stay away then: they take memory to print a stack, and where the heap is damaged they wait for ever, and the
/// job with them.
void explain_crashes();

} // namespace concord::comm
