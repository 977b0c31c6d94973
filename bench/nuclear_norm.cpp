// The sum of the singular values of a k x k matrix: values-only pdgesvd on all ranks, beside dgesdd and the eigenvalues of C C^T on one
// rank.
//   mpirun -np 2 build/bench_nuclear_norm K
#include "concord/core/philox.hpp"
#include "concord/linalg/decompose.hpp"
#include "concord/linalg/dense.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>

using namespace concord;

namespace {

double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

} // namespace

int main(int argc, char** argv) {
  const comm::Session session(argc, argv);
  const Index k = argc > 1 ? std::atoll(argv[1]) : 2304;
  const linalg::Grid grid(session.world());
  linalg::DistMatrix c(grid, k, k);
  c.fill([](Index i, Index j) { return Philox(1, "c", static_cast<std::uint64_t>(i)).normal(static_cast<std::uint64_t>(j)); });
  const auto whole = c.gather();
  double distributed = 0;
  double svd = 0;
  double eigen = 0;
  const double seconds_distributed = seconds_of([&] { distributed = sum(linalg::singular_values(std::move(c))); });
  const double seconds_svd = seconds_of([&] { svd = sum(linalg::singular_values(whole, k, k)); });
  const double seconds_eigen = seconds_of([&] { eigen = sum(linalg::singular_values_for_sums(whole, k, k)); });
  if (session.world().rank() == 0)
    std::printf("k=%lld ranks=%d pdgesvd=%.3f dgesdd=%.3f eigen=%.3f difference=%.1e %.1e\n", static_cast<long long>(k),
                session.world().size(), seconds_distributed, seconds_svd, seconds_eigen, svd / distributed - 1, eigen / distributed - 1);
}
