"""Ranks, all ranks or mpirun killed (SIGKILL) at random moments of every stage, or one rank stopped for some seconds (SIGSTOP).

  kills.py --kills 100
  kills.py --kills 100 --third     a study of three models, with the stage graph"""
import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import time

from campaign import SECONDS_A_RUN, Study, end, kill_all, last_lines, ranks_of, writes


def send(process, pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it ended by itself meanwhile


def disturb(process, victim, chance, pause):
    """Kills `victim` of a run; for "stop" one rank sleeps for `pause` seconds and goes on."""
    ranks = ranks_of(process)
    if victim == "rank" and ranks:
        send(process, [chance.choice(ranks)], signal.SIGKILL)
    elif victim == "all":
        send(process, [*ranks, process.pid], signal.SIGKILL)
    elif victim == "mpirun":
        send(process, [process.pid], signal.SIGKILL)
    elif victim == "stop" and ranks:
        one = chance.choice(ranks)
        send(process, [one], signal.SIGSTOP)
        time.sleep(pause)
        send(process, [one], signal.SIGCONT)


def trial(study, stage, victim, chance, pause):
    work = study.before(stage)
    process = study.start(stage, work)
    time.sleep(chance.uniform(0, study.seconds[stage]))
    disturb(process, victim, chance, pause)
    try:
        output = process.communicate(timeout=SECONDS_A_RUN)[0]
    except subprocess.TimeoutExpired:
        kill_all(process)
        return ["it hangs"]
    wrong = []
    if victim == "stop" and process.returncode != 0:
        wrong.append(f"a pause ends it with {process.returncode}: {last_lines(output)}")
    return wrong + study.wrong_after(stage, work)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=14)
    parser.add_argument("--pause", type=float, default=20, help="seconds of a SIGSTOP")
    parser.add_argument("--third", action="store_true")
    parser.add_argument("--stages", nargs="+", choices=list(writes(third=True)))
    parser.add_argument("--victims", nargs="+", default=["rank", "all", "mpirun", "rank", "all", "mpirun", "stop"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="scratch/kills")
    arguments = parser.parse_args()
    study = Study(arguments.work, third=arguments.third)
    stages = arguments.stages or study.stages
    chance = random.Random(arguments.seed)
    victims, failures = collections.Counter(), []
    for i in range(arguments.kills):
        stage, victim = stages[i % len(stages)], chance.choice(arguments.victims)
        wrong = trial(study, stage, victim, chance, arguments.pause)
        victims[victim] += 1
        print(f"{i + 1} {stage} {victim}: {'; '.join(wrong) or 'ok'}", flush=True)
        failures += [f"{stage} {victim}: {w}" for w in wrong]
    return end("kills", arguments.kills, failures, ", ".join(f"{v} {n}" for v, n in victims.items()))


if __name__ == "__main__":
    sys.exit(main())
