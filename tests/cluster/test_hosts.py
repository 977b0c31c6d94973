"""A study on several hosts: the same results as on one, whatever the hosts have apart. CONCORD_CLUSTER_FULL=1: all sizes with all stages."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

from hosts import HERE, Cluster, run
from worlds import CONCORD, FULL, Reference, finish, fresh, skip_without_hosts

COMM_TEST = pathlib.Path(CONCORD).with_name("comm_test")
STAGES = ["tokenize", "extract", "train-sae", "encode", "correlate", "compare"]


def errors(said):
    return [line for line in said.splitlines() if line.startswith("concord: error")]


def arrays_of(host):
    """What each rank of a host maps of the memory that ranks share: a set of file numbers a rank."""
    found = []
    for pid in host.run("pgrep", "-x", "concord").stdout.split():
        maps = host.run("cat", f"/proc/{pid}/maps").stdout
        found.append({line.split()[4] for line in maps.splitlines() if "memfd:concord" in line})
    return found


class Hosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("hosts")
        cls.study = Reference(cls.folder, sae__recovered_contexts=0, **({} if FULL else {"subspaces__concepts": ""}))
        cls.stages = [*STAGES, *(["subspaces"] if FULL else [])]

    def same_on(self, cluster, where, name, *more, **options):
        out = self.folder / name
        code, said = finish(self.study.start(cluster, where, "run", out, *more, **options))
        self.assertEqual(code, 0, said)
        self.assertEqual(self.study.wrong(out, self.stages), [])
        return said

    def test_one_to_four_hosts_give_the_same_results(self):
        sizes = [(hosts, ranks) for ranks in (1, 2) for hosts in (1, 2, 3, 4) if (hosts, ranks) != (1, 1)]
        with Cluster(4) as cluster:
            for hosts, ranks in sizes:
                with self.subTest(hosts=hosts, ranks=ranks):
                    self.same_on(cluster, {f"h{i + 1}": ranks for i in range(hosts)}, f"{hosts}x{ranks}")

    def test_ranks_of_a_host_share_arrays_however_ranks_are_placed(self):
        """By slots, layer shards of a model are on one host; by nodes on two."""
        for by in ("slot", "node"):
            with self.subTest(by=by), Cluster(2) as cluster:
                if COMM_TEST.exists():
                    code, said = finish(cluster.start({"h1": 2, "h2": 2}, COMM_TEST, "--gtest_filter=NodeArray.*:NodeFloats.*:Collectives.*", flags=["--map-by", by]))
                    self.assertEqual(code, 0, said)
                out = self.folder / f"by {by}"
                process = self.study.start(cluster, {"h1": 2, "h2": 2}, "run", out, "--set", "extract.layer_shards=2", flags=["--map-by", by])
                while process.poll() is None and not (out / "a/saes").exists():
                    time.sleep(0.01)
                arrays = [arrays_of(host) for host in cluster.hosts] if process.poll() is None else []
                code, said = finish(process)
                self.assertEqual(code, 0, said)
                self.assertNotIn("cannot share memory", said)
                self.assertEqual(self.study.wrong(out, self.stages), [])
                self.assertTrue(arrays, "no look at the running ranks")
                for ranks in arrays:
                    self.assertEqual(len(ranks), 2)
                    self.assertTrue(ranks[0] & ranks[1], "ranks of a host share nothing")
                self.assertFalse(set.union(*arrays[0]) & set.union(*arrays[1]), "hosts share memory")

    def test_a_calibration_of_hosts_with_unequal_ranks(self):
        with Cluster(2) as cluster:
            for where in ({"h1": 2, "h2": 1}, {"h1": 1, "h2": 2}):
                with self.subTest(where=where):
                    out = self.folder / f"machine_{where['h1']}.json"
                    code, said = finish(cluster.start(where, CONCORD, "calibrate", "--part", "0.05", "--repeat", "1", "--file-mib", "1", "--work", self.folder, "--out", out))
                    self.assertEqual(code, 0, said)
                    machine = json.loads(out.read_text())
                    self.assertEqual(machine["ranks_a_node"], 2)
                    self.assertTrue(machine["source"].endswith("3 ranks on 2 nodes; not measured: text"), machine["source"])

    def test_hosts_that_differ(self):
        """In locale (one writes 0,5 for 0.5), temporary folder and number of cores."""
        places = self.folder / "locales"
        places.mkdir()
        made = run("localedef", "-i", "de_DE", "-f", "UTF-8", places / "de_DE.UTF-8").returncode <= 1 and (places / "de_DE.UTF-8").exists()
        environments = [{}, {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(places) if made else "", "TMPDIR": "/tmp/a b"}, {"LC_ALL": "C", "TMPDIR": "/dev/shm/own"}]
        everything = sorted(os.sched_getaffinity(0))
        with Cluster(3, cores=[everything, everything[:1], everything[-1:]], environments=environments) as cluster:
            for host in cluster.hosts[1:]:
                host.run("mkdir", host.environment["TMPDIR"])
            where = {"h1": 1, "h2": 1, "h3": 1}
            said = finish(cluster.start(where, "sh", "-c", 'echo "$(hostname) $LC_ALL $TMPDIR $(nproc)"'))[1]
            self.assertIn("h2 de_DE.UTF-8 /tmp/a b 1", said)
            self.assertIn("h3 C /dev/shm/own 1", said)
            if made:
                self.assertEqual(cluster["h2"].run("locale", "decimal_point").stdout.strip(), ",")
            self.same_on(cluster, where, "apart")

    def test_files_that_one_host_sees_late(self):
        library, log = self.folder / "late.so", self.folder / "late.log"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "late.c", "-ldl"], check=True)
        late = {"LD_PRELOAD": str(library), "CONCORD_LATE_UNDER": str(self.folder / "late"), "CONCORD_LATE_SECONDS": "1.5", "CONCORD_LATE_LOG": str(log)}
        with Cluster(2, environments=[{}, late]) as cluster:
            self.same_on(cluster, {"h1": 1, "h2": 1}, "late")
        names = log.read_text().splitlines()
        self.assertTrue([name for name in names if name.endswith(".h5")], names)

    def test_nothing_of_a_killed_test_stays(self):
        before = (run("ip", "-o", "link").stdout, pathlib.Path("/proc/self/mounts").read_text())
        code = "import time, hosts; c = hosts.Cluster(2, late={'h2': 20}); print(*[h.first for h in c.hosts], c.folder, flush=True); time.sleep(1000)"
        with subprocess.Popen([sys.executable, "-c", code], cwd=HERE, stdout=subprocess.PIPE, text=True) as process:
            *first, folder = process.stdout.readline().split()
            during = run("ip", "-o", "link").stdout
            process.send_signal(signal.SIGKILL)
        self.assertEqual(during, before[0])  # not even while it ran
        end = time.monotonic() + 60
        while any(pathlib.Path(f"/proc/{pid}").exists() for pid in first) and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual([pid for pid in first if pathlib.Path(f"/proc/{pid}").exists()], [])
        self.assertEqual((run("ip", "-o", "link").stdout, pathlib.Path("/proc/self/mounts").read_text()), before)
        self.assertFalse(pathlib.Path(folder).exists())


if __name__ == "__main__":
    skip_without_hosts()
    unittest.main()
