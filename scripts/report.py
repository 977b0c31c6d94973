#!/usr/bin/env python3
"""Report of a study: report/index.html (self-contained), figures (PNG and PDF), CSV tables and summary.json.

Run by `concord report STUDY.toml`, or by hand: report.py OUTPUT_FOLDER. Exit status: 0 done, 66 a result is missing,
69 a Python package is missing.
"""
import argparse
import json
import pathlib
import sys

try:
    import h5py
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError as error:
    print(f"report.py: {error}", file=sys.stderr)
    sys.exit(69)

sys.dont_write_bytecode = True  # a program leaves nothing beside itself
sys.path.append(str(pathlib.Path(__file__).resolve().parent))  # python -I leaves it out
from report_parts import STYLE, Corpus, html_table, layer_name, node_hours, node_hours_html, readable, save, text, top_contexts, write_csv
from report_subspaces_pages import write_subspaces


class Results:
    """The files of a study, read once."""

    def __init__(self, output: pathlib.Path):
        self.output = output
        with h5py.File(output / "similarity.h5") as f:
            self.layers_a = json.loads(f.attrs["layers_a"])
            self.layers_b = json.loads(f.attrs["layers_b"])
            self.provenance = {key: text(f.attrs[key]) for key in
                               ("software", "git", "command", "ranks", "hosts", "libraries", "seed", "date")}
            self.settings = json.loads(text(f.attrs["settings"]))
            self.measures = json.loads(text(f.attrs["measures"]))
            shape = (len(self.layers_a), len(self.layers_b))
            self.columns = {}
            f.visititems(lambda name, item: self.columns.__setitem__(name, item[:].reshape(shape))
                         if isinstance(item, h5py.Dataset) and item.ndim == 1 else None)
        self.add_match_columns()

    def add_match_columns(self):
        """Mean best r of all features and of the shifted null, and what correlate sums up, for every pair."""
        shape = (len(self.layers_a), len(self.layers_b))
        with h5py.File(self.output / "matches.h5") as f:
            summary = [name for name in json.loads(text(f.attrs["summary_columns"])) if name not in ("matched", "mean_r")]
            for name in ("best_r", "null_r", *summary):
                self.columns[name] = np.full(shape, np.nan)
            for i, a in enumerate(self.layers_a):
                for j, b in enumerate(self.layers_b):
                    best, null, weights, _ = correlations(f, a, b)
                    self.columns["best_r"][i, j] = best.mean() if best.size else np.nan
                    self.columns["null_r"][i, j] = np.average(null, weights=weights) if null.size else np.nan
                    values = dict(zip(json.loads(text(f.attrs["summary_columns"])), f[f"{layer_name(a)}_{layer_name(b)}/summary"][:]))
                    for name in summary:
                        self.columns[name][i, j] = values[name]

    def best_pair(self):
        """Layer pair of the SVCCA farthest above chance (of another measure where SVCCA is nowhere defined)."""
        for name in ["svcca/adjusted", "rsa/adjusted", *(f"{m}/adjusted" for m in self.measures)]:
            if name in self.columns and np.isfinite(self.columns[name]).any():
                i, j = np.unravel_index(np.nanargmax(self.columns[name]), self.columns[name].shape)
                return i, j
        return 0, 0


def correlations(file, a, b):
    """r of every B feature that has a partner, its null under shifted tokens with the features that each value stands for, and r of the matches."""
    group = file[f"{layer_name(a)}_{layer_name(b)}"]
    has_partner = group["b_to_a/partner"][:, 0] >= 0  # one column, not every partner
    best = group["b_to_a/r"][:, 0]
    null, weights = null_of(group["b_to_a"], has_partner)
    matched = group["match/r"][:]
    return best[has_partner], null, weights, matched[np.isfinite(matched)]


def null_of(side, wanted):
    """Best r of the wanted features with shifted rows, and how many features each value stands for."""
    if "null_r" not in side:
        return np.empty(0), np.empty(0)
    null = side["null_r"][:]
    if "null_feature" not in side:
        values = null[:, wanted].ravel()
        return values, np.full(values.size, 1 / len(null))
    feature = side["null_feature"][:]
    taken = (feature >= 0) & wanted[feature]
    return null[taken], side["null_weight"][:][taken]


# --- figures ----------------------------------------------------------------------------------------------------------

