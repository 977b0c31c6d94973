"""Stage subspaces as a user runs it: the same results at any number of ranks, by itself and in a study, stopped and killed, and bad input."""
import json
import os
import pathlib
import shutil
import unittest

import h5py
import numpy as np

from support import DEMO, RANKS, datasets, fresh, run, run_and_kill, small_study, write_concepts

EXACT = ("members", "candidates", "member_auc", "member_q", "member_coverage", "occurrences", "spans", "phrases", "effect_spans", "count", "pairs", "defined")


def strings(group):
    """A list of texts as concord writes it."""
    raw, ends = group["bytes"][:].tobytes(), group["ends"][:]
    return [raw[begin:end].decode() for begin, end in zip([0, *ends[:-1]], ends)]


class Subspaces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("subspaces")
        cls.study = small_study(cls.folder, subspaces__removals=["mean", "resample"], subspaces__steering=[0.5, 1])
        for stage in ("tokenize", "extract", "train-sae", "encode"):
            run(stage, cls.study, "--set", "sae.recovered_contexts=0", ranks=1)
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

    def test_resampled_removals_are_measured(self):
        with h5py.File(self.file) as f:
            kl, resampled = f["a/kl"][:], f["a/resample/kl"][:]
            self.assertEqual(kl.shape, resampled.shape)
            self.assertTrue(np.isnan(resampled[0]).all())  # the layer is not among effect_layers_a
            known = ~np.isnan(resampled)
            self.assertTrue((resampled[known] > -1e-6).all() and not np.isnan(resampled[1, 0, 1]).any())
            self.assertFalse((known & np.isnan(kl)).any())
            self.assertFalse(np.allclose(resampled[1, 0, 1], kl[1, 0, 1], rtol=0.01))
            self.assertTrue((f["a/resample/energy"][1, 0, 1] > 0).all())
            self.assertFalse(np.isnan(f["claim/resample/kl/p_grouped"][0, 1, 3]))

    def test_steering_is_measured(self):
        with h5py.File(self.file) as f:
            self.assertEqual(f["steering/strengths"][:].tolist(), [0.5, 1])
            self.assertTrue((f["steering/tokens"][:] > 0).all())
            for side in "ab":
                group = f[f"{side}/steering"]
                kl, writes = group["kl"][:], group["writes"][:]
                self.assertTrue(np.isnan(kl[0]).all() and np.isnan(writes[0]).all() and np.isnan(group["contrast"][0]).all())
                for kind in (1, 4):
                    self.assertTrue((group["length"][1, kind] > 0).all())
                    self.assertTrue((kl[1, 1, kind] > 0).all() and np.isfinite(writes[1, :, kind]).all())
                    self.assertGreater(kl[1, 1, kind].mean(), kl[1, 0, kind].mean())
                    mean = writes[1, 1, kind].mean(axis=0)
                    off = ~np.eye(len(mean), dtype=bool)
                    self.assertAlmostEqual(group["contrast"][1, 1, kind], np.diag(mean).mean() - mean[off].mean(), places=9)
                    self.assertTrue(0 < group["contrast_p"][1, 1, kind] <= 1)
                self.assertTrue(np.isnan(kl[1, :, 3]).all())  # matched
            self.assertFalse(np.isnan(f["claim/steering/writes/p"][1, 1, 3]))

    def test_effects_beside_others_are_the_same(self):
        """Without resampled removals and steering, all that they do not make is bit for bit the same."""
        work = self.folder / "plain"
        shutil.copytree(self.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
        run("subspaces", self.study, "--set", f"study.output={work}", "--set", 'subspaces.removals=["mean"]', "--set", "subspaces.steering=[]")
        expected, found = datasets(self.file), datasets(work / "subspaces.h5")
        for name, value in found.items():
            self.assertEqual(value.tobytes(), expected[name].tobytes(), name)
        self.assertEqual({name for name in expected.keys() - found.keys() if "/steering/" not in name and "/resample/" not in name}, set())

    @classmethod
    def with_further(cls, name, ranks):
        work = cls.folder / name
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(cls.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
        run("subspaces", cls.study, "--set", f"study.output={work}", "--set", 'subspaces.further_bases=["means", "lda", "leace", "pseudo"]', "--set",
            "subspaces.equal_energy=true", ranks=ranks)
        return datasets(work / "subspaces.h5")

    def test_further_bases_stand_beside_the_others(self):
        expected, found = datasets(self.file), self.with_further("further", RANKS)
        for name, value in expected.items():  # what was measured without them is bit for bit the same
            if value.dtype.kind == "f":
                known = ~np.isnan(value)
                self.assertEqual(found[name][known].tobytes(), value[known].tobytes(), name)
            elif not name.endswith("/dimensions"):
                self.assertEqual(found[name].tobytes(), value.tobytes(), name)
        with h5py.File(self.folder / "further/subspaces.h5") as f:
            bases = json.loads(f.attrs["bases"])
            lists = {text.lower() for text in strings(f["phrases/texts"])}
            words = strings(f["pseudo/words"])
        self.assertEqual(bases, ["sae", "residual", "random", "matched", "dealt", "means", "lda", "leace", "pseudo"])
        self.assertTrue(words and not lists & set(words) and len(set(words)) == len(words))
        for side in "ab":
            np.testing.assert_array_equal(found[f"/{side}/dimensions"][:, 5:8], 1)
            self.assertTrue((found[f"/{side}/dimensions"][:, 8] > 0).any())
            whitened = found[f"/{side}/overlap_whitened"]
            self.assertTrue(np.allclose(np.diagonal(whitened[:, 1], axis1=1, axis2=2), 1))
            self.assertTrue((found[f"/{side}/whitening"][:, 0] > 10).all() and (found[f"/{side}/whitening"][:, 1] > 0).all())
            self.assertTrue(np.isnan(expected[f"/{side}/overlap_whitened"]).all())
            kl = found[f"/{side}/kl"][1, 0]
            for kind in (5, 6, 7):
                self.assertTrue((kl[kind] > -1e-6).all() and (kl[kind] > 1e-5).any(), bases[kind])
            self.assertFalse(np.allclose(kl[5], kl[7], rtol=0.01))  # along the same direction, by another reading
            self.assertGreater(found[f"/{side}/energy"][1, 0, 1][:, np.eye(kl.shape[-1], dtype=bool)].mean(), 0)
        for name in ("/a/equal/kl", "/b/equal/kl", "/a/equal/excess"):
            self.assertTrue(np.isfinite(found[name][1, 0, 1]).any(), name)
            self.assertTrue(np.isnan(found[name][1, 0, 4]).all(), name)  # controls have none
        known = np.isfinite(found["/a/equal/kl"][1, 0, 1])
        self.assertTrue((found["/a/equal/energy"][1, 0, 1][known] > 0).all())
        self.assertFalse(np.isnan(found["/claim/kl/r"][0, 5:8, 3]).any())
        for ranks in {1, 3} - {RANKS}:
            again = self.with_further("further ranks", ranks)
            for name, value in found.items():
                if value.dtype.kind in "iuSO":
                    self.assertEqual(again[name].tobytes(), value.tobytes(), f"{name} at {ranks} ranks")
                elif name not in expected:
                    np.testing.assert_allclose(again[name], value, rtol=1e-6, atol=1e-7, err_msg=f"{name} at {ranks} ranks")

    def test_further_bases_that_cannot_be_are_refused(self):
        self.assertIn("residual stream", self.refused_by_all('subspaces.further_bases=["lda"]', "subspaces.residual=false", "subspaces.steering=[]",
                                                             'subspaces.removals=["mean"]'))
        self.assertIn("add mean to", self.refused_by_all("subspaces.equal_energy=true", 'subspaces.removals=["resample"]'))
        self.assertIn("did you mean", self.refused_by_all('subspaces.further_bases=["leac"]'))

    def refused_by_all(self, *settings):
        work = self.folder / "refused all"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
        return run("subspaces", self.study, "--set", f"study.output={work}", *(word for setting in settings for word in ("--set", setting)), code=78, ranks=1)

    def test_steering_that_cannot_be_is_refused(self):
        for setting, said in (("subspaces.steering=[0]", '"0" must be a number other than 0'), ('subspaces.steering=["half"]', '"half" must be a number'),
                              ("subspaces.residual=false", "they need subspaces.residual = true")):
            self.assertIn(said, self.refused_by(setting))

    def refused_by(self, setting):
        work = self.folder / "refused"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
        return run("subspaces", self.study, "--set", f"study.output={work}", "--set", setting, code=78, ranks=1)

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

    def with_carry(self, name, ranks):
        work = self.folder / name
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
        run("subspaces", self.study, "--set", f"study.output={work}", "--set", "subspaces.carry=true", "--set", "subspaces.map_rows=2000", ranks=ranks)
        return datasets(work / "subspaces.h5")

    def test_carried_subspaces_act(self):
        found = self.with_carry("carried", RANKS)
        with h5py.File(self.folder / "carried/subspaces.h5") as f:
            kinds = json.loads(f.attrs["carried"])
            layers = [json.loads(f.attrs[f"layers_{side}"]) for side in "ab"]
        self.assertEqual(found["/carried/pairs"].tolist(), [[layers[0][-1], layers[1][-1]]])
        for direction, side in enumerate("ba"):  # the model carried into
            own = found["/carried/kl"][direction, kinds.index("own_residual")]
            np.testing.assert_array_equal(own, found[f"/{side}/kl"][1, 0, 1, 1])  # its own effects on the half of the documents that is held out
            np.testing.assert_array_equal(found["/carried/kl"][direction, kinds.index("own_sae")], found[f"/{side}/kl"][1, 0, 0, 1])
            self.assertEqual(found["/carried/ratio"][direction, kinds.index("own_residual")][0], 1)
        r2 = found["/carried/r2"]
        self.assertTrue((r2[:, 0] > 0.1).all() and (r2[:, 1] < 0.05).all(), r2)
        rows = found["/carried/rows"]
        self.assertTrue((rows > 0).all() and (rows[:, 0] + rows[:, 1] <= 2000).all() and (rows[:, 2] <= 2000).all(), rows)
        everything = datasets(self.file)
        self.assertEqual({name for name in found if not name.startswith("/carried/")}, set(everything))
        for name, value in everything.items():
            self.assertEqual(found[name].tobytes(), value.tobytes(), name)
        # Maps are equal to rounding at any number of ranks, and so are the changed rows, which are f32.
        for ranks in {1, 4} - {RANKS}:
            again = self.with_carry("carried ranks", ranks)
            for name in found:
                if name in ("/carried/kl", "/carried/loss", "/carried/energy", "/carried/r2", "/carried/ratio"):
                    np.testing.assert_allclose(again[name], found[name], rtol=1e-3, atol=1e-6, err_msg=f"{name} at {ranks} ranks")
                elif name in ("/carried/rows", "/carried/spans", "/carried/dimensions", "/carried/ridge"):
                    np.testing.assert_array_equal(again[name], found[name], name)

    def all_acts(self, name, ranks, *more):
        """Every way to act, in another folder; what lies in the file, and what was said."""
        work = self.folder / name
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.out, work, ignore=shutil.ignore_patterns("subspaces.h5*"))
        settings = ('subspaces.further_bases=["lda", "leace"]', "subspaces.equal_energy=true", "subspaces.carry=true", "subspaces.map_rows=2000", *more)
        said = run("subspaces", self.study, "--set", f"study.output={work}", *(word for setting in settings for word in ("--set", setting)), ranks=ranks)
        return datasets(work / "subspaces.h5"), said

    def test_layer_shards_change_no_bit(self):
        """Two shards and an idle rank, two replicas of two, beside as many ranks with the whole model each."""
        for ranks, shards, idle in ((3, 2, 1), (4, 2, 0)):
            expected, _ = self.all_acts("whole", ranks)
            found, said = self.all_acts("shards", ranks, f"extract.layer_shards={shards}")
            self.assertEqual(expected.keys(), found.keys())
            for name, value in expected.items():
                self.assertEqual(found[name].tobytes(), value.tobytes(), f"{name} at {ranks} ranks with {shards} shards")
            self.assertEqual(f"{idle} of {ranks} ranks measure no effects" in said, idle > 0, said)

    def test_layer_shards_are_no_other_result(self):
        self.assertNotIn("concord subspaces: OK", run("subspaces", self.study, "--set", "extract.layer_shards=2"))

    def test_what_goes_wrong_in_one_shard_ends_the_job(self):
        """The last block's weights are not finite: the last shard finds out while the first one is at the next context."""
        damaged = self.folder / "damaged"
        shutil.copytree(DEMO / "models/small", damaged, dirs_exist_ok=True)
        weights = bytearray((damaged / "model.safetensors").read_bytes())
        begin = 8 + int.from_bytes(weights[:8], "little")
        first, end = json.loads(weights[8:begin])["model.layers.5.mlp.down_proj.weight"]["data_offsets"]
        weights[begin + first:begin + end] = b"\xff\x7f" * ((end - first) // 2)  # bf16
        (damaged / "model.safetensors").write_bytes(weights)
        for shards, where in ((1, "error: "), (2, "error [rank 1 on ")):
            said = self.by_itself(self.folder / "damaged.h5", *self.small, "--model-a", damaged, "--model-b", DEMO / "models/large", "--layer-shards", shards,
                                  "--effect-occurrences", 2, code=65, ranks=2)
            self.assertIn("predictions are not finite", said)
            self.assertIn(where, said)
            self.assertFalse((self.folder / "damaged.h5").exists())

    def test_carrying_needs_effects(self):
        self.assertIn("subspaces.carry needs", run("subspaces", self.study, "--set", "subspaces.carry=true", "--set", "subspaces.effects=false", code=78))

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
        def refused(text, code, part, *more, ranks=1):
            lists = self.folder / "bad.tsv"
            lists.write_bytes(text if isinstance(text, bytes) else text.encode())
            said = self.by_itself(self.folder / "bad.h5", *self.small, *more, code=code, concepts=lists, ranks=ranks)
            self.assertIn(part, said)
            self.assertEqual(said.count("error:"), 1, said)
            self.assertFalse((self.folder / "bad.h5").exists())

        refused("concept\tphrase\nA\t\n", 65, "line 2", ranks=RANKS)
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
        self.assertIn("--max-q = 1.5 must be a number above 0 to 1", self.by_itself(self.folder / "bad.h5", "--max-q", "1.5", code=64, ranks=1))
        self.assertIn("no whole number", self.by_itself(self.folder / "bad.h5", "--k", "1e5", code=64, ranks=1))
        self.assertIn("did you mean", self.by_itself(self.folder / "bad.h5", "--value", "maxx", code=64, ranks=1))
        self.by_itself(self.folder / "bad.h5", *self.small, code=66, concepts=self.folder / "nothing.tsv", ranks=1)
        similarity = self.folder / "similarity.tsv"
        similarity.write_text("concept\tother\tlin\nHe\tShe\tnear\n")
        said = self.by_itself(self.folder / "bad.h5", *self.small, "--similarity", similarity, code=65, ranks=1)
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
