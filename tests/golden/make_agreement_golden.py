"""Golden values of the agreement module by independent libraries:
    python -m venv golden && golden/bin/pip install scipy==1.17.1 scikit-learn==1.9.1 scikit-bio==0.7.4 concept-erasure==0.2.4
    golden/bin/python tests/golden/make_agreement_golden.py
"""
import itertools
import json
import math
import pathlib

import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats
import skbio.stats.distance
import sklearn.covariance
import sklearn.metrics
import torch
from concept_erasure import LeaceFitter

HERE = pathlib.Path(__file__).resolve().parent


def listed(x):
    """Nested lists with None for NaN."""
    if isinstance(x, np.ndarray):
        return listed(x.tolist())
    if isinstance(x, (list, tuple)):
        return [listed(v) for v in x]
    return None if isinstance(x, float) and math.isnan(x) else x


def normals():
    p = [1e-300, 1e-100, 1e-20, 1e-12, 1e-5, 1e-3, 0.01, 0.074, 0.075, 0.1, 0.3, 0.499, 0.4999999, 0.5000001, 0.6, 0.9249, 0.926, 0.99, 0.99999]
    return {"p": p, "z": [float(scipy.special.ndtri(v)) for v in p]}


def vectors(rng):
    x = rng.integers(0, 6, 40).astype(float)
    y = x + rng.integers(0, 9, 40)
    sample = rng.exponential(size=60)
    replicates = np.array([np.mean(rng.choice(sample, 60)) for _ in range(299)])
    # scipy's interval of replicates that are given.
    empty = scipy.stats.bootstrap((sample,), np.mean, n_resamples=1, method="percentile", rng=0)
    empty.bootstrap_distribution = replicates
    bca = scipy.stats.bootstrap((sample,), np.mean, n_resamples=0, bootstrap_result=empty, method="BCa", confidence_level=0.9)
    jackknife = [float(np.mean(np.delete(sample, i))) for i in range(60)]
    return {"x": listed(x), "y": listed(y), "ranks": listed(scipy.stats.rankdata(x)), "spearman": float(scipy.stats.spearmanr(x, y).statistic),
            "sample": listed(sample), "trimmed": float(scipy.stats.trim_mean(sample, 0.05)),
            "replicates": listed(replicates), "observed": float(np.mean(sample)), "jackknife": jackknife, "level": 0.9,
            "bca": [float(bca.confidence_interval.low), float(bca.confidence_interval.high)]}


def auc_case(positives, negatives):
    y = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    x = np.r_[positives, negatives]
    asymptotic = scipy.stats.mannwhitneyu(positives, negatives, alternative="greater", method="asymptotic", use_continuity=True)
    case = {"positives": listed(np.asarray(positives, float)), "negatives": listed(np.asarray(negatives, float)),
            "auc": float(sklearn.metrics.roc_auc_score(y, x)), "twice_u": int(round(2 * asymptotic.statistic)), "p_normal": float(asymptotic.pvalue)}
    if len(set(x)) == len(x):
        case["p_exact"] = float(scipy.stats.mannwhitneyu(positives, negatives, alternative="greater", method="exact").pvalue)
    elif math.comb(len(x), len(positives)) <= 2e5:  # all labellings
        method = scipy.stats.PermutationMethod(n_resamples=10**6)
        case["p_exact"] = float(scipy.stats.mannwhitneyu(positives, negatives, alternative="greater", method=method).pvalue)
    return case


def aucs(rng):
    sparse = lambda n, share: np.where(rng.random(n) < share, np.round(rng.exponential(size=n), 1), 0.0)
    return [auc_case([.35, .8], [.1, .4]), auc_case([19, 22, 16, 29, 24], [20, 11, 17, 12]),
            auc_case([0, 0, 0, 1, 2, 2, 5], [0, 0, 0, 0, 0, 1, 2, 3]),
            auc_case(sparse(150, 0.4), sparse(400, 0.2)), auc_case(sparse(40, 0.9), sparse(31, 0.9)),
            auc_case(rng.integers(-3, 4, 50), rng.integers(-4, 3, 70)), auc_case(rng.standard_normal(12), rng.standard_normal(30)),
            auc_case(rng.standard_normal(30) + 0.5, rng.standard_normal(9)), auc_case(sparse(6, 0.6), sparse(14, 0.4)),
            auc_case(sparse(13, 0.6) + 0.3, sparse(5, 0.4)), auc_case(rng.integers(-2, 3, 7), rng.integers(-2, 3, 8))]


