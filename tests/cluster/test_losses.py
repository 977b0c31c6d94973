"""A host that dies in the middle of each stage, and links that are slow or drop for a while: one message, no hang, and in the end the results of an
undisturbed run.  CONCORD_CLUSTER_TRIALS=N: as many deaths instead of one a stage."""
import concurrent.futures
import contextlib
import os
import random
import re
import shutil
import signal
import time
import unittest

from hosts import Cluster
from worlds import STAGES, WRITES, Reference, finish, fresh, skip_without_hosts, wrong_words

TRIALS = int(os.environ.get("CONCORD_CLUSTER_TRIALS", len(STAGES)))
SEED = int(os.environ.get("CONCORD_CLUSTER_SEED", "1"))
# By default Open MPI asks a silent host after 5 minutes whether it is there, and gives it up after 3 more.
SOON = [word for name, seconds in (("time", 2), ("intvl", 1), ("probes", 3)) for word in ("--mca", f"oob_tcp_keepalive_{name}", str(seconds))]
ALL = {"h1": 1, "h2": 1, "h3": 1}


# Stands in for the Python of the report, and says when it begins.
DRAWING = """#!/bin/sh
[ "$2" = -c ] && exit 0
for output; do :; done
mkdir -p "$output/report" && touch "$output/report/.drawing.claim" && sleep 1
rm -f "$output/report/.drawing.claim" && date +%s.%N > "$output/report/index.html"
"""


