"""Stage `subspaces` in the report: figures, the section of index.html, subspaces.html, and a page a concept. Imported by report.py.

Wherever a headline stands, its controls stand beside it.
"""
import re

import matplotlib.pyplot as plt
import numpy as np

import h5py
from report_parts import STYLE, Corpus, Html, html_table, label, layer_name, readable, save, text, top_contexts, visible, write_csv
from report_subspaces import (AGREEMENT, BASIS_TITLES, CHECKS, CONTROLS, CRITERIA, EFFECT_MEASURES, HEADLINE_BASES, LEAST_PAIRS, LEAST_RELIABILITY, MOST_EFFECT_ROWS,
                              QUESTIONS, Matrices, Subspaces, alike_rows, claim_rows, concept_rows, contrast_rows, headlines, last, member_rows,
                              verdict_sentence, why_not_alike, write_effects)
from report_subspaces_acts import carried_html, equal_energy_html, resample_html, steering_html

BASIS_COLOURS = {"sae": "#1f77b4", "residual": "#d95f02", "dealt": "#444444", "matched": "#2e8b57", "random": "#9a7fc0", "means": "#e6a800", "lda": "#c2185b",
                 "leace": "#795548", "pseudo": "#7f7f7f"}
BASIS_MARKS = {"sae": "o", "residual": "s", "dealt": "v", "matched": "^", "random": "D", "means": "P", "lda": "X", "leace": "*", "pseudo": "<"}
SET_TITLES = {"all": "all spans", "one_token": "words of one token", "several_tokens": "words of several tokens", "phrase": "phrases"}
UNDEFINED = "#d8d8d8"
REASONS = {"concept undefined": ("u", "the concept has too few occurrences or phrases"),
           "few paired features": ("f", f"fewer than {LEAST_PAIRS} features of it are paired between the models"),
           "few phrases": ("p", f"fewer than {LEAST_PAIRS} of its phrases occur"),
           "measure undefined": ("c", "the measure is not defined on its rows"),
           "not measured": ("n", "the residual stream was not looked at (subspaces.residual)")}
CONTEXT_MEMBERS = 3
WHERE = "subspaces"


# --- figures ----------------------------------------------------------------------------------------------------------------------

def name_ticks(axis, s, which, size=5.5):
    """Names of the concepts in the order of the groups; of many the groups alone. Lines between groups."""
    labels = [label(s.names[c]) for c in s.order]
    if s.concepts > 64:
        labels = [label(s.groups[c]) if i == 0 or s.groups[c] != s.groups[s.order[i - 1]] else "" for i, c in enumerate(s.order)]
    borders = [i - 0.5 for i in range(1, s.concepts) if s.groups[s.order[i]] != s.groups[s.order[i - 1]]]
    if "y" in which:
        axis.set_yticks(range(s.concepts), labels, fontsize=size)
    if "x" in which:
        axis.set_xticks(range(s.concepts), labels, fontsize=size, rotation=90)
    for border in borders:
        axis.axhline(border, color="white", linewidth=0.8)
        if "X" in which:
            axis.axvline(border, color="white", linewidth=0.8)


def image(axis, values, colours, **scale):
    colours = plt.get_cmap(colours).copy()
    colours.set_bad(UNDEFINED)
    shown = axis.imshow(np.ma.masked_invalid(values), cmap=colours, interpolation="nearest", **scale)
    axis.figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03).ax.tick_params(labelsize=6)


def alike_measure(s):
    """The measure that is defined for most concepts."""
    counts = {m: sum(np.isfinite(s.alike[of, "score"][:, :, s.measures.index(m)]).sum() for of in ("features", "phrases")) for m in s.measures}
    return max(("cka_debiased", *s.measures), key=lambda m: counts.get(m, -1))


