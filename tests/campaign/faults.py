"""Faults of the system, injected by fault.c into every stage: the n-th call that opens, reads, writes, syncs, renames, maps or allocates fails.

  faults.py --trials 40             as many random ones
  faults.py --each 1,2,3,5,8,13     each of these n that a stage reaches, for every stage, call and fault (hours)
  faults.py --each ... --trials N   N of those, drawn at random"""
import argparse
import collections
import hashlib
import itertools
import pathlib
import random
import subprocess
import sys

from campaign import RANKS, SECONDS_A_RUN, STAGES, Study, end, kill_all, last_lines, wrong_words

FAULTS = {"open": ["ENOSPC", "EIO", "EACCES"], "read": ["EIO", "short", "delay"], "write": ["ENOSPC", "EIO", "EDQUOT", "short", "delay"], "fsync": ["EIO", "ENOSPC", "delay"],
          "rename": ["EIO", "ENOSPC", "EDQUOT"], "mmap": ["ENOMEM"], "malloc": ["ENOMEM"]}
MOST = {"open": 40, "read": 80, "write": 120, "fsync": 12, "rename": 8, "mmap": 12, "malloc": 4000}  # n is drawn up to here, small ones more often


def files_of(folder):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file() and p.name not in ("study.resolved.toml", "profile.json")}


def trial(study, library, stage, call, n, fault, rank):
    """What went wrong when `rank` ("all": every one) met the fault in `stage`, and whether it met it at all."""
    work = study.before(stage)
    finished = files_of(work)
    log = study.folder / "fault.log"
    log.unlink(missing_ok=True)
    env = {"CONCORD_FAULT": f"{call}:{n}:{fault}", "CONCORD_FAULT_UNDER": str(work), "CONCORD_FAULT_LOG": str(log)}
    if rank != "all":
        env["CONCORD_FAULT_RANK"] = str(rank)
    process = study.start(stage, work, prefix=["env", f"LD_PRELOAD={library}", *(f"{k}={v}" for k, v in env.items())])
    try:
        output = process.communicate(timeout=SECONDS_A_RUN)[0]
    except subprocess.TimeoutExpired:
        kill_all(process)
        return log.exists(), ["it hangs"]
    wrong = wrong_words(process.returncode, output)
    if not log.exists() and process.returncode != 0:
        wrong.append(f"no fault was met, yet it ends with {process.returncode}: {last_lines(output)}")
    wrong += [f"{p.relative_to(work)} was finished and is damaged" for p, d in finished.items() if not p.exists() or hashlib.sha256(p.read_bytes()).hexdigest() != d]
    return log.exists(), wrong + (study.wrong_results if process.returncode == 0 else study.wrong_after)(stage, work)


def calls_of(study, library, stage):
    """How many calls of each kind each rank makes in an undisturbed stage: (call, rank) -> number; rank "all": the most of any."""
    work = study.before(stage)
    log = study.folder / "count.log"
    log.unlink(missing_ok=True)
    process = study.start(stage, work, prefix=["env", f"LD_PRELOAD={library}", f"CONCORD_FAULT_UNDER={work}", f"CONCORD_FAULT_COUNT={log}"])
    output = process.communicate(timeout=SECONDS_A_RUN)[0]
    assert process.returncode == 0, output
    found = collections.Counter()
    for rank, call, number in map(str.split, log.read_text().splitlines()):
        found[call, int(rank)] = int(number)
        found[call, "all"] = max(found[call, "all"], int(number))
    return found


def trials_of(arguments, study, library):
    chance = random.Random(arguments.seed)
    if arguments.each:
        trials = []
        for stage in arguments.stages:
            most = calls_of(study, library, stage)
            print(f"{stage}: " + ", ".join(f"{call} {most[call, 'all']}" for call in FAULTS), flush=True)
            for call, n, rank in itertools.product(FAULTS, map(int, arguments.each.split(",")), ("all", *sorted({0, RANKS - 1}))):
                if n <= most[call, rank]:
                    trials += [(stage, call, n, fault, rank) for fault in FAULTS[call]]
        print(f"{len(trials)} faults are within reach", flush=True)
        if arguments.trials:
            trials = chance.sample(trials, min(arguments.trials, len(trials)))
        yield from trials
        return
    for _ in range(arguments.trials or 40):
        call = chance.choice(list(FAULTS))
        n = int(MOST[call] ** chance.random())
        yield chance.choice(arguments.stages), call, f"{n}{'+' if chance.random() < 0.3 else ''}", chance.choice(FAULTS[call]), chance.choice(["all", *range(RANKS)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--each", default="")
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="scratch/faults")
    parser.add_argument("--one", nargs=5, metavar=("STAGE", "CALL", "N", "FAULT", "RANK"), help="repeat one trial")
    arguments = parser.parse_args()
    study = Study(arguments.work)
    library = study.folder / "libfault.so"
    subprocess.run(["cc", "-O1", "-fexceptions", "-shared", "-fPIC", "-o", library, pathlib.Path(__file__).with_name("fault.c"), "-ldl"], check=True)
    met, tried, failures = collections.Counter(), 0, []
    for one in ([tuple(arguments.one)] if arguments.one else trials_of(arguments, study, library)):
        happened, wrong = trial(study, library, *one)
        tried += 1
        met[one[1]] += happened
        name = " ".join(map(str, one))
        print(f"{tried} {name}: {'met' if happened else 'not met'}{', ' + '; '.join(wrong) if wrong else ''}", flush=True)
        failures += [f"{name}: {w}" for w in wrong]
    return end("faults", tried, failures, "met: " + ", ".join(f"{call} {n}" for call, n in met.items()))


if __name__ == "__main__":
    sys.exit(main())
