#!/usr/bin/env python3
"""A whole study beside the way it is done today (bench/study_peer.py): time, memory and files of each stage, in turn on the same cores.

  scripts/setup --bench && .venv-bench/bin/python bench/study.py            # the demo: 302,000 tokens, 6 x 10 layers, F = 1,024
  .venv-bench/bin/python bench/study.py --parts                             # the same, less of the peer
  .venv-bench/bin/python bench/study.py --large                             # 1e6 tokens, one layer each, F = 16,384; the peer in parts

Both see the same tokens and write f32. Of the peer, imports are not timed. Behind train-sae each of its stages begins with what concord's stage
before made (SAEs, features, matches), so that what both compute can be held against each other: the largest differences are printed, and the exit
code is 1 where one is too large. With --parts or --large the peer does a part of a stage and is projected; the factors are printed. Core-seconds are
those of all threads; where others use the machine they are steadier than seconds. Memory is that of all processes of a run, pages that they share
counted once.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import scipy.sparse

from running import CONCORD, ROOT

STAGES = ("extract", "train-sae", "encode", "correlate", "compare")


def make_plan(o):
    """What both do; sizes of the demo are those of configs/demo.toml."""
    models = {side: {"path": str(ROOT / "data/demo/models" / name), "layers": list(range(n))} for side, name, n in (("a", "small", 6), ("b", "large", 10))}
    plan = dict(models=models, tokens=302_000, latents=1024, k=16, batch=2048, sae_rows=1_000_000, dead_after=200_000, best=8,
                part=dict(contexts=1, steps=40 * o.parts, layers=int(o.parts), columns=0, shuffles=19 * o.parts))
    if o.large:
        models["a"]["layers"], models["b"]["layers"] = [3], [6]
        plan |= dict(tokens=1_008_000, latents=16384, k=64, batch=4096, dead_after=10_000_000, best=16,
                     part=dict(contexts=8, steps=8, layers=0, columns=128, shuffles=3))
    whole, plan["tokens"] = plan["tokens"], o.tokens or plan["tokens"]
    plan["sae_rows"] = plan["sae_rows"] * plan["tokens"] // whole
    return plan | dict(large=o.large, steps=plan["sae_rows"] // plan["batch"], min_firings=10, svcca_k=20, permutations=199, null_shifts=4,
                       threads=o.threads, concord=str(o.work / "concord"), peer=str(o.work / "peer"))


def write_study(o, plan):
    """The study that concord runs, without what the peer has no like of: recovered, crosscoders, subspaces, other measures and nulls, q."""
    study = {
        "study": {"name": "beside notebooks", "output": plan["concord"], "seed": 1},
        "corpus": {"paths": [str(ROOT / "data/demo/corpus/analysis.txt")], "tokenizer": str(ROOT / "data/demo/tokenizer.model"),
                   "context": 128, "max_tokens": plan["tokens"]},
        **{f"model.{side}": model for side, model in plan["models"].items()},
        "extract": {"dtype": "f32"},
        "sae": {"latents": plan["latents"], "k": plan["k"], "batch": plan["batch"], "rows": plan["sae_rows"], "dead_after": plan["dead_after"],
                "max_norm": 0, "recovered_contexts": 0},
        "encode": {"max_norm": 0},
        "correlate": {"best": plan["best"], "max_q": 1.0, "min_firings": plan["min_firings"], "null_shifts": plan["null_shifts"]},
        "compare": {"measures": ["svcca", "rsa"], "svcca_k": plan["svcca_k"], "permutations": plan["permutations"], "stratified_permutations": 0, "subsets": 0},
    }
    path = o.work / "study.toml"
    path.write_text("".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in study.items()))
    return path


def tree(root):
    """Process ids of a process and all below it."""
    found = [root]
    for pid in found:
        for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it has just ended
                found += map(int, children.read_text().split())
    return found


def memory(root):
    """MiB of all of them, shared pages counted once."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError, AttributeError):
            total += int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M).group(1))
    return total / 1024