MEASURE_TITLES = {"svcca": "SVCCA", "svcca_squared": "mean squared canonical correlation", "svcca_rank1": "SVCCA of one component", "pwcca": "PWCCA",
                  "rsa": "RSA (Spearman)", "rsa_pearson": "RSA (Pearson)", "rsa_rho_a": "RSA (rho-a)", "rsa_kendall": "RSA (Kendall's tau-a)",
                  "cka": "linear CKA", "cka_debiased": "debiased CKA", "procrustes": "Procrustes", "mutual_knn": "mutual k nearest neighbours",
                  "principal_angles": "principal angles"}

HEATMAPS = [
    ("svcca/score", "SVCCA of matched features", "viridis"),
    ("svcca/null_mean", "SVCCA null (shuffled pairing)", "viridis"),
    ("svcca/adjusted", "SVCCA, adjusted: 0 chance, 1 same", "viridis"),
    ("rsa/score", "RSA (Spearman) of matched features", "viridis"),
    ("rsa/z", "RSA, z against the null", "magma"),
    ("cka_debiased/score", "debiased CKA", "viridis"),
    ("mutual_knn/score", "mutual k nearest neighbours", "viridis"),
    ("matched", "matched features", "cividis"),
    ("mean_r", "mean r of matched features", "cividis"),
]
SHARED_SCALE = {"svcca/null_mean": "svcca/score"}


def heatmap(axis, results, name, title, colours):
    values = results.columns[name]
    scale = results.columns[SHARED_SCALE.get(name, name)]
    both = np.concatenate([scale.ravel(), values.ravel()])
    low, high = (np.nanmin(both), np.nanmax(both)) if np.isfinite(both).any() else (0, 1)
    if name in SHARED_SCALE or name in SHARED_SCALE.values():
        low = min(0.0, low)
    image = axis.imshow(values, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high if high > low else low + 1)
    axis.set_title(title, fontsize=9)
    axis.set_xticks(range(len(results.layers_b)), results.layers_b, fontsize=7)
    axis.set_yticks(range(len(results.layers_a)), results.layers_a, fontsize=7)
    axis.set_xlabel("layer of B", fontsize=8)
    axis.set_ylabel("layer of A", fontsize=8)
    if values.size <= 150:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                label = f"{value:.0f}" if name in ("matched", "rsa/z") else f"{value:.2f}".replace("0.", ".", 1)
                dark = (value - low) / (high - low + 1e-12) < 0.6
                axis.text(j, i, label, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    axis.figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03).ax.tick_params(labelsize=7)


def figure_maps(results):
    shown = [entry for entry in HEATMAPS if entry[0] in results.columns]
    rows = (len(shown) + 2) // 3
    figure, axes = plt.subplots(rows, 3, figsize=(15, 3.7 * rows), constrained_layout=True)
    for axis, (name, title, colours) in zip(axes.ravel(), shown):
        heatmap(axis, results, name, title, colours)
    for axis in axes.ravel()[len(shown):]:
        axis.axis("off")
    return figure


def figure_correlations(results, i, j):
    a, b = results.layers_a[i], results.layers_b[j]
    with h5py.File(results.output / "matches.h5") as f:
        best, null, weights, matched = correlations(f, a, b)
    figure, axis = plt.subplots(figsize=(8, 4), constrained_layout=True)
    bins = np.linspace(min(-0.05, best.min(initial=0)), 1, 60)
    axis.hist(best, bins, alpha=0.5, label=f"best partner of every B feature ({best.size})")
    axis.hist(matched, bins, alpha=0.6, label=f"matched ({matched.size})")
    if null.size:
        axis.hist(null, bins, weights=weights, histtype="step", color="black", label="null: B's tokens shifted")
    axis.set_xlabel("Pearson r of activations over tokens")
    axis.set_ylabel("features (logarithmic)")
    axis.set_yscale("log")  # the null is one narrow peak
    axis.set_title(f"layer {a} of A against layer {b} of B")
    axis.legend(fontsize=8)
    return figure


SIDE_COLOURS = {"a": "Blues", "b": "Oranges"}


def shade(record, records):
    """A colour for each SAE: the model's, darker for later layers."""
    layers = sorted({r["layer"] for r in records if r["model"] == record["model"]})
    return plt.get_cmap(SIDE_COLOURS[record["model"]])(0.35 + 0.6 * layers.index(record["layer"]) / max(1, len(layers) - 1))