def figure_alike(s, measure):
    """Scores of every concept at every layer pair above those of shuffled pairings. A cross: no more than chance; a letter: why undefined."""
    m, pairs = s.measures.index(measure), len(s.pairs)
    width = min(7, 2.2 + 0.28 * pairs)
    figure, axes = plt.subplots(1, 2, figsize=(2 * width + 1, 1.4 + 0.16 * s.concepts), constrained_layout=True, sharey=True)
    for axis, of in zip(axes, ("features", "phrases")):
        above = (s.alike[of, "score"] - s.alike[of, "shuffled_mean"])[:, s.order, m].T
        image(axis, above, "viridis", aspect="auto", vmin=0, vmax=1)
        p = s.alike[of, "p"][:, s.order, m].T
        row, pair = np.nonzero(p > 0.05)
        axis.plot(pair, row, "x", color="white", markersize=2.5, markeredgewidth=0.6)
        undefined = {}
        for row, pair in np.argwhere(np.isnan(above)) if above.size <= 3000 else ():
            undefined.setdefault(REASONS[why_not_alike(s, of, pair, s.order[row], m)][0], []).append((pair, row))
        for letter, places in undefined.items():  # as markers, which are drawn many times faster than texts
            axis.plot(*zip(*places), marker=rf"$\mathrm{{{letter}}}$", linestyle="none", color="#555", markersize=4.5, markeredgewidth=0)
        axis.set_title({"features": "decoder rows of paired features", "phrases": "means of its phrases"}[of], fontsize=8)
        step = max(1, pairs // 20)
        axis.set_xticks(range(0, pairs, step), [f"{a} \u00d7 {b}" for a, b in s.pairs[::step]], fontsize=6, rotation=90)
        axis.set_xlabel("layer of A \u00d7 layer of B", fontsize=7)
    name_ticks(axes[0], s, "y")
    figure.suptitle(f"{measure}, less its mean over shuffled pairings", fontsize=9)
    return figure


def mean_of_halves(s, side, layer, basis, measure="kl"):
    values = s.effects(side, layer, measure, "all", basis)
    return np.where(np.isfinite(values).any(axis=0), np.nansum(values, axis=0) / np.maximum(1, np.isfinite(values).sum(axis=0)), np.nan)


def mean_residuals(s, pair, basis):
    """Of A and of B: what rows, columns and the words' co-occurrence leave, mean of the halves; the place of concepts that are left out NaN."""
    matrices = Matrices(s, pair, basis)
    out = np.full((2, s.concepts, s.concepts), np.nan)
    if matrices.kept.size > 1:
        (a1, b2), (a2, b1) = matrices.crossings(matrices.kept)
        out[(slice(None), *np.ix_(matrices.kept, matrices.kept))] = [(a1 + a2) / 2, (b1 + b2) / 2]
    return out


def figure_matrices(s, pair):
    """For each basis: E of A and of B, what rows and columns leave of them, and meaning, in one order of concepts."""
    a, b = s.pairs[pair]
    i, j = s.place(pair)
    part = np.ix_(s.order, s.order)
    meaning = next(iter(s.similarity.items()), None)
    columns = 5 if meaning else 4
    rows = len(s.measured)
    height = 2.8 * rows + 1
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns + 0.8, height), squeeze=False)
    figure.subplots_adjust(left=0.9 / (3.4 * columns + 0.8), right=0.98, bottom=0.8 / height, top=1 - 0.3 / height, wspace=0.22, hspace=0.12)
    for row, basis in zip(axes, s.measured):
        with np.errstate(divide="ignore"):
            logs = [np.log10(np.maximum(mean_of_halves(s, side, layer, basis)[part], 0)) for side, layer in (("a", i), ("b", j))]
        logs = [np.where(np.isfinite(values), values, np.nan) for values in logs]
        left = [values[part] for values in mean_residuals(s, pair, basis)]
        for axis, values, title in zip(row, logs, (f"A, layer {a}: log10 KL", f"B, layer {b}: log10 KL")):
            image(axis, values, "viridis")
            axis.set_title(f"{basis}: {title}", fontsize=8)
        for axis, values, title in zip(row[2:], left, ("A, without rows and columns", "B, without rows and columns")):
            image(axis, values, "RdBu_r", vmin=-2, vmax=2)
            axis.set_title(f"{basis}: {title}", fontsize=8)
        if meaning:
            image(row[4], np.where(np.eye(s.concepts), np.nan, meaning[1])[part], "magma")
            row[4].set_title(f"meaning ({label(meaning[0])})", fontsize=8)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
            name_ticks(axis, s, "X" + "y" * (axis is row[0]) + "x" * (basis == s.measured[-1]), 5)
            axis.tick_params(length=1)
    return figure


