"""What others install concord by: an installation that was moved, presets, module files, the recipes of Spack and Apptainer. packaging/README.md says
what was tried beyond this."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import types
import unittest

from support import CONCORD, SOURCE, fresh

CMAKE = "\n".join(path.read_text() for path in (SOURCE / "CMakeLists.txt", *(SOURCE / "cmake").glob("*.cmake")))


def call(*words, code=0, **options):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **options)
    assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = fresh("packages")
        call("cmake", "--install", pathlib.Path(CONCORD).parent, "--prefix", folder / "a prefix")
        cls.there = folder / "moved to" / "another prefix"
        cls.there.parent.mkdir()
        shutil.move(folder / "a prefix", cls.there)
        cls.share = cls.there / "share/concord"
        cls.version = re.search(r"project\(concord VERSION (\S+)", CMAKE)[1]
        # As of a user of it: nothing of this build's environment.
        cls.env = {name: value for name, value in os.environ.items() if not name.startswith("CONCORD")}
        cls.env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_ess_singleton_isolated": "1"}

    def test_the_program_runs_from_where_it_was_moved(self):
        self.assertIn(f"concord {self.version}", call(self.there / "bin/concord", "--version", env=self.env))
        self.assertIn("rank 0 on", call(self.there / "bin/concord", "info", env=self.env))
        self.assertIn("[study]", call(self.there / "bin/concord", "keys", env=self.env))

    def test_the_report_is_found_beside_it(self):
        call(sys.executable, "-I", self.share / "scripts/report.py", "--help", env=self.env)
        empty = fresh("packages_no_results")
        self.assertIn("is missing; run its stage first", call(sys.executable, "-I", self.share / "scripts/report.py", empty, code=66, env=self.env))
        imported = set(re.findall(r"^(?:from|import) (report_\w+)", "\n".join(p.read_text() for p in self.share.glob("scripts/*.py")), re.M))
        self.assertLessEqual(imported, {p.stem for p in (self.share / "scripts").iterdir()})

    def test_pages_completion_and_schema_are_the_programs(self):
        self.assertIn(".SS train\\-sae", (self.there / "share/man/man1/concord.1").read_text())
        completion = self.there / "share/bash-completion/completions/concord"
        words = call("bash", "-c", 'source "$1"; COMP_WORDS=(concord info --ra); COMP_CWORD=2; _concord; echo "${COMPREPLY[@]}"', "bash", completion)
        self.assertEqual(words.split(), ["--ranks"])
        self.assertIn("properties", json.loads((self.share / "study.schema.json").read_text()))

    def test_jobs_come_with_it(self):
        source = sorted(p.relative_to(SOURCE / "jobs") for p in (SOURCE / "jobs").rglob("*") if p.is_file())
        self.assertEqual(sorted(p.relative_to(self.share / "jobs") for p in (self.share / "jobs").rglob("*") if p.is_file()), source)
        for name in ("submit", "status", "node_hours"):
            self.assertTrue(os.access(self.share / "jobs" / name, os.X_OK), name)
            self.assertIn("STUDY.toml", call(self.share / "jobs" / name, code=64))

    def test_the_module_of_lmod(self):
        lua = next(filter(shutil.which, ("lua", "lua5.4", "lua5.3")), None)
        if lua is None:
            self.skipTest("lua is not installed")
        file = self.share / f"modulefiles/concord/{self.version}.lua"
        stubs = fresh("packages_lua") / "stubs.lua"
        stubs.write_text(textwrap.dedent("""\
            function help() end function whatis() end function LmodError(text) error(text) end
            function myFileName() return arg[1] end
            function pathJoin(a, b) return a .. "/" .. b end
            function setenv(name, value) print(name .. "=" .. value) end
            function prepend_path(name, value) print(name .. ":" .. value) end
            dofile(arg[1])
            """))
        self.assertEqual(call(lua, stubs, file).splitlines(), [f"CONCORD_HOME={self.there}", f"PATH:{self.there}/bin"])

    def test_the_module_of_environment_modules(self):
        if shutil.which("tclsh") is None:
            self.skipTest("tclsh is not installed")
        file = self.share / f"modulefiles/concord/{self.version}"
        stubs = fresh("packages_tcl") / "stubs.tcl"
        stubs.write_text(textwrap.dedent("""\
            proc module-whatis {text} {}
            proc conflict {name} {}
            proc setenv {name value} { puts "$name=$value" }
            proc prepend-path {name value} { puts "$name:$value" }
            set ModulesCurrentModulefile [lindex $argv 0]
            source $ModulesCurrentModulefile
            """))
        self.assertEqual(call("tclsh", stubs, file).splitlines(), [f"CONCORD_HOME={self.there}", f"PATH:{self.there}/bin"])


class Recipes(unittest.TestCase):
    def test_presets_set_what_there_is(self):
        presets = json.loads((SOURCE / "CMakePresets.json").read_text())["configurePresets"]
        self.assertEqual([preset["name"] for preset in presets], ["cpu", "cuda", "debug", "sanitize"])
        for preset in presets:
            for name in preset["cacheVariables"]:
                self.assertTrue(name.startswith("CMAKE_") or re.search(rf"\b(option|set)\({name} ", CMAKE), name)
        listed = call("cmake", "--list-presets", cwd=SOURCE)
        for preset in presets:
            self.assertIn(f'"{preset["name"]}"', listed)
        # The default preset is what scripts/build makes.
        self.assertEqual(presets[0]["binaryDir"], "${sourceDir}/build")

    def test_a_preset_configures(self):
        folder = fresh("preset")
        said = call("cmake", "--preset", "debug", "-B", folder / "build", "-DCONCORD_TESTS=OFF", cwd=SOURCE)
        self.assertIn("Build files have been written to", said)
        self.assertIn("CMAKE_BUILD_TYPE:STRING=Debug", (folder / "build/CMakeCache.txt").read_text())

    def test_libtorch_is_of_one_installation(self):
        folder = fresh("libtorch")
        (folder / "CMakeLists.txt").write_text(textwrap.dedent(f"""\
            cmake_minimum_required(VERSION 3.22)
            project(lookup LANGUAGES NONE)
            set(CMAKE_FIND_LIBRARY_PREFIXES lib)
            set(CMAKE_FIND_LIBRARY_SUFFIXES .so)
            set(CONCORD_FUZZ ON)
            set(CONCORD_TORCH_DIR "" CACHE PATH "")
            include({SOURCE}/cmake/FindTorchLibraries.cmake)
            message("library ${{TORCH_CPU_LIBRARY}}, headers ${{TORCH_INCLUDE_DIR}}")
            """))

        def installation(name, libraries="lib", headers="include"):
            for file in (f"{libraries}/libtorch_cpu.so", f"{libraries}/libc10.so", f"{libraries}/libgomp.so", *([f"{headers}/torch/extension.h"] if headers else [])):
                (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / file).write_text("")
            return folder / name

        def look(build, code=0, **settings):
            said = " ".join(call("cmake", "-S", folder, "-B", folder / build, *(f"-D{name}={value}" for name, value in settings.items()), code=code).split())
            return said.replace("/../include", "/include").replace("/lib/include", "/include")

        a, bare, other = installation("a"), installation("bare", headers=None), installation("other")
        system = installation("usr", "lib/x86_64-linux-gnu")
        self.assertIn(f"library {a}/lib/libtorch_cpu.so, headers {a}/include", look("named", CONCORD_TORCH_DIR=a, CMAKE_PREFIX_PATH=other))
        self.assertIn(f"library {other}/lib/libtorch_cpu.so, headers {other}/include", look("first", CMAKE_PREFIX_PATH=f"{other};{a}"))
        self.assertIn(f"library {system}/lib/x86_64-linux-gnu/libtorch_cpu.so, headers {system}", look("system", CMAKE_PREFIX_PATH=system, CMAKE_LIBRARY_PATH=system / "lib/x86_64-linux-gnu"))
        # What is named is taken, or nothing is; never headers of another one.
        self.assertIn("library TORCH_CPU_LIBRARY-NOTFOUND", look("typo", CONCORD_TORCH_DIR=folder / "typo", CMAKE_PREFIX_PATH=other))
        for build, settings in {"bare": {"CONCORD_TORCH_DIR": bare, "CMAKE_PREFIX_PATH": other}, "mixed": {"CMAKE_PREFIX_PATH": f"{bare};{other}"},
                                "headers": {"CONCORD_TORCH_DIR": a, "TORCH_INCLUDE_DIR": other / "include"}, "named": {"CONCORD_TORCH_DIR": other}}.items():
            with self.subTest(build=build):
                self.assertIn("libtorch's parts are not of one installation", look(build, code=1, **settings))

    def test_the_recipe_of_spack_names_what_the_build_looks_for(self):
        package, depends, defined = spack_package()
        # What the build looks for, by Spack's names of it.
        names = {"MPI": "mpi", "HDF5": "hdf5", "Boost": "boost", "ScaLAPACK": "scalapack", "LAPACK and BLAS": "lapack", "CLI11": "cli11", "toml++": "tomlplusplus",
                 "nlohmann-json": "nlohmann-json", "SentencePiece": "sentencepiece", "utf8proc": "utf8proc", "spdlog": "spdlog", "libzip": "libzip", "xxHash": "xxhash",
                 "zlib": "zlib-api", "GoogleTest": "googletest", "libtorch": "py-torch"}
        for looked_for in re.findall(r'concord_missing\("([^".(]+?)(?:\.MPI)?(?: \(parallel\))?"', CMAKE):
            self.assertIn(names[looked_for], depends, looked_for)
        torch = re.search(r"^torch==([\d.]+)\.\d+", (SOURCE / "scripts/requirements/torch.txt").read_text(), re.M)[1]
        self.assertEqual(depends["py-torch"], f"py-torch@{torch}")
        self.assertLessEqual({name for name in defined if name.startswith("CONCORD_")}, set(re.findall(r"\b(?:option|set)\((CONCORD_\w+) ", CMAKE)))
        self.assertEqual(pathlib.Path(package.git.removeprefix("file://")), SOURCE.resolve())

    def test_the_definitions_of_apptainer(self):
        sections = {name: apptainer_sections(SOURCE / f"packaging/apptainer/{name}.def") for name in ("concord", "concord-cuda")}
        for name, of in sections.items():
            with self.subTest(name):
                self.assertEqual(list(of), ["head", "arguments", "files", "post", "environment", "runscript", "test", "labels", "help"])
                for line in of["files"].split("\n"):
                    if line.strip():
                        source, target = line.split()
                        self.assertTrue((SOURCE / source).exists(), source)
                        self.assertEqual(target, f"/opt/concord-source/{source}")
                for shell in ("post", "environment", "runscript", "test"):
                    call("bash", "-n", "-c", of[shell])
                self.assertLessEqual(set(re.findall(r"\{\{ (\w+) \}\}", of["post"])), set(re.findall(r"^ *(\w+)=", of["arguments"], re.M)))
                self.assertLessEqual(set(re.findall(r"-D(CONCORD_\w+)=", of["post"])), set(re.findall(r"\b(?:option|set)\((CONCORD_\w+) ", CMAKE)))
        cpu, cuda = (sections[name]["post"].split("\n") for name in ("concord", "concord-cuda"))
        self.assertEqual([(a.strip(), b.strip()) for a, b in zip(cpu, cuda) if a != b][0], ("scripts/setup", "scripts/setup --cuda"))
        self.assertEqual(len(cpu), len(cuda))
        # Everything that CMake reads or installs is taken along.
        taken = {line.split()[0] for line in sections["concord"]["files"].split("\n") if line.strip()}
        self.assertLessEqual({"CMakeLists.txt", "cmake", "include", "src", "scripts", "jobs", "configs", "packaging"}, taken)


def apptainer_sections(path):
    parts = re.split(r"^%(\w+)\n", path.read_text(), flags=re.M)
    return {"head": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def spack_package():
    """The recipe's class, what it depends on by name, and what it defines for CMake, with stand-ins for Spack."""
    depends, defined = {}, []

    class Base:
        def define(self, name, value):
            assert value is not None
            defined.append(name)

        def define_from_variant(self, name, variant):
            assert variant in variants or variant == "cuda"
            defined.append(name)

        def __getitem__(self, name):
            return types.SimpleNamespace(module=types.SimpleNamespace(python_platlib="/python"))

        spec = {name: types.SimpleNamespace(libs=["/lib"], command=types.SimpleNamespace(path="/python")) for name in ("scalapack", "lapack", "blas", "python")}

    class NoCuda:
        pass
    variants = []
    words = types.ModuleType("spack.package")

    def depends_on(spec, when="", type=None):
        depends.setdefault(re.match(r"[\w-]+", spec)[0], spec)
    words.__dict__.update(
        depends_on=depends_on, license=lambda name: None, generator=lambda name: None, version=lambda name, branch: None, conflicts=lambda spec, msg: None,
        variant=lambda name, default, description, values=None: variants.append(name), run_after=lambda phase: lambda f: f,
        on_package_attributes=lambda run_tests: lambda f: f, join_path=os.path.join, Executable=lambda path: lambda *words: None)
    modules = {"spack": types.ModuleType("spack"), "spack.package": words}
    for name in ("spack_repo", "spack_repo.builtin", "spack_repo.builtin.build_systems", "spack_repo.builtin.build_systems.cmake", "spack_repo.builtin.build_systems.cuda"):
        modules[name] = types.ModuleType(name)
    modules["spack_repo.builtin.build_systems.cmake"].CMakePackage = Base
    modules["spack_repo.builtin.build_systems.cuda"].CudaPackage = NoCuda
    path = SOURCE / "packaging/spack/packages/concord/package.py"
    sys.modules.update(modules)
    try:
        space = {"__file__": str(path), "__name__": "package"}
        exec(compile(path.read_text(), path, "exec"), space)
    finally:
        for name in modules:
            del sys.modules[name]
    package = space["Concord"]
    package().cmake_args()
    return package, depends, defined