def figure_training(records, courses):
    """What the SAEs came to, layer by layer, and how they got there (training.jsonl)."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 7), constrained_layout=True)
    by_layer = [("fvu", "FVU on held-out rows", 1), ("recovered", "cross-entropy recovered", 1), ("dead_share", "dead latents (%)", 100)]
    for axis, (key, label, factor) in zip(axes[0], by_layer):
        for side in ("a", "b"):
            points = [(r["layer"], factor * r[key]) for r in records if r["model"] == side and r[key] is not None]
            if points:
                axis.plot(*zip(*points), "o-", label=f"model {side.upper()}", color=plt.get_cmap(SIDE_COLOURS[side])(0.8))
                axis.legend(fontsize=8)
        axis.set(xlabel="layer", ylabel=label)
        axis.set_ylim(0, 1.02 if key == "recovered" else 1.1 * max(axis.get_ylim()[1], 0.01))
    for axis, (key, label) in zip(axes[1], [("fvu", "FVU of the batch"), ("dead", "dead latents")]):
        for record, course in zip(records, courses):
            if course:
                axis.plot([line["rows"] for line in course], [line[key] for line in course], color=shade(record, records), linewidth=1)
        axis.set(xlabel="rows seen", ylabel=label)
    axes[1][0].set_yscale("log")
    for record in records:
        if record["density"]:
            edges = np.array(record["density"]["log10_edges"])
            axes[1][2].step(edges, record["density"]["latents"], where="post", color=shade(record, records), linewidth=1)
    axes[1][2].set(xlabel="log10 of the share of rows on which a latent fires", ylabel="latents")
    return figure


def figure_crosscoders(crosscoders):
    """Whose a latent is: its decoder norm in B of that in both."""
    columns = min(3, len(crosscoders))
    rows = -(-len(crosscoders) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 3 * rows), constrained_layout=True, squeeze=False)
    for axis in axes.ravel()[len(crosscoders):]:
        axis.axis("off")
    for axis, crosscoder in zip(axes.ravel(), crosscoders):
        axis.hist(crosscoder["relative_decoder_norms"], np.linspace(0, 1, 51))
        fvu_a, fvu_b = crosscoder["part_fvu"]
        axis.set_title(f"{crosscoder['name']}: FVU {fvu_a:.3f} of A, {fvu_b:.3f} of B", fontsize=9)
        axis.set(xlabel="A alone  <  |W_dec B| / (|W_dec A| + |W_dec B|)  >  B alone", ylabel="latents")
    return figure


def best_matches(results, corpora, i, j, count):
    """The best matched features of a layer pair with their contexts in both models; rare features are left out."""
    a, b = results.layers_a[i], results.layers_b[j]
    with h5py.File(results.output / "matches.h5") as f:
        group = f[f"{layer_name(a)}_{layer_name(b)}"]
        kept = np.flatnonzero(group["match/a"][:] >= 0)
        partner, r, margin, q, cofire = (group[f"match/{name}"][:][kept] for name in ("a", "r", "margin", "q", "cofire"))
    order = [o for o in np.argsort(-r, kind="stable") if cofire[o] >= 30][:count] or np.argsort(-r, kind="stable")[:count]
    matches = []
    with h5py.File(results.output / "a/features.h5") as fa, h5py.File(results.output / "b/features.h5") as fb:
        for o in order:
            feature_a, feature_b = int(partner[o]), int(kept[o])
            matches.append({"a": feature_a, "b": feature_b, "r": float(r[o]), "margin": float(margin[o]), "q": float(q[o]), "cofire": int(cofire[o]),
                            "contexts_a": top_contexts(fa, corpora[0], a, feature_a), "contexts_b": top_contexts(fb, corpora[1], b, feature_b)})
    return matches


# --- tables -----------------------------------------------------------------------------------------------------------

PAIR_COLUMNS = ["matched", "mean_r", "best_r", "null_r", "mppc_a", "mppc_b", "wmppc_a", "wmppc_b", "tested_a", "tested_b", "significant_a", "significant_b",
                "above_fixed_a", "above_fixed_b", "factors/k_a", "factors/k_b", "factors/rank_a", "factors/rank_b", "factors/forced_ones"]
MEASURE_COLUMNS = ["score", "null_mean", "null_sd", "z", "p", "p_from", "q", "max_p", "adjusted", "calibrated", "formula_mean", "formula_sd", "stratified_mean", "stratified_p",
                   "subset_mean", "subset_p"]


def pair_rows(results):
    rows = []
    for i, a in enumerate(results.layers_a):
        for j, b in enumerate(results.layers_b):
            row = {"layer_a": a, "layer_b": b}
            names = PAIR_COLUMNS + [f"{m}/{c}" for m in results.measures for c in MEASURE_COLUMNS]
            row.update({name.replace("/", "_"): float(results.columns[name][i, j]) for name in names})
            rows.append(row)
    return rows


RECORD_KEYS = ("kind", "fvu", "fvu_all_rows", "rows_left_out", "held_out_rows_left_out", "explained_variance", "l0", "l1", "cosine", "relative_norm", "dead", "silent", "dense", "latents", "held_out_rows", "density")


def training_records(saes, layers, output):
    """What is known of every SAE that concord trained, and the course of its training; both in the same order."""
    records, courses = [], []
    for side, location in saes.items():
        recovered = recovered_of(output / side / "recovered.json")
        for layer in layers[side]:
            folder = pathlib.Path(location) / layer_name(layer)
            record = training_record(folder / "training.json")
            if record is None:
                continue
            records.append({"model": side, "layer": layer, **{k: record.get(k) for k in RECORD_KEYS}, "dead_share": record["dead"] / record["latents"],
                            "recovered": recovered.get(layer)})
            log = folder / "training.jsonl"
            courses.append([json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else [])
    return records, courses


def training_record(path):
    """What concord says of an SAE that it trained; None where the file is not there or another program's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(record, dict) and "stage_digest" in record and isinstance(record.get("settings"), dict)
    numbers = known and all(isinstance(record.get(key), (int, float)) for key in ("dead", "latents", "fvu")) and record["latents"] > 0
    if not numbers:
        print(f"report.py: {path} is not of concord; its SAE is left out of the table", file=sys.stderr)
        return None
    return record


