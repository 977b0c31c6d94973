"""Spack recipe, in a repository of its own: spack repo add packaging/spack && spack install concord"""
import pathlib

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Concord(CMakePackage, CudaPackage):
    """Tells how far two language models represent the same things: sparse autoencoders, matched features, SVCCA, RSA and
    others beside chance, over MPI."""

    # The checkout that this recipe lies in.
    git = pathlib.Path(__file__).resolve().parents[4].as_uri()

    license("Apache-2.0")

    version("main", branch="main")

    variant("tests", default=False, description="Build the tests, too")
    variant("march", default="x86-64-v3", values=str, description="Value of -march: a processor that every node is")

    generator("ninja")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.22:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5@1.10: +mpi")
    depends_on("boost@1.74: +mpi +serialization")
    depends_on("scalapack")
    depends_on("lapack")
    depends_on("blas")
    # The version whose libraries the tests run with; others have other headers.
    depends_on("py-torch@2.11")
    depends_on("py-torch +cuda", when="+cuda")
    depends_on("cli11@2:")
    depends_on("tomlplusplus@3.2:")
    depends_on("nlohmann-json@3.11:")
    depends_on("sentencepiece")
    depends_on("utf8proc")
    depends_on("spdlog@1.10: +shared")
    depends_on("libzip")
    depends_on("zlib-api")
    depends_on("xxhash")
    depends_on("googletest", when="+tests")
    # The report.
    depends_on("python@3.11:", type=("build", "run"))
    depends_on("py-numpy", type="run")
    depends_on("py-h5py", type="run")
    depends_on("py-matplotlib", type="run")

    conflicts("%gcc@:10", msg="concord is written in C++20")

    def cmake_args(self):
        return [
            # include/ and lib/ of libtorch, as the wheel has them.
            self.define("CONCORD_TORCH_DIR", join_path(self["py-torch"].module.python_platlib, "torch")),
            self.define_from_variant("CONCORD_ARCH", "march"),
            self.define_from_variant("CONCORD_CUDA", "cuda"),
            self.define_from_variant("CONCORD_TESTS", "tests"),
            self.define("SCALAPACK_LIBRARY", self.spec["scalapack"].libs[0]),
            self.define("LAPACK_LIBRARY", self.spec["lapack"].libs[0]),
            self.define("BLAS_LIBRARY", self.spec["blas"].libs[0]),
        ]

    def setup_run_environment(self, env):
        env.set("CONCORD_PYTHON", self.spec["python"].command.path)

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def check_install(self):
        Executable(self.prefix.bin.concord)("info")