def figure_scatter(s, pair):
    """What rows and columns leave of A's effects against B's, documents crossed, a panel a basis; concept pairs far out by name."""
    columns = min(3, len(s.measured))
    rows = -(-len(s.measured) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 4.8 * rows), constrained_layout=True, squeeze=False)
    for axis in axes.ravel()[len(s.measured):]:
        axis.axis("off")
    for axis, basis in zip(axes.ravel(), s.measured):
        matrices = Matrices(s, pair, basis)
        r, p = (float(s.claim(name, basis=basis)[pair]) for name in ("r", "p" if s.one_group else "p_grouped"))
        axis.set_title(f"{basis}{' (control)' if basis in CONTROLS else ''}: r = {r:.2f}, p = {p:.2g}", fontsize=9)
        axis.axhline(0, color="#ccc", linewidth=0.7)
        axis.axvline(0, color="#ccc", linewidth=0.7)
        axis.set(xlabel="effect in A (normal score, without rows and columns)", ylabel="effect in B", xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
        if matrices.kept.size > 1:
            crossings = matrices.crossings(matrices.kept)
            for (x, y), mark in zip(crossings, "ox"):
                axis.plot(np.clip(x.ravel(), -3.5, 3.5), np.clip(y.ravel(), -3.5, 3.5), mark, markersize=2.2, alpha=0.5, color=BASIS_COLOURS[basis], clip_on=False)
            name_extremes(axis, s, matrices.kept, np.mean(crossings, axis=0))
    return figure


def name_extremes(axis, s, kept, mean, count=4):
    """Names of the concept pairs that agree and disagree most, at the mean of both crossings."""
    product = np.where(np.isfinite(mean[0] * mean[1]), mean[0] * mean[1], 0)
    order = np.argsort(product, axis=None)
    named = []
    for place in [*order[::-1][:count], *order[:2]]:
        removed, at = np.unravel_index(place, product.shape)
        x, y = mean[:, removed, at]
        if product[removed, at] == 0 or any(abs(y - other) < 0.2 and x * side > 0 for other, side in named):
            continue
        named.append((y, x))
        axis.plot(x, y, ".", color="#c00", markersize=4)
        axis.annotate(f"{label(s.names[kept[removed]], 14)} on {label(s.names[kept[at]], 14)}", (x, y), (0, 3), textcoords="offset points", fontsize=6,
                      ha="right" if x > 0 else "left")


def figure_spans(s, pair):
    """Words of one token, of several, and phrases side by side, every basis with its controls. Hollow: not measurable."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.3), constrained_layout=True)
    panels = (("r", "r of A's and B's effects"), ("reliability", "reliability (smaller of both models)"), ("ratio", "r / ceiling"))
    for axis, (name, title) in zip(axes, panels):
        for n, basis in enumerate(s.measured):
            for x, span_set in enumerate(s.sets):
                reliability = min(s.claim(f"reliability_{side}", "kl", span_set, basis)[pair] for side in "ab")
                value = reliability if name == "reliability" else s.claim(name, "kl", span_set, basis)[pair]
                if not np.isfinite(value):
                    continue
                place = x + (n - (len(s.measured) - 1) / 2) * 0.14
                axis.plot(place, np.clip(value, -0.6, 1.6), BASIS_MARKS[basis], color=BASIS_COLOURS[basis],
                          fillstyle="full" if reliability >= LEAST_RELIABILITY else "none", label=basis if x == 0 else None)
                if name == "r":
                    p = s.claim("p" if s.one_group else "p_grouped", "kl", span_set, basis)[pair]
                    axis.annotate(f"{p:.2g}", (place, value), (0, 6), textcoords="offset points", fontsize=6, ha="center", rotation=60)
        axis.axhline(0, color="#999", linewidth=0.7)
        axis.set_xticks(range(len(s.sets)), [SET_TITLES.get(span_set, span_set).replace("words of ", "words of\n") for span_set in s.sets], fontsize=8)
        axis.set_xlim(-0.5, len(s.sets) - 0.5)
        axis.set_title(title + (" (numbers: p)" if name == "r" else ""), fontsize=9)
    figure.legend(handles=[plt.Line2D([], [], linestyle="", marker=BASIS_MARKS[b], color=BASIS_COLOURS[b], label=b + (" (control)" if b in CONTROLS else ""))
                           for b in s.measured], fontsize=8, loc="outside lower center", ncols=5)
    return figure


def figure_pairs(s):
    """r and r / ceiling at every layer pair, every basis with its controls."""
    figure, axes = plt.subplots(2, 1, figsize=(min(16, 5 + 0.25 * len(s.pairs)), 6.5), constrained_layout=True, sharex=True)
    for axis, name, title in zip(axes, ("r", "ratio"), ("r", "r / ceiling")):
        for basis in s.measured:
            axis.plot(np.clip(s.claim(name, basis=basis), -0.6, 1.6), BASIS_MARKS[basis] + ("" if basis in CONTROLS else "-"), color=BASIS_COLOURS[basis],
                      markersize=4, linewidth=0.8, label=basis + (" (control)" if basis in CONTROLS else ""))
        axis.axhline(0, color="#999", linewidth=0.7)
        axis.set_ylabel(title)
    step = max(1, len(s.pairs) // 60)
    axes[1].set_xticks(range(0, len(s.pairs), step), [f"{a} \u00d7 {b}" for a, b in s.pairs[::step]], fontsize=6, rotation=90)
    axes[1].set_xlabel("layer of A \u00d7 layer of B")
    axes[0].legend(fontsize=7, ncols=5)
    return figure


# --- the page ---------------------------------------------------------------------------------------------------------------------

def concept_page(c):
    return f"concepts/concept_{c:03d}.html"


def concept_link(s, c, folder=""):
    return Html(f'<a href="{folder}{concept_page(c).removeprefix("concepts/") if folder == "./" else concept_page(c)}">{readable(s.names[c])}</a>')


def p_title(s):
    return "p" if s.one_group else "p, groups kept"


CHECK_COLUMNS = (("r_interval", "r, 95 %"), ("ratio_interval", "r / ceiling, 95 %"), ("self_level", "the test finds agreement in a null, share"))


def interval_text(low, high):
    return f"{low:.2f} to {high:.2f}" if np.isfinite([low, high]).all() else ""


def claim_table(s, pair, span_sets=("all",), measures=EFFECT_MEASURES):
    """Each basis and effect measure at a layer pair, controls below the headline."""
    rows = []
    for span_set in span_sets:
        for measure in measures:
            for basis in s.measured:
                values = {name: float(s.claim(name, measure, span_set, basis)[pair]) for name in (*AGREEMENT, *CHECKS)}
                values |= {f"{name}_interval": interval_text(values[f"{name}_low"], values[f"{name}_high"]) for name in ("r", "ratio")}
                low = not min(values["reliability_a"], values["reliability_b"]) >= LEAST_RELIABILITY
                rows.append({"spans": SET_TITLES.get(span_set, span_set), "basis": BASIS_TITLES[basis], "measure": {"kl": "KL", "loss": "loss"}[measure],
                             "note": "not measurable" if low and np.isfinite(values["r"]) else "", **values})
    columns = [("basis", "subspaces of"), ("measure", "effect"), ("concepts", "concepts"), ("r", "r"), ("robust_t", "robust t")]
    if len(span_sets) > 1:
        columns.insert(0, ("spans", "at"))
    columns += [] if s.one_group else [("p_grouped", "p, groups kept")]
    columns += [("p", "p, all permutations"), ("p_max" if s.one_group else "p_max_grouped", "p over all layer pairs"), ("reliability_a", "reliability A"),
                ("reliability_b", "reliability B"), ("ceiling", "ceiling"), ("ratio", "r / ceiling")]
    columns += [(key, title) for key, title in CHECK_COLUMNS if any(row[key] if "interval" in key else np.isfinite(row[key]) for row in rows)]
    columns += [("note", "")]
    formats = {key: ".3f" for key in ("r", "reliability_a", "reliability_b", "ceiling", "ratio")} | {"robust_t": ".2f", "concepts": ".0f", "self_level": ".3f"}
    return wide(html_table(rows, columns, formats | {key: ".3g" for key in ("p", "p_grouped", "p_max", "p_max_grouped")}))


def wide(table):
    return table.replace("<table>", '<table class="wide">', 1)


def meaning_html(s, pair):
    """The questions against meaning, a row a basis and effect measure, and the first of them in words."""
    if not s.similarity:
        return "<p>No similarity in meaning was given (subspaces.similarity).</p>"
    rows = []
    for name in s.similarity:
        for measure in EFFECT_MEASURES:
            for basis in s.measured:
                rows.append({"meaning": name, "measure": {"kl": "KL", "loss": "loss"}[measure], "basis": BASIS_TITLES[basis],
                             **{f"{q}_{n}": float(s.claim(f"{name}/{q}_{n}", measure, "all", basis)[pair]) for q in QUESTIONS for n in "rp"}})
    told = "; ".join(f"{row['basis']} r = {row['effect_a_r']:.2f} in A (p = {row['effect_a_p']:.2g}), {row['effect_b_r']:.2f} in B (p = {row['effect_b_p']:.2g})"
                     for row in rows if row["measure"] == "KL" and row["meaning"] == rows[0]["meaning"] and np.isfinite(row["effect_a_r"] + row["effect_b_r"]))
    columns = [("basis", "subspaces of"), ("measure", "effect"), ("meaning", "meaning"), *((f"{q}_{n}", f"{title}: {n}") for q, title in QUESTIONS.items() for n in "rp")]
    formats = {f"{q}_r": ".3f" for q in QUESTIONS} | {f"{q}_p": ".3g" for q in QUESTIONS}
    words = f"<p>Do concepts near in meaning ({readable(rows[0]['meaning'])}) act more on each other? {told}.</p>" if told else ""
    return (f"{words}<p>Words' co-occurrence is held fixed; p by permutations {'of all concepts' if s.one_group else 'that keep groups'}.</p>"
            + wide(html_table(rows, columns, formats)))


def criteria_table(found):
    words = {"holds": "passed", "fails": "failed", "open": "open"}
    rows = [{"basis": BASIS_TITLES[h.basis], "pair": f"{h.layers[0]} \u00d7 {h.layers[1]}", "criterion": name, "state": words[state], "figures": figures}
            for h in found for name, (state, figures) in h.criteria.items()]
    return wide(html_table(rows, [("basis", "subspaces of"), ("pair", "layers A \u00d7 B"), ("criterion", "criterion"), ("state", "verdict"), ("figures", "figures")], {}))


def controls_table(found):
    rows = [{"headline": BASIS_TITLES[h.basis], **c, "basis": BASIS_TITLES[c["basis"]]} for h in found for c in h.controls]
    columns = [("headline", "subspaces of"), ("basis", "beside"), ("by", "compared by"), ("concepts", "concepts of both"), ("headline_there", "headline"),
               ("control_there", "control"), ("difference", "difference"), ("low", "from"), ("high", "to"), ("p", "p of the control"), ("state", "the control agrees")]
    return wide(html_table(rows, columns, dict.fromkeys(("headline_there", "control_there", "difference", "low", "high"), ".3f") | {"p": ".3g"}))


def claim_html(s, found, folder):
    if not found:
        return f"<h2>Do alike subspaces act alike?</h2><p>{verdict_sentence(s, found)}</p>"
    one = "<p>All concepts are of one group, so there is no test that keeps groups: p is that of all permutations.</p>" if s.one_group else ""
    out = f"""<h2>Do alike subspaces act alike?</h2>
<p>A concept's subspace is removed from the residual stream at the occurrences of another; KL and loss say what that does to the predictions. The C x C matrices of
A and B are compared in normal scores, without rows, columns and the words' co-occurrence, A on one half of the documents and B on the other. The ceiling is what
the halves of either model by themselves allow; a reliability below {LEAST_RELIABILITY:g} is not measurable. Intervals: documents drawn anew. The null: rows,
columns and co-occurrence as they are, the rest permuted in A and B apart; the test is right where it finds agreement there in 5 % of the draws. For <i>dealt</i> it is also taken out whose words
its subspaces are made of.</p>
<p>The claim would be refuted by: a headline no better than chance (the layer pair with the largest robust t, its p that of the largest over all pairs
{"" if s.one_group else "under permutations that keep groups "}above 0.05); or agreement no larger than that of the controls <i>dealt</i> (words without a common meaning), <i>matched</i>, <i>random</i>; or phrases at chance while single words
are not.</p>{one}{criteria_table(found)}
<h3>Beside the controls</h3><p>On the concepts that both have, by r / ceiling, or by r where one of them is not measurable; interval (95 %) by leaving out one group
of concepts at a time. A control agrees <i>as well</i> where it is no smaller, or where it is beyond chance itself and the interval of the difference reaches 0.</p>
{controls_table(found)}"""
    for pair in dict.fromkeys(h.pair for h in found):
        a, b = s.pairs[pair]
        chosen = " and ".join(h.basis for h in found if h.pair == pair)
        suffix = f"_{a}_{b}"
        out += f"""<h2>Layer {a} of A against layer {b} of B</h2><p>{"The only layer pair" if len(s.pairs) == 1 else f"The layer pair where effects of {chosen} subspaces agree most"}.</p>
{claim_table(s, pair)}
<h3>Single words, words of several tokens, phrases</h3>{save(figure_spans(s, pair), folder, f"{WHERE}_spans{suffix}")}{claim_table(s, pair, s.sets[1:], ("kl",))}
<h3>Concept on concept</h3><p>Rows: the concept whose subspace is removed; columns: the concept at whose occurrences. The diagonal shows that a subspace works and
takes no part in any test; grey is not defined.</p>{save(figure_matrices(s, pair), folder, f"{WHERE}_matrices{suffix}")}
<h3>A against B</h3><p>Circles: A on half 1 of the documents, B on half 2; crosses: the other way round; what lies
farther out is drawn at the border. Named: concept pairs that agree and disagree most (of a control, the concepts that it stands beside).</p>
{save(figure_scatter(s, pair), folder, f"{WHERE}_scatter{suffix}")}
<h3>Against meaning</h3>{meaning_html(s, pair)}{resample_html(s, pair)}{equal_energy_html(s, pair)}"""
    if len(s.pairs) > 1:
        out += f"<h2>Agreement at all layer pairs</h2>{save(figure_pairs(s), folder, f'{WHERE}_pairs')}"
    return out + steering_html(s) + carried_html(s)


def alike_html(s, folder):
    measure = alike_measure(s)
    m = s.measures.index(measure)
    reasons = [f"{of}: {count} of {len(s.pairs) * s.concepts} cells, {REASONS[reason][1]} ({REASONS[reason][0]})" for of in ("features", "phrases") for reason in REASONS
               if (count := sum(why_not_alike(s, of, pair, c, m) == reason for pair in range(len(s.pairs)) for c in range(s.concepts)))]
    undefined = f"<p>Grey cells are not defined. {'; '.join(reasons)}.</p>" if reasons else ""
    rows = [r for r in contrast_rows(s) if np.isfinite(r["contrast"])]
    rows.sort(key=lambda r: (s.measures.index(r["measure"]) != m, -r["contrast"]))
    columns = [("layer_a", "layer A"), ("layer_b", "layer B"), ("measure", "measure"), ("contrast", "same concept less others"),
               ("contrast_p_grouped", "p, inside groups"), ("contrast_p", "p, all permutations")]
    contrasts = html_table(rows[:15], columns, {"contrast": ".3f", "contrast_p": ".3g", "contrast_p_grouped": ".3g"}) if rows else (
        f"<p>Not defined: too few pairs of concepts have {LEAST_PAIRS} paired features.</p>")
    return f"""<h2>Are concepts alike across models?</h2><p>Decoder rows of a concept's features, paired by their values on one half of the documents, and the means
of the residual stream over its phrases, both less what shuffled pairings give. A cross: no more than shuffled pairings at 5 %.</p>{undefined}
{save(figure_alike(s, measure), folder, f"{WHERE}_alike")}<h3>Is a concept of A more like itself in B than like other concepts?</h3>{contrasts}"""


def concepts_html(s):
    rows = []
    for c in s.order:
        row = {"concept": concept_link(s, c), "group": s.groups[c], "defined": "" if s.defined[c] else "undefined",
               "phrases": f"{s.phrases[c]} of {(s.phrase_concept == c).sum()}", "spans": int(s.spans[c])} | dict(zip(s.kinds, map(int, s.occurrences[c])))
        for side in "ab":
            of = s.members[side]
            counts = [s.member_count(side, i, c) for i in range(len(s.layers[side]))]
            row[f"members_{side}"] = ", ".join(f"{layer}: {n}" for layer, n in zip(s.layers[side], counts))
            best = max((i for i, n in enumerate(counts) if n), key=lambda i: of["sum_auc_chosen"][i, c, counts[i] - 1], default=None)
            found = best is not None
            row |= {f"layer_{side}": s.layers[side][best] if found else None, f"chosen_{side}": last(of["sum_auc_chosen"][best, c], counts[best]) if found else None,
                    f"held_{side}": last(of["sum_auc_held"][best, c], counts[best]) if found else None,
                    f"probes_{side}": ", ".join("\u2013" if np.isnan(v) else f"{v:.2f}" for v in of["probe_auc"][best, c]) if found else None}
        rows.append(row)
    columns = [("concept", "concept"), ("group", "group"), ("defined", ""), ("phrases", "phrases that occur"), *((kind, SET_TITLES.get(kind, kind)) for kind in s.kinds),
               ("spans", "spans looked at")]
    for side in "ab":
        name = side.upper()
        columns += [(f"members_{side}", f"{name}: members by layer"), (f"layer_{side}", "best layer"), (f"chosen_{side}", "AUC chosen"), (f"held_{side}", "AUC held out"),
                    (f"probes_{side}", "probes of 1, 2, 5")]
    formats = {f"{name}_{side}": ".3f" for side in "ab" for name in ("chosen", "held")}
    return ("<h2>Concepts</h2><p>Members are chosen on one half of a concept's phrases; AUC of the sum of their values there and on the other half, at the layer where "
            "it is largest on the first.</p>" + wide(html_table(rows, columns, formats)))


def head(title):
    return f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{readable(title)}</title><style>{STYLE}</style></head><body>'


def subspaces_page(s, found, folder, whole):
    shown = {key: text(s.file.attrs[key]) for key in ("software", "git", "command", "ranks", "hosts", "libraries", "seed", "date") if key in s.file.attrs}
    provenance = "".join(f"<dt>{readable(k)}</dt><dd>{readable(v)}</dd>" for k, v in (shown | {"settings": s.settings}).items())
    tables = "<code>concepts.csv</code>, <code>members.csv</code>, <code>alike.csv</code>, <code>contrasts.csv</code>, <code>claim.csv</code>, <code>effects.csv</code>"
    left_out = "" if whole else f" (of all spans alone: the kinds of span would make it longer than {MOST_EFFECT_ROWS} rows)"
    return f"""{head("Semantic subspaces")}<p><a href="index.html">all results</a></p><h1>Semantic subspaces</h1>
<p class="lead">{verdict_sentence(s, found)}</p>
{claim_html(s, found, folder)}{alike_html(s, folder)}{concepts_html(s)}
<p>Tables: {tables}{left_out}.</p><h2>How this was made</h2><dl>{provenance}</dl></body></html>"""


def section(s, found):
    """The part of index.html."""
    rows = []
    for pair in dict.fromkeys(h.pair for h in found):
        for basis in s.measured:
            values = {name: float(s.claim(of, basis=basis)[pair]) for name, of in (("r", "r"), ("p", found[0].p_from), ("ratio", "ratio"))}
            rows.append({"pair": f"{s.pairs[pair][0]} \u00d7 {s.pairs[pair][1]}", "basis": BASIS_TITLES[basis], **values})
    columns = [("basis", "subspaces of"), ("pair", "layers A \u00d7 B"), ("r", "r of effects (KL)"), ("p", p_title(s)), ("ratio", "r / ceiling")]
    table = wide(html_table(rows, columns, {"r": ".3f", "p": ".3g", "ratio": ".3f"})) if rows else ""
    return (f"<h2>Semantic subspaces</h2><p>{verdict_sentence(s, found)}</p>{table}"
            f'<p>{int(s.defined.sum())} of {s.concepts} concepts are defined. All figures, and a page a concept: <a href="subspaces.html">subspaces.html</a>.</p>')


# --- a page a concept ---------------------------------------------------------------------------------------------------------------

class MarkedContexts:
    """Contexts of a token with it and the occurrences of a concept's phrases marked."""

    def __init__(self, s, corpus, concept):
        self.corpus = corpus
        words = sorted((t for t, c, n in zip(s.texts, s.phrase_concept, s.phrase_occurrences) if c == concept and n.sum() > 0), key=len, reverse=True)
        pattern = "|".join(r"\s+".join(map(re.escape, word.split())) for word in words)
        self.pattern = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE if s.settings.get("fold_case", True) else 0) if pattern else None

    def __call__(self, row):
        left, middle, right = self.corpus.parts(row, before=14, after=8)
        whole = left + middle + right
        spans = {i for match in (self.pattern.finditer(whole) if self.pattern else ()) for i in range(*match.span())}
        token = range(len(left), len(left) + len(middle))
        out, start = "", 0
        for end in range(1, len(whole) + 1):
            state = (start in token, start in spans)
            if end < len(whole) and (end in token, end in spans) == state:
                continue
            part = readable(whole[start:end])
            part = f'<span class="span">{part}</span>' if state[1] else part
            out += f"<mark>{part}</mark>" if state[0] else part
            start = end
        return out


