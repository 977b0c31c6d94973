"""Stage `graph` on three models that share a known set of features: cycles and components against a plain count, beside chance."""
import json
import unittest

import h5py
import numpy as np
import scipy.sparse

from support import RANKS, datasets, fresh, run

ROWS, FEATURES, SHARED = 3000, 60, 24
PAIRS = [("x", "y"), ("x", "z"), ("z", "y")]  # the last against the order of the models
LAYER = "layer_000"
SHIFTS = {"x": "0", "y": "0.334", "z": "0.667"}  # shares of the rows by which models are moved


def model(seed):
    """Rows x features: the first SHARED columns fire nearly together in all models, the others each by itself; columns in an order of its own."""
    common, own = np.random.default_rng(7), np.random.default_rng(seed)
    fires = common.random((ROWS, SHARED)) < 0.03
    fires = np.hstack([fires & (own.random(fires.shape) < 0.9), own.random((ROWS, FEATURES - SHARED)) < 0.03])
    x = fires * own.uniform(0.5, 1.5, fires.shape)
    place = own.permutation(FEATURES)
    columns = np.empty_like(x)
    columns[:, place] = x
    return columns.astype(np.float32), place[:SHARED]


def links(matches, shifted=None):
    """Best partners both ways, and which of them are mutual and beyond chance."""
    with h5py.File(matches) as f, h5py.File(shifted or matches) as s:
        group = s[f"{LAYER}_{LAYER}"]
        best = {side: group[f"{side}/partner"][:, 0] for side in ("a_to_b", "b_to_a")}
        r = {side: group[f"{side}/r"][:, 0] for side in best}
        threshold = {side: f[f"{LAYER}_{LAYER}/{side}/threshold"][:] for side in best}
    mutual = {(a, b): r["a_to_b"][a] for a, b in enumerate(best["a_to_b"])
              if b >= 0 and best["b_to_a"][b] == a and r["a_to_b"][a] > threshold["a_to_b"][a] and r["a_to_b"][a] > threshold["b_to_a"][b]}
    return best, mutual


