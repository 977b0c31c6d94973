"""correlate by itself on scipy CSR files equals numpy.corrcoef on densified data."""
import csv
import json
import unittest

import h5py
import numpy as np
import scipy.optimize
import scipy.sparse

from support import fresh, run


def features(seed, rows, columns):
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(rows, columns, density=0.08, format="csr", random_state=rng, dtype=np.float32)
    matrix.data = rng.lognormal(size=matrix.nnz).astype(np.float32)
    return matrix


def greedy(r, floor):
    """A's feature of each of B's, largest r first."""
    chosen, taken = np.full(r.shape[1], -1), set()
    for at in np.argsort(-r, axis=None, kind="stable"):
        i, j = np.unravel_index(at, r.shape)
        if r[i, j] > floor and chosen[j] < 0 and i not in taken:
            chosen[j] = i
            taken.add(i)
    return chosen


class CorrelateNumpy(unittest.TestCase):
    def test_equals_corrcoef(self):
        self.check_corrcoef(fresh("numpy"), "--device", "cpu")

    def test_a_gpus_kernels_equal_corrcoef(self):
        self.check_corrcoef(fresh("gpu"), "--device", "emulated", "--gpu-memory-gib", 1e-4)  # 107 KB: in chunks

    def check_corrcoef(self, folder, *flags):
        a, b = features(1, 700, 60), features(2, 700, 45)
        b = b.tolil()
        b[:, 7] = a[:, 11]  # one feature in common
        b = b.tocsr()
        b.data[::50] = 0  # stored zeros are no activity
        scipy.sparse.save_npz(folder / "a.npz", a)
        scipy.sparse.save_npz(folder / "b.npz", b, compressed=False)
        run("correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--best", 6, "--null-shifts", 1, "--max-q", 1, "--matrix", "--csv", folder / "m.csv",
            "--out", folder / "matches.h5", *flags)
        a, b = (m.toarray().astype(np.float64) for m in (a, b))
        r = np.corrcoef(a.T, b.T)[:60, 60:]
        cofire = (a != 0).astype(np.int64).T @ (b != 0).astype(np.int64)
        together = np.where(cofire > 0, r, -np.inf)
        with h5py.File(folder / "matches.h5") as f:
            pair = f["layer_000_layer_000"]
            for side, values, counts, full in (("a_to_b", together, cofire, r), ("b_to_a", together.T, cofire.T, r.T)):
                order = np.argsort(-values, axis=1, kind="stable")[:, :6]
                np.testing.assert_array_equal(pair[side]["partner"][:], order)
                np.testing.assert_allclose(pair[side]["r"][:], np.take_along_axis(full, order, 1), rtol=0, atol=1e-12)
                np.testing.assert_array_equal(pair[side]["cofire"][:], np.take_along_axis(counts, order, 1))
            best_a, best_b = r.argmax(0), r.argmax(1)
            mutual = best_b[best_a] == np.arange(45)
            np.testing.assert_array_equal(pair["mutual"][:], mutual)
            self.assertEqual(pair["b_to_a/partner"][7, 0], 11)
            shifted = np.corrcoef(a.T, np.roll(b, -350, 0).T)[:60, 60:]
            np.testing.assert_allclose(pair["b_to_a/null_r"][0], shifted.max(0), rtol=0, atol=1e-12)
            np.testing.assert_allclose(pair["a_to_b/null_r"][0], shifted.max(1), rtol=0, atol=1e-12)
            self.check_match(pair, a, b, r, cofire, mutual)
            self.check_summary(dict(zip(json.loads(f.attrs["summary_columns"]), pair["summary"][:])), a, b, r)
            matched = pair["match/a"][:]
        with h5py.File(folder / "matches.h5.matrix" / "layer_000_layer_000.h5") as f:
            np.testing.assert_allclose(f["r"][:], r, rtol=0, atol=1e-7)
        with open(folder / "m.csv", newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual([(int(row["a"]), int(row["b"])) for row in rows], [(int(matched[j]), int(j)) for j in np.flatnonzero(matched >= 0)])
        np.testing.assert_array_equal([float(row["r"]) for row in rows], [r_of for r_of in self.match_r[matched >= 0]])
        self.assertIn("matches of 1 x 1 layers", run("verify", folder / "matches.h5", ranks=1))

    def test_sampled_null(self):
        """Each value is the best r of its feature at its shift; the sample hangs on the seed alone, and not on a setting that takes all."""
        folder = fresh("sampled")
        a, b = features(11, 500, 90), features(12, 500, 70)
        scipy.sparse.save_npz(folder / "a.npz", a)
        scipy.sparse.save_npz(folder / "b.npz", b)
        inputs = ["correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--min-firings", 1, "--null-shifts"]
        few, inputs = inputs, [*inputs, 26]
        run(*inputs, "--null-features", 10, "--seed", 4, "--out", folder / "some.h5")
        run(*inputs, "--null-features", 10, "--seed", 5, "--out", folder / "other.h5")
        run(*inputs, "--null-features", 23, "--out", folder / "all.h5")
        for everything in (0, 9):  # 9 x 26 < 256
            run(*inputs, "--null-features", everything, "--out", folder / "all.h5")  # is done
        for two_or_three in (2, 3):  # a thirty-second of 90 and of 70 is 3
            run(*few, 90, "--null-features", two_or_three, "--out", folder / "thirty_second.h5")  # is done the second time
        a, b = (m.toarray().astype(np.float64) for m in (a, b))
        with h5py.File(folder / "some.h5") as f, h5py.File(folder / "other.h5") as other, h5py.File(folder / "all.h5") as whole:
            self.assertEqual(f.attrs["null_features"], b"10")
            shifts = json.loads(f.attrs["null_shifts"])
            for side, axis, count in (("a_to_b", 1, 90), ("b_to_a", 0, 70)):
                group = f[f"layer_000_layer_000/{side}"]
                all_features = whole[f"layer_000_layer_000/{side}"]
                self.assertEqual(all_features["null_r"].shape, (26, count))
                self.assertNotIn("null_feature", all_features)
                feature, shift, r = group["null_feature"][:], group["null_shift"][:], group["null_r"][:]
                self.assertEqual(feature.shape, (260,))
                self.assertFalse((feature == other[f"layer_000_layer_000/{side}/null_feature"][:]).all())
                for s, rows in enumerate(shifts):
                    best = np.corrcoef(a.T, np.roll(b, -rows, 0).T)[:90, 90:].max(axis)
                    here = shift == s
                    self.assertGreater(here.sum(), 5)
                    np.testing.assert_allclose(r[here], best[feature[here]], rtol=0, atol=1e-12)
                self.assertTrue(((0 < group["p"][:]) & (group["p"][:] <= 1)).all())
                self.assertAlmostEqual(group["null_weight"][:].sum() / count, 1, delta=0.1)
        self.assertIn("matches of 1 x 1 layers", run("verify", folder / "some.h5", ranks=1))

    def test_coactive_matrix(self):
        """Of all correlations those of features that are active together, with their counts; the same bits as in the whole matrix."""
        folder = fresh("coactive")
        a, b = features(8, 150, 70), features(9, 150, 33)  # so few rows that many features never meet
        a.data[a.indices == 5] = 0  # a dead feature
        scipy.sparse.save_npz(folder / "a.npz", a)
        scipy.sparse.save_npz(folder / "b.npz", b)
        inputs = ["correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--null-shifts", 0]
        run(*inputs, "--matrix", "--out", folder / "all.h5")
        run(*inputs, "--matrix-coactive", "--out", folder / "coactive.h5")
        a, b = (m.toarray() != 0 for m in (a, b))
        cofire = a.astype(np.int64).T @ b.astype(np.int64)
        self.assertTrue(0 < (cofire == 0).sum() < cofire.size)
        name = "layer_000_layer_000.h5"
        with h5py.File(folder / "all.h5.matrix" / name) as whole, h5py.File(folder / "coactive.h5.matrix" / name) as f:
            rows = [scipy.sparse.csr_matrix((f[values][:], f["indices"][:], f["indptr"][:]), shape=f["shape"][:]) for values in ("r", "cofire")]
            self.assertTrue(rows[0].has_sorted_indices)
            self.assertEqual(rows[1].nnz, (cofire > 0).sum())
            np.testing.assert_array_equal(rows[1].toarray(), cofire)
            np.testing.assert_array_equal(rows[0].toarray(), np.where(cofire > 0, whole["r"][:], 0))
        self.assertEqual(sorted(path.name for path in (folder / "coactive.h5.matrix").iterdir()), [name])
        self.assertIn(f"70 x 33 features, {(cofire > 0).sum()} pairs", run("verify", folder / "coactive.h5.matrix" / name, ranks=1))
        self.assertIn("70 x 33 features", run("verify", folder / "all.h5.matrix" / name, ranks=1))
        with h5py.File(folder / "all.h5.matrix" / name, "r+") as whole:
            whole["r"][60, 30] = np.nan
        self.assertIn("hold other values than were written", run("verify", folder / "all.h5.matrix" / name, ranks=1, code=65))

    def check_match(self, pair, a, b, r, cofire, mutual):
        """Matches of mutual best partners: r, the lead over either runner-up, IoU and phi by their definitions."""
        fires_a, fires_b = a != 0, b != 0
        self.match_r = pair["match/r"][:]
        for j in range(45):
            i = int(r[:, j].argmax())
            if not (mutual[j] and r[i, j] > 0 and fires_a[:, i].sum() >= 10 and fires_b[:, j].sum() >= 10):
                self.assertEqual(pair["match/a"][j], -1)
                self.assertTrue(np.isnan(self.match_r[j]))
                continue
            self.assertEqual(pair["match/a"][j], i)
            other = max(0, np.delete(r[i], j).max(), np.delete(r[:, j], i).max())
            self.assertAlmostEqual(pair["match/margin"][j], r[i, j] - other, places=11)
            union = (fires_a[:, i] | fires_b[:, j]).sum()
            self.assertAlmostEqual(pair["match/iou"][j], cofire[i, j] / union, places=12)
            self.assertAlmostEqual(pair["match/phi"][j], np.corrcoef(fires_a[:, i], fires_b[:, j])[0, 1], places=12)

    def check_summary(self, summary, a, b, r):
        self.assertAlmostEqual(summary["mppc_a"], r.max(1).mean(), places=12)
        self.assertAlmostEqual(summary["mppc_b"], r.max(0).mean(), places=12)
        self.assertAlmostEqual(summary["wmppc_a"], np.average(r.max(1), weights=a.sum(0)), places=12)
        self.assertAlmostEqual(summary["wmppc_b"], np.average(r.max(0), weights=b.sum(0)), places=12)
        self.assertEqual(summary["above_fixed_b"], (r.max(0) > 0.1).sum())

    def test_optimal_equals_scipy(self):
        """The optimal matching of all pairs, from four candidates a feature, with the proof that the others don't matter."""
        folder = fresh("optimal")
        rng = np.random.default_rng(7)
        common = features(3, 900, 50).toarray()
        a = common + 0.7 * features(4, 900, 50).toarray()
        b = common[:, rng.integers(0, 50, 44)] + 0.7 * features(5, 900, 44).toarray()  # some features of A have several heirs
        np.save(folder / "a.npy", a.astype(np.float32))
        np.save(folder / "b.npy", b.astype(np.float32))
        flags = ["--a", folder / "a.npy", "--b", folder / "b.npy", "--null-shifts", 0, "--min-r", 0.05, "--min-firings", 1]
        run("correlate", *flags, "--pairing", "optimal", "--best", 2, "--out", folder / "m.h5")
        run("correlate", *flags, "--pairing", "optimal", "--best", 2, "--out", folder / "gpu.h5", "--device", "emulated")
        r = np.corrcoef(a.astype(np.float32).T.astype(np.float64), b.astype(np.float32).T.astype(np.float64))[:50, 50:]
        gain = np.maximum(r - 0.05, 0)
        rows, columns = scipy.optimize.linear_sum_assignment(gain, maximize=True)
        with h5py.File(folder / "m.h5") as f:
            pair = f["layer_000_layer_000"]
            matched = pair["match/a"][:]
            kept = np.flatnonzero(matched >= 0)
            self.assertEqual(len(set(matched[kept])), len(kept))
            self.assertAlmostEqual(gain[matched[kept], kept].sum(), gain[rows, columns].sum(), places=8)
            summary = dict(zip(json.loads(f.attrs["summary_columns"]), pair["summary"][:]))
            with h5py.File(folder / "gpu.h5") as gpu:
                np.testing.assert_array_equal(gpu["layer_000_layer_000/match/a"][:], matched)
                np.testing.assert_array_equal(gpu["layer_000_layer_000/summary"][:], pair["summary"][:])
        self.assertEqual(summary["optimal"], 1)
        self.assertGreater(summary["added"], 0)  # two candidates a feature were not enough, and it was noticed
        run("correlate", *flags, "--pairing", "greedy", "--best", 50, "--out", folder / "g.h5")
        with h5py.File(folder / "g.h5") as f:
            np.testing.assert_array_equal(f["layer_000_layer_000/match/a"][:], greedy(r, 0.05))

    def test_refuses_different_rows(self):
        folder = fresh("rows")
        scipy.sparse.save_npz(folder / "a.npz", features(1, 100, 10))
        scipy.sparse.save_npz(folder / "b.npz", features(2, 90, 10))
        output = run("correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--out", folder / "m.h5", code=65)
        self.assertIn("rows must be the same tokens", output)


if __name__ == "__main__":
    unittest.main()
