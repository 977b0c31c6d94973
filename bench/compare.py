"""Times `concord compare` by itself beside numpy and scipy on the same two matrices, in one run.

  svcca   numpy: svd of both, cut, product, svd of it; concord by each route. --whole also times pdgesvd of the whole matrices.
  null    one shuffled pairing of SVCCA.
  rsa     numpy.corrcoef of both and scipy.stats.spearmanr over all pairs of rows.

Rows are like decoder rows: unit norm, 256 shared directions, a spectrum that falls slowly. Needs scripts/setup --bench.
"""
import argparse
import json
import pathlib
import time

import numpy as np

from running import ROOT, own_peak, peak_of, run_concord, run_peer_process


def make(o):
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((o.rows, 256), dtype=np.float32)
    for name, d in (("x", o.d[0]), ("y", o.d[1])):
        own = rng.standard_normal((o.rows, d), dtype=np.float32) * (np.arange(1, d + 1, dtype=np.float32) ** -0.25)
        rows = shared @ rng.standard_normal((256, d), dtype=np.float32) * np.float32(0.0375) + own
        np.save(o.work / f"{name}.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))


def load(o):
    return [np.load(o.work / f"{name}.npy").astype(np.float64) for name in "xy"]


def peer_svcca(o):
    x, y = load(o)
    begin = time.perf_counter()
    kept = []
    for m in (x, y):
        u, s, _ = np.linalg.svd(m - m.mean(0), full_matrices=False)
        kept.append(u[:, :int(np.argmax(np.cumsum(s ** 2) / np.sum(s ** 2) >= 0.99)) + 1])
    rho = np.linalg.svd(kept[0].T @ kept[1], compute_uv=False)
    return {"seconds": time.perf_counter() - begin, "score": float(rho.mean())}


def peer_rsa(o):
    import scipy.stats
    x, y = load(o)
    upper = np.triu_indices(o.rows, 1)
    begin = time.perf_counter()
    vectors = [np.corrcoef(m)[upper] for m in (x, y)]
    built = time.perf_counter()
    score = scipy.stats.spearmanr(*vectors).statistic
    end = time.perf_counter()
    return {"seconds": end - begin, "ranking": end - built, "score": float(score)}


PEERS = {"svcca": peer_svcca, "rsa": peer_rsa}


def concord(o, measure, ranks, threads, *flags, permutations=0):
    """Its record, and the peak of a rank in MiB."""
    json_path = o.work / "record.json"
    output = run_concord(["compare", "--x", o.work / "x.npy", "--y", o.work / "y.npy", "--json", json_path, "--measures", measure, "--permutations", str(permutations),
                          "--stratified-permutations", 0, *flags], ranks, threads)
    record = json.loads(json_path.read_text())
    record["peak"] = peak_of(output)
    return record


def measured_peer(o, name):
    """What the peer took, in a process of its own; ends the benchmark when it fails."""
    peer, failed = run_peer_process(__file__, name, o.threads)
    if failed:
        raise SystemExit(f"peer {name}: {failed}")
    return peer


def show(name, seconds, against, score, note=""):
    print(f"  {name:44} {seconds:8.2f} s   {against / seconds:6.1f}x   {score:.12f}   {note}", flush=True)


def svcca(o):
    peer = measured_peer(o, "svcca")
    print(f"SVCCA, {o.rows} x {o.d[0]} and {o.d[1]}, {o.threads} threads")
    show("numpy svd", peer["seconds"], peer["seconds"], peer["score"], f"peak {peer['peak']:.0f} MiB")
    layouts = [(1, o.threads, route) for route in ("auto", "qr")] + [(1, 1, "auto"), (2, 1, "auto")] + ([(2, 1, "whole")] if o.whole else [])
    for ranks, threads, route in layouts:
        record = concord(o, "svcca", ranks, threads, "--route", route)
        taken = record["factors"]["x"]["route"]
        show(f"concord {route} ({taken}), {ranks} rank(s) x {threads} thread(s)", record["seconds"]["factors"], peer["seconds"], record["svcca"]["score"],
             f"peak {record['peak']:.0f} MiB a rank, chance {record['svcca']['formula_mean']:.4f}, k {record['factors']['x']['k']}, {record['factors']['y']['k']}")
    many = concord(o, "svcca", 1, o.threads, permutations=12)
    fewer = concord(o, "svcca", 1, o.threads, permutations=8)
    print(f"  one shuffled pairing                         {(many['seconds']['nulls'] - fewer['seconds']['nulls']) / 4:8.2f} s")


def rsa(o):
    peer = measured_peer(o, "rsa")
    print(f"RSA, {o.rows * (o.rows - 1) // 2:.3g} pairs, {o.threads} threads")
    show("numpy.corrcoef, scipy.stats.spearmanr", peer["seconds"], peer["seconds"], peer["score"], f"peak {peer['peak']:.0f} MiB")
    show("  of which ranking and correlating", peer["ranking"], peer["ranking"], peer["score"])
    for ranks, threads in ((1, o.threads), (1, 1), (2, 1)):
        record = concord(o, "rsa", ranks, threads)
        seconds = record["seconds"]
        name = f"concord, {ranks} rank(s) x {threads} thread(s)"
        show(name, seconds["rdm"] + seconds["ranks"], peer["seconds"], record["rsa"]["score"], f"peak {record['peak']:.0f} MiB a rank")
        show("  of which ranking and correlating", seconds["ranks"], peer["ranking"], record["rsa"]["score"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--d", type=int, nargs=2, default=[2304, 3584])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["svcca", "rsa"])
    parser.add_argument("--whole", action="store_true", help="also pdgesvd of the whole matrices, which takes many minutes at full size")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "bench_compare")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.peer:
        result = PEERS[o.peer](o)
        result["peak"] = own_peak()
        print("RESULT", json.dumps(result))
        return
    o.work.mkdir(parents=True, exist_ok=True)
    make(o)
    for name, bench in (("svcca", svcca), ("rsa", rsa)):
        if o.only in (None, name):
            bench(o)


if __name__ == "__main__":
    main()
