#include <gtest/gtest.h>
#include <mpi.h>

#include "app/info/name_of_mpi.hpp"
#include <string>

namespace concord::app {
namespace {

TEST(NameOfMpi, IsOneLineOfEachFamily) {
  EXPECT_EQ(name_of_mpi("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022"), "Open MPI v4.1.4");
  EXPECT_EQ(name_of_mpi("MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7 12:34:45 CDT 2022\nMPICH Device:\tch4:ucx\n"),
            "MPICH 4.0.2");
  EXPECT_EQ(name_of_mpi("MPICH Version:      4.2.0\nMPICH Release date: Fri Feb  9 12:29:21 CST 2024\n"), "MPICH 4.2.0");
  EXPECT_EQ(name_of_mpi("MPI VERSION    : CRAY MPICH version 8.1.25.17 (ANL base 3.4a2)\nMPI BUILD INFO : Sun Feb 26 15:15 2023\n"),
            "CRAY MPICH version 8.1.25.17 (ANL base 3.4a2)");
  EXPECT_EQ(name_of_mpi("Intel(R) MPI Library 2021.9 for Linux* OS\n"), "Intel(R) MPI Library 2021.9 for Linux* OS");
  EXPECT_EQ(name_of_mpi(""), "");
}

TEST(NameOfMpi, OfThisLibraryHasAVersion) {
  std::string said(MPI_MAX_LIBRARY_VERSION_STRING, '\0');
  int length = 0;
  MPI_Get_library_version(said.data(), &length);
  const auto name = name_of_mpi(said.substr(0, static_cast<std::size_t>(length)));
  EXPECT_NE(name.find_first_of("0123456789"), std::string::npos) << name;
  EXPECT_EQ(name.find_first_of("\n\t"), std::string::npos) << name;
  EXPECT_LT(name.size(), 80u) << name;
}

} // namespace
} // namespace concord::app