def busy_seconds():
    """Of all cores, of everybody."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(fields[i]) for i in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    """Of this process and of those that it waited for."""
    return [sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in pathlib.Path(folder).rglob("*") if path.is_file() and not path.is_symlink()}


def watched(command, threads, folder):
    """Runs it: output, seconds, core-seconds, peak MiB, files that it wrote, share of the cores that others took. Ends the benchmark when it fails."""
    before, begin, busy, own = files_below(folder), time.perf_counter(), busy_seconds(), own_seconds()
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1")
    process = subprocess.Popen([str(word) for word in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks, ended = [0.0], threading.Event()

    def sample():
        while not ended.wait(0.4):
            peaks.append(memory(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    output, errors = process.communicate()
    ended.set()
    sampler.join()
    seconds = time.perf_counter() - begin
    if process.returncode != 0:
        sys.exit(output + errors)
    written = [path for path, changed in files_below(folder).items() if before.get(path) != changed]
    cores = own_seconds()[1] - own[1]
    others = (busy_seconds() - busy - (sum(own_seconds()) - sum(own))) / (seconds * os.cpu_count())
    return {"output": output, "seconds": seconds, "cores": cores, "peak": max(peaks), "others": others, "files": len(written),
            "bytes": sum(path.stat().st_size for path in written)}


def run_concord(o, plan, stage):
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return watched(["mpirun", *root, "--oversubscribe", "--bind-to", "core", "-np", o.threads, CONCORD, stage, o.work / "study.toml"], 1, plan["concord"])


def run_peer(o, plan, stage):
    path = o.work / "plan.json"
    path.write_text(json.dumps(plan))
    ran = watched([sys.executable, ROOT / "bench/study_peer.py", stage, path], o.threads, plan["peer"])
    ran |= json.loads(re.search(r"RESULT (.*)", ran.pop("output")).group(1))
    ran["peak"] += ran["more"]
    return ran


class Agreement:
    """Differences of what both computed, and whether all are small enough."""

    def __init__(self):
        self.good = True

    def hold(self, what, difference, most):
        good = bool(difference <= most)  # NaN is not
        self.good &= good
        print(f"  {what}: {difference:.3g}{'' if good else f' IS MORE THAN {most:g}'}", flush=True)


def peer_file(plan, side, layer, suffix):
    return pathlib.Path(plan["peer"]) / side / f"layer_{layer:03d}{suffix}"


def text_rows(f):
    return np.flatnonzero(f["row_kind"][:] == 0)


def agree_extract(plan, agreement):
    largest = 0.0
    for side, model in plan["models"].items():
        with h5py.File(pathlib.Path(plan["concord"]) / side / "activations.h5") as f:
            rows = text_rows(f)
            for layer in model["layers"]:
                peer = np.load(peer_file(plan, side, layer, ".npy"), mmap_mode="r")
                own = f[f"layer_{layer:03d}/x"][:rows[len(peer) - 1] + 1][rows[:len(peer)]]
                largest = max(largest, float(np.abs(own - peer).max() / np.sqrt(np.mean(own ** 2, dtype=np.float64))))
    agreement.hold("activations, largest difference over the layer's root mean square", largest, 1e-3)


def fvu_of(weights, x, k):
    from train_sae import fvu
    return fvu(weights, x, k)[0]


def agree_train(plan, agreement):
    """Other weights: each begins with its own draws. So how good they are, on 8,192 rows by one routine."""
    from safetensors.numpy import load_file
    ours, theirs = [], []
    for side, model in plan["models"].items():
        for layer in model["layers"]:
            x = np.array(np.load(peer_file(plan, side, layer, ".npy"), mmap_mode="r")[-8192:])
            own = load_file(pathlib.Path(plan["concord"]) / side / "saes" / f"layer_{layer:03d}" / "sae_weights.safetensors")
            ours.append(fvu_of({"encoder": own["W_enc"].T, "b_enc": own["b_enc"], "decoder": own["W_dec"], "b_dec": own["b_dec"]}, x, plan["k"]))
            theirs.append(fvu_of(dict(np.load(peer_file(plan, side, layer, ".sae.npz"))), x, plan["k"]))
    note = " (of the steps that were timed)" if plan["part"]["steps"] else ""
    print(f"  FVU, mean over the SAEs: concord {np.mean(ours):.4f}, peer {np.mean(theirs):.4f}{note}", flush=True)
    agreement.hold("FVU of concord, largest", max(ours), 0.5)


def difference_of_codes(own, peer):
    """Largest difference of a code over the mean code, and the share of rows with other latents.

    Which of two nearly equal codes is the k-th may differ. Then the one is held against the least code that the other kept in that row.
    """
    for m in (own, peer):
        m.eliminate_zeros()
    pattern = [m.astype(bool).astype(np.int8) for m in (own, peer)]
    both = pattern[0].multiply(pattern[1])
    largest = float(abs(own.multiply(both) - peer.multiply(both)).max())
    exchanged = set()
    for mine, other, only in ((own, peer, pattern[0] - both), (peer, own, pattern[1] - both)):
        alone = mine.multiply(only).tocoo()
        for row, value in zip(alone.row, alone.data):
            kept = other.data[other.indptr[row]:other.indptr[row + 1]]
            largest = max(largest, abs(float(value) - (float(kept.min()) if len(kept) else 0.0)))
            exchanged.add(int(row))
    return largest / own.data.mean(), len(exchanged) / own.shape[0]


def agree_encode(plan, agreement):
    largest, exchanged = 0.0, 0.0
    for side, model in plan["models"].items():
        with h5py.File(pathlib.Path(plan["concord"]) / side / "features.h5") as f:
            for layer in model["layers"]:
                peer = scipy.sparse.load_npz(peer_file(plan, side, layer, ".features.npz"))
                group = f[f"layer_{layer:03d}"]
                own = scipy.sparse.csr_matrix((group["data"][:], group["indices"][:], group["indptr"][:]), shape=(len(f["row_kind"]), plan["latents"]))
                difference, share = difference_of_codes(own[text_rows(f)[:peer.shape[0]]], peer)
                largest, exchanged = max(largest, difference), max(exchanged, share)
    agreement.hold("features, largest difference over the mean code", largest, 1e-3)
    agreement.hold("share of rows in which nearly equal latents changed places", exchanged, 1e-2)


def difference_of_nulls(own, peer, columns):
    """Of the best r of shifted rows: of all features, or of the peer's columns at the first shift; where concord drew features, of those among them."""
    if "null_feature" not in own:
        return float(np.abs((own["null_r"][0, :columns] if columns else own["null_r"][:]) - peer).max())
    feature, shift, r = (own[name][:] for name in ("null_feature", "null_shift", "null_r"))
    drawn = (feature >= 0) & ((shift == 0) & (feature < columns) if columns else True)
    of_peer = peer[feature[drawn]] if columns else peer[shift[drawn], feature[drawn]]
    return float(np.abs(r[drawn] - of_peer).max())  # without any it fails: there is nothing to hold against