def recovered_of(path):
    """Cross-entropy recovered by layer."""
    return {layer["layer"]: layer["recovered"] for layer in json.loads(path.read_text())["layers"]} if path.exists() else {}


def crosscoder_records(output):
    paths = sorted((output / "crosscoders").glob("*/training.json"))
    return [{"name": path.parent.name.replace("_layer", " x layer").replace("layer_", "layer "), **json.loads(path.read_text())} for path in paths]


def match_html(match):
    sides = ""
    for side in ("a", "b"):
        contexts = "".join(f'<div class="context"><span class="value">{value:7.2f}</span>  {context}</div>' for value, context in match[f"contexts_{side}"])
        sides += f"<div><b>model {side.upper()}, feature {match[side]}</b>{contexts}</div>"
    chance = f", q = {match['q']:.2g}" if np.isfinite(match["q"]) else ""
    title = f"r = {match['r']:.3f}, {match['margin']:.3f} ahead of the runner-up{chance}, active together on {match['cofire']} tokens"
    return f'<div class="match"><h3>{title}</h3>{sides}</div>'


def measured(row, name, title):
    """One measure of a pair in words; nothing where it was not taken."""
    if not np.isfinite(row.get(f"{name}_score", np.nan)):
        return ""
    said = [f"{word} {row[column]:{form}}" for word, column, form in (("null", f"{name}_null_mean", ".3f"), ("q =", f"{name}_q", ".3g")) if np.isfinite(row[column])]
    return f", {title} {row[f'{name}_score']:.3f}" + (f" ({', '.join(said)})" if said else "")


def lead(row, results):
    k = results.settings["svcca_k"]
    kept = f"SVCCA with {k} components" if k else f"SVCCA with {100 * results.settings['svcca_variance']:g} % of the variance"
    return (f"The most alike layers are <b>layer {row['layer_a']} of A</b> and <b>layer {row['layer_b']} of B</b>: "
            f"{row['matched']:.0f} matched features with mean r {row['mean_r']:.2f}"
            + (f" (best r of shifted tokens: {row['null_r']:.2f})" if np.isfinite(row["null_r"]) else "")
            + measured(row, "svcca", kept) + measured(row, "rsa", "RSA") + ".")


def how_chance_was_taken(shuffles):
    if shuffles == 0:
        return "Nothing was shuffled: null, q and adjusted are those of closed forms, for the measures that have one."
    return f"The null shuffles which feature is paired with which; p = (b + 1) / (K + 1) with\nK = {shuffles} shuffles."


