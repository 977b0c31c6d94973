"""What the campaigns share: a finished small study, its stages one by one, and what must hold after any disturbance.

A campaign disturbs one stage of a copy of the study and then asks: did it end in time, with one line and a right code; are the
finished files whole; does the same command, undisturbed, end with 0, the same bits in every dataset and no temporary file?"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("CONCORD", str(ROOT / "build" / "concord"))
os.environ.setdefault("CONCORD_SOURCE", str(ROOT))
os.environ.setdefault("RANKS", "2")
os.environ.setdefault("MPIRUN", "mpirun --oversubscribe --bind-to none" + (" --allow-run-as-root" if os.getuid() == 0 else ""))
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(ROOT / "tests" / "cli"))

from support import CONCORD, MPIRUN, RANKS, datasets, run, small_study  # noqa: E402

THIRD = {"model__again__same_as": "a", "model__again__layers": [3], "subspaces__pairs": [["a", "b"]]}


def writes(third=False):
    """What each stage writes, below the output of a study of two models; of three, which are named, with the stage that only they have."""
    models = ["models/a/", "models/b/", "models/again/"] if third else ["a/", "b/"]
    pairs = ["pairs/a_vs_b/", "pairs/a_vs_again/", "pairs/b_vs_again/"] if third else [""]
    return {
        "tokenize": ["tokens.h5"],
        "extract": [f"{m}activations.h5" for m in models[:2]],
        "train-sae": [f"{m}saes" for m in models],
        "recovered": [f"{m}recovered.json" for m in models],
        "encode": [m + name for m in models for name in ("features.h5", "features.h5.layers")],
        "correlate": [p + name for p in pairs for name in ("matches.h5", "shifted.h5")[:1 + third]],
        **({"graph": ["graph.h5"]} if third else {}),
        "compare": [f"{p}similarity.h5" for p in pairs],
        "subspaces": [f"{pairs[0]}subspaces.h5"],
        "report": ["report", *(f"{p}report" for p in pairs if p)],
    }


WRITES = writes()
STAGES = list(WRITES)
TEMPORARY = (".partial", ".journal", ".new", ".tmp", ".pieces", ".codes")
SECONDS_A_RUN = float(os.environ.get("SECONDS_A_RUN", "600"))  # longer is a hang; on a busy machine a run of seconds takes minutes
# Codes with which a disturbed run may end (docs/exit-codes.md).
CODES = {0, 65, 66, 69, 71, 74, 75, 78}


class Study:
    """A small study finished once, and copies of it in which a stage is to be run."""

    def __init__(self, folder, drawn=True, stages=None, third=False, **settings):
        self.writes = writes(third)
        self.stages = list(self.writes)
        self.folder = pathlib.Path(folder).resolve()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.file = small_study(self.folder, drawn, **{"corpus__max_tokens": 2600, "sae__steps": 60, **(THIRD if third else {}), **settings})
        self.reference = self.folder / "out"
        self.seconds = {}
        for stage in stages or self.stages:
            begin = time.monotonic()
            run(stage, self.file, started=True)  # as long as a disturbed one takes
            self.seconds[stage] = time.monotonic() - begin
        self.expected = contents(self.reference)

    def before(self, stage):
        """A fresh copy of the study in which `stage` and all behind it are still to do."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.reference, work, symlinks=True)
        for later in self.stages[self.stages.index(stage):]:
            for name in self.writes[later]:
                path = work / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return work

    def command(self, stage, work, *flags, prefix=()):
        return [*MPIRUN, "-np", str(RANKS), *prefix, CONCORD, stage, str(self.file), "--set", f"study.output={work}", *flags]

    def start(self, stage, work, *flags, prefix=(), env=None):
        return subprocess.Popen(self.command(stage, work, *flags, prefix=prefix), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                start_new_session=True, env={**os.environ, **(env or {})}, errors="replace")

    def wrong_after(self, stage, work):
        """Runs the stage undisturbed and lists what is not as it must be."""
        # Ranks that outlived their mpirun may still hold the output for a moment.
        process = self.start(stage, work, "--wait")
        try:
            output = process.communicate(timeout=SECONDS_A_RUN)[0]
        except subprocess.TimeoutExpired:
            kill_all(process)
            return ["the rerun hangs"]
        if process.returncode != 0:
            return [f"the rerun ends with {process.returncode}: {last_lines(output)}"]
        return self.wrong_results(stage, work)

    def wrong_results(self, stage, work):
        """What is not as it must be behind a stage that ended with 0."""
        wrong = []
        found = contents(work)
        for name, value in self.expected.items():
            if any(name.startswith(w) for s in self.stages[:self.stages.index(stage) + 1] for w in self.writes[s]) and found.get(name) != value:
                wrong.append(f"{name} {'differs' if name in found else 'is missing'}")
        return wrong + [f"{path.relative_to(work)} is left over" for path in work.rglob("*") if path.name.endswith(TEMPORARY) or path.name.startswith(".")]


def contents(folder):
    """What is in the results below a folder, by name: digests of datasets and of weights, not of provenance."""
    import hashlib

    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".h5":
            try:
                for dataset, value in datasets(path).items():
                    found[f"{name}:{dataset}"] = hashlib.sha256(value.tobytes() if value.dtype != object else str(value.tolist()).encode()).hexdigest()
            except (OSError, KeyError) as error:
                found[name] = f"unreadable: {error}"
        elif path.suffix == ".safetensors" or path.name == "cfg.json" or path.suffix == ".csv":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name == "recovered.json":
            found[name] = json.dumps(json.loads(path.read_text()).get("layers"))
    return found


def kill_all(process):
    """SIGKILL for a run and all that it started."""
    for pid in [*ranks_of(process), process.pid]:
        subprocess.run(["kill", "-9", str(pid)], stderr=subprocess.DEVNULL, check=False)
    process.communicate()


def ranks_of(process):
    """Process numbers of the ranks of a run."""
    return [int(p) for p in subprocess.run(["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, text=True, check=False).stdout.split()]


def last_lines(output, lines=3):
    """What a run said at its end: from its error on, with the functions that a crash names, else the last lines."""
    said = output.strip().splitlines()
    errors = [i for i, line in enumerate(said) if line.startswith("concord: error")]
    return " | ".join(said[errors[0]:errors[0] + 40] if errors else said[-lines:])[:4000]


def wrong_words(code, output):
    """Whether a run that ended with `code` said it in one line, without a crash."""
    wrong = []
    errors = [line for line in output.splitlines() if line.startswith("concord: error")]
    stopped = [line for line in output.splitlines() if line.startswith("concord: ")]
    if code not in CODES:
        wrong.append(f"exit code {code}: {last_lines(output)}")
    elif code == 75 and len(stopped) != 1 or code not in (0, 75) and len(errors) != 1:
        wrong.append(f"exit code {code} with {len(errors)} error lines: {last_lines(output)}")
    for word in ("terminate called", "Segmentation fault", "Signal:", "AddressSanitizer", "HDF5-DIAG"):
        if word in output:
            wrong.append(f"the output holds \"{word}\"")
    return wrong


def end(name, tried, failures, figures=""):
    """Prints what a campaign found; its exit code."""
    for failure in failures:
        print("FAILED", failure)
    print(f"{name}: {tried} tried, {len(failures)} wrong{'; ' if figures else ''}{figures}")
    return 1 if failures else 0
