"""Cross-entropy recovered equals what transformers and sae-lens give with hooks (tests/golden/make_sae_golden.py), on any grid of ranks."""
import json
import shutil
import subprocess
import unittest

from support import GOLDEN, RANKS, asked_at_start, command, fresh, run

SPLICED = GOLDEN / "saes" / "spliced"


class Recovered(unittest.TestCase):
    def setUp(self):
        self.folder = fresh("recovered")
        run("tokenize", "--tokens", GOLDEN / "tiny_old_style_ids.npy", "--out", self.folder / "tokens.h5", ranks=1)

    def flags(self, out, *extra, saes=SPLICED):
        return ["recovered", "--model", GOLDEN / "tiny_old_style", "--tokens", self.folder / "tokens.h5", "--saes", saes, "--batch", 1, *extra,
                "--out", self.folder / out]

    def recovered(self, out, *extra, saes=SPLICED, code=0):
        return run(*self.flags(out, *extra, saes=saes), ranks=min(RANKS, 3), code=code)

    def test_equals_hooks_in_transformers(self):
        expected = json.loads((SPLICED / "expected.json").read_text())
        self.recovered("whole.json")
        got = json.loads((self.folder / "whole.json").read_text())
        self.assertEqual(got["predictions"], 3 * 23)
        self.assertAlmostEqual(got["clean"], expected["clean"], delta=1e-4)
        self.assertEqual([layer["layer"] for layer in got["layers"]], [0, 2])
        for layer in got["layers"]:
            want = expected["layers"][str(layer["layer"])]
            for name in ("sae", "zero"):
                self.assertAlmostEqual(layer[name], want[name], delta=2e-4, msg=f"layer {layer['layer']} {name}")
            self.assertAlmostEqual(layer["recovered"], (want["zero"] - want["sae"]) / (want["zero"] - expected["clean"]), delta=1e-2)
        self.assertIn("is done", self.recovered("whole.json"))

    def test_layer_shards_and_ranks_change_no_bit(self):
        self.recovered("whole.json")
        whole = json.loads((self.folder / "whole.json").read_text())
        self.recovered("shards.json", "--layer-shards", 2)
        shards = json.loads((self.folder / "shards.json").read_text())
        run("recovered", "--model", GOLDEN / "tiny_old_style", "--tokens", self.folder / "tokens.h5", "--saes", SPLICED, "--batch", 1, "--out",
            self.folder / "one.json", ranks=1)
        one = json.loads((self.folder / "one.json").read_text())
        for other in (shards, one):
            self.assertEqual(whole["layers"], other["layers"])
            self.assertEqual(whole["clean"], other["clean"])

    def test_a_stopped_run_goes_on_to_the_same_bits(self):
        self.recovered("whole.json")
        early = asked_at_start(fresh("recovered_early"))
        stopped = 0
        while True:
            result = subprocess.run(command(*self.flags("stopped.json"), ranks=1), env=early, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300)
            self.assertIn(result.returncode, (0, 75), result.stdout)
            if result.returncode == 0:
                break
            stopped += 1
            self.assertTrue((self.folder / "stopped.json.partial").exists())
            self.assertFalse((self.folder / "stopped.json").exists())
            self.assertLess(stopped, 12, "a run does not get on")
        self.assertGreater(stopped, 2)
        whole, found = (json.loads((self.folder / name).read_text()) for name in ("whole.json", "stopped.json"))
        self.assertEqual((found["clean"], found["layers"], found["predictions"]), (whole["clean"], whole["layers"], whole["predictions"]))
        self.assertFalse((self.folder / "stopped.json.partial").exists())

    def test_bad_input_says_what_is_missing(self):
        self.assertIn("holds no SAE of any layer", self.recovered("none.json", saes=self.folder / "nowhere", code=66))
        shutil.copytree(GOLDEN / "saes" / "saelens_topk", self.folder / "narrow" / "layer_001")
        self.assertIn("is 12 wide, the model 48", self.recovered("narrow.json", saes=self.folder / "narrow", code=65))


if __name__ == "__main__":
    unittest.main()
