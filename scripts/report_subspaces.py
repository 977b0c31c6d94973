"""Stage `subspaces` in the report: what subspaces.h5 holds, the claim's verdict, CSV tables. Imported by report.py.

The claim: concepts whose subspaces are alike in two models act alike on them. What would refute it was fixed before any run (see
CRITERIA): the verdict is computed from the figures of the file and from nothing else.
"""
import csv
import json
import statistics

import h5py
import numpy as np

from report_parts import strings, text

HEADLINE_BASES = ("sae", "residual")
FURTHER_BASES = ("means", "lda", "leace")  # of the residual stream, where they were asked for
CONTROLS = ("dealt", "pseudo", "matched", "random")
BASIS_TITLES = {"sae": "features of the SAE (sae)", "residual": "residual stream without features (residual)",
                "dealt": "control: words without a common meaning (dealt)", "matched": "control: features alike in rate and norm (matched)",
                "random": "control: random decoder rows (random)", "means": "difference of means (means)", "lda": "linear discriminant (lda)",
                "leace": "least-squares concept erasure (leace)", "pseudo": "control: words of no concept, alike in frequency and length (pseudo)"}
CRITERIA = ("agreement beyond chance", "more than the controls", "phrases as well as single words")
EFFECT_MEASURES = ("kl", "loss")
AGREEMENT = ("r", "t", "robust_t", "spearman", "p", "p_grouped", "p_max", "p_max_grouped", "p_spearman", "reliability_a", "reliability_b", "ceiling",
             "ratio", "concepts")
CHECKS = ("self_level", "r_low", "r_high", "ratio_low", "ratio_high")  # of KL over all spans alone
QUESTIONS = {"effect_a": "A: larger effects between near concepts", "effect_b": "B: larger effects between near concepts", "nearer": "A and B differ less there",
             "beside": "agreement left with meaning held fixed"}
LEAST_RELIABILITY = 0.3
LEAST_PAIRS = 10  # paired features, or phrases, below which alikeness is not defined
MOST_EFFECT_ROWS = 1_000_000


class Subspaces:
    """subspaces.h5. Matrices of effects are [span sets, bases, halves of the documents, removed concept, concept it acts on]."""

    def __init__(self, path):
        self.file = h5py.File(path)
        attribute = {key: json.loads(text(self.file.attrs[key])) for key in ("layers_a", "layers_b", "bases", "span_sets", "measures", "settings")}
        self.layers = {"a": attribute["layers_a"], "b": attribute["layers_b"]}
        self.bases, self.sets, self.measures, self.settings = (attribute[key] for key in ("bases", "span_sets", "measures", "settings"))
        self.kinds = self.sets[1:]
        concepts = self.file["concepts"]
        self.names, self.groups = strings(concepts["names"]), strings(concepts["groups"])
        self.occurrences, self.spans, self.phrases, self.defined = (concepts[name][:] for name in ("occurrences", "spans", "phrases", "defined"))
        self.together, self.dealt = (concepts[name][:] if name in concepts else None for name in ("together", "dealt"))
        self.texts = strings(self.file["phrases/texts"])
        self.phrase_concept, self.phrase_occurrences = self.file["phrases/concept"][:], self.file["phrases/occurrences"][:]
        self.pairs = [tuple(map(int, pair)) for pair in self.file["pairs"][:]]
        self.members = {side: {name: item[:] for name, item in self.file[side].items() if name not in EFFECT_FIELDS and isinstance(item, h5py.Dataset)} for side in "ab"}
        self.alike = {name: self.file[f"alike/{name}"][:] for name in ("pairs", "contrast", "contrast_p", "contrast_p_grouped")}
        self.alike |= {(of, name): self.file[f"alike/{of}/{name}"][:] for of in ("features", "phrases") for name in ("count", "score", "shuffled_mean", "p")}
        self.similarity = {name: item[:] for name, item in self.file["similarity"].items()} if "similarity" in self.file else {}
        self.claims = {}  # those that were read
        self.has_effects = all("kl" in self.file[side] for side in "ab")
        self.measured = self._measured() if self.has_effects else []
        # By groups, these and their concepts in the order of the file.
        self.order = sorted(range(len(self.names)), key=lambda c: (self.groups.index(self.groups[c]), c))

    def _measured(self):
        """The bases of which effects were measured in both models, the headline's first."""
        seen = {side: {basis for layer in range(len(self.layers[side])) for basis in self.bases
                       if np.isfinite(self.effects(side, layer, "kl", "all", basis)).any()} for side in "ab"}
        return [basis for basis in (*HEADLINE_BASES, *FURTHER_BASES, *CONTROLS) if basis in seen["a"] & seen["b"]]

    @property
    def concepts(self):
        return len(self.names)

    @property
    def one_group(self):
        """Without two groups there is no grouped test."""
        return len(set(self.groups)) < 2

    def effects(self, side, layer, measure, span_set, basis):
        """[halves, removed, at] of the layer at this place."""
        return self.file[f"{side}/{measure}"][layer, self.sets.index(span_set), self.bases.index(basis)]

    def claim(self, name, measure="kl", span_set="all", basis="sae"):
        """[layer pairs]; NaN where it was not measured."""
        path = f"claim/{measure}/{name}"
        if path not in self.claims:
            shape = (len(self.sets), len(self.bases), len(self.pairs))
            self.claims[path] = self.file[path][:] if path in self.file else np.full(shape, np.nan)
        return self.claims[path][self.sets.index(span_set), self.bases.index(basis)]

    def place(self, pair):
        """The places of a pair's layers in A and B."""
        a, b = self.pairs[pair]
        return self.layers["a"].index(a), self.layers["b"].index(b)

    def member_count(self, side, layer, concept):
        return int((self.members[side]["members"][layer, concept] >= 0).sum())


