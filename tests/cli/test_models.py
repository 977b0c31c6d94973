"""Models with names: results lie by model and by pair, a third model with the residual streams of the first has SAEs of its own, and what
two models of the names "a" and "b" come to hangs on nothing beside them."""
import csv
import json
import unittest

import numpy as np

from support import datasets, fresh, run, small_study


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("models")
        small = dict(corpus__max_tokens=2600, sae__steps=30, subspaces__concepts="", model__a__layers=[2, 3], model__b__layers=[4])
        cls.study = small_study(cls.folder, drawn=True, **small)
        cls.three = cls.folder / "three.toml"
        text = cls.study.read_text().replace(str(cls.folder / "out"), str(cls.folder / "named"))
        cls.three.write_text(text + '[model.again]\nsame_as = "a"\nlayers = [3]\n')
        run("run", cls.study, "--set", "report.python=" + str(small_study(fresh("models_undrawn")).parent / "undrawn"))
        cls.said = run("run", cls.three)
        cls.out = cls.folder / "named"

    def test_results_lie_by_model_and_by_pair(self):
        for stage in ("extract a", "encode again", "correlate a vs b", "compare b vs again", "report a vs again", "report"):
            self.assertIn(f"concord {stage}: OK", self.said)
        self.assertNotIn("extract again", self.said)
        self.assertFalse((self.out / "models/again/activations.h5").exists())
        self.assertLessEqual({"a_vs_again", "a_vs_b", "b_vs_again"}, {p.name for p in (self.out / "pairs").iterdir()})
        self.assertTrue((self.out / "models/again/saes/layer_003/sae_weights.safetensors").exists())
        self.assertFalse((self.out / "models/again/saes/layer_002").exists())
        states = run("status", self.three, ranks=1)
        self.assertEqual(states.count(" done "), 1 + 2 + 3 + 3 + 3, states)
        self.assertEqual(run("run", self.three).count(": OK"), 4) # the four reports alone

    def test_old_names_keep_their_bits_whatever_stands_beside(self):
        for old, named in (("a/features.h5", "models/a/features.h5"), ("b/features.h5", "models/b/features.h5"),
                           ("matches.h5", "pairs/a_vs_b/matches.h5"), ("similarity.h5", "pairs/a_vs_b/similarity.h5")):
            before, after = datasets(self.folder / "out" / old), datasets(self.out / named)
            self.assertEqual(before.keys(), after.keys())
            for name in before:
                np.testing.assert_array_equal(before[name], after[name], err_msg=f"{old}{name}")
        one = (self.folder / "out/a/saes/layer_003/sae_weights.safetensors").read_bytes()
        self.assertEqual((self.out / "models/a/saes/layer_003/sae_weights.safetensors").read_bytes(), one)
        self.assertNotEqual((self.out / "models/again/saes/layer_003/sae_weights.safetensors").read_bytes(), one)

    def test_a_page_over_all_pairs_links_to_each(self):
        page = (self.out / "report/index.html").read_text()
        rows = list(csv.DictReader((self.out / "report/pairs.csv").open()))
        self.assertEqual([row["pair"] for row in rows], ["a vs b", "a vs again", "b vs again"])
        for row, folder in zip(rows, ("a_vs_b", "a_vs_again", "b_vs_again")):
            self.assertIn(f'href="../pairs/{folder}/report/index.html"', page)
            of_pair = json.loads((self.out / "pairs" / folder / "report/summary.json").read_text())
            self.assertEqual(of_pair["name"], f"small: {row['pair']}")
            self.assertAlmostEqual(float(row["mean_r"]), of_pair["best_pair"]["mean_r"])

    def test_pairs_that_are_named_alone_are_compared(self):
        said = run("correlate", self.three, "--set", f"study.output={self.out}", "--set", 'study.pairs=["again:b"]')
        self.assertIn("correlate again vs b: OK", said)
        self.assertTrue((self.out / "pairs/again_vs_b/matches.h5").exists())

    def test_layers_that_are_not_there_are_named(self):
        self.assertIn("model.again.layers names layer 1", run("train-sae", self.three, "--set", "model.again.layers=[1]", code=78))


if __name__ == "__main__":
    unittest.main()
