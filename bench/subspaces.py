"""Times `concord subspaces` (members of concepts, no effects) beside `concord correlate` and a version in Python, in turn, on the same made-up corpus.

  bench/subspaces.py --rows 1500000,3000000    # 3.4 GB of files at most, one size after the other

Peer: re, scipy, numpy, scikit-learn on one thread (bench/subspaces_peer.py), from files to members and probes of both layers; concord besides makes subspaces
and compares them. Seconds of concord are those of a clock, the peer's those of its CPU: on cores that others share the ratio is the less for it.
Occurrences, spans, members, their AUCs and the AUCs of their sums must be the peer's. Needs scripts/setup --bench.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import sys

import numpy as np

from running import ROOT, own_peak, peak_of, run_concord, run_peer_process
from subspaces_data import BOS, World, write_features, write_sae, write_tokens

PARTS = ("occurrences", "values", "membership", "members")


def with_cpu(run):
    """What a run measured, with the CPU seconds of all its processes, which neighbours on the machine change less than its time."""
    before = os.times()
    measured = run()
    after = os.times()
    measured["cpu"] = after.children_user + after.children_system - before.children_user - before.children_system
    return measured


def make(o, rows):
    shutil.rmtree(o.work, ignore_errors=True)
    o.work.mkdir(parents=True)
    world = World(o.concepts, o.words, o.vocabulary)
    world.write_lists(o.work / "concepts.tsv")
    concept = write_tokens(o.work / "tokens.h5", world, rows, o.context, o.share, 1)
    entries = 0
    for side, seed in (("a", 2), ("b", 3)):
        entries += write_features(o.work / f"{side}.h5", f"bench {rows} 1", concept, o.width, o.active, o.skew, o.concepts, o.context, seed)
        write_sae(o.work / f"saes_{side}" / "layer_000", o.width, o.d, seed)
    return entries / 2 / rows


def subspaces(o, ranks, threads):
    out = o.work / "subspaces.h5"
    out.unlink(missing_ok=True)
    sides = [word for side in "ab" for word in (f"--{side}", o.work / f"{side}.h5", f"--saes-{side}", o.work / f"saes_{side}")]
    said = run_concord(["subspaces", *sides, "--tokens", o.work / "tokens.h5", "--concepts", o.work / "concepts.tsv",
                        "--min-auc", o.min_auc, "--label-draws", o.label_draws, "--seed", o.seed, "--out", out], ranks, threads)
    seconds = {part: float(re.search(rf" {part}=([\d.]+)", said).group(1)) for part in PARTS}
    seconds["all"] = float(re.search(r"OK wall=([\d.]+)", said).group(1))
    return {"seconds": seconds, "peak": peak_of(said)}


def correlate(o, ranks, threads, shifts):
    out = o.work / "matches.h5"
    out.unlink(missing_ok=True)
    said = run_concord(["correlate", "--a", o.work / "a.h5", "--b", o.work / "b.h5", "--null-shifts", shifts, "--out", out], ranks, threads)
    return {"seconds": float(re.findall(r"correlating=([\d.]+)", said)[-1]), "peak": peak_of(said)}


def peer_process(rows):
    measured, message = run_peer_process(__file__, str(rows), 1)
    if measured is None:
        sys.exit(message)
    return measured


def peer(o):
    import subspaces_peer
    phrases = [(int(line[1][len("concept"):]), line[2]) for line in (text.split("\t") for text in (o.work / "concepts.tsv").read_text().splitlines()[1:])]
    seconds, found = subspaces_peer.run(o.work / "tokens.h5", [o.work / "a.h5", o.work / "b.h5"], phrases, BOS, o)
    (o.work / "peer.json").write_text(json.dumps(found))
    print("RESULT", json.dumps({"seconds": seconds, "peak": own_peak()}))


def check(o):
    """Ends the benchmark where the peer found something else; how far AUCs and probes differ."""
    import h5py
    found = json.loads((o.work / "peer.json").read_text())
    differ = {"auc": 0.0, "probe": 0.0}
    members_of_all = 0
    with h5py.File(o.work / "subspaces.h5") as f:
        if not np.array_equal(f["phrases/occurrences"][:].sum(1), found["occurrences"]):
            sys.exit("the occurrences differ from the peer's")
        for side, of in zip("ab", found["sides"]):
            for c, members in enumerate(of["members"]):
                mine = f[f"{side}/members"][0, c]
                if mine[mine >= 0].tolist() != members:
                    sys.exit(f"members of concept {c} in {side}: {mine[mine >= 0].tolist()}, the peer's {members}")
                n = len(members)
                members_of_all += n
                if n:
                    differ["auc"] = max(differ["auc"], np.abs(f[f"{side}/member_auc"][0, c, :n] - np.array(of["auc"][c])).max(),
                                        np.abs(f[f"{side}/sum_auc_held"][0, c, :n] - of["held"][c]).max())
                probes = np.abs(f[f"{side}/probe_auc"][0, c] - np.array(of["probes"][c], float))
                differ["probe"] = max([differ["probe"], *probes[~np.isnan(probes)]])
    if differ["auc"] > 1e-12:
        sys.exit(f"AUCs differ by {differ['auc']:.2g}")
    return members_of_all, differ


def middle(runs):
    """Of several runs each figure's median."""
    if isinstance(runs[0], dict):
        return {name: middle([run[name] for run in runs]) for name in runs[0]}
    return float(np.median(runs))