EFFECT_FIELDS = ("kl", "kl_error", "loss", "energy", "effect_spans", "effect_documents")


# --- the statistic of the claim, for figures and for intervals --------------------------------------------------------------------

def normal_scores(values):
    """Phi^-1 of (rank - 1/2) / n, ties at their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.array([statistics.NormalDist().inv_cdf((rank - 0.5) / len(values)) for rank in ranks])[inverse]


def residuals(matrices, covariates):
    """What rows, columns and covariates leave of matrices [C, C] in normal scores, where all of them are defined; NaN elsewhere."""
    count = len(matrices[0])
    mask = ~np.eye(count, dtype=bool) & np.all(np.isfinite([*matrices, *covariates]), axis=0)
    out = np.full((len(matrices), count, count), np.nan)
    if not mask.any():
        return out
    row, column = np.nonzero(mask)
    design = np.zeros((len(row), 2 * count + len(covariates)))
    design[np.arange(len(row)), row] = design[np.arange(len(row)), count + column] = 1
    for i, covariate in enumerate(covariates):
        design[:, 2 * count + i] = normal_scores(covariate[mask])
    scores = np.stack([normal_scores(matrix[mask]) for matrix in matrices], axis=1)
    left = scores - design @ (np.linalg.pinv(design.T @ design, rcond=1e-10, hermitian=True) @ (design.T @ scores))
    out[:, mask] = np.where(np.sum(left**2, axis=0) > 1e-20 * np.sum(scores**2, axis=0), left, np.nan).T
    return out


def correlation(x, y):
    both = np.isfinite(x) & np.isfinite(y)
    squares = np.sum(x[both]**2) * np.sum(y[both]**2)
    return float(np.sum(x[both] * y[both]) / np.sqrt(squares)) if squares > 0 else np.nan


def defined_concepts(matrices):
    """Those with a defined entry in their row and in their column of every matrix; leaving one out may empty the row of another."""
    kept = np.arange(len(matrices[0]))
    while kept.size:
        there = [np.isfinite(np.where(np.eye(kept.size, dtype=bool), np.nan, m[np.ix_(kept, kept)])) for m in matrices]
        good = np.all([t.any(axis=0) & t.any(axis=1) for t in there], axis=0)
        if good.all():
            return kept
        kept = kept[good]
    return kept


class Matrices:
    """The matrices of a basis for one layer pair, two halves of the documents each, and the statistic on any of their concepts."""

    def __init__(self, subspaces, pair, basis, measure="kl", span_set="all"):
        i, j = subspaces.place(pair)
        self.a, self.b = (subspaces.effects(side, layer, measure, span_set, basis) for side, layer in (("a", i), ("b", j)))
        self.covariates = [] if subspaces.together is None else [subspaces.together]
        if basis == "dealt" and subspaces.dealt is not None:  # words of each concept in those as dealt, and those beyond the first
            self.covariates += [subspaces.dealt, np.maximum(subspaces.dealt - 1, 0)]
        self.kept = defined_concepts([*self.a, *self.b, *self.covariates])

    def crossings(self, kept):
        """Residuals of (A on half 1, B on half 2) and (A on half 2, B on half 1), of these concepts."""
        part = np.ix_(kept, kept)
        covariates = [z[part] for z in self.covariates]
        return [residuals([self.a[half][part], self.b[1 - half][part]], covariates) for half in (0, 1)]

    def r(self, kept):
        return float(np.mean([correlation(*crossing) for crossing in self.crossings(kept)])) if len(kept) > 1 else np.nan

    def ratio(self, kept):
        """r by what the halves of either model reach, on the same concepts."""
        part = np.ix_(kept, kept)
        half_a, half_b = (correlation(*residuals([side[0][part], side[1][part]], [z[part] for z in self.covariates])) if len(kept) > 1 else np.nan
                          for side in (self.a, self.b))
        return self.r(kept) / np.sqrt(half_a * half_b) if half_a > 0 and half_b > 0 else np.nan


def t_quantile(df):
    """97.5 % of Student's t by its expansion in 1 / df (Abramowitz and Stegun 26.7.5); within 1 % from 3 degrees of freedom on."""
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2) + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)


