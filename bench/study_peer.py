"""The study as notebooks do it, one function a stage: what bench/study.py runs beside concord, each stage in a process of its own.

transformers with output_hidden_states, rows in memory and then in .npy; sparsify's TopK trainer on the CPU, the fastest of the three that
bench/train_sae.py tries at F = 16,384; SAELens to encode; a dense product of standardised columns in f32, once for each shift; numpy's SVD and scipy's
Spearman once for each shuffle. A plan (JSON) says what to do; with `part` a stage does a part and says by which factor its parts are multiplied.
"""
import argparse
import contextlib
import json
import os
import pathlib
import sys
import time

import numpy as np


def layer_file(plan, side, layer, suffix):
    return pathlib.Path(plan["peer"]) / side / f"layer_{layer:03d}{suffix}"


def sides_and_layers(plan):
    return [(side, layer) for side, model in plan["models"].items() for layer in model["layers"]]


def sae_folder(plan, side, layer):
    return pathlib.Path(plan["concord"]) / side / "saes" / f"layer_{layer:03d}"


class Watch:
    """What each part of a stage took: seconds, seconds of all cores, and the factor that projects it."""

    def __init__(self):
        self.parts = {}

    @contextlib.contextmanager
    def part(self, name, factor=1.0):
        begin, busy = time.perf_counter(), time.process_time()
        yield
        seconds, cores, _ = self.parts.get(name, (0.0, 0.0, factor))
        self.parts[name] = (seconds + time.perf_counter() - begin, cores + time.process_time() - busy, float(factor))


# Stages return the bytes that the whole would hold beside what the part held. Imports are not timed.

def padded(tokens, offsets, first, last):
    """Ids of contexts first to last, with zeros behind the shorter ones, and which are real."""
    lengths = np.diff(offsets[first:last + 1])
    real = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(real.shape, np.int64)
    ids[real] = tokens[offsets[first]:offsets[last]]
    return ids, real


def residual_streams(path, layers, tokens, offsets, batch=32):
    """[layers, rows, d] behind blocks, without the first row of each context, which is BOS."""
    import torch
    from transformers import Gemma2Model
    model = Gemma2Model.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    model.config.num_hidden_layers = layers[-1] + 1  # later blocks are not needed
    held = {}  # the last of hidden_states stands behind the final norm
    model.layers[layers[-1]].register_forward_hook(lambda module, given, out: held.update(last=out[0] if isinstance(out, tuple) else out))
    contexts = len(offsets) - 1
    streams = np.empty((len(layers), offsets[-1] - contexts, model.config.hidden_size), np.float32)
    row = 0
    for first in range(0, contexts, batch):
        ids, real = padded(tokens, offsets, first, min(first + batch, contexts))
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(real), use_cache=False,
                           output_hidden_states=True).hidden_states
        real[:, 0] = False
        for slot, layer in enumerate(layers):
            kept = (held["last"] if layer == layers[-1] else states[layer + 1]).numpy()[real]
            streams[slot, row:row + len(kept)] = kept
        row += len(kept)
    return streams


