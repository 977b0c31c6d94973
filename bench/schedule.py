"""Schedules of correlate, compare and train-sae at many ranks, event by event, from counts of a real study: how long the busiest ranks make
the others wait.

    schedule.py RESULTS --machine machine.json [--ranks 64,256,1024,4096] [--rows 1e8] [--latents 16384] [--active 100] [--passes 1.28]

RESULTS: a study's folder of results. Of its features.h5 come the firing rates of features, of its matches.h5 how many features each pair of
layers has matched. Rates are stretched to --latents features that fire --active at a time: the k-th of F' features gets the rate at its
quantile. Layers beyond those of the study repeat them. Work takes what the machine's file says; messages and files are left out, so that
what remains is the schedule: efficiency is the mean work of a rank over the time of all.

Each event is the end of a task. A task begins when all its ranks are free and all tasks that it waits for have ended."""
import argparse
import heapq
import json
import math
import pathlib
import sys

import h5py
import numpy as np

RANKS_A_GROUP = 64  # of correlate (src/correlate/correlate.cpp)
LATENTS_A_PIECE = 256  # of a training (src/sae/step/step_rows.hpp)
PASSING_BY = 0.05  # of what a code of a step takes, by a rank that passes it by (src/cost/stages.cpp)


class Simulation:
    """Tasks on ranks. Each rank takes its tasks in the order in which they were added."""

    def __init__(self, ranks):
        self.ranks = ranks
        self.tasks = []  # [(ranks, seconds of each, waits for)]
        self.busy = np.zeros(ranks)

    def add(self, ranks, seconds, after=()):
        self.tasks.append((np.asarray(ranks), np.broadcast_to(seconds, len(ranks)), tuple(after)))
        return len(self.tasks) - 1

    def run(self):
        """The end of the last task. A task whose ranks have shares of their own ends with the slowest of them."""
        waiting = [len(after) for _, _, after in self.tasks]
        followers = [[] for _ in self.tasks]
        queues = [[] for _ in range(self.ranks)]
        for number, (ranks, _, after) in enumerate(self.tasks):
            for earlier in after:
                followers[earlier].append(number)
            for rank in ranks:
                queues[rank].append(number)
        place = [0] * self.ranks
        ready_ranks = [0] * len(self.tasks)
        for queue in queues:
            if queue:
                ready_ranks[queue[0]] += 1
        events = []
        now = 0.0

        def begin_if_possible(number):
            ranks, seconds, _ = self.tasks[number]
            if waiting[number] == 0 and ready_ranks[number] == len(ranks):
                self.busy[ranks] += seconds
                heapq.heappush(events, (now + float(seconds.max()), number))

        for number in range(len(self.tasks)):
            begin_if_possible(number)
        while events:
            now, number = heapq.heappop(events)
            for follower in followers[number]:
                waiting[follower] -= 1
            touched = set(followers[number])
            for rank in self.tasks[number][0]:
                place[rank] += 1
                if place[rank] < len(queues[rank]):
                    ready_ranks[queues[rank][place[rank]]] += 1
                    touched.add(queues[rank][place[rank]])
            for follower in sorted(touched):
                begin_if_possible(follower)
        return now


class Rates:
    """Seconds of work by the machine's rates while all ranks of a node work."""

    def __init__(self, path):
        self.work = json.loads(path.read_text(encoding="utf-8"))["work"]

    def seconds(self, kind, amount, size=0):
        rate = self.work[kind]
        return amount / rate.get("together", rate["alone"]) * (1 + rate.get("half", 0) / size if size else 1)


def firing_rates(path, latents, active):
    """Of each layer of a features.h5: rates of `latents` features, `active` of which fire at a time."""
    layers = []
    with h5py.File(path) as file:
        rows = file["row_kind"].shape[0]
        for name in sorted(key for key in file if key.startswith("layer_")):
            real = np.sort(file[name]["count"][:] / rows)[::-1]
            stretched = np.interp((np.arange(latents) + 0.5) / latents, (np.arange(len(real)) + 0.5) / len(real), real)
            scaled = stretched
            for _ in range(50):  # no feature fires more often than on each row
                scaled = np.minimum(1, scaled * active / scaled.sum())
            layers.append(scaled)
    return layers