def agree_correlate(plan, agreement):
    r, null, other, matches = 0.0, 0.0, 0, 0
    with h5py.File(pathlib.Path(plan["concord"]) / "matches.h5") as f:
        for a in plan["models"]["a"]["layers"][:plan["part"]["layers"] or None]:
            for b in plan["models"]["b"]["layers"]:
                pair = f[f"layer_{a:03d}_layer_{b:03d}"]
                columns = plan["part"]["columns"]
                peer = np.load(pathlib.Path(plan["peer"]) / ("columns.npz" if columns else f"pair_{a}_{b}.npz"))
                for side, name in (("a", "a_to_b"),) if columns else (("a", "a_to_b"), ("b", "b_to_a")):
                    own = pair[name]["r"][:][:columns or None]
                    r = max(r, float(np.abs(own - peer[f"r_{side}"])[own > 0].max(initial=0)))
                    null = max(null, difference_of_nulls(pair[name], peer[f"null_{side}"], columns))
                if not columns:
                    other += int((pair["match/a"][:] != peer["match"]).sum())
                    matches += int((pair["match/a"][:] >= 0).sum())
    agreement.hold("r of the best partners, largest difference", r, 1e-4)
    agreement.hold("best r of shifted rows, largest difference", null, 1e-4)
    if not columns:
        agreement.hold(f"share of {matches} matches that differ", other / max(1, matches), 1e-2)


def agree_compare(plan, agreement):
    """Scores, and means of the shuffled scores, whose draws differ, in standard errors of their difference."""
    peer = np.load(pathlib.Path(plan["peer"]) / "scores.npy")
    draws = plan["permutations"] + 1
    with h5py.File(pathlib.Path(plan["concord"]) / "similarity.h5") as f:
        if not np.array_equal(f["matched"][:], peer[:, 2]):
            sys.exit("the peer has other matches than concord")
        for slot, measure in enumerate(("svcca", "rsa")):
            scores = peer[:, 3:].reshape(len(peer), 2, -1)[:, slot]
            agreement.hold(f"{measure}, largest difference of a score", float(np.abs(f[measure]["score"][:] - scores[:, 0]).max()), 1e-7)
            if scores.shape[1] == draws:
                sd = scores[:, 1:].std(axis=1, ddof=1)
                apart = np.abs(f[measure]["null_mean"][:] - scores[:, 1:].mean(axis=1)) / (sd * np.sqrt(2 / (draws - 1)))
                agreement.hold(f"{measure}, largest difference of a null's mean in standard errors", float(apart.max()), 5)


AGREE = {"extract": agree_extract, "train-sae": agree_train, "encode": agree_encode, "correlate": agree_correlate, "compare": agree_compare}


COLUMNS = ("stage", "concord, s", "peer, s", "ratio", "concord, core-s", "peer, core-s", "ratio",
           "concord, MiB", "peer, MiB", "ratio", "concord, files: MiB", "peer, files: MiB")


def ratio(own, peer):
    """How many times as much the peer took; what is over before it was looked at took nothing that can be compared."""
    return f"{peer / own:.1f}" if own > 0 else "-"


def row(name, own, peer):
    compared = [cell for key, places in (("seconds", 1), ("cores", 1), ("peak", 0))
                for cell in (f"{own[key]:.{places}f}", f"{peer[key]:.{places}f}", ratio(own[key], peer[key]))]
    return "| " + " | ".join([name, *compared, *(f"{side['files']}: {side['bytes'] / 2 ** 20:.0f}" for side in (own, peer))]) + " |"