# The statistic of the agreement test, by dummies and least squares.
def scores(m, keep):
    out = np.full(m.shape, np.nan)
    v = m[keep]
    out[keep] = scipy.stats.norm.ppf((scipy.stats.rankdata(v) - 0.5) / len(v))
    return out


def design(keep, covariates):
    i, j = np.nonzero(keep)
    c = keep.shape[0]
    return np.column_stack([np.eye(c)[i], np.eye(c)[j]] + [z[keep] for z in covariates])


def residuals(m, keep, covariates):
    x = design(keep, covariates)
    out = np.full(m.shape, np.nan)
    out[keep] = m[keep] - x @ np.linalg.lstsq(x, m[keep], rcond=1e-10)[0]
    return out


class Crossing:
    def __init__(self, a, b, covariates):
        self.keep = ~(np.isnan(a) | np.isnan(b) | np.eye(len(a), dtype=bool))
        for z in covariates:
            self.keep &= ~np.isnan(z)
        self.z = [scores(z, self.keep) for z in covariates]
        self.a = scores(a, self.keep)
        self.b = residuals(scores(b, self.keep), self.keep, self.z)
        self.ranks = [np.full(a.shape, np.nan) for _ in range(2)]
        for r, m in zip(self.ranks, (a, b)):
            r[self.keep] = scipy.stats.rankdata(m[self.keep])

    def r_and_t(self, order):
        b = self.b[np.ix_(order, order)]
        keep = self.keep & ~np.isnan(b)
        x = design(keep, self.z)
        rest = lambda v: v - x @ np.linalg.lstsq(x, v, rcond=1e-10)[0]
        u, v = rest(self.a[keep]), rest(b[keep])
        r = np.corrcoef(u, v)[0, 1]
        df = int(keep.sum()) - np.linalg.matrix_rank(x, tol=1e-8) - 1
        return r, r * math.sqrt(df / (1 - r * r)), df, np.sum(u * v) / np.sqrt(np.sum(u * u * v * v))

    def spearman(self, order):
        b = self.ranks[1][np.ix_(order, order)]
        keep = self.keep & ~np.isnan(b)
        return np.corrcoef(self.ranks[0][keep], b[keep])[0, 1]


def keeps_groups(order, groups):
    """Members of a group go to one group."""
    return all((groups[i] == groups[j]) == (groups[order[i]] == groups[order[j]]) for i in range(len(order)) for j in range(i))


def agreement_case(a, b, covariates, groups):
    c = a[0].shape[0]
    crossings = [Crossing(x, y, covariates) for x, y in zip(a, b[::-1])]
    def statistic(order):
        each = [k.r_and_t(order) for k in crossings]
        return np.mean([e[1] for e in each]), np.mean([k.spearman(order) for k in crossings]), np.mean([e[3] for e in each]), each
    t, rho, robust, each = statistic(list(range(c)))
    counts = {"free": [0, 0, 0, 0], "grouped": [0, 0, 0, 0]}
    for order in itertools.permutations(range(c)):
        s = statistic(list(order))
        for kind in ["free"] + (["grouped"] if keeps_groups(order, groups) else []):
            counts[kind][0] += s[0] >= t - 1e-9 * max(1, abs(t))
            counts[kind][1] += s[1] >= rho - 1e-9
            counts[kind][2] += s[2] >= robust - 1e-9 * max(1, abs(robust))
            counts[kind][3] += 1
    counts = {k: [int(n) for n in v] for k, v in counts.items()}
    return {"a": listed([m.ravel() for m in a]), "b": listed([m.ravel() for m in b]), "covariates": listed([m.ravel() for m in covariates]),
            "groups": groups, "r": [float(e[0]) for e in each], "t": [float(e[1]) for e in each], "df": [int(e[2]) for e in each],
            "spearman": float(rho), "robust_t": float(robust), "counts": counts}