class Comparison:
    """A statistic ("r" or "ratio") of one basis beside that of a control on the concepts that both have, and their difference with a 95 %
    interval by a jackknife that leaves out one group of concepts at a time, since concepts of a group are kin; with fewer than four groups
    one of up to 20 sets of concepts. An entry goes with its row and with its column, so the sum of squares counts it twice: the error takes
    half of it (Snijders and Borgatti 1999)."""

    def __init__(self, groups, of, control, statistic):
        self.kept = np.intersect1d(of.kept, control.kept)
        self.values = [getattr(matrices, statistic)(self.kept) for matrices in (of, control)]
        self.difference = self.values[0] - self.values[1]
        self.low = self.high = np.nan
        blocks = [block for block in (np.array([c for c in self.kept if groups[c] == g], int) for g in dict.fromkeys(groups)) if block.size]
        if len(blocks) < 4:
            blocks = [block for block in np.array_split(self.kept, min(20, max(1, self.kept.size))) if block.size]
        without = [np.setdiff1d(self.kept, block) for block in blocks]
        parts = np.array([getattr(of, statistic)(concepts) - getattr(control, statistic)(concepts) for concepts in without])
        if len(blocks) >= 4 and np.isfinite([self.difference, *parts]).all():
            error = np.sqrt((len(blocks) - 2) / (2 * len(blocks)) * np.sum((parts - parts.mean())**2))
            self.low, self.high = (self.difference + sign * t_quantile(len(blocks) - 1) * error for sign in (-1, 1))


# --- the verdict ------------------------------------------------------------------------------------------------------------------