class Graph(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("graph")
        cls.places = {}
        for seed, name in enumerate("xyz"):
            x, cls.places[name] = model(seed)
            scipy.sparse.save_npz(cls.folder / f"{name}.npz", scipy.sparse.csr_matrix(x))
        cls.words = []
        for a, b in PAIRS:
            inputs = ["correlate", "--a", cls.folder / f"{a}.npz", "--b", cls.folder / f"{b}.npz"]
            run(*inputs, "--out", cls.folder / f"{a}{b}.h5")
            run(*inputs, "--shift-a", SHIFTS[a], "--shift-b", SHIFTS[b], "--out", cls.folder / f"{a}{b}_shifted.h5")
            cls.words += ["--matches", f"{a}:{b}={cls.folder}/{a}{b}.h5", "--shifted", f"{a}:{b}={cls.folder}/{a}{b}_shifted.h5"]
        cls.said = run("graph", *cls.words, "--out", cls.folder / "graph.h5")

    def all_links(self, shifted):
        """{from: {to: (best, mutual)}} as dictionaries of features."""
        found = {}
        for a, b in PAIRS:
            best, mutual = links(self.folder / f"{a}{b}.h5", self.folder / f"{a}{b}_shifted.h5" if shifted else None)
            found[a, b] = ({i: j for i, j in enumerate(best["a_to_b"]) if j >= 0}, {i: j for i, j in mutual})
            found[b, a] = ({i: j for i, j in enumerate(best["b_to_a"]) if j >= 0}, {j: i for i, j in mutual})
        return found

    def test_cycles_are_those_of_a_plain_count(self):
        with h5py.File(self.folder / "graph.h5") as f:
            cycle = f["cycles/0"]
            self.assertEqual(json.loads(cycle.attrs["models"]), ["x", "y", "z"])
            for shifted, prefix in ((False, ""), (True, "shifted_")):
                found = self.all_links(shifted)
                for kind, name in enumerate(("best", "mutual")):
                    xy, yz, zx = (found[pair][kind] for pair in (("x", "y"), ("y", "z"), ("z", "x")))
                    ends = {i: zx[yz[xy[i]]] for i in xy if xy[i] in yz and yz[xy[i]] in zx}
                    self.assertEqual(cycle[prefix + name][0, 0, 0].tolist(), [len(ends), sum(i == end for i, end in ends.items())])

    def test_what_is_shared_closes_and_what_is_shifted_does_not(self):
        with h5py.File(self.folder / "graph.h5") as f:
            begun, closed = f["cycles/0/mutual"][0, 0, 0]
            self.assertGreaterEqual(closed, SHARED)
            self.assertLess(closed, SHARED + 3)
            self.assertLess(f["cycles/0/shifted_mutual"][0, 0, 0, 1], 3)
            self.assertLess(f["cycles/0/shifted_best"][0, 0, 0, 1], 6)
            self.assertTrue(np.all(f["found"][:, 2] >= SHARED) and np.all(f["found"][:, 2] < SHARED + 4), f["found"][:])
            self.assertTrue(np.all(f["shifted_found"][:, 2] < 4), f["shifted_found"][:])
            np.testing.assert_array_equal(f["found"][:].sum(1), FEATURES)
            component = {name: f[f"features/{name}/{LAYER}"][:] for name in "xyz"}
        for places in zip(*(self.places[name] for name in "xyz")):
            numbers = {int(component[name][place]) for name, place in zip("xyz", places)}
            self.assertEqual(len(numbers), 1)
            self.assertNotIn(-1, numbers)

    def test_components_are_those_of_a_plain_search(self):
        found = self.all_links(False)
        neighbours = {(name, i): set() for name in "xyz" for i in range(FEATURES)}
        for (a, b), (_, mutual) in found.items():
            for i, j in mutual.items():
                neighbours[a, i].add((b, j))
        seen, sizes = set(), {}
        for node in neighbours:
            group, open_nodes = set(), [node]
            while open_nodes:
                one = open_nodes.pop()
                if one not in group:
                    group.add(one)
                    open_nodes += neighbours[one]
            sizes[node] = len({name for name, _ in group})
            seen |= group
        with h5py.File(self.folder / "graph.h5") as f:
            counts = [[sum(sizes[name, i] == m for i in range(FEATURES)) for m in (1, 2, 3)] for name in "xyz"]
            self.assertEqual(f["found"][:].tolist(), counts)
            self.assertTrue(np.all((f["components"][:] > 0).sum(1) >= 2))

    def test_loops_of_moved_rows_compare_rows_with_themselves(self):
        """Models whose rows are moved beforehand stand beside each other again: each link, and each loop over three models, is that of the rows as they were."""
        words = []
        for name in "xyz":
            rows = int(float(SHIFTS[name]) * ROWS)
            scipy.sparse.save_npz(self.folder / f"{name}_moved.npz", scipy.sparse.csr_matrix(np.roll(model("xyz".index(name))[0], rows, axis=0)))
        for a, b in PAIRS:
            out = self.folder / f"{a}{b}_back.h5"
            run("correlate", "--a", self.folder / f"{a}_moved.npz", "--b", self.folder / f"{b}_moved.npz", "--shift-a", SHIFTS[a], "--shift-b", SHIFTS[b], "--out", out)
            words += ["--matches", f"{a}:{b}={out}"]
        run("graph", *words, "--out", self.folder / "back.h5")
        with h5py.File(self.folder / "back.h5") as back, h5py.File(self.folder / "graph.h5") as f:
            np.testing.assert_array_equal(back["cycles/0/best"][:], f["cycles/0/best"][:])

    def test_chance_closes_as_many_loops_of_moved_rows_as_of_others(self):
        """Three models that share nothing: features that fire often enough close loops by the algebra of correlations alone."""
        names, closed = "uvw", {"best": 0, "shifted_best": 0}
        for seed in range(3):
            for number, name in enumerate(names):
                x = np.random.default_rng([seed, number]).random((600, 200)) < 0.01
                scipy.sparse.save_npz(self.folder / f"{name}.npz", scipy.sparse.csr_matrix(x.astype(np.float32)))
            words = []
            for a, b in (("u", "v"), ("u", "w"), ("v", "w")):
                inputs = ["correlate", "--a", self.folder / f"{a}.npz", "--b", self.folder / f"{b}.npz", "--null-shifts", 1, "--force"]
                run(*inputs, "--out", self.folder / f"{a}{b}.h5")
                run(*inputs, "--shift-a", names.index(a) / 3, "--shift-b", names.index(b) / 3, "--out", self.folder / f"{a}{b}_shifted.h5")
                words += ["--matches", f"{a}:{b}={self.folder}/{a}{b}.h5", "--shifted", f"{a}:{b}={self.folder}/{a}{b}_shifted.h5"]
            run("graph", *words, "--out", self.folder / "chance.h5", "--force")
            with h5py.File(self.folder / "chance.h5") as f:
                for kind in closed:
                    closed[kind] += int(f[f"cycles/0/{kind}"][0, 0, 0, 1])
        self.assertGreater(closed["best"], 30, closed)  # far more than 3 x 200 / 200
        self.assertLess(abs(closed["best"] - closed["shifted_best"]), 4 * np.sqrt(closed["best"] + closed["shifted_best"]), closed)

    def test_ranks_do_not_matter(self):
        other = self.folder / "other.h5"
        run("graph", *self.words, "--out", other, ranks=3 if RANKS == 1 else 1)
        one, two = datasets(self.folder / "graph.h5"), datasets(other)
        self.assertEqual(one.keys(), two.keys())
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
        self.assertIn("is done", run("graph", *self.words, "--out", other))
        self.assertIn("cycles of 1 triples", run("verify", other, ranks=1))

    def test_what_does_not_fit_is_refused(self):
        two = self.words[:8]
        self.assertIn("graph needs three models", run("graph", *two, "--out", self.folder / "none.h5", code=78))
        self.assertIn("write A:B=FILE", run("graph", "--matches", "xy.h5", "--out", self.folder / "none.h5", code=64))
        self.assertIn("of all pairs, or of none", run("graph", *self.words[:-2], "--out", self.folder / "none.h5", code=78))
        self.assertIn("stand there twice", run("graph", *self.words, "--matches", f"y:x={self.folder}/xy.h5", "--out", self.folder / "none.h5", code=64))
        small = self.folder / "small.npz"
        scipy.sparse.save_npz(small, scipy.sparse.csr_matrix(model(2)[0][:, :50]))
        run("correlate", "--a", small, "--b", self.folder / "y.npz", "--out", self.folder / "small.h5")
        same = ["--matches", f"x:y={self.folder}/xy.h5", "--matches", f"x:z={self.folder}/xy.h5", "--matches", f"y:z={self.folder}/zy.h5"]
        self.assertIn("made from other features", run("graph", *same, "--out", self.folder / "none.h5", code=65))
        words = ["--matches", f"x:y={self.folder}/xy.h5", "--matches", f"x:z={self.folder}/xz.h5", "--matches", f"z:y={self.folder}/small.h5"]
        self.assertIn("made from other features of model z", run("graph", *words, "--out", self.folder / "none.h5", code=65))


if __name__ == "__main__":
    unittest.main()
