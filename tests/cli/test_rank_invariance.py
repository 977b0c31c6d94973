"""The same files at 1, 2, 3 and 4 ranks: bit for bit up to matches, 1e-12 for compare; SAEs agree in quality."""
import json
import re
import shutil
import unittest

from support import fresh, run, same, small_study


class RankInvariance(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("ranks")
        cls.study = small_study(cls.folder, corpus__max_tokens=2600, sae__recovered_contexts=0, subspaces__concepts="")
        run("run", cls.study, ranks=1)
        cls.one = cls.folder / "out"

    def test_every_stage(self):
        for ranks in (2, 3, 4):
            out = self.folder / f"out{ranks}"
            other = ["--set", f"study.output={out}"]
            for side in "ab":  # one set of SAEs, so that what follows can be compared bit for bit
                shutil.copytree(self.one / side / "saes", out / side / "saes")
            said = run("run", self.study, *other, ranks=ranks)
            for stage, times in (("tokenize", 1), ("extract", 2), ("train-sae", 0), ("encode", 2), ("correlate", 1), ("compare", 1)):
                self.assertEqual(len(re.findall(f"^concord {stage}.*: OK ", said, re.M)), times, said)
            if ranks == 4:  # another grid, pairs side by side, rows in pieces: the same bits
                for name, flags in {"groups": ["--groups", 2], "pieces": ["--memory-gib", 0.0003]}.items():
                    run("correlate", "--a", out / "a/features.h5", "--b", out / "b/features.h5", "--tokens", out / "tokens.h5", "--best", 4, "--min-firings", 3, *flags,
                        "--out", out / f"{name}.h5", ranks=ranks)
                    same(out / "matches.h5", out / f"{name}.h5")
                (out / "similarity.h5").rename(out / "by_pairs.h5")
                run("compare", self.study, *other, "--set", "compare.groups=1", ranks=ranks)  # all ranks at one pair, not a pair a rank
                same(out / "similarity.h5", out / "by_pairs.h5", tolerance=1e-11)
            for name in ("tokens.h5", "a/activations.h5", "b/activations.h5", "matches.h5"):
                with self.subTest(file=name, ranks=ranks):
                    same(self.one / name, out / name)
            for side in "ab":
                same(self.one / side / "features.h5", out / side / "features.h5", tolerance=1e-12)
            with self.subTest(file="similarity.h5", ranks=ranks):
                same(self.one / "similarity.h5", out / "similarity.h5", tolerance=1e-12)

    def test_saes_agree_in_quality(self):
        out = self.folder / "trained"
        acts = f"{self.one / 'a/activations.h5'}:/layer_002/x"
        flags = ["--activations", acts, "--d-sae", 256, "--k", 8, "--batch", 512, "--steps", 120, "--layer", 2]
        fvu = []
        for ranks in (1, 2, 3, 4):
            run("train-sae", *flags, "--out", out / str(ranks), ranks=ranks)
            fvu.append(json.loads((out / str(ranks) / "training.json").read_text())["fvu"])
        for value in fvu[1:]:
            self.assertAlmostEqual(value, fvu[0], delta=0.02 * fvu[0])


if __name__ == "__main__":
    unittest.main()