def dealt(counts, parts):
    """Sums of `counts` as Deal deals features to parts: the largest first, each to the part with least."""
    heap = [(0.0, part) for part in range(parts)]
    features = np.zeros(parts)
    loads = np.zeros(parts)
    for count in np.sort(counts)[::-1]:
        load, part = heapq.heappop(heap)
        heapq.heappush(heap, (load + count, part))
        loads[part] = load + count
        features[part] += 1
    return loads, features


def correlate(rates, a_layers, b_layers, layer_counts, ranks, rows, passes):
    """Pairs in rounds: a round ends when all groups are done and rank 0 has written their results."""
    groups = min(max(1, ranks // RANKS_A_GROUP), layer_counts[0] * layer_counts[1])
    of_group = ranks // groups
    deals = [dealt(layer * rows, of_group) for layer in a_layers]
    simulation = Simulation(ranks)
    pairs = [(a % len(a_layers), b % len(b_layers)) for a in range(layer_counts[0]) for b in range(layer_counts[1])]
    last = ()
    for first in range(0, len(pairs), groups):
        ends = []
        for group, (a, b) in enumerate(pairs[first:first + groups]):
            loads, features = deals[a]
            latents = len(b_layers[b])
            active = b_layers[b].sum()
            seconds = passes * (rates.seconds("postings", loads * math.ceil(latents / 16384)) + rates.seconds("products", loads * active)
                                + rates.seconds("looks", features * latents))
            members = np.arange(group * of_group, (group + 1) * of_group)
            sums = simulation.add(members, seconds, last)
            ends.append(simulation.add(members[:1], rates.seconds("matches", len(a_layers[a]) + latents), [sums]))
        last = (simulation.add([0], 0.0, ends),)
    return simulation, groups


def compare(rates, matched, layer_counts, ranks, widths, permutations):
    """Pairs by descending number of matches, in rounds."""
    pairs = layer_counts[0] * layer_counts[1]
    groups = groups_of_compare(pairs, ranks)
    of_group = ranks // groups
    order = np.sort(np.resize(matched, pairs))[::-1]
    simulation = Simulation(ranks)
    last = ()
    narrow, wide = min(widths), max(widths)
    for first in range(0, pairs, groups):
        ends = []
        for group, rows in enumerate(order[first:first + groups]):
            members = np.arange(group * of_group, (group + 1) * of_group)
            shared = (rates.seconds("product_f64", rows * (narrow**2 + wide**2), narrow) + rates.seconds("product_f64", rows**2 * (narrow + wide), narrow)
                      + rates.seconds("dissimilarities", rows**2 / 2)) / of_group
            one = (rates.seconds("product_f64", 2 * rows * narrow * wide, narrow) + rates.seconds("eigenvalues", narrow**3, narrow)
                   + rates.seconds("product_f64", narrow**2 * wide, narrow) + rates.seconds("shuffled", rows**2))  # as compare measures by default
            share = np.array([permutations // of_group + (rank < permutations % of_group) for rank in range(of_group)])
            alone = simulation.add(members[:1], rates.seconds("eigenvectors", wide**3, wide), last)
            ends.append(simulation.add(members, shared + share * one, [alone]))
        last = (simulation.add([0], 0.0, ends),)
    return simulation, groups


def groups_of_compare(pairs, ranks):
    """similarity::groups_for."""
    alone, least, best = 0.01, math.inf, 1
    for size in range(1, ranks + 1):
        groups = min(max(ranks // size, 1), pairs)
        time = math.ceil(pairs / groups) * (alone + (1 - alone) / size)
        if time < least:
            least, best = time, groups
    return best


def train(rates, layer, ranks, width, batch, steps, generator):
    """Steps of one training: the rows of a batch fall to ranks at random, latents in pieces, and all wait for each other twice."""
    latents = len(layer)
    active = layer.sum()
    pieces = np.add.reduceat(layer, np.arange(0, latents, LATENTS_A_PIECE))
    sizes = np.minimum(LATENTS_A_PIECE, latents - np.arange(0, latents, LATENTS_A_PIECE))
    owner = np.arange(len(pieces)) * ranks // len(pieces) if ranks < len(pieces) else np.arange(len(pieces))
    firing = np.bincount(owner, pieces, ranks)
    owned = np.bincount(owner, sizes, ranks)
    simulation = Simulation(ranks)
    everyone = np.arange(ranks)
    whole = PASSING_BY * rates.seconds("codes_of_step", batch * active) + rates.seconds("batch_rows", batch * width)
    for _ in range(steps):
        rows = generator.multinomial(batch, np.full(ranks, 1 / ranks))
        forward = (rates.seconds("screen_int8", rows * latents * width, width) + rates.seconds("rows", rows * active * width / 2)
                   + rates.seconds("codes_of_step", rows * active))
        backward = rates.seconds("rows", batch * firing * width / 2) + rates.seconds("weights", owned * width)
        simulation.add(everyone, forward)
        simulation.add(everyone, backward + whole)
    useful = simulation.tasks  # what each rank does anew for the whole batch is no useful share
    return simulation, sum((seconds - whole if number % 2 else seconds).mean() for number, (_, seconds, _) in enumerate(useful))


def result(folder, *names):
    """A file of a study of two models, or of several (docs/formats.md)."""
    for place in (folder, folder / "models", folder / "pairs"):
        for name in names:
            if (place / name).exists():
                return place / name
    sys.exit(f"{folder} holds no {names[0]}")


def numbers(text):
    return [int(float(word)) for word in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--machine", type=pathlib.Path, required=True)
    parser.add_argument("--ranks", type=numbers, default=[64, 256, 1024, 4096])
    parser.add_argument("--rows", type=float, default=1e8)
    parser.add_argument("--latents", type=int, default=16384)
    parser.add_argument("--active", type=float, default=100)
    parser.add_argument("--layers", type=numbers, default=[26, 42])
    parser.add_argument("--widths", type=numbers, default=[2304, 3584])
    parser.add_argument("--passes", type=float, default=1.28, help="of correlate: 1, and what the null takes")
    parser.add_argument("--permutations", type=int, default=298)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20, help="of the training that is simulated")
    arguments = parser.parse_args()
    rates = Rates(arguments.machine)
    a_layers, b_layers = (firing_rates(result(arguments.results, f"{name}/features.h5"), arguments.latents, arguments.active) for name in ("a", "b"))
    with h5py.File(result(arguments.results, "matches.h5", "a_vs_b/matches.h5")) as file:
        share = [float(np.mean(file[group]["match/a"][:] >= 0)) for group in file if group.startswith("layer_")]
    matched = np.round(np.array(share) * arguments.latents)
    print(f"{arguments.rows:.0e} rows, {arguments.latents} latents, {arguments.active:g} active; matched {matched.min():.0f} to {matched.max():.0f}")
    print(f"{'stage':<10} {'ranks':>6} {'groups':>7} {'tasks':>8} {'seconds':>12} {'efficiency':>11}")
    generator = np.random.default_rng(1)
    for ranks in arguments.ranks:
        for stage in ("correlate", "compare", "train-sae"):
            if stage == "train-sae":
                simulation, useful = train(rates, a_layers[len(a_layers) // 2], ranks, arguments.widths[0], arguments.batch, arguments.steps, generator)
                groups = 1
                seconds = simulation.run()
            else:
                if stage == "correlate":
                    simulation, groups = correlate(rates, a_layers, b_layers, arguments.layers, ranks, arguments.rows, arguments.passes)
                else:
                    simulation, groups = compare(rates, matched, arguments.layers, ranks, arguments.widths, arguments.permutations)
                seconds = simulation.run()
                useful = simulation.busy.mean()
            print(f"{stage:<10} {ranks:>6} {groups:>7} {len(simulation.tasks):>8} {seconds:>12.1f} {useful / seconds:>11.3f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
