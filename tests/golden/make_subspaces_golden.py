"""Golden AUCs of subspaces' probes by scikit-learn:
    python -m venv golden && golden/bin/pip install scipy==1.17.1 scikit-learn==1.9.1
    golden/bin/python tests/golden/make_subspaces_golden.py
Made-up spans with five features. For every single feature, every pair and all five: a logistic regression on the spans of half 0 that are
not random (each feature divided by its mean where it is not 0 on half 0, random spans among them), sum of the losses + 1e-2 / 2 w^2 without
the intercept (C = 100), and the AUC of its scores on half 1 over pairs of spans of equal length. Worlds: `noisy`, and `separable`, where
some features tell the classes apart without a fault.
"""
import itertools
import json
import pathlib

import numpy as np
from sklearn.linear_model import LogisticRegression

HERE = pathlib.Path(__file__).resolve().parent
FEATURES = 5


def world(rng, n, separable):
    concept = rng.integers(0, 3, n)
    half = rng.integers(0, 2, n)
    length = rng.integers(1, 4, n)
    is_random = rng.random(n) < 0.3
    own = (concept == 0) & ~is_random
    values = np.zeros((FEATURES, n))
    for f in range(FEATURES):
        fires = rng.random(n) < np.where(own, 0.85 - 0.08 * f, 0.25 + 0.03 * f)
        strength = rng.exponential(size=n) + np.where(own, 0.8, 0.2)
        if separable and f < 2:
            fires, strength = own | fires, np.where(own, 3.0, 0.5) + rng.random(n)
        values[f] = np.round(64 * strength * fires * (1 + f)) / 64
    return {
        "concept": concept.tolist(),
        "half": half.tolist(),
        "length": length.tolist(),
        "random": is_random.astype(int).tolist(),
        "values": values.tolist(),
    }


def pair_auc(scores, own, length):
    u = pairs = 0.0
    for some in np.unique(length):
        a, b = scores[own & (length == some)], scores[~own & (length == some)]
        u += (a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()
        pairs += len(a) * len(b)
    return u / pairs


def probes(data):
    concept, half, length, is_random = (np.array(data[key]) for key in ("concept", "half", "length", "random"))
    x = np.array(data["values"]).T
    chosen = half == 0
    x = x / np.array([column[chosen & (column > 0)].mean() for column in x.T])
    fit, held = chosen & (is_random == 0), (half == 1) & (is_random == 0)
    aucs = {}
    for size in (1, 2, FEATURES):
        for some in itertools.combinations(range(FEATURES), size):
            model = LogisticRegression(C=100, solver="newton-cholesky", tol=1e-12, max_iter=1000)
            model.fit(x[fit][:, some], concept[fit] == 0)
            scores = np.round(x[held][:, some] @ model.coef_[0], 9)
            aucs["+".join(map(str, some))] = pair_auc(scores, concept[held] == 0, length[held])
    return aucs


def main():
    rng = np.random.default_rng(22)
    golden = {}
    for name, separable in (("noisy", False), ("separable", True)):
        data = world(rng, 260, separable)
        golden[name] = data | {"auc": probes(data)}
    (HERE / "subspaces.json").write_text(json.dumps(golden) + "\n")


main()