def extract(plan, watch):
    import h5py
    import torch
    import transformers  # noqa: F401
    torch.set_num_threads(plan["threads"])
    with h5py.File(pathlib.Path(plan["concord"]) / "tokens.h5") as f:
        tokens, offsets = f["tokens"][:], f["context_offsets"][:]
    whole = offsets[-1]
    offsets = offsets[:(len(offsets) - 1) // plan["part"]["contexts"] + 1]
    factor, most = float(whole / offsets[-1]), 0
    for side, model in plan["models"].items():
        with watch.part(f"model {side}", factor):
            streams = residual_streams(model["path"], model["layers"], tokens, offsets)
            for layer, rows in zip(model["layers"], streams):
                np.save(layer_file(plan, side, layer, ".npy"), rows)
        most = max(most, streams.nbytes)
    return (factor - 1) * most


def train(plan, watch):
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    import sparsify  # noqa: F401
    import torch
    from train_sae import Clock, train_sparsify
    torch.set_num_threads(plan["threads"])
    steps = plan["part"]["steps"] or plan["steps"]
    o = argparse.Namespace(device="cpu", width=plan["latents"], k=plan["k"], batch=plan["batch"], steps=steps, aux=True, dead_after=plan["dead_after"])
    more = 0
    for side, layer in sides_and_layers(plan):
        name, clock = f"{side} {layer}", Clock()
        with watch.part(name):
            x = torch.from_numpy(np.load(layer_file(plan, side, layer, ".npy")))
            scale = float(x.shape[1] ** 0.5 / x.norm(dim=1).mean())
            x *= scale
            weights = {key: value.detach().numpy() for key, value in train_sparsify(x, o, clock).items()}
            for key in ("b_enc", "b_dec"):  # back to the rows' own scale
                weights[key] = weights[key] / scale
            np.savez(layer_file(plan, side, layer, ".sae.npz"), **weights)
        if plan["part"]["steps"]:
            seconds, cores, _ = watch.parts[name]
            watch.parts[name] = (clock.step(), clock.step() * cores / seconds, plan["steps"])
        more = max(more, (plan["rows"] - len(x)) * x.shape[1] * 4)
    return more


def encode(plan, watch):
    import scipy.sparse
    import torch
    from sae_lens import SAE
    torch.set_num_threads(plan["threads"])
    more = 0
    for side, layer in sides_and_layers(plan):
        rows = torch.from_numpy(np.load(layer_file(plan, side, layer, ".npy")))
        factor = plan["rows"] / len(rows)
        with watch.part("rows", factor), torch.inference_mode():
            sae = SAE.load_from_disk(str(sae_folder(plan, side, layer)), device="cpu")
            codes = [scipy.sparse.csr_matrix(sae.encode(rows[first:first + 4096]).numpy()) for first in range(0, len(rows), 4096)]
            scipy.sparse.save_npz(layer_file(plan, side, layer, ".features.npz"), scipy.sparse.vstack(codes, format="csr"), compressed=False)
        more = max(more, (factor - 1) * (rows.numel() * 4 + 16 * len(rows) * plan["k"]))
    return more


def moments(features):
    """Mean and 1 / standard deviation (0: none) of each column, f64."""
    n, width = features.shape
    mean, squares = (np.bincount(features.indices, weights=values, minlength=width) / n for values in (features.data, np.square(features.data, dtype=np.float64)))
    deviation = np.sqrt(np.maximum(squares - mean ** 2, 0))
    return mean, np.divide(1, deviation, where=deviation > 0, out=np.zeros_like(deviation))


def standardised(features, mean, inverse):
    """Dense f32 z-scores."""
    z = features.astype(np.float32, copy=False).toarray()
    z -= mean.astype(np.float32)
    z *= inverse.astype(np.float32)
    return z


def product(a, b, shift):
    """r of all pairs of columns: row t of a beside row (t + shift) mod N of b."""
    n = len(a)
    if shift == 0:
        return a.T @ b / n
    return (a[:n - shift].T @ b[shift:] + a[n - shift:].T @ b[:shift]) / n


def best_of(r, count):
    """The largest of each row, largest first: columns and values."""
    columns = np.argpartition(-r, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(r, columns, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, 1), np.take_along_axis(values, order, 1)


def correlated(z_a, z_b, counts, shifts, best, min_firings):
    """Best partners both ways, best r of shifted rows, and the features of A that B's are matched with (-1: none): mutual best, r > 0."""
    r = product(z_a, z_b, 0)
    partner_a, r_a = best_of(r, best)
    partner_b, r_b = best_of(r.T, best)
    nulls = [np.maximum(product(z_a, z_b, shift), 0) for shift in shifts]
    match = partner_b[:, 0]
    kept = (partner_a[match, 0] == np.arange(len(match))) & (r_b[:, 0] > 0) & (counts[1] >= min_firings) & (counts[0][match] >= min_firings)
    return dict(partner_a=partner_a, r_a=r_a, partner_b=partner_b, r_b=r_b, match=np.where(kept, match, -1),
                null_a=np.array([null.max(1) for null in nulls]), null_b=np.array([null.max(0) for null in nulls]))


def concord_features(plan, side, layer):
    """CSR of a layer, rows of text alone. Not the peer's own: either of two nearly equal latents may be the k-th, and r of rare features feels it."""
    import h5py
    import scipy.sparse
    with h5py.File(pathlib.Path(plan["concord"]) / side / "features.h5") as f:
        group = f[f"layer_{layer:03d}"]
        whole = scipy.sparse.csr_matrix((group["data"][:], group["indices"][:], group["indptr"][:]), shape=(len(f["row_kind"]), plan["latents"]))
        return whole[f["row_kind"][:] == 0]


def correlate(plan, watch):
    import h5py  # noqa: F401
    import scipy.sparse  # noqa: F401
    if plan["part"]["columns"]:
        return correlate_columns(plan, watch)
    layers = plan["models"]["a"]["layers"]
    some = layers[:plan["part"]["layers"] or None]
    for layer_a in some:
        with watch.part("pairs", len(layers) / len(some)):
            a = concord_features(plan, "a", layer_a)
            z_a = standardised(a, *moments(a))
            for layer_b in plan["models"]["b"]["layers"]:
                b = concord_features(plan, "b", layer_b)
                counts = [np.bincount(m.indices, minlength=m.shape[1]) for m in (a, b)]
                found = correlated(z_a, standardised(b, *moments(b)), counts, plan["shifts"], plan["best"], plan["min_firings"])
                np.savez(pathlib.Path(plan["peer"]) / f"pair_{layer_a}_{layer_b}.npz", **found)
    return 0


def correlate_columns(plan, watch, chunk=10_000):
    """Some columns of A against all of B over all rows, once and for the first shift. Densifying and columns of A cost as much for all columns."""
    a, b = (concord_features(plan, side, *plan["models"][side]["layers"]) for side in "ab")
    columns, n = plan["part"]["columns"], a.shape[0]
    (mean_a, inverse_a), (mean_b, inverse_b) = moments(a), moments(b)
    some = a[:, :columns]
    whole = np.ones((plan["latents"], plan["latents"]), np.float32)  # what all columns need, though some alone are used
    passes, share, found = 1 + len(plan["shifts"]), plan["latents"] / columns, []
    for shift in (0, plan["shifts"][0]):
        r = whole[:columns]
        r[:] = 0
        moved = b if shift == 0 else b[np.roll(np.arange(n), -shift)]
        for first in range(0, n, chunk):
            z_a = standardised(some[first:first + chunk], mean_a[:columns], inverse_a[:columns])
            with watch.part("densifying", (passes + 1) / 2):  # B in each pass, A once
                z_b = standardised(moved[first:first + chunk], mean_b, inverse_b)
            with watch.part("products", share * passes / 2):
                r += z_a.T @ z_b / np.float32(n)
        with watch.part("largest", share * (passes + 1) / 2):  # of rows in each pass, of columns once
            found.append(best_of(r, plan["best"]))
    np.savez(pathlib.Path(plan["peer"]) / "columns.npz", partner_a=found[0][0], r_a=found[0][1], null_a=np.maximum(found[1][1][:, 0], 0))
    return 4 * chunk * (plan["latents"] - columns)


def kept_components(x, k):
    return np.linalg.svd(x - x.mean(0), full_matrices=False)[0][:, :k]


def svcca(x, y, k):
    """Mean canonical correlation of the k leading components of either side."""
    return float(np.linalg.svd(kept_components(x, k).T @ kept_components(y, k), compute_uv=False).mean())


def dissimilarities(x):
    return 1 - np.corrcoef(x)


def rsa(x, y):
    """Spearman's rho of the dissimilarities (1 - Pearson) of all pairs of rows."""
    import scipy.stats
    upper = np.triu_indices(len(x), 1)
    return float(scipy.stats.spearmanr(dissimilarities(x)[upper], dissimilarities(y)[upper]).statistic)


def scores_anew(x, y, k, orders):
    """Both scores, and those of each order of y's rows, everything computed again: the simplest code."""
    return [np.array([score(x, y[order]) for order in orders]) for score in (lambda p, q: svcca(p, q, k), rsa)]


def scores_kept(x, y, k, orders):
    """The same from components and ranks that are computed once: what careful code does."""
    import scipy.stats
    u_x, u_y = kept_components(x, k), kept_components(y, k)
    upper = np.triu_indices(len(x), 1)

    def ranks(rows):
        square = np.zeros((len(rows), len(rows)))
        square[upper] = scipy.stats.rankdata(dissimilarities(rows)[upper])
        square += square.T
        return square

    r_x, r_y = ranks(x)[upper], ranks(y)
    r_x = (r_x - r_x.mean()) / np.linalg.norm(r_x - r_x.mean())
    middle, norm = r_y[upper].mean(), np.linalg.norm(r_y[upper] - r_y[upper].mean())
    r_y = (r_y - middle) / norm
    return [np.array([np.linalg.svd(u_x.T @ u_y[order], compute_uv=False).mean() for order in orders]),
            np.array([r_x @ r_y[np.ix_(order, order)][upper] for order in orders])]


def matched_decoders(plan):
    """(layers of a pair, X, Y) for each pair: decoder rows of concord's matches, f64."""
    import h5py
    from safetensors.numpy import load_file
    decoders = {key: load_file(sae_folder(plan, *key) / "sae_weights.safetensors")["W_dec"].astype(np.float64) for key in sides_and_layers(plan)}
    with h5py.File(pathlib.Path(plan["concord"]) / "matches.h5") as f:
        for layer_a in plan["models"]["a"]["layers"]:
            for layer_b in plan["models"]["b"]["layers"]:
                match = f[f"layer_{layer_a:03d}_layer_{layer_b:03d}/match/a"][:]
                yield (layer_a, layer_b), decoders["a", layer_a][match[match >= 0]], decoders["b", layer_b][match >= 0]


def compare(plan, watch, scores=scores_anew):
    import scipy.stats  # noqa: F401
    rng = np.random.default_rng(0)
    shuffles = plan["part"]["shuffles"] or plan["permutations"]
    rows = []
    with watch.part("scores and shuffles", (1 + plan["permutations"]) / (1 + shuffles)):
        for layers, x, y in matched_decoders(plan):
            orders = [np.arange(len(x)), *(rng.permutation(len(x)) for _ in range(shuffles))]
            rows.append([*layers, len(x), *np.ravel(scores(x, y, plan["svcca_k"], orders))])
    np.save(pathlib.Path(plan["peer"]) / "scores.npy", np.array(rows))
    return 0


def compare_kept(plan, watch):
    plan["part"]["shuffles"] = 0  # quick enough to be done whole
    return compare(plan, watch, scores_kept)


STAGES = {"extract": extract, "train-sae": train, "encode": encode, "correlate": correlate, "compare": compare, "compare, kept": compare_kept}


def main():
    stage, plan = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
    for side in plan["models"]:
        (pathlib.Path(plan["peer"]) / side).mkdir(parents=True, exist_ok=True)
    watch = Watch()
    more = STAGES[stage](plan, watch)
    seconds, cores = (sum(part[i] * part[2] for part in watch.parts.values()) for i in (0, 1))
    print("RESULT", json.dumps({"parts": watch.parts, "seconds": seconds, "cores": cores, "more": more / 2 ** 20}))


if __name__ == "__main__":
    main()
