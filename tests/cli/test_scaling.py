"""`concord scaling` runs stages at several sizes, keeps what each run's profile says, and writes a page, CSV and what TALP-Pages reads."""
import csv
import json
import os
import re
import shlex
import subprocess
import unittest

from support import CONCORD, MPIRUN, SOURCE, fresh, run, small_study

LAUNCHER = " ".join([*MPIRUN, "-np", "{ranks}"])
# What TALP-Pages 3.8 reads of a run of DLB 3.6.
TALP_KEYS = {"cycles", "instructions", "usefulTime", "elapsedTime", "numCpus", "parallelEfficiency", "mpiParallelEfficiency", "mpiCommunicationEfficiency",
             "mpiLoadBalance", "mpiLoadBalanceIn", "mpiLoadBalanceOut"}


def scaling(*words, code=0):
    result = subprocess.run([CONCORD, "scaling", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "CONCORD_LAUNCHER": LAUNCHER})
    assert result.returncode == code, result.stdout
    return result.stdout


class Scaling(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("scaling")
        cls.study = small_study(cls.folder, corpus__max_tokens=2600, sae__steps=0, sae__rows=6000, subspaces__concepts="", model__a__layers=[2], model__b__layers=[4])
        cls.out = cls.folder / "with space"
        cls.words = [cls.study, "--ranks", "1,2", "--stages", "train-sae,correlate,compare", "--mode", "both", "--weak-tokens", 1200, "--repeat", 1, "--out", cls.out]
        cls.said = scaling(*cls.words)

    def test_every_size_is_a_row(self):
        rows = list(csv.DictReader((self.out / "scaling.csv").open()))
        self.assertEqual({(row["mode"], row["stage"], row["ranks"]) for row in rows},
                         {("strong", stage, ranks) for stage in ("train-sae", "correlate", "compare") for ranks in "12"}
                         | {("weak", stage, ranks) for stage in ("train-sae", "correlate") for ranks in "12"})
        for row in rows:
            self.assertGreater(float(row["seconds"]), 0)
            self.assertAlmostEqual(float(row["parallel_efficiency"]), float(row["load_balance"]) * float(row["communication_efficiency"]), places=6)
            self.assertTrue(0 < float(row["parallel_efficiency"]) <= 1, row)
            if row["ranks"] == "1":
                self.assertEqual((float(row["speed_up"]), float(row["efficiency"]), float(row["load_balance"])), (1, 1, 1))
        self.assertEqual(len(list(csv.DictReader((self.out / "runs.csv").open()))), len(rows))

    def test_the_page_shows_both_kinds(self):
        page = (self.out / "index.html").read_text()
        for words in ("Strong scaling", "Weak scaling", "parallel efficiency", "data:image/png"):
            self.assertIn(words, page)

    def test_profiles_are_what_talp_pages_reads(self):
        files = sorted((self.out / "talp").rglob("*.json"))
        self.assertEqual(len(files), 10)
        for path in files:
            profile = json.loads(path.read_text())
            self.assertTrue(profile["dlbVersion"].startswith("3.6"))
            self.assertEqual(profile["resources"]["numMpiRanks"], int(path.stem.split("_")[1]))
            for region in profile["Application"].values():
                self.assertLessEqual(TALP_KEYS, set(region))

    def test_what_is_there_is_not_run_again(self):
        self.assertNotIn("scaling strong", scaling(*self.words))
        self.assertIn("index.html", scaling(*self.words, "--steps", "page"))

    def test_a_base_that_was_broken_off_goes_on(self):
        out = self.folder / "broken"
        words = [self.study, "--ranks", "1", "--stages", "correlate", "--repeat", 1, "--out", out]
        scaling(*words, "--steps", "base")
        record = out / "base/strong/files.json"
        made = json.loads(record.read_text())
        record.write_text(json.dumps({"tokenize": made["tokenize"]}))  # as after a kill behind extract
        scaling(*words)
        again = json.loads(record.read_text())
        self.assertEqual(sorted(name for names in again.values() for name in names), sorted(name for names in made.values() for name in names))
        self.assertIn("holds runs of another set", scaling(*words, "--set", "correlate.best=5", code=78))
        scaling(self.study, "--ranks", "1", "--stages", "compare", "--repeat", 1, "--out", out)  # a later stage: the base is longer

    def test_weak_runs_have_more_to_do(self):
        said = {}
        for ranks in (1, 2):
            profile = json.loads((self.out / f"runs/weak/train-sae/ranks_{ranks}_run_0.json").read_text())
            said[ranks] = {re.search(r" steps=(\d+)", line)[1] for line in profile["said"] if "train-sae" in line}
        self.assertEqual(said[1], said[2], "as many steps, of more rows")
        files = json.loads((self.out / "base/weak_2/files.json").read_text())
        self.assertIn("tokens.h5", files["tokenize"])
        self.assertFalse(list(self.out.glob("work*")))

    def test_wrong_words_are_refused(self):
        self.assertIn("there is no stage fly", scaling(self.study, "--stages", "fly", "--out", self.out, code=64))
        self.assertIn("there is no study", scaling(self.folder / "none.toml", code=66))
        self.assertIn("is no list such as", scaling(self.study, "--ranks", "1,x", code=2))

    def test_jobs_are_one_a_size_between_base_and_page(self):
        words = [SOURCE / "jobs/scaling", self.study, "--nodes", "4,1,2", "--ranks-a-node", "3", "--repeat", "2", "--out", self.out, "--dry-run", "--", "--account=my lab"]
        said = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "CONCORD_BIN": CONCORD})
        self.assertEqual(said.stdout.split("\n")[:-1], ["base base", "1 1", "2 2", "4 4", "page page"])
        jobs = [shlex.split(line) for line in said.stderr.splitlines()]
        self.assertEqual([job[job.index("--steps") + 1] for job in jobs], ["base", "runs", "runs", "runs", "page"])
        self.assertEqual([job[job.index("--only") + 1] for job in jobs[1:4]], ["3", "6", "12"])
        for job, nodes in zip(jobs, "41241"):
            self.assertEqual([word for word in job if word.startswith("--nodes")][-1], f"--nodes={nodes}")
            self.assertEqual((job[job.index("--ranks") + 1], job[job.index("--out") + 1]), ("3,6,12", str(self.out)))
            self.assertIn("--account=my lab", job)
        self.assertIn("--dependency=afterok:base:1:2:4", jobs[-1])
        wrong = subprocess.run([SOURCE / "jobs/scaling", self.study, "--nodes", "1,x", "--ranks-a-node", "3"], capture_output=True, text=True)
        self.assertEqual((wrong.returncode, "write a list such as 1,2,4" in wrong.stderr), (64, True))

    def test_a_study_leaves_profile_and_trace(self):
        out = self.folder / "traced"
        run("tokenize", self.study, "--set", f"study.output={out}", "--trace", "1", ranks=2)
        profile = json.loads((out / "profile.json").read_text())
        self.assertEqual(profile["Application"]["tokenize"]["numMpiRanks"], 2)
        self.assertGreater(profile["Application"]["tokenize"]["fileBytes"], 0)
        trace = json.loads((out / "trace/tokenize_rank0000.json").read_text())
        self.assertIn("MPI_Allreduce", {event["name"] for event in trace["traceEvents"]})
        self.assertFalse((out / "trace/tokenize_rank0001.json").exists())


if __name__ == "__main__":
    unittest.main()
