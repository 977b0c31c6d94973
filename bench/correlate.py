"""Times `concord correlate` beside the ways it is done today, on the same two sparse matrices, in one run.

  torch      dense float32 product of the standardised columns (a slice of A's columns, times their number)
  scipy      scipy.sparse A.T @ B, r from it, the best 16 of each row and column
  sparse-dot-topn  its top-16 of A.T @ B (rows alone, no r)

Popularity of features is Zipf's, as SAEs have it: some fire on most rows. Needs scripts/setup --bench.
"""
import argparse
import json
import pathlib
import re
import time

import numpy as np

from running import ROOT, own_peak, peak_of, run_concord, run_peer_process


def features(seed, rows, width, active, skew):
    """CSR of `rows` rows with `active` draws each, of popularity ~ rank^-skew, in shuffled order of features."""
    import scipy.sparse
    rng = np.random.default_rng(seed)
    weights = np.arange(1, width + 1, dtype=np.float64) ** -skew
    edges = np.cumsum(weights / weights.sum())
    order = rng.permutation(width).astype(np.int32)
    indices, indptr = [], [0]
    for begin in range(0, rows, 8192):
        count = min(8192, rows - begin)
        drawn = np.sort(np.searchsorted(edges, rng.random((count, active))).clip(0, width - 1), axis=1)
        new = np.ones_like(drawn, bool)
        new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
        indices.append(order[drawn[new]])
        indptr.extend((indptr[-1] + np.cumsum(new.sum(1))).tolist())
    indices = np.concatenate(indices)
    data = rng.lognormal(size=len(indices)).astype(np.float32)
    matrix = scipy.sparse.csr_matrix((data, indices, np.array(indptr)), shape=(rows, width))
    matrix.sort_indices()
    return matrix


def load(o):
    import scipy.sparse
    return scipy.sparse.load_npz(o.work / "a.npz"), scipy.sparse.load_npz(o.work / "b.npz")


def moments(m):
    n = m.shape[0]
    sums = np.asarray(m.sum(0, dtype=np.float64)).ravel()
    squares = np.asarray(m.multiply(m).sum(0, dtype=np.float64)).ravel()
    return sums, np.sqrt(np.maximum(n * squares - sums ** 2, 1e-300))


def peer_scipy(o):
    a, b = load(o)
    begin = time.perf_counter()
    (sum_a, sd_a), (sum_b, sd_b) = moments(a), moments(b)
    products = (a.T.tocsr() @ b)
    n = a.shape[0]
    best_a = np.empty((a.shape[1], o.best), np.int32)
    best_r = np.full((o.best, b.shape[1]), -2.0)
    for first in range(0, a.shape[1], 512):
        r = (n * products[first:first + 512].toarray().astype(np.float64) - np.outer(sum_a[first:first + 512], sum_b)) / np.outer(sd_a[first:first + 512], sd_b)
        best_a[first:first + 512] = np.argpartition(-r, o.best, axis=1)[:, :o.best]
        both = np.concatenate([best_r, r])
        best_r = -np.partition(-both, o.best, axis=0)[:o.best]
    return time.perf_counter() - begin


def peer_topn(o):
    from sparse_dot_topn import sp_matmul_topn
    a, b = load(o)
    begin = time.perf_counter()
    sp_matmul_topn(a.T.tocsr(), b, top_n=o.best, sort=True, n_threads=o.threads)
    return time.perf_counter() - begin


def peer_torch(o):
    import torch
    torch.set_num_threads(o.threads)
    a, b = load(o)
    columns = 512
    begin_all = time.perf_counter()
    dense_b = torch.from_numpy(b.toarray())
    dense_b = (dense_b - dense_b.mean(0)) / (dense_b.std(0) + 1e-8)
    prepared = time.perf_counter() - begin_all
    slice_a = torch.from_numpy(a[:, :columns].toarray())
    slice_a = (slice_a - slice_a.mean(0)) / (slice_a.std(0) + 1e-8)
    begin = time.perf_counter()
    r = slice_a.T @ dense_b / len(slice_a)
    r.topk(o.best, dim=1)
    return prepared + (time.perf_counter() - begin) * a.shape[1] / columns


PEERS = {"torch": peer_torch, "scipy": peer_scipy, "sparse-dot-topn": peer_topn}