def agreements(rng):
    def pair(c, shared):
        s = rng.standard_normal((c, c))
        one = lambda: [shared * s + rng.standard_normal((c, c)) + rng.standard_normal((c, 1)) for _ in range(2)]
        return one(), one()
    cases = []
    a, b = pair(6, 0.7)
    cases.append(agreement_case(a, b, [], [0, 0, 1, 1, 2, 2]))
    a, b = pair(6, 0.7)
    cases.append(agreement_case(a, b, [rng.standard_normal((6, 6)), rng.integers(0, 3, (6, 6)).astype(float)], [0, 1, 1, 0, 0, 1]))
    a, b = pair(6, 0.7)  # ties, undefined entries, groups of 1, 2 and 3
    a, b = [np.round(m) for m in a], [np.round(m) for m in b]
    a[0][1, 2] = a[1][4, 0] = b[0][5, 1] = np.nan
    cases.append(agreement_case(a, b, [rng.standard_normal((6, 6))], [0, 0, 0, 1, 1, 2]))
    a, b = pair(5, 0.7)
    a[0][3, 0] = np.nan
    cases.append(agreement_case(a[:1], b[:1], [], [0, 0, 1, 1, 2]))
    return cases


def mantel():
    x = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.]])
    y = np.array([[0, 2, 7], [2, 0, 6], [7, 6, 0.]])
    return {"x": listed(x.ravel()), "y": listed(y.ravel()), "spearman": float(skbio.stats.distance.mantel(x, y, "spearman", permutations=0)[0])}


def subspaces(rng):
    u = scipy.linalg.orth(rng.standard_normal((12, 3)))
    v = scipy.linalg.orth(u[:, :1] + 0.3 * rng.standard_normal((12, 4)))
    # All cosines above 0.71: else scipy takes the smallest angle from its cosine, as it does not turn its mask round with the cosines.
    near = scipy.linalg.orth(np.column_stack([u[:, 0] + 1e-9 * rng.standard_normal(12), u[:, 1] + 0.1 * rng.standard_normal(12)]))
    few = rng.standard_normal((20, 8)) @ np.diag([3, 2, 1, 1, 1, .5, .5, .1])
    labels = (rng.random(20) < 0.4).astype(int)
    within = few - np.where(labels[:, None] == 1, few[labels == 1].mean(0), few[labels == 0].mean(0))
    pooled = sklearn.covariance.LedoitWolf(assume_centered=True).fit(within)
    delta = few[labels == 1].mean(0) - few[labels == 0].mean(0)
    shrunk = sklearn.covariance.LedoitWolf().fit(few)
    x = rng.standard_normal((60, 6)) @ rng.standard_normal((6, 6))
    z = np.column_stack([(x[:, 0] + rng.standard_normal(60) > 0), (x[:, 1] > 0)]).astype(float)
    fitter = LeaceFitter.fit(torch.from_numpy(x), torch.from_numpy(z), shrinkage=False, constrain_cov_trace=False, svd_tol=1e-9)
    return {"u": listed(u.ravel()), "v": listed(v.ravel()), "angles": listed(scipy.linalg.subspace_angles(u, v)),
            "near": listed(near.ravel()), "near_angles": listed(scipy.linalg.subspace_angles(u, near)),
            "few": listed(few.ravel()), "labels": listed(labels), "ledoit_wolf": listed(shrunk.covariance_.ravel()),
            "shrinkage": float(shrunk.shrinkage_), "pooled_shrinkage": float(pooled.shrinkage_),
            "lda": listed(np.linalg.solve(pooled.covariance_, delta)),
            "x": listed(x.ravel()), "z": listed(z.ravel()), "leace": listed(fitter.eraser.P.numpy().ravel()),
            "erased": listed(fitter.eraser(torch.from_numpy(x)).numpy()[:5].ravel())}


def main():
    rng = np.random.default_rng(11)
    record = {"normal": normals(), "vectors": vectors(rng), "auc": aucs(rng), "mantel": mantel(), "agreement": agreements(rng),
              "subspace": subspaces(rng)}
    (HERE / "agreement.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
