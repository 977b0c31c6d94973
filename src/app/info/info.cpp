#include "app/info/info.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/comm/node/cores.hpp"
#include "concord/core/log.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/linalg/decompose.hpp"

#include <mpi.h>
#include <torch/headeronly/version.h>

#include "app/info/name_of_mpi.hpp"
#include "app/info/rank_places.hpp"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>

namespace concord::app {

std::string library_versions() {
  char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(mpi, &length);
  return fmt::format("{}, HDF5 {}, libtorch {}.{}.{}", name_of_mpi(mpi), io::hdf5_version(), TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR,
                     TORCH_VERSION_PATCH);
}

void print_info() {
  say("concord {} ({})", version(), git_state());
  say("libraries: {}", library_versions());
  say("BLAS from {}, LAPACK's dbdsqr from {}, ScaLAPACK from {}", linalg::library_of_symbol("dgemm_"), linalg::library_of_symbol("dbdsqr_"),
      linalg::library_of_symbol("pdgesvd_"));
}

void print_ranks_in_short(const comm::Communicator& comm) {
  const auto gpus = at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  const std::string mine =
      fmt::format("rank {} on {}: node rank {}, {} cores, {} libtorch threads, {} GPUs", comm.rank(),
                  boost::mpi::environment::processor_name(), comm::node_rank(comm), comm::usable_cores(), at::get_num_threads(), gpus);
  one_after_the_other(comm, mine, [](const std::string& line) { say("{}", line); });
}

} // namespace concord::app
