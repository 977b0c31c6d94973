"""jobs/submit, jobs/status, jobs/node_hours, jobs/lib.sh, the schedulers and the sites with stand-ins for sbatch, qsub, bsub and the like and for
the program, which write down what they are given."""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import unittest

from support import SOURCE, fresh

STAGES = ["tokenize", "extract", "train-sae", "recovered", "encode", "correlate", "graph", "compare", "subspaces", "report"]

# One line a call: the name and its words, quoted. `fail` holds patterns of calls that end with 1.
STAND_IN = """#!/usr/bin/env bash
line=$(printf '%q ' "${0##*/}" "$@")
echo "$line" >> "$RECORD/calls"
while read -r pattern; do [[ $line == *$pattern* ]] && { echo "refused: $pattern" >&2; exit 1; }; done < "$RECORD/fail"
if [[ ${0##*/} == sbatch && $line != *--test-only* ]]; then
  echo $(( $(grep -c -e '^sbatch --parsable' "$RECORD/calls") + 100 ))
  echo "$CONCORD_ARGUMENTS" > "$RECORD/arguments"
fi
if [[ ${0##*/} == qsub ]]; then echo "$(( $(grep -c -e '^qsub' "$RECORD/calls") + 100 )).server"; fi
if [[ ${0##*/} == bsub ]]; then echo "Job <$(( $(grep -c -e '^bsub' "$RECORD/calls") + 100 ))> is submitted to queue <normal>."; fi
for name in squeue sacct qstat bjobs; do [[ ${0##*/} == "$name" && -f $RECORD/$name ]] && cat "$RECORD/$name"; done
if [[ ${0##*/} == scontrol && $1 == show ]]; then echo "   StdOut=$RECORD/job $3.log"; fi
if [[ ${0##*/} == mpirun ]]; then while [[ $1 != */concord ]]; do shift; done; exec "$@"; fi
if [[ ${0##*/} == concord && $1 == plan ]]; then echo "a table"; echo "results: $RECORD/my results"; if [[ -f $RECORD/idle ]]; then cat "$RECORD/idle"; fi; fi
if [[ ${0##*/} == concord && $1 == status && -f $RECORD/status ]]; then cat "$RECORD/status"; fi
if [[ ${0##*/} == concord && $2 == --help && $1 != tokenize && $1 != report ]]; then echo "  --share TEXT"; seq 20000; fi
if [[ ${0##*/} == concord && $1 == "${STOPS:-}" ]]; then [[ -f $RECORD/stopped ]] || { touch "$RECORD/stopped"; sleep 1.1; exit 75; }; fi
if [[ ${0##*/} == concord && $1 != plan && $1 != status && $2 != --help ]]; then [[ -z ${SLEEP:-} ]] || sleep "$SLEEP"; exit "${RC:-0}"; fi
"""