def members_html(s, c, sources, corpus):
    """The features of a concept by layer, and contexts of the few that tell it best on held-out phrases."""
    rows = member_rows(s, c)
    if not rows:
        return "<h2>Features</h2><p>No feature of either model belongs to it.</p>"
    columns = [("side", "model"), ("layer", "layer"), ("feature", "feature"), ("auc_chosen_concepts", "chosen: AUC against concepts"), ("auc_chosen_random", "against random"),
               ("auc_held_concepts", "held out: AUC against concepts"), ("auc_held_random", "against random"), ("q", "q"), ("coverage", "coverage"),
               ("sum_auc_chosen", "AUC of the sum so far, chosen"), ("sum_auc_held", "held out")]
    formats = dict.fromkeys((key for key, _ in columns[3:]), ".3f") | {"q": ".2g"}
    out = "<h2>Features</h2>" + html_table([row | {"side": row["model"].upper()} for row in rows], columns, formats) + ("<h2>Strongest contexts</h2><p>Of the features of each model that tell the concept best on phrases "
           "they were not chosen on: the active token marked, the concept's phrases underlined.</p>")
    around = MarkedContexts(s, corpus, c)
    sides = ""
    for side in "ab":
        best = sorted((r for r in rows if r["model"] == side), key=lambda r: -np.nan_to_num(r["auc_held_concepts"] + r["auc_held_random"]))[:CONTEXT_MEMBERS]
        shown = ""
        for member in best:
            contexts = "".join(f'<div class="context"><span class="value">{value:7.2f}</span>  {context}</div>'
                               for value, context in contexts_of(sources[side], corpus, member, around))
            shown += f"<b>model {side.upper()}, layer {member['layer']}, feature {member['feature']}</b>{contexts}"
        sides += f"<div>{shown or 'no features'}</div>"
    return f'{out}<div class="match">{sides}</div>'


