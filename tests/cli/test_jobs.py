"""jobs/submit, jobs/lib.sh and the sites with stand-ins for sbatch, scancel, scontrol and the program, which write down what they are given."""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import unittest

from support import SOURCE, fresh

STAGES = ["tokenize", "extract", "train-sae", "recovered", "encode", "correlate", "compare", "subspaces", "report"]

# One line a call: the name and its words, quoted. `fail` holds patterns of calls that end with 1.
STAND_IN = """#!/usr/bin/env bash
line=$(printf '%q ' "${0##*/}" "$@")
echo "$line" >> "$RECORD/calls"
while read -r pattern; do [[ $line == *$pattern* ]] && { echo "refused: $pattern" >&2; exit 1; }; done < "$RECORD/fail"
if [[ ${0##*/} == sbatch && $line != *--test-only* ]]; then
  echo $(( $(grep -c -e '^sbatch --parsable' "$RECORD/calls") + 100 ))
  echo "$CONCORD_ARGUMENTS" > "$RECORD/arguments"
fi
if [[ ${0##*/} == mpirun ]]; then shift 2; exec "$@"; fi
if [[ ${0##*/} == concord && $1 != plan ]]; then [[ -z ${SLEEP:-} ]] || sleep "$SLEEP"; exit "${RC:-0}"; fi
"""


class Jobs(unittest.TestCase):
    def setUp(self):
        self.folder = fresh("jobs " + self._testMethodName)
        shutil.copytree(SOURCE / "jobs", self.folder / "jobs")
        (self.folder / "bin").mkdir()
        for name in ("sbatch", "scancel", "scontrol", "concord", "srun", "mpirun"):
            (self.folder / "bin" / name).write_text(STAND_IN)
            (self.folder / "bin" / name).chmod(0o755)
        self.study = self.folder / "my study.toml"
        self.study.write_text("")
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

    def test_every_stage_of_every_site_asks_for_what_its_partition_has(self):
        for site in sorted(p.stem for p in (self.folder / "jobs/sites").glob("*.env")):
            self.submit("--site", site)
            for stage, call in zip(STAGES, self.submitted()):
                given = dict(word[2:].split("=", 1) for word in call if word.startswith("--") and "=" in word)  # the later one holds
                with self.subTest(site=site, stage=stage):
                    gpu = stage in ("extract", "train-sae", "recovered") and site == "gpu-cluster"
                    self.assertEqual(any(word.startswith("--gpus") for word in call), gpu)
                    self.assertEqual(given.get("partition"), {"gpu-cluster": "gpu" if gpu else "cpu"}.get(site))
                    self.assertNotEqual("ntasks" in given, "ntasks-per-node" in given)
                    self.assertIn("nodes", given)
                    if stage == "report":
                        self.assertEqual(given["ntasks"], "1")

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
        out = self.folder / "my results"
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
        (self.folder / "bin/concord").write_text(STAND_IN + 'if [[ $1 == plan ]]; then echo "a table"; echo "results: /my results/x"; fi\n')
        (self.folder / "bin/sbatch").write_text(STAND_IN + 'echo "$CONCORD_OUTPUT" > "$RECORD/output"\n')
        self.submit()
        self.assertEqual((self.folder / "output").read_text(), "/my results/x\n")

    def test_an_installed_tree_submits_wherever_it_lies(self):
        build = pathlib.Path(os.environ["CONCORD"]).parent
        subprocess.run(["cmake", "--install", build, "--prefix", self.folder / "there"], stdout=subprocess.DEVNULL, check=True, timeout=60)
        shutil.move(self.folder / "there", self.folder / "moved")
        shutil.copy(self.folder / "bin/concord", self.folder / "moved/bin/concord")
        submit = self.folder / "moved/share/concord/jobs/submit"
        self.call("env", "-u", "CONCORD_BIN", submit, self.study)
        self.assertEqual(len(self.submitted()), len(STAGES))
        subprocess.run([sys.executable, "-I", self.folder / "moved/share/concord/scripts/report.py", "--help"], stdout=subprocess.DEVNULL, check=True, timeout=60)

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