def one_size(o, rows):
    active = make(o, rows)
    print(f"\n{rows} tokens, F = {o.width}, L0 = {active:.1f}, {o.concepts} concepts of {o.words} phrases, median of {o.repeat} runs in turn, {o.ranks} ranks of one thread\n")
    runs = {"subspaces": [], "correlate": [], "shifted": [], "peer": []}
    for i in range(o.repeat):
        runs["subspaces"].append(with_cpu(lambda: subspaces(o, o.ranks, 1)))
        if not o.no_correlate:
            runs["correlate"].append(with_cpu(lambda: correlate(o, o.ranks, 1, 0)))
        if o.shifts and not o.no_correlate:
            runs["shifted"].append(with_cpu(lambda: correlate(o, o.ranks, 1, o.shifts)))
        if i < o.peer_repeat:
            runs["peer"].append(with_cpu(lambda: peer_process(rows)))
            members, differ = check(o)
            print(f"the peer's occurrences and {members} members; AUCs differ by {differ['auc']:.1g} at most, those of probes by {differ['probe']:.1g}\n")
    result = {name: middle(of) for name, of in runs.items() if of}
    mine = result["subspaces"]
    print("| | concord, s | peer, CPU s | peer / concord |\n|---|---|---|---|")
    peer_seconds = result["peer"]["seconds"] if "peer" in result else dict.fromkeys((*PARTS, "loading"), float("nan"))
    for part in PARTS:
        theirs = peer_seconds[part] + (peer_seconds["loading"] if part == "values" else 0)
        print(f"| {part} | {mine['seconds'][part]:.2f} | {theirs:.2f} | {theirs / max(1e-9, mine['seconds'][part]):.1f} |")
    parts, all_peer = sum(mine["seconds"][p] for p in PARTS), sum(peer_seconds.values())
    print(f"| together | {parts:.2f} | {all_peer:.2f} | {all_peer / parts:.1f} |")
    print(f"| the whole stage | {mine['seconds']['all']:.1f} | {all_peer:.2f} | {all_peer / mine['seconds']['all']:.1f} |")
    if "peer" in result:
        plain = json.loads((o.work / "peer.json").read_text())["plain"]
        print(f"| membership by roc_auc_score, estimated | {mine['seconds']['membership']:.2f} | {plain:.3g} | {plain / mine['seconds']['membership']:.3g} |")
        print(f"| CPU of all processes | {mine['cpu']:.2f} | {result['peer']['cpu']:.2f} | {result['peer']['cpu'] / mine['cpu']:.1f} |")
        print(f"| peak, MiB (concord: a rank) | {mine['peak']:.0f} | {result['peer']['peak']:.0f} | {result['peer']['peak'] / mine['peak']:.1f} |")
    for name in ("correlate", "shifted"):
        if name in result:
            print(f"| {'correlate' if name == 'correlate' else f'correlate with {o.shifts} shifts'} | {result[name]['seconds']:.2f} | | subspaces {100 * mine['seconds']['all'] / result[name]['seconds']:.1f} %, of CPU {100 * mine['cpu'] / result[name]['cpu']:.1f} % |")
    sys.stdout.flush()
    return result