def contexts_of(file, corpus, member, around):
    """None where features.h5 was made anew without the layer or with fewer features."""
    group = file.get(layer_name(member["layer"]))
    there = group is not None and member["feature"] < len(group["top_rows"])
    return top_contexts(file, corpus, member["layer"], member["feature"], 3, around) if there else []


def layers_html(s, c):
    rows = []
    for side in "ab":
        of = s.members[side]
        for i, layer in enumerate(s.layers[side]):
            rows.append({"model": side.upper(), "layer": layer, "candidates": int(of["candidates"][i, c]), "members": s.member_count(side, i, c),
                         **{f"probe_{k}": float(v) for k, v in zip((1, 2, 5), of["probe_auc"][i, c])},
                         **{f"k_{basis}": int(of["dimensions"][i, n, c]) for n, basis in enumerate(s.bases)}})
    columns = [("model", "model"), ("layer", "layer"), ("candidates", "candidates"), ("members", "members"), ("probe_1", "probe of 1"), ("probe_2", "of 2"), ("probe_5", "of 5"),
               *((f"k_{basis}", f"dimensions: {basis}") for basis in s.bases)]
    return "<h2>By layer</h2>" + html_table(rows, columns, {f"probe_{k}": ".3f" for k in (1, 2, 5)})


def phrases_html(s, c):
    rows = [{"text": s.texts[p], **dict(zip(s.kinds, map(int, s.phrase_occurrences[p]))), "total": int(s.phrase_occurrences[p].sum())}
            for p in np.flatnonzero(s.phrase_concept == c)]
    rows.sort(key=lambda r: -r["total"])
    never = [r["text"] for r in rows if not r["total"]]
    columns = [("text", "phrase"), *((kind, SET_TITLES.get(kind, kind)) for kind in s.kinds), ("total", "occurrences")]
    rest = f"<p>Never in the corpus: {', '.join(map(readable, never))}.</p>" if never else ""
    return "<h2>Phrases</h2>" + wide(html_table([r for r in rows if r["total"]], columns, {})) + rest


