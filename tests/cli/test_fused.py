"""extract.fused: the model runs inside train-sae and encode; no activations reach the disk and the numbers are those of the way through the file."""
import json
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

from support import RANKS, command, datasets, fresh, run, run_and_kill, same, small_study

FUSED = ["--set", "extract.fused=true"]
BUFFER = ["--set", "sae.order=\"buffer\"", "--set", "sae.buffer_rows=1600", "--set", "sae.batch=256"]
# All steps lie inside the first window, which holds the whole corpus: about 440 steps.
ONE_WINDOW = ["--set", "sae.order=\"buffer\"", "--set", "sae.buffer_rows=100000", "--set", "sae.batch=8", "--set", "sae.steps=400"]
WEIGHTS = [f"{side}/saes/layer_{layer:03d}/sae_weights.safetensors" for side, layers in (("a", (2, 3)), ("b", (4, 6))) for layer in layers]


def output(folder, name):
    return folder / name, ["--set", f"study.output={folder / name}"]


def steps_saved(out):
    """Steps of all checkpoints below a folder."""
    steps = set()
    for path in out.rglob("checkpoint.safetensors"):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        begin = 8 + size + json.loads(raw[8:8 + size])["step"]["data_offsets"][0]
        steps.add(int.from_bytes(raw[begin:begin + 8], "little"))
    return steps