class Headline:
    """One basis at the layer pair where its effects agree most, beside every control there, and what becomes of each criterion.

    Since the pair is chosen, its p is that of the largest of all pairs, with permutations that keep groups; where there is one group only,
    with all permutations.
    """

    def __init__(self, subspaces, basis):
        self.subspaces, self.basis = subspaces, basis
        strength = subspaces.claim("robust_t", basis=basis)
        self.pair = int(np.nanargmax(strength)) if np.isfinite(strength).any() else 0
        self.layers = subspaces.pairs[self.pair]
        grouped = np.isfinite(self._of("p_max_grouped"))
        self.p_from = "p_max_grouped" if grouped or not subspaces.one_group else "p_max"
        self.p, self.r, self.ratio = self._of(self.p_from), self._of("r"), self._of("ratio")
        self.controls = [self._beside(control) for control in CONTROLS if control in subspaces.measured]
        self.criteria = dict(zip(CRITERIA, (self._beyond_chance(), self._more_than_controls(), self._phrases())))
        states = [state for state, _ in self.criteria.values()]
        self.verdict = "fails" if "fails" in states else "open" if "open" in states else "holds"

    def _of(self, name, span_set="all", basis=None):
        return float(self.subspaces.claim(name, span_set=span_set, basis=basis or self.basis)[self.pair])

    def _measurable(self, basis=None):
        return min(self._of("reliability_a", basis=basis), self._of("reliability_b", basis=basis)) >= LEAST_RELIABILITY

    def _beside(self, control):
        """`state`: less, as well, or undecided. A control agrees as well where its statistic is no smaller, or where it agrees beyond chance
        itself and is not shown to agree less."""
        both = self._measurable() and self._measurable(control) and np.isfinite([self.ratio, self._of("ratio", basis=control)]).all()
        matrices = [Matrices(self.subspaces, self.pair, basis) for basis in (self.basis, control)]
        by = "ratio" if both else "r"
        found = Comparison(self.subspaces.groups, *matrices, by)
        p = self._of(self.p_from, basis=control)
        state = "less" if found.low > 0 else "as well" if found.difference <= 0 or p <= 0.05 else "undecided"
        return {"basis": control, "r": self._of("r", basis=control), "ratio": self._of("ratio", basis=control), "p": p, "measurable": self._measurable(control),
                "by": by, "concepts": len(found.kept), "headline_there": found.values[0], "control_there": found.values[1],
                "difference": found.difference, "low": found.low, "high": found.high, "state": state}

    def _beyond_chance(self):
        if not np.isfinite(self.p):
            return "open", "the agreement of the two models was not defined"
        if self.p <= 0.05:
            return "holds", f"r = {self.r:.2f}, p = {self.p:.2g}"
        if not self._measurable():
            return "open", f"p = {self.p:.2g}, but the effects are too noisy to say (reliability below {LEAST_RELIABILITY:g})"
        return "fails", f"r = {self.r:.2f}, p = {self.p:.2g}, no more than chance"

    def _more_than_controls(self):
        known = [c for c in self.controls if np.isfinite(c["difference"])]
        if not known:
            return "open", "no control was measured" if not self.controls else "no control is defined"
        for state, verdict, words in (("as well", "fails", "controls agree as well"), ("undecided", "open", "not told apart from controls"),
                                      ("less", "holds", "controls agree less")):
            told = [compared(c) for c in known if c["state"] == state]
            if told:
                return verdict, f"{words}: " + "; ".join(told)

    def _phrases(self):
        phrase, word = (self._of(self.p_from, span_set) for span_set in ("phrase", "one_token"))
        if not np.isfinite(phrase):
            return "open", "phrases could not be tested: too few concepts have some"
        figures = (f"phrases p = {phrase:.2g} over {self._of('concepts', 'phrase'):.0f} concepts, "
                   f"words of one token p = {word:.2g} over {self._of('concepts', 'one_token'):.0f}")
        if phrase <= 0.05:
            return "holds", f"phrases agree beyond chance: {figures}"
        return ("fails", f"phrases are at chance while single words are not: {figures}") if word <= 0.05 else ("open", f"neither is beyond chance: {figures}")

    def record(self):
        """For summary.json."""
        return {"basis": self.basis, "layer_a": self.layers[0], "layer_b": self.layers[1], "measure": "kl", "span_set": "all", "verdict": self.verdict,
                "headline_p": self.p, "headline_p_from": self.p_from, **{name: self._of(name) for name in (*AGREEMENT, *CHECKS)},
                "criteria": {name: {"state": state, "figures": figures} for name, (state, figures) in self.criteria.items()}, "controls": self.controls}


def compared(c):
    """A control in words."""
    interval = f"95 % interval {c['low']:.2f} to {c['high']:.2f}" if np.isfinite(c["low"]) else "no interval"
    return (f"{c['basis']}, {c['by']} {c['control_there']:.2f} beside {c['headline_there']:.2f} over {c['concepts']} concepts, "
            f"difference {c['difference']:.2f} ({interval})")


def headlines(subspaces):
    """Of features and of the residual stream, as far as they were measured."""
    return [Headline(subspaces, basis) for basis in HEADLINE_BASES if basis in subspaces.measured]


def verdict_sentence(subspaces, found):
    """The claim in plain words."""
    if not subspaces.has_effects:
        return "Whether alike subspaces act alike was not measured (subspaces.effects = false)."
    if not found:
        return "Whether alike subspaces act alike cannot be told: of no subspace of a concept effects are known in both models."
    words = {"holds": "<b>holds</b>", "fails": "<b>is not borne out</b>", "open": "<b>cannot be decided</b>"}
    told = []
    for headline in found:
        reasons = [f"{figures}" for state, figures in headline.criteria.values() if state == headline.verdict]
        told.append(f"For subspaces of the {BASIS_TITLES[headline.basis]}, layer {headline.layers[0]} of A against {headline.layers[1]} of B, it "
                    f"{words[headline.verdict]}: {'; '.join(reasons)}.")
    return "The claim is that alike subspaces act alike on the two models. " + " ".join(told)


# --- tables -----------------------------------------------------------------------------------------------------------------------

def concept_rows(s):
    rows = []
    for c, name in enumerate(s.names):
        row = {"concept": name, "group": s.groups[c], "defined": int(s.defined[c])}
        row |= {f"occurrences_{kind}": int(n) for kind, n in zip(s.kinds, s.occurrences[c])}
        row |= {"spans": int(s.spans[c]), "phrases": int(s.phrases[c]), "phrases_listed": int((s.phrase_concept == c).sum())}
        for side in "ab":
            for i, layer in enumerate(s.layers[side]):
                count = s.member_count(side, i, c)
                of = s.members[side]
                row |= {f"{key}_{side}_{layer}": value for key, value in (
                    ("members", count), ("auc_chosen", last(of["sum_auc_chosen"][i, c], count)), ("auc_held", last(of["sum_auc_held"][i, c], count)),
                    *((f"probe_{k}", float(auc)) for k, auc in zip((1, 2, 5), of["probe_auc"][i, c])))}
        rows.append(row)
    return rows


