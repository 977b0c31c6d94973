"""--share: runs that make a share of a stage's units each come, together, to the bits of one run of all."""
import unittest

from support import datasets, fresh, run, same, small_study


class Shares(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("shares")
        small = {"corpus__max_tokens": 2600, "sae__steps": 30, "sae__recovered_contexts": 0, "subspaces__concepts": "", "model__a__layers": [2, 3], "model__b__layers": [4],
                 "sae__crosscoders": ["3:4"]}
        cls.study = small_study(cls.folder, **small)
        text = cls.study.read_text() + '[model.again]\nsame_as = "a"\nlayers = [3]\n'
        for name in ("whole", "shared"):
            (cls.folder / f"{name}.toml").write_text(text.replace(str(cls.folder / "out"), str(cls.folder / name)))
        cls.whole, cls.shared = cls.folder / "whole", cls.folder / "shared"
        for stage in ("tokenize", "extract", "train-sae", "encode", "correlate", "compare"):
            run(stage, cls.folder / "whole.toml")

    def share(self, stage, share, **options):
        return run(stage, self.folder / "shared.toml", "--share", share, **options)

    def test_shares_make_what_one_run_makes(self):
        run("tokenize", self.folder / "shared.toml")
        self.assertEqual([self.share("extract", f"{k}/3").count(": OK") for k in (1, 2, 0)], [1, 0, 1])
        # Four SAEs (a 2, a 3, b 4, again 3) and a crosscoder.
        self.assertEqual([self.share("train-sae", f"{k}/3").count(": OK") for k in range(3)], [2, 2, 1])
        for path in self.whole.rglob("sae_weights.safetensors"):
            self.assertEqual((self.shared / path.relative_to(self.whole)).read_bytes(), path.read_bytes(), path)
        self.assertEqual([self.share("encode", f"{k}/2").count(": OK") for k in range(2)], [2, 1])
        self.assertEqual([self.share("correlate", f"{k}/4").count(": OK") for k in range(4)], [2, 2, 2, 0])  # rows as they are, and shifted
        self.assertEqual([self.share("compare", f"{k}/2").count(": OK") for k in range(2)], [2, 1])
        files = sorted(path.relative_to(self.whole) for path in self.whole.rglob("*.h5"))
        self.assertGreaterEqual(len(files), 12)
        for path in files:
            with self.subTest(path):
                if path.name == "similarity.h5":
                    same(self.whole / path, self.shared / path, tolerance=1e-12)
                else:
                    same(self.whole / path, self.shared / path)
        self.assertTrue(datasets(self.shared / "pairs/a_vs_b/matches.h5"))
        self.assertNotIn(": OK", run("train-sae", self.folder / "shared.toml"))

    def test_slips_are_named(self):
        for share in ("2/2", "-1/2", "1", "1/", "/2", "1/0", "0/2x", ""):
            self.assertIn("write K/N", self.share("encode", share, code=64))
        self.assertIn("--share", self.share("tokenize", "0/2", code=64))
        self.assertIn("--share goes with a study file", run("encode", "--activations", "a.h5", "--saes", "saes", "--out", "f.h5", "--share", "0/2", code=64))


if __name__ == "__main__":
    unittest.main()