def measure_table(row, results):
    """Every measure of one layer pair beside its chance."""
    columns = [("title", "measure"), ("score", "score"), ("null_mean", "null"), ("null_sd", "sd"), ("formula_mean", "null, closed form"), ("z", "z"), ("p", "p"), ("q", "q"),
               ("calibrated", "calibrated"), ("stratified_mean", "null within strata"), ("stratified_p", "p within strata"), ("subset_mean", "random subsets"),
               ("subset_p", "p of subsets")]
    rows = [{"title": MEASURE_TITLES.get(m, m)} | {c: row[f"{m}_{c}"] for c, _ in columns[1:]} for m in results.measures]
    return html_table(rows, columns, {c: ".4f" for c, _ in columns[1:]} | {"z": ".1f", "p": ".3g", "q": ".3g", "stratified_p": ".3g", "subset_p": ".3g"})


def skyline_html(skyline, shown, formats):
    """Pairs of models of one residual stream, with SAEs of different seeds: the most that any comparison can be expected to give."""
    if not skyline:
        return ""
    return ("<h2>Skyline: one layer, two SAEs</h2><p>Two SAEs that were trained on the same rows from different seeds, through the same stages. "
            "No pair of models can be expected to come out more alike than this.</p>" + html_table(skyline, [("pair", "pair"), *shown], formats))


