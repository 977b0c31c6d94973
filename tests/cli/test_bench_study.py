"""What bench/study.py sets beside concord computes the same on small matrices, by either of its ways, and its checks see what differs."""
import argparse
import json
import sys
import unittest

import h5py
import numpy as np
import scipy.sparse

from support import SOURCE, fresh, run

sys.path.insert(0, str(SOURCE / "bench"))
import study  # noqa: E402
import study_peer  # noqa: E402


def features(seed, rows, columns):
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(rows, columns, density=0.08, format="csr", random_state=rng, dtype=np.float32)
    matrix.data = rng.lognormal(size=matrix.nnz).astype(np.float32)
    return matrix


class BenchStudy(unittest.TestCase):
    def test_correlations_are_concords(self):
        folder = fresh("bench_study")
        a = features(1, 700, 60)
        b = scipy.sparse.hstack([a[:, 10:30] + features(2, 700, 20), features(3, 700, 25)], format="csr")
        b.data[b.indices == 44] = 0  # a dead feature
        for name, matrix in (("a", a), ("b", b)):
            scipy.sparse.save_npz(folder / f"{name}.npz", matrix)
        run("correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--best", 4, "--null-shifts", 2, "--max-q", 1, "--min-firings", 30, "--out", folder / "matches.h5")
        b.eliminate_zeros()
        counts = [np.bincount(m.indices, minlength=m.shape[1]) for m in (a, b)]
        with h5py.File(folder / "matches.h5") as f:
            found = study_peer.correlated(*(study_peer.standardised(m, *study_peer.moments(m)) for m in (a, b)), counts, json.loads(f.attrs["null_shifts"]), 4, 30)
            pair = f["layer_000_layer_000"]
            for side, name in (("a", "a_to_b"), ("b", "b_to_a")):
                own = pair[name]["r"][:]
                self.assertGreater((own > 0).sum(), 100)
                np.testing.assert_allclose(found[f"r_{side}"][own > 0], own[own > 0], rtol=0, atol=2e-5)
                np.testing.assert_allclose(found[f"null_{side}"], pair[name]["null_r"][:], rtol=0, atol=2e-5)
            np.testing.assert_array_equal(found["match"], pair["match/a"][:])
            self.assertGreater((found["match"] >= 0).sum(), 15)

    def test_scores_are_concords_by_either_way(self):
        folder = fresh("bench_study")
        rng = np.random.default_rng(4)
        x = rng.standard_normal((60, 12))
        y = np.concatenate([x[:, :8] + 0.7 * rng.standard_normal((60, 8)), rng.standard_normal((60, 7))], axis=1)
        for name, matrix in (("x", x), ("y", y)):
            np.save(folder / f"{name}.npy", matrix)
        run("compare", "--x", folder / "x.npy", "--y", folder / "y.npy", "--measures", "svcca,rsa", "--svcca-k", 5, "--permutations", 0, "--stratified-permutations", 0,
            "--json", folder / "out.json")
        own = json.loads((folder / "out.json").read_text())
        orders = [np.arange(60), *(rng.permutation(60) for _ in range(5))]
        anew, kept = study_peer.scores_anew(x, y, 5, orders), study_peer.scores_kept(x, y, 5, orders)
        for measure, of_anew, of_kept in zip(("svcca", "rsa"), anew, kept):
            np.testing.assert_allclose(of_kept, of_anew, rtol=0, atol=1e-12)
            self.assertAlmostEqual(own[measure]["score"], of_anew[0], delta=1e-6)

    def test_codes_that_changed_places_are_no_difference(self):
        own = np.array([[3, 2, 1, 0], [0, 5, 4, 3], [0, 0, 0, 0]], np.float32)
        peer = own.copy()
        peer[0] = [3, 2, 0, 1.0003]  # the third was nearly the fourth
        difference, exchanged = study.difference_of_codes(scipy.sparse.csr_matrix(own), scipy.sparse.csr_matrix(peer))
        self.assertAlmostEqual(difference, 0.0003 / 3, places=6)
        self.assertAlmostEqual(exchanged, 1 / 3)
        peer[1, 2] = 4.5
        self.assertAlmostEqual(study.difference_of_codes(scipy.sparse.csr_matrix(own), scipy.sparse.csr_matrix(peer))[0], 0.5 / 3, places=6)
        peer[1] = [9, 5, 4, 0]  # another latent altogether
        self.assertAlmostEqual(study.difference_of_codes(scipy.sparse.csr_matrix(own), scipy.sparse.csr_matrix(peer))[0], 6 / 3, places=6)

    def test_a_run_that_goes_on_has_the_same_plan(self):
        folder = fresh("bench_study")
        words = {"large": False, "parts": True, "resume": True, "tokens": 0, "threads": 2, "work": folder}
        o = argparse.Namespace(**words)
        self.assertEqual(study.earlier_results(o, study.make_plan(o)), [])
        (folder / "stages.json").write_text('[{"good": true}]')
        with self.assertRaisesRegex(SystemExit, "other options"):  # nothing says what it was made with
            study.earlier_results(o, study.make_plan(o))
        (folder / "plan.json").write_text(json.dumps(study.make_plan(o) | {"rows": 7}))
        self.assertEqual(study.earlier_results(o, study.make_plan(o)), [{"good": True}])
        for word, value, differs in (("parts", False, "part"), ("tokens", 9000, "sae_rows, steps, tokens"), ("threads", 1, "threads")):
            with self.subTest(word), self.assertRaisesRegex(SystemExit, rf"\({differs}\)"):
                other = argparse.Namespace(**words | {word: value})
                study.earlier_results(other, study.make_plan(other))

    def test_what_took_nothing_has_no_ratio(self):
        took = {"seconds": 2.0, "cores": 3.0, "peak": 10.0, "files": 1, "bytes": 0}
        self.assertEqual(study.row("x", took | {"peak": 0.0}, took), "| x | 2.0 | 2.0 | 1.0 | 3.0 | 3.0 | 1.0 | 0 | 10 | - | 1: 0 | 1: 0 |")

    def test_pairs_without_a_match(self):
        folder = fresh("bench_study")
        plan = {"models": {side: {"layers": [0]} for side in "ab"}, "concord": folder, "peer": folder, "part": {"layers": 0, "columns": 0}}
        none = {"r": np.zeros((3, 2)), "null_r": np.zeros((1, 3))}
        with h5py.File(folder / "matches.h5", "w") as f:
            for name, values in [(f"{way}/{what}", of) for way in ("a_to_b", "b_to_a") for what, of in none.items()] + [("match/a", np.full(3, -1))]:
                f[f"layer_000_layer_000/{name}"] = values
        for match, good in ((-1, True), (1, False)):
            of_sides = {f"{what}_{side}": none[name] for what, name in (("r", "r"), ("null", "null_r")) for side in "ab"}
            np.savez(folder / "pair_0_0.npz", match=np.array([-1, match, -1]), **of_sides)
            agreement = study.Agreement()
            study.agree_correlate(plan, agreement)
            self.assertEqual(agreement.good, good)

    def test_a_difference_is_seen(self):
        agreement = study.Agreement()
        agreement.hold("small", 1e-6, 1e-4)
        self.assertTrue(agreement.good)
        agreement.hold("undefined", float("nan"), 1e-4)
        self.assertFalse(agreement.good)


if __name__ == "__main__":
    unittest.main()