def run_peer(name, o):
    seconds = PEERS[name](o)
    print("RESULT", json.dumps({"seconds": seconds, "peak": own_peak()}))


def concord(o, ranks, threads, device="cpu", null=(0, 0)):
    out = o.work / "matches.h5"
    out.unlink(missing_ok=True)
    output = run_concord(["correlate", "--a", o.work / "a.npz", "--b", o.work / "b.npz", "--best", o.best, "--null-shifts", null[0], "--null-features", null[1],
                          "--device", device, "--out", out], ranks, threads)
    return {"seconds": float(re.findall(r"correlating=([\d.]+)", output)[-1]), "peak": peak_of(output)}


def time_nulls(o):
    """What the null costs: of all features, and of a sample; each the best of `--repeat`, in turn."""
    kinds = {"no null": (0, 0), "4 shifts of a sample": (4, 512), "4 shifts of all features": (4, 0)}
    for ranks, threads in ((1, 1), (1, o.threads), (o.threads, 1)):
        measured = {name: [] for name in kinds}
        for _ in range(o.repeat):
            for name, null in kinds.items():
                measured[name].append(concord(o, ranks, threads, null=null))
        base = min(m["seconds"] for m in measured["no null"])
        for name, runs in measured.items():
            seconds = min(m["seconds"] for m in runs)
            print(f"| {name}, {ranks} x {threads} | {seconds:.2f} | {seconds / base:.2f} | {max(m['peak'] for m in runs):.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=16384)
    parser.add_argument("--active", type=int, default=72, help="draws a row; fewer different ones, L0 is printed")
    parser.add_argument("--skew", type=float, default=0.8)
    parser.add_argument("--best", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: also on a GPU (CONCORD=program of a CUDA build)")
    parser.add_argument("--only", default=",".join(PEERS), help="peers to run, separated by commas; none: concord alone")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "bench" / "correlate")
    parser.add_argument("--null", action="store_true", help="instead, what the null costs")
    parser.add_argument("--repeat", type=int, default=3, help="with --null")
    parser.add_argument("--peer", default="", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.peer:
        run_peer(o.peer, o)
        return
    import scipy.sparse
    o.work.mkdir(parents=True, exist_ok=True)
    matrices = [features(seed, o.rows, o.width, o.active, o.skew) for seed in (1, 2)]
    for matrix, name in zip(matrices, "ab"):
        scipy.sparse.save_npz(o.work / f"{name}.npz", matrix, compressed=False)
    counts = [np.diff(m.indptr).astype(np.float64) for m in matrices]
    updates = float(counts[0] @ counts[1])
    dense = [int((np.bincount(m.indices, minlength=o.width) > 0.1 * o.rows).sum()) for m in matrices]
    print(f"{o.rows} rows, F = {o.width}, L0 = {counts[0].mean():.1f} and {counts[1].mean():.1f}, {dense[0]} and {dense[1]} features on more than a tenth of the rows, "
          f"{updates:.3g} multiply-adds, {o.threads} threads\n")
    if o.null:
        print("| ranks x threads | seconds | of the time without | peak MiB |\n|---|---|---|---|", flush=True)
        time_nulls(o)
        return
    print("| | seconds | of concord's time | multiply-adds a second and core | peak MiB |\n|---|---|---|---|---|", flush=True)
    base = None
    names = ["concord, 1 rank", *["concord, GPU"] * (o.device == "cuda"), *[f"concord, {o.threads} ranks"] * (o.threads > 1), "concord, 1 rank, 1 thread", *[n for n in o.only.split(",") if n in PEERS]]
    for name in names:
        ranks, threads = (o.threads, 1) if name.endswith("ranks") else (1, 1 if name.endswith("thread") else o.threads)
        device = "cuda" if name == "concord, GPU" else "cpu"
        measured, message = (concord(o, ranks, threads, device), None) if name.startswith("concord") else run_peer_process(__file__, name, o.threads)
        if measured is None:
            print(f"| {name} | does not run here: {message} | | | |", flush=True)
            continue
        base = base or measured["seconds"]
        cores = ranks * threads if name.startswith("concord") else (1 if name == "scipy" else o.threads)
        print(f"| {name} | {measured['seconds']:.2f} | {measured['seconds'] / base:.2f} | {updates / measured['seconds'] / cores:.3g} | {measured['peak']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
