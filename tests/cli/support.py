"""What the tests of the program share: running it, a small study, golden files. Each test is a plain unittest script."""
import atexit
import contextlib
import functools
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

import h5py
import numpy as np

CONCORD = os.environ["CONCORD"]
SOURCE = pathlib.Path(os.environ["CONCORD_SOURCE"])
RANKS = int(os.environ.get("RANKS", "1"))
MPIRUN = shlex.split(os.environ["MPIRUN"])
DEMO = SOURCE / "data" / "demo"
GOLDEN = SOURCE / "tests" / "golden"


def command(*arguments, ranks=None, program=CONCORD):
    return [*MPIRUN, "-np", str(ranks or RANKS), str(program), *map(str, arguments)]


class Loaded:
    """The program, loaded once for many runs on one rank without a launcher (tests/campaign/many.c): loading takes longer than most runs."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        library = folder / "many.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE / "tests/campaign/many.c", "-ldl"], check=True)
        self.said = folder / "said.txt"
        environment = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_ess_singleton_isolated": "1", "LD_PRELOAD": str(library)}
        self.program = subprocess.Popen([CONCORD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        atexit.register(self.program.communicate)  # it ends with its input

    def run(self, arguments, seconds=600):
        """Exit code and output of a run."""
        self.program.stdin.write("\t".join([str(seconds), os.getcwd(), str(self.said), *arguments]) + "\n")
        self.program.stdin.flush()
        code = int(self.program.stdout.readline())
        assert code >= 0, f"{arguments} takes over {seconds} s"
        return code if code < 256 else 256 - code, self.said.read_text(errors="replace")


class LoadedRanks:
    """The program, loaded once for many runs below mpirun (tests/cli/ranks.c)."""

    def __init__(self):
        folder = tempfile.TemporaryDirectory(prefix="concord")  # the path of a socket must be short
        atexit.register(folder.cleanup)
        self.rank, server, self.socket = (pathlib.Path(folder.name, name) for name in ("rank", "server.so", "socket"))
        source = SOURCE / "tests/cli/ranks.c"
        subprocess.run(["cc", "-O1", "-o", self.rank, source], check=True)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-DSERVER", "-o", server, source, "-ldl"], check=True)
        program = subprocess.Popen([CONCORD], stdin=subprocess.PIPE, env={**os.environ, "CONCORD_LOADED": str(self.socket), "LD_PRELOAD": str(server)})
        atexit.register(program.communicate)  # it ends with its input
        while not self.socket.exists():
            assert program.poll() is None, "the program ended before it could be asked"
            time.sleep(0.01)

    def run(self, arguments, ranks):
        """Exit code and output of a run."""
        result = subprocess.run(command(*arguments, ranks=ranks, program=self.rank), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                timeout=600, env={**os.environ, "CONCORD_LOADED": str(self.socket)})
        return result.returncode, result.stdout


@functools.lru_cache(1)
def loaded_ranks():
    return LoadedRanks()


@functools.lru_cache(1)
def loaded():
    return Loaded(pathlib.Path("scratch", "loaded").resolve())


def alone(*arguments):
    """Exit code and output of a run on one rank."""
    arguments = [str(word) for word in arguments]
    if "ASAN_OPTIONS" in os.environ:  # its library must be the first
        result = subprocess.run([CONCORD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=600)
        return result.returncode, result.stdout
    assert not any(c in word for word in arguments for c in "\t\n")
    for _ in range(3):
        code, said = loaded().run(arguments)
        if "orte/util/session_dir.c" not in said:
            break  # else another run of Open MPI, ending at that moment, removed the folder that this start was about to use
    return code, said


def run(*arguments, ranks=None, code=0, started=False, **options):
    """Runs the program, expects its exit code, and returns its output (stdout and stderr together). `started`: as a program of its own."""
    if (ranks or RANKS) == 1 and not options and not started:
        got, said = alone(*arguments)
    elif not options and not started and "ASAN_OPTIONS" not in os.environ:  # its library must be the first
        got, said = loaded_ranks().run(arguments, ranks)
    else:
        result = subprocess.run(command(*arguments, ranks=ranks), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=600, **options)
        got, said = result.returncode, result.stdout
    assert got == code, f"exit code {got}, expected {code}, of {arguments}:\n{said}"
    return said


def asked_at_start(folder):
    """An environment in which every rank is asked to stop (SIGUSR1) when MPI starts: before it does anything."""
    source, shim = folder / "early.c", folder / "early.so"
    source.write_text("#include <mpi.h>\n#include <signal.h>\n"
                      "int MPI_Init_thread(int* n, char*** v, int wanted, int* given) { raise(SIGUSR1); return PMPI_Init_thread(n, v, wanted, given); }\n")
    subprocess.run(["mpicc", "-shared", "-fPIC", "-o", shim, source], check=True)
    return {**os.environ, "LD_PRELOAD": str(shim), "CONCORD_STOP_GRACE": "0"}


def fresh(name):
    """An empty folder below the work folder."""
    folder = pathlib.Path("scratch", name).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# Lists of words that a few thousand tokens hold often enough.
CONCEPTS = {("persons", "He"): "he him his himself", ("persons", "She"): "she her hers herself", ("persons", "They"): "they them their we us our",
            ("small words", "Places"): "in on at from under upon", ("small words", "Joints"): "and but or nor if", ("small words", "Times"): "when then now before after"}


def write_concepts(path, lists=None):
    """A table of concepts; a list is words between blanks."""
    rows = [f"{group}\t{name}\t{word}" for (group, name), words in (lists or CONCEPTS).items() for word in words.split()]
    path.write_text("\n".join(["group\tconcept\tphrase", *rows]) + "\n")
    return path


# Stands in for the Python of the report: its figures take longer than all stages of a small study.
UNDRAWN = """#!/bin/sh
[ "$2" = -c ] && exit 0
for output; do :; done
mkdir -p "$output/report" && date +%s.%N > "$output/report/index.html"
"""


def small_study(folder, drawn=False, **overrides):
    """The demo models on a few thousand tokens: every stage in seconds. `drawn`: with the report itself, for tests that look at it."""
    text = (DEMO / "corpus" / "analysis.txt").read_text()[:60000]
    (folder / "text.txt").write_text(text)
    settings = {
        "study": {"name": "small", "output": str(folder / "out"), "seed": 3},
        "corpus": {"paths": [str(folder / "text.txt")], "tokenizer": str(DEMO / "tokenizer.model"), "context": 64, "max_tokens": 6000},
        "model.a": {"path": str(DEMO / "models" / "small"), "layers": [2, 3]},
        "model.b": {"path": str(DEMO / "models" / "large"), "layers": [4, 6]},
        "extract": {"dtype": "f32", "batch": 8, "commit_seconds": 0.0},
        "sae": {"latents": 256, "k": 8, "batch": 512, "steps": 120, "dead_after": 20000, "checkpoint_seconds": 0.0, "recovered_contexts": 4},
        "correlate": {"best": 4, "min_firings": 3},
        "compare": {"svcca_k": 5, "permutations": 19},
        "subspaces": {"concepts": str(write_concepts(folder / "concepts.tsv")), "min_occurrences": 10, "min_phrases": 2, "k": 2, "min_auc": 0.6, "max_q": 1.0,
                      "label_draws": 3, "shuffles": 9, "effect_occurrences": 1, "permutations": 19},
    }
    for key, value in overrides.items():
        table, name = key.rsplit("__", 1)
        settings.setdefault(table.replace("__", "."), {})[name] = value
    if not drawn:
        python = folder / "undrawn"
        python.write_text(UNDRAWN)
        python.chmod(0o755)
        settings.setdefault("report", {}).setdefault("python", str(python))
    for side in "ab":  # effects behind one layer of each model
        settings["subspaces"].setdefault(f"effect_layers_{side}", settings[f"model.{side}"]["layers"][-1:])
    path = folder / "study.toml"
    path.write_text("".join(f"[{table}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items()) for table, keys in settings.items()))
    return path


def datasets(path):
    """Every dataset of an HDF5 file by name, external links followed."""
    found = {}

    def visit(group, prefix):
        for name in group:
            item = group[name]
            if isinstance(item, h5py.Dataset):
                found[prefix + name] = item[()]
            else:
                visit(item, prefix + name + "/")

    with h5py.File(path) as f:
        visit(f, "/")
    return found


def same(a, b, tolerance=0.0):
    """Whether two files hold the same datasets: bit for bit, or within a relative tolerance."""
    first, second = datasets(a), datasets(b)
    assert first.keys() == second.keys(), (first.keys() ^ second.keys())
    for name, value in first.items():
        if tolerance == 0.0:
            assert value.tobytes() == second[name].tobytes(), f"{name} differs"
        else:
            np.testing.assert_allclose(value, second[name], rtol=tolerance, atol=tolerance, err_msg=name)


def run_and_kill(arguments, until, ranks=None):
    """Starts the program, kills every process of it with SIGKILL once `until()` holds; returns whether it was killed."""
    process = subprocess.Popen(command(*arguments, ranks=ranks), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if until():
                children = subprocess.run(["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
                for kill, pid in [*((os.kill, int(child)) for child in children), (os.killpg, process.pid)]:
                    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                        kill(pid, signal.SIGKILL)
                return True
            time.sleep(0.002)
        return False
    finally:
        process.communicate()