class Mpi(unittest.TestCase):
    """cmake/ConcordMpi.cmake, with files that stand for libraries."""

    def warnings(self, mpi, wanted):
        """What is said of a ScaLAPACK that wants `wanted`, where the MPI found is the library `mpi`."""
        folder = fresh("packages_mpi")
        (folder / f"{mpi}.1.8").write_bytes(b"\x7fELF")
        for link in (mpi, "libmpi.so.12" if "mpich" in mpi else "libmpi.so"):  # MPICH is known by two names
            (folder / link).symlink_to(f"{mpi}.1.8")
        (folder / "libmpi_other.so.40").write_bytes(b"\x7fELF")
        (folder / "libscalapack.so").write_bytes(b"\x7fELF\0\1" + b"\0".join([b"libm.so.6", *map(str.encode, wanted), b"pdgesvd_"]) + b"\0")
        script = folder / "check.cmake"
        script.write_text(f"cmake_minimum_required(VERSION 3.22)\nset(MPI_C_LIBRARIES {folder / mpi})\ninclude({SOURCE / 'cmake/ConcordMpi.cmake'})\n"
                          f"concord_same_mpi(ScaLAPACK {folder / 'libscalapack.so'})\n")
        return " ".join(call("cmake", "-P", script).split())

    def test_a_library_of_another_mpi_is_named(self):
        self.assertIn("it wants libmpich.so.12", self.warnings("libmpi.so.40", ["libmpich.so.12"]))
        self.assertIn("it wants libmpi.so.40", self.warnings("libmpich.so.12", ["libmpi.so.40"]))

    def test_those_of_this_one_are_not(self):
        self.assertEqual(self.warnings("libmpi.so.40", ["libmpi.so.40", "libmpi_mpifh.so.40"]), "")
        self.assertEqual(self.warnings("libmpich.so.12", ["libmpich.so.12"]), "")
        self.assertEqual(self.warnings("libmpich.so.12", ["libmpi.so.12"]), "")
        self.assertEqual(self.warnings("libmpi.so.40", []), "")


if __name__ == "__main__":
    unittest.main()
