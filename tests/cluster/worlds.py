"""What the tests on several hosts share: a small study finished on one host, and what runs on others must agree with."""
import os
import pathlib
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("campaign", "cli")]

from campaign import CONCORD, WRITES, STAGES, contents, small_study, wrong_words  # noqa: E402
from support import SOURCE, datasets, fresh  # noqa: E402
import numpy as np  # noqa: E402

from hosts import Cluster, why_not  # noqa: E402

# Sums over ranks, which agree to rounding; all else has the same bits.
ROUNDED = ("similarity.h5:", "subspaces.h5:/a/logits", "subspaces.h5:/b/logits")
FULL = os.environ.get("CONCORD_CLUSTER_FULL", "") == "1"
SECONDS = 600  # longer is a hang; on a busy machine a run of seconds takes minutes


def skip_without_hosts():
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)


def finish(process, seconds=SECONDS):
    """Exit code and output of a run that must not hang."""
    try:
        said = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"no end after {seconds} s") from error
    return process.returncode, said


class Reference:
    """A small study, all stages of it run by one rank on one host."""

    def __init__(self, folder, **settings):
        self.folder = folder
        # Ranks of several hosts share a machine's few cores: what takes many messages is kept small.
        small = {"corpus__max_tokens": 2600, "model__a__layers": [3], "model__b__layers": [6], "sae__steps": 8, "sae__checkpoint_seconds": 60.0, "compare__permutations": 5}
        self.file = small_study(folder, **{**small, **settings})
        self.out = folder / "out"
        with Cluster(1) as cluster:
            code, said = finish(self.start(cluster, {"h1": 1}, "run", self.out))
        assert code == 0, said
        self.said = said
        self.expected = contents(self.out)

    def words(self, command, out, *more):
        return [CONCORD, command, self.file, "--set", f"study.output={out}", *more]

    def start(self, cluster, slots, command, out, *more, **options):
        return cluster.start(slots, *self.words(command, out, *more), **options)

    def wrong(self, out, stages=STAGES):
        """What is not as it is in the study of one host, of what these stages write."""
        found, wrong = contents(out), []
        rounded = {}
        for name, value in self.expected.items():
            if not any(name.startswith(w) for s in stages for w in WRITES[s]):
                continue
            if name in found and name.startswith(ROUNDED):
                rounded.setdefault(name.split(":")[0], []).append(name.split(":")[1])
            elif found.get(name) != value:
                wrong.append(f"{name} {'differs' if name in found else 'is missing'}")
        for file, names in rounded.items():
            ours, theirs = datasets(out / file), datasets(self.out / file)
            for name in names:
                if theirs[name].dtype.kind != "f" and ours[name].tobytes() != theirs[name].tobytes():
                    wrong.append(f"{file}:{name} differs")
                if theirs[name].dtype.kind == "f" and not np.allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-12, equal_nan=True):
                    wrong.append(f"{file}:{name} differs by more than rounding")
        return wrong
