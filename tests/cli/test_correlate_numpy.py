"""correlate by itself on scipy CSR files equals numpy.corrcoef on densified data."""
import unittest

import h5py
import numpy as np
import scipy.sparse

from support import fresh, run


def features(seed, rows, columns):
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(rows, columns, density=0.08, format="csr", random_state=rng, dtype=np.float32)
    matrix.data = rng.lognormal(size=matrix.nnz).astype(np.float32)
    return matrix


class CorrelateNumpy(unittest.TestCase):
    def test_equals_corrcoef(self):
        folder = fresh("numpy")
        a, b = features(1, 700, 60), features(2, 700, 45)
        b = b.tolil()
        b[:, 7] = a[:, 11]  # one feature in common
        b = b.tocsr()
        b.data[::50] = 0  # stored zeros are no activity
        scipy.sparse.save_npz(folder / "a.npz", a)
        scipy.sparse.save_npz(folder / "b.npz", b, compressed=False)
        run("correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--best", 6, "--out", folder / "matches.h5")
        r = np.corrcoef(a.toarray().astype(np.float64).T, b.toarray().astype(np.float64).T)[:60, 60:]
        fires = [(m.toarray() > 0).astype(np.int64) for m in (a, b)]
        cofire = fires[0].T @ fires[1]
        with h5py.File(folder / "matches.h5") as f:
            pair = f["layer_000_layer_000"]
            for side, values, together in (("a_to_b", r, cofire), ("b_to_a", r.T, cofire.T)):
                order = np.argsort(-values, axis=1, kind="stable")[:, :6]
                np.testing.assert_array_equal(pair[side]["partner"][:], order)
                np.testing.assert_allclose(pair[side]["r"][:], np.take_along_axis(values, order, 1), rtol=0, atol=1e-12)
                np.testing.assert_array_equal(pair[side]["cofire"][:], np.take_along_axis(together, order, 1))
            best_a, best_b = r.argmax(0), r.argmax(1)
            mutual = best_b[best_a] == np.arange(45)
            np.testing.assert_array_equal(pair["mutual"][:], mutual)
            self.assertEqual(pair["b_to_a/partner"][7, 0], 11)
            shift = 350
            shifted = np.corrcoef(a.toarray().astype(np.float64).T, np.roll(b.toarray().astype(np.float64), -shift, 0).T)[:60, 60:]
            np.testing.assert_allclose(pair["null_r"][0], shifted.max(0), rtol=0, atol=1e-12)

    def test_refuses_different_rows(self):
        folder = fresh("rows")
        scipy.sparse.save_npz(folder / "a.npz", features(1, 100, 10))
        scipy.sparse.save_npz(folder / "b.npz", features(2, 90, 10))
        output = run("correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--out", folder / "m.h5", code=65)
        self.assertIn("rows must be the same tokens", output)


if __name__ == "__main__":
    unittest.main()