def nearest_html(s, c, near):
    """The concepts nearest by effect, either way, and by meaning; those of the control beside them."""
    if not near:
        return ""
    rows = []
    ranked = {title: [o for o in np.argsort(-np.where(np.isfinite(values[c]), values[c], -np.inf), kind="stable") if np.isfinite(values[c, o])][:5] for title, values in near.items()}
    for i in range(max(map(len, ranked.values()), default=0)):
        rows.append({"rank": i + 1} | {title: Html(f"{concept_link(s, of[i], './')} {near[title][c, of[i]]:.2f}") if i < len(of) else None for title, of in ranked.items()})
    if not rows:
        return "<h2>Nearest concepts</h2><p>Not defined for this concept.</p>"
    return ("<h2>Nearest concepts</h2><p>By effect: removal of the one at occurrences of the other, mean of both ways, without rows and columns, at the layers where "
            "effects agree most. <i>dealt</i> is the control.</p>" + html_table(rows, [("rank", ""), *((title, title) for title in ranked)], {}))


def nearness(s, found):
    """Matrices [C, C] by title, larger: nearer."""
    near = {}
    for h in found:
        for basis in (h.basis, *(b for b in ("dealt",) if b in s.measured)):
            for side, values in zip("AB", mean_residuals(s, h.pair, basis)):
                near.setdefault(f"effect in {side}: {basis}, layer {h.layers['AB'.index(side)]}", (values + values.T) / 2)
    for name, values in s.similarity.items():
        near[f"meaning ({visible(name)})"] = np.where(np.eye(s.concepts), np.nan, values)
    return near