class Fused(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("fused")
        cls.study = small_study(cls.folder, corpus__max_tokens=4000, extract__batch=6, extract__dtype="bf16", sae__steps=40)
        cls.file, cls.to_file = output(cls.folder, "file")
        for stage in ("tokenize", "extract", "train-sae", "encode"):
            run(stage, cls.study, *cls.to_file, *BUFFER, ranks=1)

    def start(self, name):
        """A study of its own with the tokens of the other."""
        out, to = output(self.folder, name)
        out.mkdir()
        shutil.copy(self.file / "tokens.h5", out / "tokens.h5")
        return out, to

    def test_trained_saes_are_those_of_the_file(self):
        out, to = self.start("trained")
        run("train-sae", self.study, *to, *BUFFER, *FUSED)
        for weights in WEIGHTS:
            with self.subTest(weights=weights):
                self.assertEqual((self.file / weights).read_bytes(), (out / weights).read_bytes())
        records = [json.loads((root / "a/saes/layer_002/training.json").read_text()) for root in (self.file, out)]
        self.assertEqual(records[0]["fvu"], records[1]["fvu"])
        self.assertEqual(records[0]["stage_digest"], records[1]["stage_digest"])
        self.assertEqual(list(out.rglob("activations*")), [])

    def test_variants_draw_from_the_same_windows(self):
        """A sweep costs one pass of the model; a variant that is done is not trained again, and one that was stopped goes on."""
        variants = ["--set", 'sae.variants=["k=4", "seed=9 latents=128"]']
        out, to = self.start("variants")
        run("train-sae", self.study, *to, *BUFFER, *FUSED, "--set", 'sae.variants=["k=4"]')
        run("train-sae", self.study, *to, *BUFFER, *FUSED, *variants, "--set", "sae.checkpoint_seconds=0", "--max-time", "0.01", code=75)
        run("train-sae", self.study, *to, *BUFFER, *FUSED, *variants)
        run("train-sae", self.study, *self.to_file, *BUFFER, *variants, ranks=1)
        for weights in WEIGHTS:
            for name in ("saes", "saes@k=4", "saes@seed=9,latents=128"):
                path = weights.replace("saes", name, 1)
                with self.subTest(weights=path):
                    self.assertEqual((self.file / path).read_bytes(), (out / path).read_bytes())

    def test_layer_shards_train_side_by_side(self):
        if RANKS != 2:
            self.skipTest("one replica of two shards")
        out, to = self.start("shards")
        run("train-sae", self.study, *to, *BUFFER, *FUSED, "--set", "extract.layer_shards=2")
        one, to_one = self.start("one")
        run("train-sae", self.study, *to_one, *BUFFER, *FUSED, ranks=1)
        for weights in WEIGHTS:
            self.assertEqual((one / weights).read_bytes(), (out / weights).read_bytes())

    def test_replicas_without_rows_are_named(self):
        """A window of one block leaves all ranks but one without rows."""
        out, to = self.start("narrow")
        text = run("train-sae", self.study, *to, *BUFFER, *FUSED, "--set", "sae.buffer_rows=400", "--set", "sae.steps=2")
        self.assertEqual("of these get no rows; raise sae.buffer_rows to" in text, RANKS > 1, text)

    def test_stopped_training_ends_in_the_same_bits(self):
        out, to = self.start("stopped")
        stopped = 0
        for _ in range(6):
            if run_and_kill(["train-sae", self.study, *to, *BUFFER, *FUSED, "--set", "sae.checkpoint_seconds=0"],
                            lambda: any(out.rglob("checkpoint.safetensors"))):
                stopped += 1
                break
        self.assertEqual(stopped, 1)
        run("train-sae", self.study, *to, *BUFFER, *FUSED, "--max-time", "0.01", code=75)
        run("train-sae", self.study, *to, *BUFFER, *FUSED)
        for weights in WEIGHTS:
            self.assertEqual((self.file / weights).read_bytes(), (out / weights).read_bytes())

    def test_kills_and_stops_inside_a_window_lose_no_window(self):
        straight, to_straight = self.start("one_window")
        run("train-sae", self.study, *to_straight, *ONE_WINDOW, *FUSED, ranks=1)
        killed, to_killed = self.start("killed_inside")
        flags = ["train-sae", self.study, *to_killed, *ONE_WINDOW, *FUSED, "--set", "sae.checkpoint_seconds=0"]
        self.assertTrue(run_and_kill(flags, lambda: any(killed.rglob("checkpoint.safetensors"))))
        self.assertTrue(all(0 < step < 400 for step in steps_saved(killed)), steps_saved(killed))
        stopped, to_stopped = self.start("stopped_inside")
        process = subprocess.Popen(command("train-sae", self.study, *to_stopped, *ONE_WINDOW, *FUSED), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while process.poll() is None and not any(log.stat().st_size for log in stopped.rglob("*.partial/training.jsonl")):
            time.sleep(0.002)
        process.send_signal(signal.SIGUSR1)
        said = process.communicate(timeout=300)[0]
        self.assertEqual(process.returncode, 75, said)
        self.assertTrue(steps_saved(stopped) and all(0 < step < 400 for step in steps_saved(stopped)), steps_saved(stopped))
        for out, to in ((killed, to_killed), (stopped, to_stopped)):
            run("train-sae", self.study, *to, *ONE_WINDOW, *FUSED)
            for weights in WEIGHTS:
                self.assertEqual((straight / weights).read_bytes(), (out / weights).read_bytes(), out)

    def encoded(self, name):
        out, to = self.start(name)
        for side in "ab":
            shutil.copytree(self.file / side / "saes", out / side / "saes")
        return out, to

    def test_features_are_those_of_the_file(self):
        out, to = self.encoded("encoded")
        run("encode", self.study, *to, *FUSED)
        for side in "ab":
            same(self.file / side / "features.h5", out / side / "features.h5")
        self.assertEqual(list(out.rglob("activations*")) + list(out.rglob("*.codes")), [])
        self.assertIn("is done", run("encode", self.study, *to, *FUSED))

    def test_features_of_layer_shards(self):
        out, to = self.encoded("encoded_shards")
        run("encode", self.study, *to, *FUSED, "--set", "extract.layer_shards=3")
        for side in "ab":
            same(self.file / side / "features.h5", out / side / "features.h5")

    def test_killed_encoding_goes_on_with_other_ranks(self):
        out, to = self.encoded("killed")
        flags = ["encode", self.study, *to, *FUSED, "--set", "extract.commit_seconds=0"]
        run(*flags, "--max-time", "0.0001", code=75)
        spool = out / "a/features.h5.codes"
        size = sum(f.stat().st_size for f in spool.glob("*.spool"))
        self.assertGreater(size, 0)
        killed = run_and_kill(flags, lambda: spool.exists() and sum(f.stat().st_size for f in spool.glob("*.spool")) > size + 1000)
        if killed:  # a record that was being written is cut off
            last = max(spool.glob("*.spool"), key=lambda f: f.stat().st_mtime)
            last.write_bytes(last.read_bytes()[:-7])
        run(*flags, ranks=1 + RANKS % 3)
        for side in "ab":
            first, second = datasets(self.file / side / "features.h5"), datasets(out / side / "features.h5")
            for name in first:
                if name.endswith(("indptr", "indices", "data", "top_rows", "count")):
                    self.assertEqual(first[name].tobytes(), second[name].tobytes(), name)

    def test_whole_study(self):
        out, to = output(self.folder, "whole")
        run("run", self.study, *to, *BUFFER, *FUSED)
        self.assertTrue((out / "report" / "summary.json").exists() or (out / "report").is_dir())
        self.assertEqual(list(out.rglob("activations*")), [])


if __name__ == "__main__":
    unittest.main()
