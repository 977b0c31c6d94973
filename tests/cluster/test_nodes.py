"""A real Slurm over three hosts, a slurmd each: a study by mpirun and by srun in jobs of three nodes, and a chain of jobs/submit.

Skipped, with the reason, where hosts cannot be made or Slurm is not installed. A daemon that does not come up is a failure."""
import os
import re
import shutil
import subprocess
import sys
import time
import unittest

from hosts import PATH, Cluster
from worlds import CONCORD, SOURCE, Reference, fresh, skip_without_hosts

CONF = """ClusterName=concordhosts
SlurmctldHost=h1
AuthType=auth/munge
AuthInfo=socket=/tmp/munge/socket,cred_expire=10
SlurmUser=root
SlurmdUser=root
StateSaveLocation=/tmp/slurm/state
SlurmdSpoolDir=/tmp/slurm/spool
SlurmctldPidFile=/tmp/slurm/slurmctld.pid
SlurmdPidFile=/tmp/slurm/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=1,defer
MinJobAge=3600
TreeWidth=2
NodeName=h[1-3] CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore=1 State=UNKNOWN
PartitionName=main Nodes=h[1-3] Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


class Slurm:
    """munged and slurmd on each of three hosts, slurmctld on the first."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        (folder / "slurm.conf").write_text(CONF.format(cores=len(os.sched_getaffinity(0))))
        self.env = {"SLURM_CONF": str(folder / "slurm.conf"), "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        (folder / "key").write_bytes(os.urandom(128))
        self.cluster = Cluster(3, environments=[self.env] * 3)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        prepare = f"mkdir -p /tmp/munge /tmp/slurm/state /tmp/slurm/spool && chmod 755 /tmp/munge && install -m 600 {self.folder}/key /tmp/munge/key"
        for host in self.cluster.hosts:
            done = host.run("sh", "-c", prepare)
            assert done.returncode == 0, done.stdout
            self.spawn(host, "munged", "--foreground", "--force", "--key-file=/tmp/munge/key", "--socket=/tmp/munge/socket", "--pid-file=/tmp/munge/pid",
                       "--log-file=/tmp/munge/log", "--seed-file=/tmp/munge/seed")
        for host in self.cluster.hosts:
            self.wait(lambda: host.run("test", "-S", "/tmp/munge/socket").returncode == 0, "munged")
        self.spawn(self.cluster["h1"], "slurmctld", "-D", "-i")
        self.wait(lambda: self.run("scontrol", "ping").returncode == 0, "slurmctld")
        for host in self.cluster.hosts:
            self.spawn(host, "slurmd", "-D", "-N", host.name)
        self.wait(lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == "3", "slurmd")

    def spawn(self, host, *words):
        with open(self.folder / f"{words[0]}.{host.name}.out", "w", encoding="utf-8") as log:
            self.processes.append(subprocess.Popen(host.command(*words), stdout=log, stderr=subprocess.STDOUT))

    def wait(self, ready, what, seconds=180):
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end or any(p.poll() is not None for p in self.processes):
                said = "\n".join(f"{log.name}: {log.read_text()[-600:]}" for log in self.folder.glob(f"{what}.*.out"))
                raise AssertionError(f"{what} does not come up: {said}")
            time.sleep(0.2)

    def run(self, *words, **options):
        return self.cluster["h1"].run(*words, timeout=120, **options)

    def job(self, number):
        text = self.run("scontrol", "show", "job", number).stdout
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def end_of(self, number, seconds=600):
        end = time.monotonic() + seconds
        while self.job(number).get("JobState") in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            assert time.monotonic() < end, f"job {number} does not end: {self.run('squeue').stdout}"
            time.sleep(0.3)
        return self.job(number)["JobState"]

    def stop(self):
        self.cluster.stop()
        for process in self.processes:
            process.wait()


class Nodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("nodes")
        cls.study = Reference(cls.folder, sae__recovered_contexts=0, subspaces__concepts="")
        cls.slurm = Slurm(cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.slurm.stop()

    def study_in_a_job(self, name, launcher):
        """A job of three nodes, one rank each."""
        script, log, out = (self.folder / f"{name}.{end}" for end in ("sbatch", "log", "out"))
        words = " ".join(str(word) for word in self.study.words("run", out))
        script.write_text(f"#!/usr/bin/env bash\nexport OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1\n{launcher} {CONCORD} info\n{launcher} {words}\n")
        said = self.slurm.run("sbatch", "--parsable", "--nodes=3", "--ntasks-per-node=1", f"--output={log}", f"--chdir={self.folder}", script)
        self.assertEqual(said.returncode, 0, said.stdout)
        state = self.slurm.end_of(said.stdout.strip())
        text = log.read_text()
        self.assertEqual(state, "COMPLETED", text)
        for i in (1, 2, 3):
            self.assertEqual(len(re.findall(rf"^rank {i - 1} on h{i}: node rank 0", text, re.M)), 1, text)
        self.assertEqual(self.study.wrong(out, ["tokenize", "extract", "train-sae", "encode", "correlate", "compare"]), [])

    def test_mpirun_over_the_nodes_of_a_job(self):
        self.study_in_a_job("mpirun", "mpirun --bind-to none")

    def test_srun_over_the_nodes_of_a_job(self):
        if "pmix" not in self.slurm.run("srun", "--mpi=list").stdout:
            self.skipTest("this Slurm has no plugin for PMIx")
        self.study_in_a_job("srun", "srun --mpi=pmix")

    def test_a_chain_of_jobs_over_nodes(self):
        """jobs/submit from compare on, three nodes a job."""
        jobs, out = self.folder / "jobs", self.folder / "chain"
        shutil.copytree(SOURCE / "jobs", jobs)
        shutil.copytree(self.study.out, out, ignore=shutil.ignore_patterns("similarity.h5"))
        (jobs / "sites" / "here.env").write_text(
            f"CONCORD_BIN={CONCORD}\nCONCORD_LAUNCHER=(mpirun --bind-to none)\nCONCORD_SBATCH=(--nodes=3 --ntasks-per-node=1 --output={self.folder}/%x.log)\n"
            "declare -A CONCORD_SBATCH_STAGE=([report]=\"--nodes=1\")\nexport OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1\n")
        said = self.slurm.run(jobs / "submit", self.study.file, "--site", "here", "--from", "compare", "--set", f"study.output={out}", "--set", "subspaces.concepts=")
        self.assertEqual(said.returncode, 0, said.stdout)
        numbers = dict(line.split() for line in said.stdout.splitlines() if len(line.split()) == 2)  # others say which stages got none
        self.assertEqual({stage: self.slurm.end_of(number) for stage, number in numbers.items() if stage == "compare"}, {"compare": "COMPLETED"},
                         "\n".join(log.read_text() for log in self.folder.glob("concord-*.log")))
        self.slurm.run("scancel", *[number for stage, number in numbers.items() if stage != "compare"])
        self.assertEqual(self.study.wrong(out, ["compare"]), [])


if __name__ == "__main__":
    skip_without_hosts()
    for program in ("munged", "slurmctld", "slurmd", "sbatch"):
        if not shutil.which(program, path=PATH):
            print(f"skipped: {program} is not installed")
            sys.exit(77)
    unittest.main()