class Losses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("losses")
        drawing = cls.folder / "drawing"
        drawing.write_text(DRAWING)
        drawing.chmod(0o755)
        cls.study = Reference(cls.folder, sae__checkpoint_seconds=0.0, report__python=str(drawing))
        cls.seconds = {stage: sum(map(float, re.findall(rf"^concord {stage}\b.*: OK wall=([\d.]+)s", cls.study.said, re.M))) for stage in STAGES}

    def before(self, stage, name):
        """A copy of the study in which `stage` and all behind it are still to do."""
        work = self.folder / name
        shutil.copytree(self.study.out, work)
        for later in STAGES[STAGES.index(stage):]:
            for written in WRITES[later]:
                path = work / written
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return work

    def death(self, cluster, number, stage, victim, silent, share):
        """Whether `victim` died before the stage ended, about a `share` of its time behind the beginning of its work, and what went
        wrong; `silent`: without a word on its link."""
        work = self.before(stage, f"death{number}")
        process = self.study.start(cluster, ALL, stage, work, flags=SOON)
        while process.poll() is None and not begun(work):
            time.sleep(0.005)
        time.sleep(share * (self.seconds[stage] + 0.2))
        host = cluster[victim]
        if silent:
            for other in cluster.hosts:  # words to it that are under way keep a connection for 15 minutes by default, whatever SOON says
                other.run("sh", "-c", "echo 5 > /proc/sys/net/ipv4/tcp_retries2")
            cluster.cut(host)
        host.die()
        code, said = finish(process)
        others = [h for h in cluster.hosts if h.name != victim]
        met = code != 0
        wrong = self.wrong_end(victim, code, said) if met else []
        wrong += [f"ranks live on on {h.name}" for h in others if not none_left(h)]
        process = self.study.start(cluster, {h.name: 1 for h in others}, stage, work, "--steal")
        code, said = finish(process)
        if code != 0:
            return met, wrong + [f"the rerun ends with {code}: {said}"]
        wrong += self.study.wrong(work, STAGES[:STAGES.index(stage) + 1])
        shutil.rmtree(work)
        return met, wrong

    def wrong_end(self, victim, code, said):
        wrong = [w for w in wrong_words(71, said) if "error lines" not in w]
        if victim == "h1":  # mpirun itself died
            return wrong + ([] if code == -signal.SIGKILL else [f"mpirun ends with {code}: {said}"])
        if said.count("lost communication with a remote daemon") != 1 or f"on node {victim}" not in said:
            wrong.append(f"{victim} is not named once: {said}")
        if said.count("concord: error") > 1:
            wrong.append(f"more than one error: {said}")
        return wrong

    def test_a_host_dies_in_each_stage(self):
        chance = random.Random(SEED)
        trials = [(i, STAGES[i % len(STAGES)], chance.choice(["h1", "h2", "h3"]), chance.random() < 0.5, chance.random())
                  for i in range(TRIALS)]
        clusters = []
        try:
            # Three at a time: a rerun waits some seconds for owners that may live.
            for first in range(0, len(trials), 3):
                several = trials[first:first + 3]
                clusters = [Cluster(3) for _ in several]
                with concurrent.futures.ThreadPoolExecutor(3) as pool:
                    results = list(pool.map(lambda pair: self.death(pair[0], *pair[1]), zip(clusters, several)))
                for trial, (met, wrong) in zip(several, results):
                    print(*trial, "met" if met else "too late", "; ".join(wrong) or "ok", flush=True)
                    with self.subTest(trial=trial):
                        self.assertEqual(wrong, [])
                for cluster in clusters:
                    cluster.stop()
        finally:
            for cluster in clusters:
                cluster.stop()

    def test_the_watchdog_names_what_mpirun_does_not_notice(self):
        """Or not yet: a host without power, and one that works but has lost its network, whose own words nobody hears."""
        for dies, words in ((True, ["rank 1 is missing", "rank 1: its node says nothing for"]), (False, ["all ranks wait for each other"])):
            with self.subTest(dies=dies):
                name = "power" if dies else "network"
                out = self.before("train-sae", name)
                with Cluster(3) as cluster, open(self.folder / f"{name}.txt", "w", encoding="utf-8") as said:
                    process = self.study.start(cluster, ALL, "train-sae", out, "--set", "sae.steps=1000000", "--stall-timeout", "5", to=said)
                    wait_for((out / "a/saes/layer_003.partial/checkpoint.safetensors").exists, process, said)
                    cluster.cut(cluster["h2"])
                    if dies:
                        cluster["h2"].die()
                    wait_for(lambda: all(none_left(host) for host in cluster.hosts if host.alive()), None, said)
                process.wait()  # mpirun, which waited for what the lost host would say
                text = (self.folder / f"{name}.txt").read_text()
                self.assertEqual(text.count("concord: error: the job has stalled"), 1, text)
                for word in words:
                    self.assertIn(word, text)

    def test_a_slow_link(self):
        with Cluster(2, late={"h2": 20}) as cluster:
            self.same_results("slow", self.study.start(cluster, {"h1": 1, "h2": 1}, "run", self.folder / "slow"))

    def test_a_link_that_drops_for_five_seconds(self):
        with Cluster(3) as cluster:
            process = self.study.start(cluster, ALL, "run", self.folder / "drop")
            wait_for((self.folder / "drop/a/saes").exists, process)
            time.sleep(random.Random(SEED).uniform(0, 2))
            cluster.cut(cluster["h2"])
            time.sleep(5)
            cluster.mend(cluster["h2"])
            self.same_results("drop", process)

    def same_results(self, name, process):
        code, said = finish(process)
        self.assertEqual(code, 0, said)
        self.assertEqual(self.study.wrong(self.folder / name), [])


def begun(work):
    """Whether a stage has claimed its output."""
    with contextlib.suppress(FileNotFoundError):  # what is removed while we look
        return bool(list(work.rglob(".*.claim")))
    return False


def none_left(host, seconds=60):
    """Whether no rank of ours runs on the host, or soon none."""
    end = time.monotonic() + seconds
    while host.run("pgrep", "-x", "concord").stdout.split():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def wait_for(ready, process, said=None, seconds=300):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end or (process is not None and process.poll() is not None):
            raise AssertionError(f"it did not come about: {open(said.name).read() if said else process.communicate()[0]}")
        time.sleep(0.02)


if __name__ == "__main__":
    skip_without_hosts()
    unittest.main()
