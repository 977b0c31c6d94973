"""`verify` finds bytes that changed: each kind of file, changed at many places, is refused or reads the same."""
import json
import random
import shutil
import unittest

import h5py

from support import alone, datasets, fresh, run, small_study

FILES = ["tokens.h5", "a/activations.h5", "a/features.h5.layers/layer_002.h5", "matches.h5", "similarity.h5", "subspaces.h5"]
PLACES = 8


def verify(path):
    return alone("verify", path)


def contents(path):
    """Values and attributes of a file, or why they cannot be read."""
    try:
        with h5py.File(path) as f:
            attributes = {k: v.tobytes() if hasattr(v, "tobytes") else v for k, v in f.attrs.items()}
        return {name: value.tobytes() for name, value in datasets(path).items()}, attributes
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of h5py
        return str(error)


class Verify(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("verify")
        cls.study = small_study(cls.folder, corpus__max_tokens=1500, sae__steps=20, compare__permutations=5)
        run("run", cls.study)
        cls.out = cls.folder / "out"

    def test_whole_files_are_right(self):
        for name in [*FILES, "a/features.h5", "b/features.h5", "a/saes/layer_002"]:
            code, said = verify(self.out / name)
            self.assertEqual(code, 0, said)

    def test_files_take_at_most_what_plan_says(self):
        """Null distributions of stratified pairings and of subsets are most of what compare writes here."""
        more = ["--set", "compare.measures=[\"cka\",\"procrustes\"]", "--set", "compare.permutations=9", "--set", "compare.stratified_permutations=9999"]
        out = self.folder / "planned"
        shutil.copytree(self.out, out)
        (out / "similarity.h5").unlink()
        run("compare", self.study, "--set", f"study.output={out}", *more)
        plan = json.loads(run("plan", self.study, "--set", f"study.output={out}", *more, "--json", ranks=1))
        disk = {stage["stage"]: stage["disk"] for stage in plan["stages"]}
        wrote = {"tokenize": ["tokens.h5"], "extract a": ["a/activations.h5"], "extract b": ["b/activations.h5"], "train-sae": ["a/saes", "b/saes"],
                 "encode": ["a/features.h5", "a/features.h5.layers", "b/features.h5", "b/features.h5.layers"], "correlate": ["matches.h5"],
                 "compare": ["similarity.h5"], "subspaces": ["subspaces.h5"]}
        self.assertEqual(set(wrote), set(disk))
        for stage, names in wrote.items():
            paths = [path for name in names for path in ((out / name).rglob("*") if (out / name).is_dir() else [out / name])]
            took = sum(path.stat().st_size for path in paths if path.is_file())
            self.assertLessEqual(took, disk[stage], stage)
            self.assertGreater(took, disk[stage] / 20, f"{stage}: the plan says nothing")

    def test_a_file_and_the_next_are_read_by_ranks_and_told_in_order(self):
        damaged = self.folder / "one.h5"
        damaged.write_bytes((self.out / "tokens.h5").read_bytes())
        with h5py.File(damaged, "r+") as f:
            f["tokens"][3] += 1
        said = run("verify", self.out / "tokens.h5", damaged, self.out / "matches.h5", code=65)
        self.assertEqual([line.split(": OK")[0] for line in said.splitlines() if ": OK" in line], [str(self.out / "tokens.h5")])
        self.assertEqual(said.count("concord: error"), 1, said)
        said = run("verify", *(self.out / name for name in FILES))
        self.assertEqual([line.split(": OK")[0] for line in said.splitlines() if ": OK" in line], [str(self.out / name) for name in FILES])

    def test_changed_bytes_are_found(self):
        chance = random.Random(4)
        found = 0
        for name in FILES:
            whole = (self.out / name).read_bytes()
            right = contents(self.out / name)
            damaged = self.folder / "damaged.h5"
            for _ in range(PLACES):
                place = chance.randrange(len(whole))
                damaged.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << chance.randrange(8))]) + whole[place + 1:])
                code, said = verify(damaged)
                self.assertIn(code, (0, 65, 74, 78), f"{name} at {place}: {said}")
                if code == 0:
                    now = contents(damaged)
                    self.assertTrue(isinstance(now, str) or now[0] == right[0], f"{name}: byte {place} changed a value and was not seen")
                found += code != 0
        self.assertGreater(found, 5)

    def test_weights_that_changed_are_found(self):
        sae = self.folder / "sae"
        shutil.rmtree(sae, ignore_errors=True)
        shutil.copytree(self.out / "a/saes/layer_002", sae)
        weights = bytearray((sae / "sae_weights.safetensors").read_bytes())
        weights[-3] ^= 1
        (sae / "sae_weights.safetensors").write_bytes(weights)
        code, said = verify(sae)
        self.assertEqual(code, 65, said)
        self.assertIn("other weights than were trained", said)

    def test_damaged_records_end_with_one_line(self):
        for name, spoil in {"similarity.h5": lambda f: f.attrs.__setitem__("measures", b"{"), "matches.h5": lambda f: f.attrs.__setitem__("layers_a", b"[\"x\"]")}.items():
            damaged = self.folder / "damaged.h5"
            shutil.copy(self.out / name, damaged)
            with h5py.File(damaged, "r+") as f:
                spoil(f)
            code, said = verify(damaged)
            self.assertEqual(code, 65, said)

    def test_matches_without_all_their_values_are_refused(self):
        """Each dataset by another that holds fewer values, and no digest: verify and compare end with one line."""
        pair = "layer_002_layer_004"
        saes = ["--saes-a", self.out / "a/saes", "--saes-b", self.out / "b/saes", "--permutations", 3, "--out", self.folder / "damaged_similarity.h5"]
        for name, kept in (("filter_counts", 0), ("match/r", 0), ("match/r", 3), ("b_to_a/r", 0), ("b_to_a/count", 1)):
            damaged = self.folder / "damaged.h5"
            shutil.copy(self.out / "matches.h5", damaged)
            with h5py.File(damaged, "r+") as f:
                values = f[f"{pair}/{name}"][:kept]
                del f[f"{pair}/{name}"]
                f[f"{pair}/{name}"] = values
            for stage, (code, said) in (("verify", verify(damaged)), ("compare", alone("compare", "--matches", damaged, *saes))):
                with self.subTest(name=name, kept=kept, stage=stage):
                    self.assertEqual(code, 65, said)
                    self.assertEqual(said.count("concord: error"), 1, said)
                    self.assertIn(pair, said)

    def test_records_of_a_training_name_its_weights(self):
        self.assertEqual(len(json.loads((self.out / "a/saes/layer_002/training.json").read_text())["weights_digest"]), 32)


if __name__ == "__main__":
    unittest.main()
