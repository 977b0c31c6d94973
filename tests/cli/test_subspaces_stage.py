"""Stage subspaces as a user runs it: the same results at any number of ranks, by itself and in a study, stopped and killed, and bad input."""
import json
import os
import pathlib
import shutil
import unittest

import h5py
import numpy as np

from support import RANKS, datasets, fresh, run, run_and_kill, small_study, write_concepts

EXACT = ("members", "candidates", "member_auc", "member_q", "member_coverage", "occurrences", "spans", "phrases", "effect_spans", "count", "pairs", "defined")


class Subspaces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("subspaces")
        cls.study = small_study(cls.folder)
        for stage in ("tokenize", "extract", "train-sae", "encode"):
            run(stage, cls.study, "--set", "sae.recovered_contexts=0")
        cls.out = cls.folder / "out"
        cls.said = run("subspaces", cls.study)
        cls.file = cls.out / "subspaces.h5"

    def by_itself(self, out, *more, code=0, ranks=None, concepts=None):
        sides = [word for side in "ab" for word in (f"--{side}", self.out / side / "features.h5", f"--saes-{side}", self.out / side / "saes")]
        return run("subspaces", *sides, "--tokens", self.out / "tokens.h5", "--concepts", concepts or self.folder / "concepts.tsv", "--out", out, *more,
                   code=code, ranks=ranks)

    small = ("--min-occurrences", "10", "--min-phrases", "2", "--k", "2", "--min-auc", "0.6", "--max-q", "1", "--label-draws", "3", "--shuffles", "9",
             "--permutations", "19", "--seed", "3")

    def test_members_are_found_and_effects_measured(self):
        with h5py.File(self.file) as f:
            self.assertTrue(f["concepts/defined"][:].all())
            self.assertGreater((f["a/members"][:] >= 0).sum(), 0)
            kl = f["b/kl"][:]
            self.assertTrue(np.isnan(kl[0]).all())  # the layer is not among effect_layers_b
            self.assertTrue((kl[1][~np.isnan(kl[1])] > 0).all() and not np.isnan(kl[1, 0, 1]).any())
            share = f["a/energy"][1, 0, 1]
            self.assertTrue(((share > 0) & (share < 1)).all())
            self.assertFalse(np.isnan(f["claim/kl/p_grouped"][0, 1, 3]))

    def test_any_number_of_ranks_gives_the_same(self):
        expected = datasets(self.file)
        for ranks in {1, 2, 3, 4} - {RANKS}:
            work = self.folder / "ranks"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(self.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
            run("subspaces", self.study, "--set", f"study.output={work}", ranks=ranks)
            found = datasets(work / "subspaces.h5")
            self.assertEqual(set(found), set(expected))
            for name, value in expected.items():
                if value.dtype.kind in "iuSO" or name.rsplit("/", 1)[-1] in EXACT:
                    self.assertEqual(found[name].tobytes(), value.tobytes(), f"{name} at {ranks} ranks")
                else:
                    np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=f"{name} at {ranks} ranks")

    def test_by_itself_it_gives_what_a_study_gives(self):
        alone = self.folder / "alone.h5"
        self.by_itself(alone, *self.small, "--force")
        expected, found = datasets(self.file), datasets(alone)
        for name in ("/a/members", "/a/member_auc", "/b/members", "/concepts/occurrences", "/alike/pairs"):
            self.assertEqual(found[name].tobytes(), expected[name].tobytes(), name)
        self.assertNotIn("/a/kl", found)  # no model was given
        self.assertIn("is done", self.by_itself(alone, *self.small))

    def test_a_rerun_does_nothing_and_other_settings_are_refused(self):
        before = self.file.read_bytes()
        self.assertNotIn("concord subspaces: OK", run("subspaces", self.study))
        self.assertEqual(self.file.read_bytes(), before)
        self.assertIn("setting k: 2 -> 3", run("subspaces", self.study, "--set", "subspaces.k=3", code=78))

    def test_a_study_without_concepts_has_no_subspaces(self):
        self.assertIn("names no concepts", run("subspaces", self.study, "--set", "subspaces.concepts=", ranks=1))

    def test_killed_it_goes_on_and_gives_the_same(self):
        expected = datasets(self.file)
        work = self.folder / "killed"
        shutil.copytree(self.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
        arguments = ("subspaces", self.study, "--set", f"study.output={work}")
        journal = work / "subspaces.h5.partial.journal"
        self.assertTrue(run_and_kill(arguments, journal.exists))
        run(*arguments)
        found = datasets(work / "subspaces.h5")
        for name, value in expected.items():
            self.assertEqual(found[name].tobytes(), value.tobytes(), name)
        self.assertEqual(sorted(p.name for p in work.glob("subspaces*")), ["subspaces.h5"])

    def test_phrases_are_mined(self):
        mined = self.folder / "mined.tsv"
        said = run("subspaces", "--tokens", self.out / "tokens.h5", "--concepts",
                   write_concepts(self.folder / "heads.tsv", {("x", "Things"): "man time day house night place hand eyes way", ("x", "They"): "they we"}), "--mine", mined)
        self.assertIn("phrases of", said)
        self.assertEqual(mined.read_text().split("\n")[0].split("\t")[:4], ["group", "concept", "phrase", "weight"])

    def test_bad_input_is_named(self):
        def refused(text, code, part, *more):
            lists = self.folder / "bad.tsv"
            lists.write_bytes(text if isinstance(text, bytes) else text.encode())
            said = self.by_itself(self.folder / "bad.h5", *self.small, *more, code=code, concepts=lists)
            self.assertIn(part, said)
            self.assertEqual(said.count("error:"), 1, said)
            self.assertFalse((self.folder / "bad.h5").exists())

        refused("concept\tphrase\nA\t\n", 65, "line 2")
        refused("concept\tphrase\nA\tcaf\xe9\n".encode("latin-1"), 65, "UTF-8")
        latin = os.fsencode(self.folder / "lists") + b"/caf\xe9"
        for folder, name, code in ((latin, b"He.txt", 65), (os.fsencode(self.folder / "lists2"), b"caf\xe9.txt", 65)):
            os.makedirs(folder, exist_ok=True)
            pathlib.Path(os.fsdecode(folder + b"/" + name)).write_text("he\nhim\n")
            root = self.folder / ("lists" if folder == latin else "lists2")
            self.assertIn("not UTF-8; rename it", self.by_itself(self.folder / "bad.h5", *self.small, code=code, concepts=root))
        refused("concept\tphrase\nA\tzzzqqq\nA\tqqqzzz\n", 65, "0 occurrences")
        refused("a\tb\n", 65, "columns")
        refused("concept\tphrase\nA\the\nB\tshe\n", 78, "layers_a names layer 9", "--layers-a", "9")
        self.assertIn("--max-q = 1.5 must be a number above 0 to 1", self.by_itself(self.folder / "bad.h5", "--max-q", "1.5", code=64))
        self.assertIn("no whole number", self.by_itself(self.folder / "bad.h5", "--k", "1e5", code=64))
        self.assertIn("did you mean", self.by_itself(self.folder / "bad.h5", "--value", "maxx", code=64))
        self.by_itself(self.folder / "bad.h5", *self.small, code=66, concepts=self.folder / "nothing.tsv")
        similarity = self.folder / "similarity.tsv"
        similarity.write_text("concept\tother\tlin\nHe\tShe\tnear\n")
        said = self.by_itself(self.folder / "bad.h5", *self.small, "--similarity", similarity, code=65)
        self.assertIn("line 2", said)

    def test_layers_without_an_sae_are_named(self):
        empty = self.folder / "no saes"
        empty.mkdir(exist_ok=True)
        said = run("subspaces", "--a", self.out / "a/features.h5", "--b", self.out / "b/features.h5", "--saes-a", empty, "--saes-b", self.out / "b/saes",
                   "--tokens", self.out / "tokens.h5", "--concepts", self.folder / "concepts.tsv", "--out", self.folder / "x.h5", *self.small, code=66)
        self.assertIn("layer_002", said)

    def test_unequal_groups_and_rare_concepts_are_left_undefined_not_wrong(self):
        lists = write_concepts(self.folder / "unequal.tsv", {("x", "He"): "he him his himself", ("x", "She"): "she her hers", ("x", "And"): "and but or nor",
                                                             ("y", "Rare"): "zzz qqq xxx"})
        out = self.folder / "unequal.h5"
        said = self.by_itself(out, *self.small, concepts=lists)
        self.assertIn("Rare is left undefined: 0 occurrences", said)
        with h5py.File(out) as f:
            self.assertEqual(f["concepts/defined"][:].tolist(), [1, 1, 1, 0])
            self.assertEqual((f["a/members"][:, 3] >= 0).sum(), 0)
            self.assertEqual(json.loads(f.attrs["layers_a"]), [2, 3])


if __name__ == "__main__":
    unittest.main()
