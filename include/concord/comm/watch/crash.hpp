#pragma once
/// What a process says when it crashes. Local.

namespace concord::comm {

/// Makes a crash (SIGSEGV, SIGABRT, SIGFPE) end this process with 70, behind one line and the functions that were running, and SIGILL with
/// 69 and how to build for this processor. It waits 3 s before it speaks, since a process that is ended with its job may crash on its way;
/// after 5 s more SIGALRM ends it. The program's main calls it, before MPI starts: MPI's own handlers then stay away. They take memory to
/// print a stack, and wait for ever where the heap is damaged.
void explain_crashes();

/// Makes exit() on any other thread than this one end the process at once, without the destructors of libraries. Where another rank ends
/// the job, Open MPI calls it on its own thread while libtorch computes on this one. Called when MPI has started, by the program's main:
/// what is registered last runs first.
void end_at_once_from_other_threads();

} // namespace concord::comm
