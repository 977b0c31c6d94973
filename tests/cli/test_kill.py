"""Killed with SIGKILL in each stage and started again, a study continues and ends with the same results."""
import pathlib
import subprocess
import unittest

from support import command, fresh, run, run_and_kill, same, small_study

# (stage, path that shows that work has begun, relative to the study's output)
MOMENTS = [("tokenize", "study.resolved.toml"), ("extract", "a/activations.h5.partial.journal"), ("extract", "b/activations.h5.partial"),
           ("train-sae", "a/saes/layer_002.partial/checkpoint.safetensors"), ("train-sae", "b/saes/layer_004.partial/checkpoint.safetensors"),
           ("encode", "a/features.h5.layers/layer_002.h5"), ("correlate", "matches.h5.partial.journal"), ("compare", "similarity.h5.partial.journal"),
           ("subspaces", "subspaces.h5.partial.journal")]
RESULTS = ["tokens.h5", "a/activations.h5", "b/activations.h5", "a/features.h5", "b/features.h5", "matches.h5", "similarity.h5", "subspaces.h5"]


class Kill(unittest.TestCase):
    def test_killed_in_every_stage_ends_the_same(self):
        folder = fresh("kill")
        # Enough work a stage that a kill lands inside it; sizes differ from the other tests for that reason alone.
        study = small_study(folder, corpus__max_tokens=9000, extract__batch=4, sae__steps=200)
        run("run", study, "--set", f"study.output={folder / 'undisturbed'}")
        out, killed = folder / "out", 0
        for stage, sign in MOMENTS:
            path = out / sign
            if run_and_kill(["run", study], path.exists):
                killed += 1
                print(f"killed in {stage} once {sign} was there")
        self.assertGreaterEqual(killed, 6)
        run("run", study)
        for name in RESULTS:
            with self.subTest(file=name):
                same(folder / "undisturbed" / name, out / name)
        for side, layers in (("a", (2, 3)), ("b", (4, 6))):
            for layer in layers:
                weights = f"{side}/saes/layer_{layer:03d}/sae_weights.safetensors"
                self.assertEqual((folder / "undisturbed" / weights).read_bytes(), (out / weights).read_bytes())
        leftovers = [p for p in pathlib.Path(out).rglob("*") if p.name.endswith((".partial", ".journal", ".new"))]
        self.assertEqual(leftovers, [])

    def test_extract_continues_on_other_ranks(self):
        folder = fresh("other_ranks")
        study = small_study(folder, corpus__max_tokens=9000, extract__batch=4)
        run("tokenize", study, ranks=1)
        run("extract", study, "--set", f"study.output={folder / 'out'}", "--max-time", "0.0001", code=75)
        run("extract", study, ranks=3, code=0)
        fresh_study = small_study(fresh("other_ranks_straight"), corpus__max_tokens=9000, extract__batch=4)
        run("tokenize", fresh_study, ranks=1)
        run("extract", fresh_study, ranks=1)
        straight = fresh_study.parent / "out"
        same(folder / "out/a/activations.h5", straight / "a/activations.h5")
        same(folder / "out/b/activations.h5", straight / "b/activations.h5")

    def test_encode_continues_within_a_layer_on_other_ranks(self):
        folder = fresh("encode_stops")
        study = small_study(folder, corpus__max_tokens=3000, sae__steps=20)
        for stage in ("tokenize", "extract", "train-sae"):
            run(stage, study, ranks=1)
        saes, acts = folder / "out/a/saes", folder / "out/a/activations.h5"
        run("encode", "--activations", acts, "--saes", saes, "--out", folder / "straight.h5", ranks=1)
        stopped, code = 0, 75
        while code == 75:  # each run encodes one window a rank
            out = ["encode", "--activations", acts, "--saes", saes, "--out", folder / "stopped.h5", "--max-time", "0.0001"]
            code = subprocess.run(command(*out, ranks=1 + stopped % 3), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=300).returncode
            stopped += code == 75
            self.assertLess(stopped, 30)
        self.assertEqual(code, 0)
        self.assertGreaterEqual(stopped, 3)
        same(folder / "straight.h5", folder / "stopped.h5")
        self.assertEqual([p for p in folder.rglob("*") if p.name.endswith((".codes", ".partial", ".spool"))], [])


if __name__ == "__main__":
    unittest.main()
