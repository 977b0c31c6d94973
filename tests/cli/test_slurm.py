"""jobs/submit under a real Slurm of one node, started here: one stage is interrupted, requeued, and the chain finishes.

Skipped, with the reason, where Slurm is not installed or this user may not start it. A daemon that does not come up is a failure.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import unittest

from support import CONCORD, MPIRUN, SOURCE, fresh, small_study

CONF = """ClusterName=concordtest
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={munge},cred_expire=10
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
SlurmdPort={port2}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=1,defer
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


class Cluster:
    """munged, slurmctld and slurmd with their own sockets and ports, in a folder of their own."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.env = dict(os.environ, SLURM_CONF=str(folder / "slurm.conf"))
        self.munge = pathlib.Path("/tmp") / f"concord-munge-{os.getpid()}"  # a socket's path must be short

    def start(self):
        for program in ("munged", "slurmctld", "slurmd", "sbatch"):
            if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                skip(f"{program} is not installed")
        if os.geteuid() != 0:
            skip("starting Slurm needs root")
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.munge.mkdir(mode=0o755)
        key = self.munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        port = free_port()
        (self.folder / "slurm.conf").write_text(CONF.format(host=socket.gethostname().split(".")[0], munge=self.munge / "socket",
                                                            folder=self.folder, port=port, port2=free_port()))
        self.spawn("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.munge / 'socket'}", f"--pid-file={self.munge / 'pid'}",
                   f"--log-file={self.munge / 'log'}", f"--seed-file={self.munge / 'seed'}")
        self.wait((self.munge / "socket").exists, "munged")
        self.spawn("slurmctld", "-D", "-i")
        self.wait(lambda: self.run("scontrol", "ping").returncode == 0, "slurmctld")
        self.spawn("slurmd", "-D", "-N", socket.gethostname().split(".")[0])
        self.wait(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t").stdout, "slurmd")

    def spawn(self, *words):
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        with open(self.folder / f"{words[0]}.out", "w", encoding="utf-8") as log:
            self.processes.append(subprocess.Popen([shutil.which(words[0], path=path), *words[1:]], env=self.env, stdout=log, stderr=subprocess.STDOUT))

    def wait(self, ready, what, seconds=180):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ready():
                return
            if any(p.poll() is not None for p in self.processes):
                break
            time.sleep(0.3)
        log = self.folder / f"{what}.out"
        reason = log.read_text()[-600:] if log.exists() else ""
        self.stop()
        raise AssertionError(f"{what} does not come up: {reason}")

    def run(self, *words, **env):
        return subprocess.run(words, env={**self.env, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)

    def stop(self):
        if len(self.processes) > 2:  # jobs outlive the daemons
            self.run("scancel", "--full", "--signal=KILL", "--user", "root")
            self.run("scancel", "--user", "root")
            end = time.monotonic() + 15
            while self.run("squeue", "-h").stdout.strip() and time.monotonic() < end:
                time.sleep(0.3)
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.munge, ignore_errors=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemons(unittest.TestCase):
    def test_one_that_ends_is_a_failure(self):
        cluster = Cluster(fresh("broken"))
        spawn = cluster.spawn
        cluster.spawn = lambda *words: spawn("false")
        with self.assertRaisesRegex(AssertionError, "munged does not come up"):
            cluster.start()


class Slurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(fresh("slurm"))
        cls.cluster.start()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def job(self, number):
        text = self.cluster.run("scontrol", "show", "job", number).stdout
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def jobs_of(self, folder, *options):
        """The scripts with a site of this machine."""
        jobs = folder / "jobs"
        shutil.copytree(SOURCE / "jobs", jobs)
        (jobs / "sites" / "here.env").write_text(
            f"CONCORD_BIN={CONCORD}\nCONCORD_LAUNCHER=({' '.join(MPIRUN)} -np 2)\nCONCORD_SBATCH=(--nodes=1 --ntasks=2 {' '.join(options)})\n"
            "declare -A CONCORD_SBATCH_STAGE=()\nexport OMP_NUM_THREADS=1\n")
        return jobs

    def status(self, jobs, study):
        said = self.cluster.run(str(jobs / "status"), str(study), "--site", "here")
        self.assertEqual(said.returncode, 0, said.stdout)
        return {line.split()[0]: line.split()[1] for line in said.stdout.splitlines()[1:]}

    def test_one_job_goes_on_at_the_stage_that_is_not_done(self):
        folder = fresh("one job")
        # The SAE stage is made long enough to be caught in the middle, here and below, by a test that has to wait for its turn, too.
        study = small_study(folder, sae__steps=1200, model__a__layers=[2], model__b__layers=[4], subspaces__concepts="")
        jobs = self.jobs_of(folder)
        submitted = self.cluster.run(str(jobs / "submit"), str(study), "--site", "here", "--one-job")
        self.assertEqual(submitted.returncode, 0, submitted.stdout)
        self.assertIn("no job for what has nothing to do in this study: graph subspaces", submitted.stdout)
        number = list(jobs_in(submitted.stdout).values())[0]
        accounts = folder / "out/jobs"
        self.until((folder / "out/a/saes/layer_002.partial/checkpoint.safetensors").exists, accounts, "the SAE's first checkpoint")
        self.cluster.run("scancel", "--batch", "--signal=USR1", number)
        self.until(lambda: self.job(number).get("JobState") in ("COMPLETED", "FAILED", "CANCELLED"), accounts, "the end of the job")
        self.assertEqual(self.job(number)["JobState"], "COMPLETED", logs(accounts))
        runs = [line.split("\t") for line in (accounts / "runs.tsv").read_text().splitlines()]
        stages = ["tokenize", "extract", "train-sae", "train-sae", "recovered", "encode", "correlate", "compare", "report"]
        self.assertEqual([(run[1], run[6]) for run in runs], [(stage, "75" if i == 2 else "0") for i, stage in enumerate(stages)])
        self.assertEqual(set(list(self.status(jobs, study).values())[:7]), {"done"})
        self.assertIn("train-sae\t2\t", (accounts / "node_hours.tsv").read_text())

    def test_chain_survives_an_interruption(self):
        folder = fresh("chain")
        study = small_study(folder, sae__steps=1600, model__a__layers=[2], model__b__layers=[4])
        jobs = self.jobs_of(folder, f"--output={folder}/%x.log")
        submitted = self.cluster.run(str(jobs / "submit"), str(study), "--site", "here")
        self.assertEqual(submitted.returncode, 0, submitted.stdout)
        numbers = jobs_in(submitted.stdout)
        self.assertEqual(list(numbers), ["tokenize", "extract", "train-sae", "recovered", "encode", "correlate", "compare", "subspaces", "report"])

        checkpoint = folder / "out/a/saes/layer_002.partial/checkpoint.safetensors"
        self.until(checkpoint.exists, folder, "the SAE's first checkpoint")
        state = self.status(jobs, study)
        self.assertEqual([state[stage] for stage in ("tokenize", "extract", "train-sae", "encode")], ["done", "done", "running", "waiting"], state)
        self.cluster.run("scancel", "--batch", "--signal=USR1", numbers["train-sae"])
        self.until(lambda: int(self.job(numbers["train-sae"]).get("Restarts", 0)) == 1, folder, "the requeue")
        self.until(lambda: self.job(numbers["report"]).get("JobState") in ("COMPLETED", "FAILED", "CANCELLED"), folder, "the end of the chain")
        states = {stage: self.job(number)["JobState"] for stage, number in numbers.items()}
        self.assertEqual(set(states.values()), {"COMPLETED"}, f"{states}\n{logs(folder)}")
        log = (folder / "concord-train-sae.log").read_text()
        self.assertIn("stopped early: back to the queue", log)
        self.assertIn("continuing at step", log)
        self.assertTrue((folder / "out/report/index.html").exists())

    def until(self, ready, folder, what, seconds=300):
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                self.fail(f"no sign of {what}\n{self.cluster.run('squeue').stdout}\n{logs(folder)}")
            time.sleep(0.2)


def jobs_in(said):
    """Stage -> number of its job, as jobs/submit says them, between lines on stages that got none."""
    return dict(line.split() for line in said.splitlines() if len(line.split()) == 2)


def logs(folder):
    return "\n".join(f"--- {p.name}\n{p.read_text()[-1500:]}" for p in sorted(folder.glob("*.log")))


if __name__ == "__main__":
    unittest.main()
