// The main of every GoogleTest program: rank 0 reports, other ranks report failures with their number, and all return the
// same exit code.
#include "concord/comm/session.hpp"
#include "concord/core/log.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <memory>
#include <unistd.h>

namespace {

class FailurePrinter : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank, result.file_name() != nullptr ? result.file_name() : "?", result.line_number(),
                 result.summary());
  }
};

int run(int argc, char** argv) {
  const concord::comm::Session session(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  if (session.world().rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  concord::set_log_level("error");
  int result = RUN_ALL_TESTS();
  if (testing::UnitTest::GetInstance()->test_to_run_count() == 0) result = 1;
  MPI_Allreduce(MPI_IN_PLACE, &result, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return result;
}

} // namespace

int main(int argc, char** argv) {
  const int result = run(argc, argv);
#ifndef __SANITIZE_ADDRESS__ // its search for leaks comes at exit
  std::fflush(nullptr);
  ::_exit(result); // libtorch's end takes longer than many tests
#endif
  return result;
}