def project(o, sizes, results):
    """To 1e8 tokens by the slope of a straight line through the sizes."""
    def at(values):
        slope, level = np.polyfit(sizes, values, 1)
        return level + slope * o.project, slope * 1e6
    print(f"\nprojected to {o.project:.3g} tokens by straight lines:\n\n| | seconds there | seconds a million tokens |\n|---|---|---|")
    rows = {part: [r["subspaces"]["seconds"][part] for r in results] for part in (*PARTS, "all")}
    rows |= {name: [r[name]["seconds"] for r in results] for name in ("correlate", "shifted") if name in results[0]}
    rows |= {f"CPU of {name}": [r[name]["cpu"] for r in results] for name in ("subspaces", "correlate", "shifted", "peer") if name in results[0]}
    if all("peer" in r for r in results):
        rows["peer"] = [sum(r["peer"]["seconds"].values()) for r in results]
    there = {}
    for name, values in rows.items():
        there[name], slope = at(values)
        print(f"| {name} | {there[name]:.1f} | {slope:.3f} |")
    for name in ("correlate", "shifted"):
        if name in there:
            print(f"\nsubspaces / {name}: {100 * there['all'] / there[name]:.2f} %, of CPU {100 * there['CPU of subspaces'] / there[f'CPU of {name}']:.2f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1500000,3000000", help="tokens, one or more sizes; straight lines hold where every phrase has its 20 occurrences, from 1.4e6 on")
    parser.add_argument("--width", type=int, default=16384)
    parser.add_argument("--active", type=int, default=68, help="draws a row; fewer different ones, L0 is printed")
    parser.add_argument("--skew", type=float, default=0.8)
    parser.add_argument("--d", type=int, default=256, help="width of the decoders")
    parser.add_argument("--concepts", type=int, default=50)
    parser.add_argument("--words", type=int, default=40, help="phrases of a concept: three quarters words of one token, an eighth of two, an eighth of two words; at most 47")
    parser.add_argument("--share", type=float, default=0.03, help="of the places, at which a phrase begins")
    parser.add_argument("--vocabulary", type=int, default=16000)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--ranks", type=int, default=1, help="of one thread; the peer has one thread")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer-repeat", type=int, default=1, help="runs of the peer, at most as many; 0: none")
    parser.add_argument("--no-correlate", action="store_true")
    parser.add_argument("--shifts", type=int, default=4, help="null shifts of correlate's second line, the default of a study; 0: none")
    parser.add_argument("--project", type=float, default=1e8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--label-draws", type=int, default=20)
    parser.add_argument("--min-auc", type=float, default=0.75)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "bench" / "subspaces")
    parser.add_argument("--peer", default="", help=argparse.SUPPRESS)
    o = parser.parse_args()
    o.min_coverage, o.max_q, o.phrase_occurrences, o.max_members, o.k = 0.1, 0.05, 20, 32, 5  # concord's defaults
    if o.peer:
        peer(o)
        return
    sizes = [int(rows) // o.context * o.context for rows in o.rows.split(",")]
    results = [one_size(o, rows) for rows in sizes]
    if len(sizes) > 1:
        project(o, sizes, results)


if __name__ == "__main__":
    main()