def concept_html(s, c, near, sources, corpus):
    counts = ", ".join(f"{n} {SET_TITLES.get(kind, kind)}" for kind, n in zip(s.kinds, s.occurrences[c]))
    undefined = "" if s.defined[c] else "<p><b>Undefined</b>: too few occurrences or phrases; nothing more is said of it.</p>"
    return (f'{head(s.names[c])}<p><a href="../subspaces.html">all concepts</a></p><h1>{readable(s.names[c])}</h1><p class="lead">Group {readable(s.groups[c])}; occurrences: '
            f"{counts}; {s.spans[c]} spans of {s.phrases[c]} phrases looked at.</p>{undefined}{members_html(s, c, sources, corpus)}{layers_html(s, c)}"
            f"{nearest_html(s, c, near)}{phrases_html(s, c)}</body></html>")


# --- everything -------------------------------------------------------------------------------------------------------------------

def remove_old(folder):
    """What an earlier report wrote of subspaces."""
    for pattern in ("subspaces.html", "subspaces_*.png", "subspaces_*.pdf", "concepts/concept_*.html"):
        for path in folder.glob(pattern):
            path.unlink()
    for name in CSV_NAMES:
        (folder / name).unlink(missing_ok=True)


CSV_NAMES = ("concepts.csv", "members.csv", "alike.csv", "contrasts.csv", "claim.csv", "effects.csv")