def last(values, count):
    """Of the sum of all members; NaN without members."""
    return float(values[count - 1]) if count else float("nan")


def member_rows(s, concept=None):
    rows = []
    for side in "ab":
        of = s.members[side]
        for i, layer in enumerate(s.layers[side]):
            for c in range(s.concepts) if concept is None else [concept]:
                for m in range(s.member_count(side, i, c)):
                    auc = of["member_auc"][i, c, m]
                    rows.append({"concept": s.names[c], "model": side, "layer": layer, "number": m + 1, "feature": int(of["members"][i, c, m]),
                                 "auc_chosen_concepts": float(auc[0, 0]), "auc_chosen_random": float(auc[0, 1]), "auc_held_concepts": float(auc[1, 0]),
                                 "auc_held_random": float(auc[1, 1]), "q": float(of["member_q"][i, c, m]), "coverage": float(of["member_coverage"][i, c, m]),
                                 "scale": float(of["member_scale"][i, c, m]), "sum_auc_chosen": float(of["sum_auc_chosen"][i, c, m]),
                                 "sum_auc_held": float(of["sum_auc_held"][i, c, m])})
    return rows


def alike_rows(s):
    return [{"layer_a": a, "layer_b": b, "concept": name, "of": of, "measure": measure, "count": int(s.alike[of, "count"][pair, c]),
             **{key: float(s.alike[of, key][pair, c, m]) for key in ("score", "shuffled_mean", "p")}, "undefined": why_not_alike(s, of, pair, c, m)}
            for pair, (a, b) in enumerate(s.pairs) for c, name in enumerate(s.names) for of in ("features", "phrases") for m, measure in enumerate(s.measures)]


def why_not_alike(s, of, pair, c, measure):
    """Why a score is not defined; empty where it is."""
    if np.isfinite(s.alike[of, "score"][pair, c, measure]):
        return ""
    if not s.defined[c]:
        return "concept undefined"
    if of == "features":
        return "few paired features" if s.alike["pairs"][pair, c, c] < LEAST_PAIRS else "measure undefined"
    if not s.alike[of, "count"].any():
        return "not measured"
    return "few phrases" if s.alike[of, "count"][pair, c] < LEAST_PAIRS else "measure undefined"


def contrast_rows(s):
    return [{"layer_a": a, "layer_b": b, "measure": measure, **{name: float(s.alike[name][pair, m]) for name in ("contrast", "contrast_p", "contrast_p_grouped")}}
            for pair, (a, b) in enumerate(s.pairs) for m, measure in enumerate(s.measures)]


def claim_rows(s):
    meaning = [f"{name}/{question}_{number}" for name in s.similarity for question in QUESTIONS for number in "rp"]
    return [{"layer_a": a, "layer_b": b, "basis": basis, "control": int(basis in CONTROLS), "measure": measure, "span_set": span_set,
             **{name.replace("/", "_"): float(s.claim(name, measure, span_set, basis)[pair]) for name in (*AGREEMENT, *CHECKS, *meaning)}}
            for pair, (a, b) in enumerate(s.pairs) for measure in EFFECT_MEASURES for span_set in s.sets for basis in s.measured]


def write_effects(s, path):
    """effects.csv: what was measured, whole for all span sets, or for `all` alone where the others would make it too long. Returns whether
    it is whole."""
    whole = sum(map(len, s.layers.values())) * len(s.sets) * len(s.measured) * 2 * s.concepts**2 <= MOST_EFFECT_ROWS
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(("side", "layer", "basis", "set", "half", "removed", "at", "kl", "kl_error", "loss", "energy"))
        for side in "ab" if s.has_effects else "":
            for i, layer in enumerate(s.layers[side]):
                for span_set in s.sets if whole else s.sets[:1]:
                    for basis in s.measured:
                        write_effect_matrices(s, writer, (side, i, span_set, basis), layer)
    return whole


def write_effect_matrices(s, writer, where, layer):
    side, i, span_set, basis = where
    values = np.stack([s.effects(side, i, name, span_set, basis) for name in ("kl", "kl_error", "loss", "energy")], axis=-1)
    places = np.nonzero(np.isfinite(values[..., 0]))
    for half, removed, at, numbers in zip(*(place.tolist() for place in places), values[places].tolist()):
        writer.writerow((side, layer, basis, span_set, half + 1, s.names[removed], s.names[at], *map("{:.7g}".format, numbers)))
