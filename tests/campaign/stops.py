"""SIGUSR1 at random moments of every stage: the run ends in time with 75, or with 0 where it was done, and the rerun has the undisturbed bits.

  stops.py --stops 200 --studies plain fused three --contexts 400

Units of work are not finished first (CONCORD_STOP_GRACE=0), so that short stages are stopped within them. `plain` reads text and keeps activations;
`fused` takes token ids made elsewhere, runs the model inside train-sae and encode, and pairs features optimally; `three` has a third model,
and with it the stage graph."""
import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import time

from campaign import CONCORD, MPIRUN, RANKS, Study, end, kill_all, last_lines, ranks_of, wrong_words, writes
from test_claims import caught

TARGETS = [*writes(third=True), "verify"]


def catches(pid):
    """Whether a process has its handler: a signal before main() would kill it."""
    try:
        return caught(pid, signal.SIGUSR1)
    except OSError:
        return False


def wait_for_ranks(process):
    """The ranks, once all of them catch the signal; nothing where the run ended first."""
    while process.poll() is None:
        ranks = ranks_of(process)
        if len(ranks) == RANKS and all(catches(pid) for pid in ranks):
            return ranks
        time.sleep(0.01)
    return []


def ask_to_stop(process, ranks, victim, chance):
    for pid in {"rank": [chance.choice(ranks)], "all": ranks, "mpirun": [process.pid]}[victim]:
        try:
            os.kill(pid, signal.SIGUSR1)
        except ProcessLookupError:
            pass  # it ended by itself meanwhile


def files_of(study):
    return sorted(str(path) for path in study.reference.rglob("*.h5"))


def start(study, target, work):
    if target != "verify":
        return study.start(target, work, env={"CONCORD_STOP_GRACE": "0"})
    return subprocess.Popen([*MPIRUN, "-np", str(RANKS), CONCORD, "verify", *files_of(study)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True, errors="replace")


def trial(study, target, victim, chance, bound):
    """What is wrong, and the exit code of the run that was asked to stop; None where it ended before it could be asked."""
    work = study.before(target) if target != "verify" else None
    begin = time.monotonic()
    process = start(study, target, work)
    ranks = wait_for_ranks(process)
    time.sleep(max(0.0, chance.uniform(0, study.seconds[target]) - (time.monotonic() - begin)))
    asked = bool(ranks) and process.poll() is None
    if asked:
        ask_to_stop(process, ranks, victim, chance)
    begin = time.monotonic()
    try:
        output = process.communicate(timeout=10 * bound)[0]
    except subprocess.TimeoutExpired:
        kill_all(process)
        return [f"it goes on for {10 * bound:.0f} s"], None
    seconds, code = time.monotonic() - begin, process.returncode
    wrong = [] if code in (0, 75) else [f"it ends with {code}: {last_lines(output)}"]
    wrong += wrong_words(code, output)
    if asked and seconds > bound:
        wrong.append(f"it ends {seconds:.1f} s behind the signal")
    if target != "verify":
        wrong += study.wrong_after(target, work)
    return wrong, code if asked else None


def make(folder, kind, contexts):
    settings = {"corpus__max_tokens": 64 * contexts}
    if kind == "fused":
        made = Study(f"{folder}/ids", stages=["tokenize"], **settings)
        settings |= {"corpus__token_ids": str(made.reference / "tokens.h5"), "extract__fused": True, "correlate__pairing": "optimal"}
    study = Study(f"{folder}/{kind}", third=kind == "three", **settings)
    begin = time.monotonic()
    subprocess.run([*MPIRUN, "-np", str(RANKS), CONCORD, "verify", *files_of(study)], check=True, stdout=subprocess.DEVNULL)
    study.seconds["verify"] = time.monotonic() - begin
    return study


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=18)
    parser.add_argument("--bound", type=float, default=30, help="seconds from the signal to the end of the run")
    parser.add_argument("--studies", nargs="+", default=["plain", "fused"], choices=["plain", "fused", "three"])
    parser.add_argument("--contexts", type=int, default=24, help="of 64 tokens: how long the stages take")
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="scratch/stops")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    codes, failures = collections.Counter(), []
    of_kind = arguments.stops // len(arguments.studies)
    for kind in arguments.studies:
        study = make(arguments.work, kind, arguments.contexts)
        targets = [t for t in arguments.targets if t in (*study.stages, "verify")]
        for i in range(of_kind):
            target, victim = targets[i % len(targets)], chance.choice(["rank", "all", "mpirun"])
            wrong, code = trial(study, target, victim, chance, arguments.bound)
            codes[code] += 1
            print(f"{kind} {i + 1} {target} {victim} {code}: {'; '.join(wrong) or 'ok'}", flush=True)
            failures += [f"{kind} {target} {victim}: {w}" for w in wrong]
    if codes[75] == 0:
        failures.append("no run was stopped: nothing was tried")
    return end("stops", of_kind * len(arguments.studies), failures, f"stopped {codes[75]}, done all the same {codes[0]}, done before {codes[None]}")


if __name__ == "__main__":
    sys.exit(main())