def together(results):
    """Of all stages: sums, and the largest peak."""
    return {key: (max if key == "peak" else sum)(result[key] for result in results) for key in ("seconds", "cores", "peak", "files", "bytes")}


def one_stage(o, plan, stage, agreement):
    """What both took, the peer by each of its ways."""
    own = run_concord(o, plan, stage)
    own.pop("output")
    print(f"{stage}: concord {own['seconds']:.1f} s", flush=True)
    if stage == "correlate":
        with h5py.File(pathlib.Path(plan["concord"]) / "matches.h5") as f:
            plan["shifts"] = json.loads(f.attrs["null_shifts"])
    peers = {}
    for way in (stage, "compare, kept") if stage == "compare" else (stage,):
        peers[way] = peer = run_peer(o, plan, way)
        parts = ", ".join(f"{name} {seconds:.2f} s x {factor:.4g}" for name, (seconds, _, factor) in peer["parts"].items() if factor != 1)
        more = f"; the whole would hold {peer['more']:.0f} MiB more, which are counted" if peer["more"] else ""
        print(f"{way}: peer {peer['seconds']:.1f} s" + (f" = {parts}" if parts else "") + more, flush=True)
        AGREE[stage](plan, agreement)
    others = max(ran["others"] for ran in (own, *peers.values()))
    print(f"  other processes took {100 * others:.0f} % of the cores\n" + "\n".join(row(way, own, peer) for way, peer in peers.items()), flush=True)
    return {"own": own, "peers": peers, "others": others, "good": agreement.good}


def show_table(results):
    """A line for each way of each stage; together with the first and with the last way of each."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += [row(way, result["own"], peer) for result in results for way, peer in result["peers"].items()]
    owns = together([result["own"] for result in results])
    for name, place in (("together", 0), ("together, kept", -1)):
        lines.append(row(name, owns, together([list(result["peers"].values())[place] for result in results])))
    print("\n" + "\n".join(lines))
    print(f"\nOther processes took at most {100 * max(result['others'] for result in results):.0f} % of the cores in a stage.")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="F = 16,384, one layer of each model; the peer does a part")
    parser.add_argument("--parts", action="store_true", help="of the peer: 40 steps of each SAE, one layer of A, 19 shuffles")
    parser.add_argument("--resume", action="store_true", help="go on behind the last stage that the same call has finished before")
    parser.add_argument("--tokens", type=int, default=0, help="fewer, and as many fewer rows of training, to try the script")
    parser.add_argument("--threads", type=int, default=2, help="of the peer; of concord ranks with one thread each")
    parser.add_argument("--work", type=pathlib.Path, help="build/bench/study, study_large")
    o = parser.parse_args()
    o.work = o.work or ROOT / "build" / "bench" / ("study_large" if o.large else "study")
    return o


def begin(o, plan):
    """Tokens, and an empty folder for what follows."""
    if o.work.exists() and any(o.work.iterdir()) and not (o.work / "study.toml").exists():
        sys.exit(f"{o.work} is not empty and holds no study of this script; choose another --work")
    shutil.rmtree(o.work, ignore_errors=True)
    for folder in (o.work, plan["concord"], plan["peer"]):
        pathlib.Path(folder).mkdir(parents=True)
    write_study(o, plan)
    run_concord(o, plan, "tokenize")


def earlier_results(o, plan):
    """Of the stages that the same call has finished before; ends the benchmark where that was another call, whose numbers would stand beside these."""
    done, planned = o.work / "stages.json", o.work / "plan.json"
    if not done.exists():
        return []
    earlier = json.loads(planned.read_text()) if planned.exists() else {}  # which knows more: what stages found
    other = sorted(key for key, value in json.loads(json.dumps(plan)).items() if earlier.get(key) != value)
    if other:
        sys.exit(f"--resume: {o.work} is of a call with other options ({', '.join(other)}); give those again, or leave --resume out to begin anew")
    return json.loads(done.read_text())


def main():
    o = options()
    plan, agreement, done = make_plan(o), Agreement(), o.work / "stages.json"
    results = earlier_results(o, plan) if o.resume else []
    if not results:
        begin(o, plan)
    with h5py.File(pathlib.Path(plan["concord"]) / "tokens.h5") as f:
        plan["rows"] = len(f["tokens"]) - len(f["context_document"])
        print(f"{len(f['tokens'])} tokens, {plan['rows']} without BOS; load at the start {os.getloadavg()[0]:.2f}", flush=True)
    for stage in STAGES[len(results):]:
        results.append(one_stage(o, plan, stage, agreement))
        done.write_text(json.dumps(results))
    show_table(results)
    sys.exit(0 if all(result["good"] for result in results) else "concord and the peer do not agree")


if __name__ == "__main__":
    main()
