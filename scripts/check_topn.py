#!/usr/bin/env python3
"""Checks the best partners of `correlate` against sparse-dot-topn on random matrices. Needs scripts/setup --bench:
    .venv-bench/bin/python scripts/check_topn.py

Every column of B holds the same values in other rows, so that all have one sum and one norm: r then ranks as the products do, which is what
sparse-dot-topn ranks.
"""
import pathlib
import subprocess
import tempfile

import h5py
import numpy as np
import scipy.sparse
from sparse_dot_topn import sp_matmul_topn

CONCORD = pathlib.Path(__file__).resolve().parent.parent / "build" / "concord"
ROWS, WIDTH_A, WIDTH_B, BEST = 5000, 400, 300, 12

rng = np.random.default_rng(0)
a = scipy.sparse.random(ROWS, WIDTH_A, 0.02, "csr", np.float32, rng)
values = rng.lognormal(size=60).astype(np.float32)
dense = np.zeros((ROWS, WIDTH_B), np.float32)
for column in range(WIDTH_B):
    dense[rng.choice(ROWS, values.size, replace=False), column] = rng.permutation(values)
b = scipy.sparse.csr_matrix(dense)
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    scipy.sparse.save_npz(folder / "a.npz", a)
    scipy.sparse.save_npz(folder / "b.npz", b)
    subprocess.run([CONCORD, "correlate", "--a", folder / "a.npz", "--b", folder / "b.npz", "--best", str(BEST), "--null-shifts", "0", "--out", folder / "matches.h5"], check=True)
    with h5py.File(folder / "matches.h5") as f:
        group = next(iter(f.values()))
        partners = group["a_to_b/partner"][:]
expected = sp_matmul_topn(a.astype(np.float64).T.tocsr(), b.astype(np.float64), top_n=BEST, sort=True)
products = (a.astype(np.float64).T @ b.astype(np.float64)).toarray()
for feature in range(WIDTH_A):
    row = expected.indices[expected.indptr[feature]:expected.indptr[feature + 1]]
    ours = partners[feature][:len(row)]
    # Two columns may have the same value in the one row that they share with the feature: ties, in any order.
    assert np.array_equal(products[feature, ours], products[feature, row]), f"feature {feature}: {ours}, sparse-dot-topn says {row}"
print(f"OK: the best {BEST} of {WIDTH_A} features are sparse-dot-topn's, in its order but for ties")