class Jobs(unittest.TestCase):
    def setUp(self):
        self.folder = fresh("jobs " + self._testMethodName)
        shutil.copytree(SOURCE / "jobs", self.folder / "jobs")
        (self.folder / "bin").mkdir()
        for name in ("sbatch", "scancel", "scontrol", "concord", "srun", "mpirun", "squeue", "sacct", "qsub", "qdel", "qstat", "qalter", "qrls", "bsub", "bkill", "bjobs"):
            (self.folder / "bin" / name).write_text(STAND_IN)
            (self.folder / "bin" / name).chmod(0o755)
        self.study = self.folder / "my study.toml"
        self.study.write_text("")
        self.output = self.folder / "my results"
        (self.folder / "fail").write_text("")

    def call(self, *words, code=0, **env):
        (self.folder / "calls").write_text("")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "CONCORD", "OMP_"))}
        done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                              env={**clean, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "RECORD": str(self.folder),
                                   "CONCORD_BIN": str(self.folder / "bin/concord"), **env})
        self.assertEqual(done.returncode, code, done.stdout)
        self.calls = [shlex.split(line) for line in (self.folder / "calls").read_text().splitlines()]
        return done.stdout

    def submit(self, *words, **options):
        return self.call(self.folder / "jobs/submit", self.study, *words, **options)

    def submitted(self):
        return [call for call in self.calls if call[:2] == ["sbatch", "--parsable"]]

    def stage(self, name="tokenize", code=0, **env):
        script = next((self.folder / "jobs").glob(f"[0-9]*{name.replace('-', '_')}.sbatch"))
        env = {"CONCORD_JOBS": str(self.folder / "jobs"), "CONCORD_SITE": "default", "CONCORD_STUDY": str(self.study), "SLURM_JOB_ID": "7", **env}
        return self.call("bash", script, code=code, **env)

    def test_a_chain_of_all_stages_in_order(self):
        self.assertEqual([line.split() for line in self.submit().splitlines()], [[s, str(101 + i)] for i, s in enumerate(STAGES)])
        self.assertEqual([call for call in self.calls if call[0] == "concord"], [["concord", "plan", str(self.study)]])
        for i, call in enumerate(self.submitted()):
            self.assertRegex(call[-1], rf"/\d\d_{STAGES[i].replace('-', '_')}\.sbatch$")
            self.assertEqual([w for w in call if w.startswith("--dependency")], [f"--dependency=afterok:{100 + i}"] if i else [])
        tests = [call for call in self.calls if "--test-only" in call]
        self.assertEqual(len(tests), len(STAGES))
        self.assertLess(self.calls.index(tests[-1]), self.calls.index(self.submitted()[0]))

    def sites(self, scheduler):
        return sorted(p.stem for p in (self.folder / "jobs/sites").glob("*.env") if f"CONCORD_SCHEDULER={scheduler}\n" in p.read_text())

    def test_every_stage_of_every_site_asks_for_what_its_partition_has(self):
        self.assertEqual(len(self.sites("slurm")), 6)
        for site in self.sites("slurm"):
            with_gpus = site in ("gpu-cluster", "slurm-gpus-per-task")
            self.submit("--site", site)
            for stage, call in zip(STAGES, self.submitted()):
                given = dict(word[2:].split("=", 1) for word in call if word.startswith("--") and "=" in word)  # the later one holds
                with self.subTest(site=site, stage=stage):
                    gpu = stage in ("extract", "train-sae", "recovered") and with_gpus
                    self.assertEqual(any(word.startswith("--gpus") for word in call), gpu)
                    self.assertEqual(given.get("partition"), ("gpu" if gpu else "cpu") if with_gpus else None)
                    self.assertNotEqual("ntasks" in given, "ntasks-per-node" in given)
                    self.assertIn("nodes", given)
                    if stage == "report":
                        self.assertEqual((given["nodes"], given.get("ntasks", given.get("ntasks-per-node"))), ("1", "1"))

    def test_settings_force_and_options_reach_the_jobs(self):
        self.submit("--from", "compare", "--set", "study.name=it's a 'name'", "--set", "sae.k=4", "--force", "--", "--account=my lab")
        self.assertEqual([call[-1].split("/")[-1] for call in self.submitted()], ["60_compare.sbatch", "65_subspaces.sbatch", "70_report.sbatch"])
        self.assertTrue(all("--account=my lab" in call for call in self.submitted()))
        arguments = (self.folder / "arguments").read_text().strip()
        words = ["--set", "study.name=it's a 'name'", "--set", "sae.k=4", "--force"]
        self.assertIn(["concord", "plan", str(self.study), *words[:-1]], self.calls)
        self.stage("compare", CONCORD_ARGUMENTS=arguments)
        self.assertEqual(self.calls[-1][-8:], ["compare", str(self.study), "--wait", *words])
        self.stage("compare", CONCORD_ARGUMENTS=arguments, SLURM_RESTART_COUNT="1")
        self.assertEqual(self.calls[-1][-7:], ["compare", str(self.study), "--wait", *words[:-1]])

    def test_nothing_is_left_of_a_chain_that_fails(self):
        (self.folder / "fail").write_text("--parsable*40_encode\n")
        self.assertIn("sbatch failed at encode", self.submit(code=69))
        self.assertEqual(self.calls[-1], ["scancel", "101", "102", "103", "104"])
        (self.folder / "fail").write_text("--test-only*60_compare\n")
        self.assertIn("refuses the options of compare", self.submit(code=69))
        self.assertEqual(self.submitted(), [])

    def test_slips_are_named(self):
        self.assertIn("no stage enocde", self.submit("--from", "enocde", code=64))
        self.assertIn("no site", self.submit("--site", "nowhere", code=78))
        site = self.folder / "jobs/sites/slip.env"
        site.write_text("declare -A CONCORD_SBATCH_STAGE=([trian-sae]=--nodes=1)\n")
        self.assertIn("a stage trian-sae that there is not", self.submit("--site", "slip", code=78))
        site.write_text("")
        self.submit("--site", "slip")
        self.assertEqual(len(self.submitted()), len(STAGES))

    def test_a_stage_that_stopped_goes_back_while_it_gets_on(self):
        self.assertIn("back to the queue", self.stage(RC="75", SLEEP="1.1"))
        self.assertEqual(self.calls[-1], ["scontrol", "requeue", "7"])
        self.assertIn("before it got on", self.stage(RC="75", CONCORD_MIN_SECONDS="5", code=75))
        self.assertIn("CONCORD_MAX_REQUEUES", self.stage(RC="75", SLEEP="1.1", CONCORD_MAX_REQUEUES="0", code=75))
        self.assertIn("after 3 restarts", self.stage(RC="75", SLEEP="1.1", CONCORD_MAX_REQUEUES="3", SLURM_RESTART_COUNT="3", code=75))
        self.assertTrue(all(call[0] != "scontrol" for call in self.calls))
        self.stage(RC="65", code=65)

    def test_a_stage_that_commits_nothing_does_not_go_back_for_ever(self):
        out = self.output
        (out / "a").mkdir(parents=True)
        partial, journal = out / "matches.h5.partial", out / "matches.h5.partial.journal"
        again = {"RC": "75", "SLEEP": "1.1", "CONCORD_OUTPUT": str(out)}
        working = self.folder / "bin/concord"  # each run does this before it stops
        idle = STAND_IN.replace("sleep", f"date +%N > {shlex.quote(str(partial))}; date +%N > {shlex.quote(str(out / '.matches.h5.claim'))}; sleep")
        working.write_text(idle)
        partial.write_text("")
        journal.write_text("0 units")
        self.assertIn("back to the queue", self.stage("correlate", **again))
        self.assertIn("back to the queue", self.stage("correlate", SLURM_RESTART_COUNT="1", **again))
        self.assertIn("CONCORD_MAX_IDLE", self.stage("correlate", SLURM_RESTART_COUNT="2", code=75, **again))
        self.assertTrue(all(call[0] != "scontrol" for call in self.calls))
        self.assertEqual([f.name for f in out.glob(".idle*")], [])
        # A run that commits begins the count anew.
        self.assertIn("back to the queue", self.stage("correlate", **again))
        self.assertEqual([f.name for f in out.glob(".idle*")], [".idle.7"])
        working.write_text(idle.replace("sleep", f"echo 1 unit > {shlex.quote(str(journal))}; sleep"))
        self.assertIn("back to the queue", self.stage("correlate", **again))
        self.assertEqual([f.name for f in out.glob(".idle*")], [])

    def test_jobs_know_where_the_results_lie(self):
        (self.folder / "bin/sbatch").write_text(STAND_IN + 'echo "$CONCORD_OUTPUT" > "$RECORD/output"\n')
        self.submit()
        self.assertEqual((self.folder / "output").read_text(), f"{self.output}\n")
        logs = f"--output={self.output}/jobs/%x-%j.log"
        self.assertTrue(all(logs in call for call in self.submitted()))
        self.assertTrue((self.output / "jobs").is_dir())

    def test_an_installed_tree_submits_wherever_it_lies(self):
        build = pathlib.Path(os.environ["CONCORD"]).parent
        subprocess.run(["cmake", "--install", build, "--prefix", self.folder / "there"], stdout=subprocess.DEVNULL, check=True, timeout=60)
        shutil.move(self.folder / "there", self.folder / "moved")
        shutil.copy(self.folder / "bin/concord", self.folder / "moved/bin/concord")
        submit = self.folder / "moved/share/concord/jobs/submit"
        self.call("env", "-u", "CONCORD_BIN", submit, self.study)
        self.assertIn("nothing was submitted", self.call("env", "-u", "CONCORD_BIN", submit, self.study, "--one-job", "--dry-run"))
        self.call("env", "-u", "CONCORD_BIN", submit, self.study)
        self.assertEqual(len(self.submitted()), len(STAGES))
        subprocess.run([sys.executable, "-I", self.folder / "moved/share/concord/scripts/report.py", "--help"], stdout=subprocess.DEVNULL, check=True, timeout=60)

    def one_job(self, code=0, site="default", **env):
        env = {"CONCORD_JOBS": str(self.folder / "jobs"), "CONCORD_SITE": site, "CONCORD_STUDY": str(self.study), "SLURM_JOB_ID": "7",
               "CONCORD_STAGES": " ".join(STAGES), "CONCORD_OUTPUT": str(self.output), **env}
        said = self.call("bash", self.folder / "jobs/study.sbatch", code=code, **env)
        self.ran = [call[1] for call in self.calls if call[0] == "concord"]
        return said

    def test_one_job_for_all_stages_goes_on_where_it_was(self):
        self.assertEqual(self.submit("--one-job", "--from", "encode").split(), ["study", "101"])
        self.assertEqual([call[-1].split("/")[-1] for call in self.submitted()], ["study.sbatch"])
        self.assertEqual((self.output / "jobs/submitted.tsv").read_text().split("\t")[1:], ["101", "study\n"])
        said = self.one_job(STOPS="correlate", CONCORD_ARGUMENTS="--force ")
        self.assertIn("back to the queue", said)
        self.assertEqual(self.ran, STAGES[:6])
        self.assertTrue(all("--force" in call for call in self.calls if call[0] == "concord"))
        self.assertEqual(self.calls[-1], ["scontrol", "requeue", "7"])
        self.one_job(STOPS="correlate", CONCORD_ARGUMENTS="--force ", SLURM_RESTART_COUNT="1")
        self.assertEqual(self.ran, STAGES[5:])
        # What the job had begun is kept; what it had not is made again.
        self.assertEqual(["--force" in call for call in self.calls if call[0] == "concord"], [False, True, True, True, True])
        # Another job begins anew; one that fails ends there.
        self.one_job(SLURM_JOB_ID="8", RC="65", code=65)
        self.assertEqual(self.ran, STAGES[:1])

    def test_one_job_that_is_asked_to_stop_between_two_stages_goes_back(self):
        (self.folder / "jobs/node_hours").write_text("#!/bin/bash\nkill -USR1 $PPID; sleep 1.2\n")
        self.output.mkdir()
        self.assertIn("back to the queue", self.one_job())
        self.assertEqual(self.ran, STAGES[:-1])
        self.one_job(SLURM_RESTART_COUNT="1", code=75, CONCORD_MAX_REQUEUES="1")

    def test_a_dry_run_submits_nothing_and_says_what_each_job_would_ask_for(self):
        said = self.submit("--dry-run", "--site", "gpu-cluster", "--array", "train-sae=8", "--", "--account=my lab")
        self.assertEqual(self.submitted(), [])
        self.assertFalse(self.output.exists())
        self.assertEqual(len([call for call in self.calls if "--test-only" in call]), len(STAGES))
        self.assertRegex(said, r"extract +4 nodes for 12:00:00, at most 48 node-hours")
        self.assertRegex(said, r"train-sae +8 jobs of 4 nodes for 24:00:00, at most 768 node-hours")
        self.assertIn("--dependency=afterok:NUMBER_OF_correlate", said)
        self.assertIn("CONCORD_SHARES=8 sbatch --parsable", said)
        self.assertIn(r"--account=my\ lab", said)
        said = self.submit("--dry-run", "--", "--time=1-12")
        self.assertRegex(said, r"report +1 node for 36:00:00, at most 36 node-hours")
        for name in ("sbatch", "scancel"):
            (self.folder / "bin" / name).unlink()
        with_none = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"} if not shutil.which("sbatch") else {}
        self.assertIn("nothing was submitted", self.submit("--dry-run", "--site", "lsf-jsrun", **with_none))

    def test_arrays_share_the_units_of_a_stage(self):
        self.submit("--array", "train-sae=3")
        call = self.submitted()[2]
        self.assertIn("--array=0-2", call)
        self.assertIn(f"--output={self.output}/jobs/%x-%A_%a.log", call)
        self.stage("train-sae", CONCORD_SHARES="3", SLURM_ARRAY_JOB_ID="103", SLURM_ARRAY_TASK_ID="2", SLURM_JOB_ID="110", CONCORD_OUTPUT=str(self.output))
        self.assertEqual(self.calls[-1][-3:], ["--wait", "--share", "2/3"])
        self.assertEqual((self.output / "jobs/runs.tsv").read_text().split("\t")[:2], ["103_2", "train-sae"])
        self.assertIn("makes one thing", self.submit("--array", "tokenize=2", code=64))
        self.assertIn("write STAGE=N", self.submit("--array", "encode=0", code=64))
        self.assertIn("Slurm alone", self.submit("--site", "pbs-pro", "--array", "encode=2", code=78))
        self.assertIn("exclude each other", self.submit("--one-job", "--array", "encode=2", code=64))

    def test_a_stage_without_work_gets_no_job(self):
        (self.folder / "idle").write_text("nothing to do in this study: recovered, graph, subspaces\n")
        busy = [stage for stage in STAGES if stage not in ("recovered", "graph", "subspaces")]
        said, *lines = self.submit().splitlines()
        self.assertEqual(said, "no job for what has nothing to do in this study: recovered graph subspaces")
        self.assertEqual([line.split() for line in lines], [[s, str(101 + i)] for i, s in enumerate(busy)])
        for i, call in enumerate(self.submitted()):  # each waits for the one before it that there is
            self.assertEqual([w for w in call if w.startswith("--dependency")], [f"--dependency=afterok:{100 + i}"] if i else [])
        self.assertEqual([line.split("\t")[2] for line in (self.output / "jobs/submitted.tsv").read_text().splitlines()], busy)
        self.assertNotIn("graph", self.status()[1])
        self.submit("--from", "graph")
        self.assertEqual([call[-1].split("/")[-1] for call in self.submitted()], ["60_compare.sbatch", "70_report.sbatch"])
        self.assertNotRegex(self.submit("--dry-run"), r"(?m)^(recovered|graph|subspaces) ")
        # In one job they are not among the stages of the job, nor of its status.
        environment = self.folder / "bin/sbatch"
        environment.write_text(STAND_IN + 'echo "$CONCORD_STAGES" > "$RECORD/stages"\n')
        self.submit("--one-job")
        self.assertEqual((self.folder / "stages").read_text().split(), busy)
        (self.folder / "squeue").write_text("101|RUNNING|1:02|11:58:58|n1\n")
        self.assertEqual(list(self.status()[1]), busy)
        self.assertIn("subspaces has nothing to do", self.submit("--array", "subspaces=2", code=64))
        (self.folder / "idle").write_text(f"nothing to do in this study: {', '.join(STAGES[3:])}\n")
        self.assertIn("nothing to submit", self.submit("--from", "encode", code=64))

    def status(self, **options):
        said = self.call(self.folder / "jobs/status", self.study, **options)
        return said, {line.split()[0]: line for line in said.splitlines()[1:]}

    def test_status_says_what_is_done_running_waiting_and_failed(self):
        units = [("tokenize", "done"), ("extract a", "done"), ("extract b", "unfinished"), ("encode a", "missing"), ("correlate", "missing"), ("compare", "missing"),
                 ("subspaces", "missing")]
        (self.folder / "status").write_text("stage state result\n" + "".join(f"{unit:<14} {state:<11} /my results/x.h5\n" for unit, state in units))
        self.assertIn("not begun", self.status()[1]["train-sae"])
        self.submit()
        (self.folder / "squeue").write_text("102|RUNNING|1:02|11:58:58|n[1-2]\n103|PENDING|0:00|24:00:00|(Dependency)\n99|RUNNING|1:00|1:00|n3\n")
        (self.folder / "job 102.log").write_text("extract b: 10/20 tokens (50%) | 2 tokens/s | 8s left\nextract b: 12/20 tokens (60%) | 2 tokens/s | 4s left\nend\n")
        said, stage = self.status()
        self.assertRegex(stage["tokenize"], "^tokenize +done")
        self.assertRegex(stage["extract"], r"running +job 102 on n\[1-2\] for 1:02, 11:58:58 until its limit \| extract b: 12/20 tokens \(60%\) \| 2 tokens/s \| 4s left .*1 done.*1 unfinished|"
                                           r"running .*1 unfinished.*1 done")
        self.assertIn("4s left", stage["extract"])
        self.assertRegex(stage["train-sae"], r"waiting +job 103: \(Dependency\)")
        self.assertRegex(stage["encode"], "not begun")
        (self.folder / "squeue").write_text("")
        for code, word in (("65", "failed"), ("0", "done"), ("75", "stopped")):
            (self.output / "jobs/runs.tsv").write_text(f"103\ttrain-sae\t0\t2\t1000\t1900\t{code}\n")
            said, stage = self.status()
            self.assertRegex(stage["train-sae"], f"^train-sae +{word}")
        self.assertIn("node-hours so far: 0.5 (the jobs)", said)

    def test_status_knows_where_one_job_is(self):
        self.submit("--one-job")
        (self.folder / "squeue").write_text("101|RUNNING|1:02|11:58:58|n1\n")
        (self.output / "jobs/started.tsv").write_text("101\ttokenize\n101\textract\n")
        (self.output / "jobs/done.tsv").write_text("101\ttokenize\n")
        (self.output / "jobs/runs.tsv").write_text("101\ttokenize\t0\t2\t1000\t1900\t0\n")
        stage = self.status()[1]
        self.assertEqual([stage[s].split()[1] for s in STAGES[:4]], ["done", "running", "waiting", "waiting"])

    def test_status_counts_the_jobs_of_an_array(self):
        self.submit("--array", "train-sae=3")
        (self.folder / "squeue").write_text("103_0|RUNNING|1:02|2:00|n1\n103_1|RUNNING|1:02|2:00|n2\n103_2|PENDING|0:00|2:00|(Resources)\n")
        self.assertRegex(self.status()[1]["train-sae"], "running +2 jobs, 1 waiting; job 103_0 on n1")

    def test_status_shows_the_jobs_of_a_stage_that_lost_its_work(self):
        self.submit()
        of = {stage: 101 + i for i, stage in enumerate(STAGES)}
        (self.folder / "idle").write_text("nothing to do in this study: graph, subspaces\n")
        (self.folder / "squeue").write_text(f"{of['graph']}|RUNNING|1:02|2:00|n1\n{of['subspaces']}|PENDING|0:00|2:00|(Dependency)\n")
        stage = self.status()[1]
        self.assertRegex(stage["graph"], f"running +job {of['graph']} on n1")
        self.assertRegex(stage["subspaces"], "waiting")
        (self.folder / "squeue").write_text("")
        self.assertEqual(list(self.status()[1]), [s for s in STAGES if s not in ("graph", "subspaces")])

    def test_status_shows_the_stage_that_one_job_is_at_without_its_work(self):
        self.submit("--one-job")
        (self.folder / "idle").write_text("nothing to do in this study: graph, subspaces\n")
        (self.folder / "squeue").write_text("101|RUNNING|1:02|11:58:58|n1\n")
        (self.output / "jobs/started.tsv").write_text("101\tgraph\n")
        stage = self.status()[1]
        self.assertRegex(stage["graph"], "running +job 101 on n1")
        self.assertNotIn("subspaces", stage)

    def test_node_hours_are_the_schedulers_or_the_jobs_own(self):
        self.submit("--from", "compare")
        runs = self.output / "jobs/runs.tsv"
        runs.write_text("101\tcompare\t0\t2\t1000\t2800\t75\n101\tcompare\t1\t2\t3000\t3900\t0\n102\tsubspaces\t0\t1\t4000\t4360\t0\n")

        def hours():
            said = self.call(self.folder / "jobs/node_hours", "--output", self.output)
            self.assertEqual(said, (self.output / "jobs/node_hours.tsv").read_text())
            return [line.split("\t") for line in said.splitlines()[1:]]
        self.assertEqual(hours(), [["compare", "2", "1.500000", "the jobs"], ["subspaces", "1", "0.100000", "the jobs"]])
        # What sacct says of these jobs, with a run that was killed before it could write anything down.
        (self.folder / "sacct").write_text("101|2|1800|REQUEUED\n101|2|1000|COMPLETED\n102|1|720|COMPLETED\n103|1|3600|NODE_FAIL\n103|1|0|PENDING\n")
        self.assertEqual(hours(), [["compare", "2", f"{2 * 2800 / 3600:.6f}", "sacct"], ["subspaces", "1", "0.200000", "sacct"], ["report", "1", "1.000000", "sacct"]])
        self.assertIn(["sacct", "-X", "-D", "-n", "-P", "-j", "101,102,103", "--format=JobID,AllocNodes,ElapsedRaw,State"], self.calls)

    def test_node_hours_of_one_job_are_split_by_its_runs(self):
        self.submit("--one-job")
        (self.output / "jobs/runs.tsv").write_text("101\ttokenize\t0\t2\t1000\t2800\t0\n101\textract\t0\t2\t2800\t6400\t0\n")
        (self.folder / "sacct").write_text("101|2|5760|RUNNING\n")
        said = self.call(self.folder / "jobs/node_hours", self.study)
        self.assertEqual([line.split("\t")[::2] for line in said.splitlines()[1:]], [["tokenize", "1.000000"], ["extract", "2.000000"], ["between stages", "0.200000"]])

    def test_the_report_shows_node_hours(self):
        sys.path.insert(0, str(SOURCE / "scripts"))
        try:
            from report_parts import node_hours, node_hours_html
        finally:
            sys.path.pop(0)
        self.assertEqual((node_hours(self.output), node_hours_html([])), ([], ""))
        self.submit("--from", "compare")
        (self.output / "jobs/runs.tsv").write_text("101\tcompare\t0\t2\t1000\t2800\t75\n101\tcompare\t1\t2\t3000\t3900\t0\n102\t<b>\t0\t1\t4000\t4360\t0\n")
        self.call(self.folder / "jobs/node_hours", "--output", self.output)
        rows = node_hours(self.output)
        self.assertEqual([(row["stage"], row["runs"], row["node_hours"], row["from"]) for row in rows], [("compare", "2", 1.5, "the jobs"), ("<b>", "1", 0.1, "the jobs")])
        page = node_hours_html(rows)
        self.assertIn("<td>together</td><td></td><td>1.6</td>", page)
        self.assertIn("&lt;b&gt;", page)
        (self.output / "jobs/node_hours.tsv").write_text("stage\truns\tnode_hours\tfrom\ncompare\t1\tmany\tsacct\n")
        self.assertEqual(node_hours(self.output), [])

    def test_the_report_job_counts_first(self):
        self.output.mkdir()
        (self.output / "jobs").mkdir()
        (self.output / "jobs/runs.tsv").write_text("9\tcompare\t0\t2\t1000\t2800\t0\n")
        self.stage("report", CONCORD_OUTPUT=str(self.output))
        self.assertIn("compare\t1\t1.000000", (self.output / "jobs/node_hours.tsv").read_text())

    def test_without_a_scheduler_the_stages_run_here(self):
        for name in ("sbatch", "scancel"):
            (self.folder / "bin" / name).unlink()
        self.submit("--site", "none", "--set", "study.name=a b")
        self.assertEqual([call[1] for call in self.calls if call[0] == "concord"][1:], STAGES)
        self.assertTrue(all("study.name=a b" in call for call in self.calls if call[0] == "concord"))
        self.assertEqual(self.status()[1]["report"].split()[:2], ["report", "done"])
        # A submission of the same second is another one.
        (self.folder / "bin/date").write_text("#!/bin/sh\necho 1000\n")
        (self.folder / "bin/date").chmod(0o755)
        self.submit("--site", "none")
        self.submit("--site", "none", RC="65", code=65)
        self.assertEqual([call[1] for call in self.calls if call[0] == "concord"][1:], STAGES[:1])

    def test_lsf_puts_back_what_ends_with_75(self):
        self.assertEqual([line.split()[1] for line in self.submit("--site", "lsf-jsrun").splitlines()], [str(101 + i) for i in range(len(STAGES))])
        calls = [call for call in self.calls if call[0] == "bsub"]
        self.assertEqual(shlex.split(calls[1][-1]), ["bash", str(self.folder / "jobs/20_extract.sbatch")])
        for words in (["-Q", "75"], ["-wa", "USR1"], ["-W", "12:00"], ["-w", "done(101)"], ["-nnodes", "4"]):
            self.assertIn(" ".join(words), " ".join(calls[1]))
        (self.folder / "hosts").write_text("batch1\nn1\nn1\nn2\n")
        (self.folder / "bin/jsrun").write_text(STAND_IN)
        (self.folder / "bin/jsrun").chmod(0o755)
        env = {"CONCORD_SITE": "lsf-jsrun", "LSB_JOBID": "102", "LSB_DJOB_HOSTFILE": str(self.folder / "hosts"), "CONCORD_OUTPUT": str(self.output)}
        (self.folder / "bin/jsrun").write_text(STAND_IN + "sleep 1.1; exit 75\n")
        self.stage("extract", code=75, **env)
        self.assertIn("--nrs 12 --rs_per_host 6 --tasks_per_rs 1 --cpu_per_rs 7 --gpu_per_rs 1", " ".join(self.calls[-1]))
        log = self.output / "jobs/concord-extract-102.log"
        self.assertIn("back to the queue", log.read_text())
        self.stage("extract", code=70, CONCORD_MAX_REQUEUES="1", **env)
        self.assertIn("after 1 restarts", log.read_text())
        (self.folder / "bjobs").write_text("102|RUN|60 second(s)|11:0 L|n1:n2\n103|PEND|-|-|-\n")
        said = self.call(self.folder / "jobs/status", self.study, "--site", "lsf-jsrun")
        self.assertRegex(said, r"extract +running +job 102 on n1:n2")
        self.assertRegex(said, r"train-sae +waiting")

    def test_pbs_submits_what_goes_on(self):
        self.submit("--site", "pbs-pro", "--set", "study.name=a b")
        calls = [call for call in self.calls if call[0] == "qsub"]
        self.assertEqual(len(calls), len(STAGES))
        self.assertIn("depend=afterok:101.server", calls[1])
        self.assertIn("walltime=12:00:00", calls[1])
        nodes = self.folder / "nodes"
        nodes.write_text("n1\nn1\nn2\n")
        again = shlex.join(["qsub", "-V", str(self.folder / "jobs/20_extract.sbatch")])
        (self.folder / "qstat").write_text("Job Id: 102.server\n    Job_Name = extract\n    depend = afterok:101.server@server,beforeok:103.server@ser\n\tver:200.server@server\n    x = y\n")
        env = {"CONCORD_SITE": "pbs-pro", "PBS_JOBID": "102.server", "PBS_NODEFILE": str(nodes), "CONCORD_OUTPUT": str(self.output), "CONCORD_RESUBMIT": again,
               "CONCORD_FORM": "extract", "CONCORD_MAX_TIME": "42900"}
        self.stage("extract", code=75, RC="75", SLEEP="1.1", **env)
        ran = next(call for call in self.calls if call[0] == "concord")
        self.assertEqual(ran[-2], "--max-time")
        self.assertGreater(int(ran[-1]), 42000)
        self.assertEqual([call for call in self.calls if call[0] in ("qsub", "qalter", "qrls")],
                         [["qsub", "-h", "-V", str(self.folder / "jobs/20_extract.sbatch")], ["qalter", "-W", "depend=afterok:101.server", "103.server"],
                          ["qalter", "-W", "depend=afterok:101.server", "200.server"], ["qrls", "101.server"]])
        # The job that goes on knows what this one has done.
        self.assertEqual((self.output / "jobs/started.tsv").read_text().splitlines(), ["102.server\textract", "101.server\textract"])
        self.assertEqual((self.output / "jobs/submitted.tsv").read_text().splitlines()[-1].split("\t")[1:], ["101.server", "extract"])
        self.assertEqual((self.output / "jobs/runs.tsv").read_text().split("\t")[3], "2")

    def test_launchers_give_each_rank_its_cores(self):
        probe = self.folder / "bin/srun"
        probe.write_text('#!/bin/bash\necho "srun $* threads=$OMP_NUM_THREADS cores=$SRUN_CPUS_PER_TASK"\n')
        said = self.stage(CONCORD_SITE="gpu-cluster", SLURM_CPUS_PER_TASK="16")
        self.assertIn("--kill-on-bad-exit=1", said)
        self.assertIn("threads=16 cores=16", said)
        (self.folder / "bin/mpirun").write_text('#!/bin/bash\necho "mpirun $*"\n')
        self.assertIn("--map-by slot:PE=4", self.stage(SLURM_CPUS_PER_TASK="4"))


if __name__ == "__main__":
    unittest.main()
