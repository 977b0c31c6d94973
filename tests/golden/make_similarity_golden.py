"""Golden values of `compare` by independent libraries, on similarity_{x,y,low_rank}.npy:
    python -m venv golden && golden/bin/pip install numpy==2.4.6 scipy==1.17.1 rsatoolbox==0.3.2 cca-zoo==4.0.1 repsim==0.1.5
    golden/bin/python tests/golden/make_similarity_golden.py
"""
import importlib.metadata
import json
import pathlib

import cca_zoo.linear
import numpy as np
import repsim
import rsatoolbox
import scipy.linalg
import scipy.spatial
import scipy.stats

HERE = pathlib.Path(__file__).resolve().parent


def matrices():
    rng = np.random.default_rng(7)
    shared = rng.standard_normal((260, 12))
    x = shared @ rng.standard_normal((12, 40)) + 0.3 * rng.standard_normal((260, 40))
    y = shared @ rng.standard_normal((12, 56)) + 0.6 * rng.standard_normal((260, 56))
    low = x[:, :10] @ rng.standard_normal((10, 30))  # rank 10 in width 30
    for name, matrix in {"x": x, "y": y, "low_rank": low}.items():
        np.save(HERE / f"similarity_{name}.npy", matrix)
    return x, y, low


def svcca(x, y, variance=None, k=None):
    """Centre, SVD, keep, canonical correlations, mean: numpy alone, since no package does it right."""
    kept = []
    for m in (x, y):
        u, s, _ = np.linalg.svd(m - m.mean(0), full_matrices=False)
        share = np.cumsum(s ** 2) / np.sum(s ** 2)
        rank = int(np.sum(s > max(m.shape) * np.finfo(float).eps * s[0]))
        keep = min(rank, k if k else int(np.argmax(share >= variance)) + 1)
        kept.append((u[:, :keep], keep))
    rho = np.linalg.svd(kept[0][0].T @ kept[1][0], compute_uv=False)
    return {"score": float(rho.mean()), "squared": float((rho ** 2).mean()), "rank1": float(abs(kept[0][0][:, 0] @ kept[1][0][:, 0])),
            "k_x": kept[0][1], "k_y": kept[1][1]}


def rsa_by_scipy(x, y, metric):
    a, b = (scipy.spatial.distance.pdist(m, metric) for m in (x, y))
    return {"rsa": float(scipy.stats.spearmanr(a, b).statistic), "rsa_pearson": float(np.corrcoef(a, b)[0, 1]),
            "rsa_kendall": float(scipy.stats.kendalltau(a, b).statistic)}


def rsa_by_rsatoolbox(x, y, method):
    rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(m), method=method) for m in (x, y)]
    compare = lambda kind: float(rsatoolbox.rdm.compare(*rdms, method=kind)[0, 0])
    return {"rsa": compare("spearman"), "rsa_rho_a": compare("rho-a"), "rsa_pearson": compare("corr"), "cosine_cov": compare("cosine_cov")}


def mutual_knn(x, y, k):
    """By full distance matrices; ties go to the smaller number."""
    near = []
    for m in (x, y):
        d = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(m, "correlation"))
        np.fill_diagonal(d, np.inf)
        near.append(np.argsort(d, axis=1, kind="stable")[:, :k])
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(*near)]))


def main():
    x, y, low = matrices()
    xc, yc = x - x.mean(0), y - y.mean(0)
    record = {
        "svcca": {"variance_0.99": svcca(x, y, variance=0.99), "variance_0.7": svcca(x, y, variance=0.7), "k_5": svcca(x, y, k=5),
                  "low_rank": svcca(low, y, variance=0.9999999)},
        "cca_zoo": float(np.mean(cca_zoo.linear.CCA(n_components=40).fit([x, y]).score([x, y]))),
        "repsim": {"svcca_squared": float(repsim.cca([x, y])[0, 1]), "cka": float(repsim.cka([x, y], kernel_type="linear")[0, 1])},
        "scipy": {metric: rsa_by_scipy(x, y, metric) for metric in ("correlation", "cosine", "euclidean")} | {"low_rank": rsa_by_scipy(low, y, "correlation")},
        "rsatoolbox": {method: rsa_by_rsatoolbox(x, y, method) for method in ("correlation", "euclidean")},
        "procrustes": float(scipy.linalg.orthogonal_procrustes(xc, yc[:, :40])[1] / np.linalg.norm(xc) / np.linalg.norm(yc[:, :40])),
        "mutual_knn": mutual_knn(x, y, 10),
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "rsatoolbox", "cca-zoo", "repsim")},
    }
    (HERE / "similarity.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