def page(name, results, images, rows, best, matches, records, skyline, subspaces, hours):
    shown = [("layer_a", "layer A"), ("layer_b", "layer B"), ("matched", "matched"), ("mean_r", "mean r"), ("significant_b", "B beyond chance"),
             ("above_fixed_b", "B with r > 0.1"), ("tested_b", "B tested"), ("wmppc_b", "wMPPC of B"), ("factors_k_a", "k of A"), ("factors_k_b", "k of B")]
    for measure, title in (("svcca", "SVCCA"), ("rsa", "RSA")):
        if measure in results.measures:
            shown += [(f"{measure}_score", title), (f"{measure}_null_mean", "null"), (f"{measure}_z", "z"), (f"{measure}_q", "q"), (f"{measure}_calibrated", "calibrated")]
    formats = {key: ".3f" for key, _ in shown} | {key: ".3g" for key, _ in shown if key.endswith("_q")} | {"layer_a": "d", "layer_b": "d", "matched": ".0f"}
    formats |= dict.fromkeys(("significant_b", "above_fixed_b", "tested_b", "factors_k_a", "factors_k_b"), ".0f") | {key: ".1f" for key, _ in shown if key.endswith("_z")}
    key = next((f"{m}_adjusted" for m in ("svcca", "rsa", *results.measures) if np.isfinite(best.get(f"{m}_adjusted", np.nan))), "matched")
    ranked = sorted(rows, key=lambda r: -(r[key] if np.isfinite(r[key]) else -9))[:15]
    provenance = "".join(f"<dt>{readable(k)}</dt><dd>{readable(v)}</dd>" for k, v in results.provenance.items())
    training = ""
    if records:
        training = "<h2>Sparse autoencoders</h2>" + images["training"] + html_table(
            records, [("model", "model"), ("layer", "layer"), ("kind", "kind"), ("fvu", "FVU"), ("fvu_all_rows", "FVU with long rows"), ("rows_left_out", "long rows left out"),
                      ("explained_variance", "explained variance"), ("recovered", "CE recovered"),
                      ("l0", "L0"), ("l1", "L1"), ("cosine", "cosine"), ("relative_norm", "relative norm"), ("dead", "dead"), ("dense", "dense"), ("latents", "latents")],
            dict.fromkeys(("fvu", "fvu_all_rows", "explained_variance", "recovered", "cosine", "relative_norm"), ".4f") | {"l0": ".2f", "l1": ".2f"})
    if "crosscoders" in images:
        training += "<h2>Crosscoders</h2><p>One SAE over the rows of both models: which of its latents both have, and which one has alone.</p>" + images["crosscoders"]
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{readable(name)}</title><style>{STYLE}</style></head><body>
<h1>{readable(name)}</h1><p class="lead">{lead(best, results)}</p>
<p>A feature of A is <i>matched</i> with a feature of B by the correlation of their activations over the same tokens; SVCCA, RSA and other measures then
compare the decoder rows of the matched features. {how_chance_was_taken(results.settings['permutations'])} <i>B beyond chance</i> counts features of B whose best partner has a larger r than the best of all
partners reaches when B's documents are shifted against A's, at a false discovery rate; <i>r &gt; 0.1</i> is the fixed cut of the papers. q is the false discovery
rate over all layer pairs. <i>Adjusted</i> means (score - null mean) / (1 - null mean); <i>calibrated</i> counts from what the null exceeds with probability
{results.settings['level']:g} and is 0 below it.</p>
<h2>All layer pairs</h2>{images['maps']}
<h2>Best pairs</h2>{html_table(ranked, shown, formats)}<p>All pairs: <code>pairs.csv</code>.</p>
<h2>All measures of the best pair</h2>{measure_table(best, results)}<p>The null within strata shuffles among features alike in firing rate and decoder norm; random subsets are as
many features of B, drawn from all that have a partner, each with its best one.</p>
{skyline_html(skyline, shown, formats)}
<h2>Correlations in the best pair</h2>{images['correlations']}
<h2>Best matched features of the best pair</h2><p>Each feature's strongest contexts, one a context window, the active token marked.
Features that are active together on fewer than 30 tokens are left out.</p>{''.join(match_html(m) for m in matches)}
{subspaces}{training}{node_hours_html(hours)}<h2>How this was made</h2><dl>{provenance}</dl></body></html>"""


def named_folder(text):
    name, _, folder = text.partition("=")
    return name, pathlib.Path(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=pathlib.Path, help="folder of the study's results")
    parser.add_argument("--name", default="study")
    parser.add_argument("--tokens-a", type=pathlib.Path, help="tokens.h5 of A; OUTPUT/tokens.h5 when left out")
    parser.add_argument("--tokens-b", type=pathlib.Path, help="that of B")
    parser.add_argument("--saes-a", default="")
    parser.add_argument("--saes-b", default="")
    parser.add_argument("--skyline", action="append", default=[], type=named_folder, help="NAME=FOLDER of a pair of models of one residual stream")
    parser.add_argument("--top", type=int, default=10, help="best matched features shown")
    arguments = parser.parse_args()
    tokens = [path or arguments.output / "tokens.h5" for path in (arguments.tokens_a, arguments.tokens_b)]
    for needed in (*tokens, *(arguments.output / name for name in ("a/features.h5", "b/features.h5", "matches.h5", "similarity.h5"))):
        if not needed.exists():
            print(f"report.py: {needed} is missing; run its stage first", file=sys.stderr)
            sys.exit(66)

    results = Results(arguments.output)
    folder = arguments.output / "report"
    folder.mkdir(exist_ok=True)
    i, j = results.best_pair()
    rows = pair_rows(results)
    skyline = [{"pair": name} | row for name, folder in arguments.skyline for row in pair_rows(Results(folder)) if row["layer_a"] == row["layer_b"]]
    best = rows[i * len(results.layers_b) + j]
    records, courses = training_records({"a": arguments.saes_a, "b": arguments.saes_b},
                                        {"a": results.layers_a, "b": results.layers_b}, arguments.output)
    matches = best_matches(results, [Corpus(path) for path in tokens], i, j, arguments.top)
    images = {"maps": save(figure_maps(results), folder, "maps"),
              "correlations": save(figure_correlations(results, i, j), folder, "correlations")}
    if records:
        images["training"] = save(figure_training(records, courses), folder, "training")
        write_csv(folder / "saes.csv", [{k: v for k, v in record.items() if k != "density"} for record in records])
    crosscoders = crosscoder_records(arguments.output)
    if crosscoders:
        images["crosscoders"] = save(figure_crosscoders(crosscoders), folder, "crosscoders")
    write_csv(folder / "pairs.csv", rows)
    write_csv(folder / "matches.csv", [{k: m[k] for k in ("a", "b", "r", "margin", "q", "cofire")} for m in matches] or [{"a": ""}])
    subspaces, subspaces_summary = write_subspaces(arguments.output, folder)
    hours = node_hours(arguments.output)
    summary = {"name": arguments.name, "best_pair": best, "pairs": rows, "skyline": skyline, "saes": records, "subspaces": subspaces_summary, "node_hours": hours, "settings": results.settings, "provenance": results.provenance}
    clean = json.loads(json.dumps(summary), parse_constant=lambda _: None)
    (folder / "summary.json").write_text(json.dumps(clean, indent=1), encoding="utf-8")
    temporary = folder / "index.html.new"
    temporary.write_text(page(arguments.name, results, images, rows, best, matches, records, skyline, subspaces, hours), encoding="utf-8")
    temporary.replace(folder / "index.html")


if __name__ == "__main__":
    main()