def write_subspaces(output, folder):
    """Writes subspaces.html, a page a concept, figures and tables; returns the part of index.html and that of summary.json."""
    remove_old(folder)
    path = output / "subspaces.h5"
    if not path.exists():
        return "", None
    s = Subspaces(path)
    found = headlines(s)
    for name, rows in zip(CSV_NAMES, (concept_rows(s), member_rows(s), alike_rows(s), contrast_rows(s), claim_rows(s))):
        write_csv(folder / name, rows or [{"concept": ""}])
    whole = write_effects(s, folder / "effects.csv")
    (folder / "subspaces.html").write_text(subspaces_page(s, found, folder, whole), encoding="utf-8")
    (folder / "concepts").mkdir(exist_ok=True)
    corpus, near = Corpus(output / "tokens.h5"), nearness(s, found)
    with h5py.File(output / "a/features.h5") as a, h5py.File(output / "b/features.h5") as b:
        for c in range(s.concepts):
            (folder / concept_page(c)).write_text(concept_html(s, c, near, {"a": a, "b": b}, corpus), encoding="utf-8")
    summary = {"concepts": s.concepts, "defined": int(s.defined.sum()), "effects": s.has_effects, "sentence": re.sub("<[^>]*>", "", verdict_sentence(s, found)),
               "headlines": [h.record() for h in found]}
    return section(s, found), summary
