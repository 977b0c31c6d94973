"""How well `concord plan` predicts: calibrates this machine, runs stages at several numbers of ranks, and sets their times beside the plan's.

    predictions.py STUDY.toml [--ranks 1,2] [--hosts | --processor] [--stages extract,train-sae,encode,correlate,compare] [--repeat 2] [--set TABLE.KEY=VALUE]

Calibrates on the largest number of ranks, then `concord scaling` measures; what compare gets matched is read from matches.h5, since a plan
cannot know it. With --hosts each rank has a host of its own (tests/cluster/hosts.py), with its part of the machine's cores, so that messages go
over a link; root alone may make hosts. With --processor one rank runs each stage once, and its processor time counts, less that of starting the
program: other programs on the machine matter less then. $CONCORD is the program, $CONCORD_LAUNCHER starts ranks ("mpirun -np {ranks}")."""
import argparse
import contextlib
import csv
import json
import os
import pathlib
import resource
import shlex
import shutil
import subprocess
import sys

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONCORD = os.environ.get("CONCORD", str(ROOT / "build" / "concord"))
STAGES = ["extract", "train-sae", "encode", "correlate", "compare"]


@contextlib.contextmanager
def a_rank_a_host(hosts):
    """While it lasts ranks start on hosts of their own."""
    sys.path.insert(0, str(ROOT / "tests" / "cluster"))
    from hosts import Cluster, why_not
    if why_not():
        sys.exit(f"--hosts: {why_not()}")
    cores = sorted(os.sched_getaffinity(0))
    if hosts > len(cores):
        sys.exit(f"--hosts: {hosts} hosts want as many cores, and there are {len(cores)}")
    share = len(cores) // hosts
    with Cluster(hosts, cores=[cores[i * share:(i + 1) * share] for i in range(hosts)]) as cluster:
        before = os.environ.get("CONCORD_LAUNCHER")
        os.environ["CONCORD_LAUNCHER"] = shlex.join(cluster.mpirun({f"h{i + 1}": 1 for i in range(hosts)}, "-np", "{ranks}"))
        try:
            yield
        finally:
            os.environ.pop("CONCORD_LAUNCHER") if before is None else os.environ.update(CONCORD_LAUNCHER=before)


def concord(*words, ranks=None):
    launcher = os.environ.get("CONCORD_LAUNCHER", "mpirun -np {ranks}")
    command = [word.format(ranks=ranks) for word in shlex.split(launcher)] if ranks else []
    result = subprocess.run([*command, CONCORD, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "CONCORD_LAUNCHER": launcher})
    if result.returncode != 0:
        sys.exit(f"concord {' '.join(map(str, words))} ended with {result.returncode}:\n{result.stdout}")
    return result.stdout


def matched_share(results):
    """Of the latents, over all pairs of layers of the first pair of models."""
    files = sorted(results.rglob("matches.h5"))
    if not files:
        return 1.0
    with h5py.File(files[0]) as file:
        shares = [np.mean(file[group]["match/a"][:] >= 0) for group in file if group.startswith("layer_")]
    return float(np.mean(shares))


def processor_seconds(*words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    concord(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def by_processor(arguments, sets):
    """Each stage on one rank; the folder of results."""
    results = arguments.out / "processor"
    shutil.rmtree(results, ignore_errors=True)
    starting = min(processor_seconds("info") for _ in range(3))
    measured = {}
    for stage in ["tokenize", *STAGES]:
        seconds = processor_seconds(stage, arguments.study, *sets, "--set", f"study.output={results}") - starting
        measured[stage, 1] = {"seconds": seconds, "least": seconds, "largest": seconds}
    return measured, results


def by_clock(arguments, sets):
    measured_in = arguments.out / "scaling"
    concord("scaling", arguments.study, "--ranks", ",".join(map(str, arguments.ranks)), "--stages", ",".join(arguments.stages), "--repeat",
            arguments.repeat, "--out", measured_in, *sets)
    with open(measured_in / "scaling.csv", encoding="utf-8") as file:
        measured = {(row["stage"], int(row["ranks"])): {key: float(row[key]) for key in ("seconds", "least", "largest")} for row in csv.DictReader(file)}
    return measured, measured_in / "base" / "strong" / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=pathlib.Path)
    parser.add_argument("--ranks", type=lambda text: [int(word) for word in text.split(",")], default=[1, 2])
    parser.add_argument("--stages", type=lambda text: text.split(","), default=STAGES)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--hosts", action="store_true", help="each rank on a host of its own")
    parser.add_argument("--processor", action="store_true", help="one rank, by its processor time")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    parser.add_argument("--machine", type=pathlib.Path, help="constants measured before; without them this calibrates")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "bench" / "predictions")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with a_rank_a_host(max(arguments.ranks)) if arguments.hosts else contextlib.nullcontext():
        predict(arguments)


def predict(arguments):
    machine = arguments.machine or arguments.out / "machine.json"
    if not machine.exists():
        print(concord("calibrate", "--out", machine, "--work", arguments.out, ranks=max(arguments.ranks)), flush=True)
    sets = [word for text in arguments.set for word in ("--set", text)]
    measured, results = (by_processor if arguments.processor else by_clock)(arguments, sets)
    share = matched_share(results)
    print(f"compare gets {share:.2f} of the latents matched")
    print(f"{'stage':<12} {'ranks':>5} {'measured':>9} {'least':>9} {'largest':>9} {'predicted':>10} {'ratio':>6}  most of it")
    missed = []
    for ranks in [1] if arguments.processor else arguments.ranks:
        plan = json.loads(concord("plan", arguments.study, *sets, "--set", f"study.output={results}", "--machine", machine, "--ranks", ranks,
                                  *(["--ranks-a-node", 1] if arguments.hosts else []), "--matched", max(share, 1e-3), "--json"))
        for stage in arguments.stages:
            times = [one["time"] for one in plan["stages"] if one["stage"].split()[0] == stage]
            predicted = sum(time["seconds"] for time in times)
            row = measured[stage, ranks]
            ratio = predicted / row["seconds"]
            if not 0.75 <= ratio <= 1.25:
                missed.append(f"{stage} on {ranks}")
            limit = max(times, key=lambda time: time["seconds"])["limit"]
            print(f"{stage:<12} {ranks:>5} {row['seconds']:>9.2f} {row['least']:>9.2f} {row['largest']:>9.2f} {predicted:>10.2f} {ratio:>6.2f}  {limit}")
    print("beyond 25 %: " + (", ".join(missed) or "none"))


if __name__ == "__main__":
    sys.exit(main())
