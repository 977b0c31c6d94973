"""What the report shows of stage `subspaces`: the figures of subspaces.h5, the claim's verdict beside its controls, and that nothing
undefined, hostile or missing breaks it."""
import csv
import html.parser
import json
import shutil
import subprocess
import sys
import unittest

import h5py
import numpy as np
from scipy import stats

from support import SOURCE, fresh, run, small_study

sys.path.insert(0, str(SOURCE / "scripts"))
sys.dont_write_bytecode = True
import report_subspaces as rs

BASES = ("sae", "residual", "random", "matched", "dealt")
SETS = ("all", "one_token", "several_tokens", "phrase")
MEASURES = ("rsa", "cka_debiased", "procrustes", "svcca")
HOSTILE = '<script>alert("1")</script> & $x_1$ \u202e' + "long " * 12
NAMES = [HOSTILE, "Rain", "Snow", "Wind", "Anger", "Joy", "Cat", "Dog"]
GROUPS = ["sky", "sky", "sky", "moods", "moods", "<i>animals</i>", "<i>animals</i>", "rest"]
MEMBERS = 4


def strings(file, name, texts):
    raw = [t.encode() for t in texts]
    file[f"{name}/bytes"], file[f"{name}/ends"] = np.frombuffer(b"".join(raw), np.uint8), np.cumsum([len(r) for r in raw]).astype(np.int64)


def write_layers(f, side, layers, concepts, random, features):
    """The last concept has no member anywhere."""
    shape = (layers, concepts, MEMBERS)
    count = random.integers(1, MEMBERS + 1, shape[:2])
    count[:, -1] = 0
    there = np.arange(MEMBERS) < count[..., None]
    f[f"{side}/candidates"] = count.astype(np.int32)
    f[f"{side}/members"] = np.where(there, random.integers(0, features, shape), -1).astype(np.int32)
    f[f"{side}/member_auc"] = np.where(there[..., None, None], random.uniform(0.5, 1, (*shape, 2, 2)), np.nan)
    for name in ("member_q", "member_coverage", "member_scale", "sum_auc_chosen", "sum_auc_held"):
        f[f"{side}/{name}"] = np.where(there, random.uniform(0, 1, shape), np.nan)
    f[f"{side}/probe_auc"] = np.where(count[..., None] >= [1, 2, 5], random.uniform(0.5, 1, (*shape[:2], 3)), np.nan)
    f[f"{side}/dimensions"] = np.repeat(count[:, None], 5, axis=1).astype(np.int32)


def write_effects(f, side, layers, concepts, random, shared):
    """`shared` [bases, concepts, concepts] is in both models; noise is each half's own."""
    for name in ("kl", "kl_error", "loss", "energy"):
        noise = random.normal(size=(layers, 4, 5, 2, concepts, concepts))
        f[f"{side}/{name}"] = np.exp(shared[:, None] + 0.7 * noise)


def write_alike(f, pairs, concepts, random):
    """Concept 1 has few paired features, concept 2 few phrases, the last is undefined."""
    f["alike/pairs"] = np.full((pairs, concepts, concepts), 12, np.int32)
    f["alike/pairs"][:, 1, 1] = 3
    f["alike/matrix"] = random.uniform(0, 1, (pairs, concepts, concepts, 4))
    for name in ("contrast", "contrast_p", "contrast_p_grouped"):
        f[f"alike/{name}"] = random.uniform(0, 1, (pairs, 4))
    for of, few in (("features", 1), ("phrases", 2)):
        gone = np.isin(np.arange(concepts), [few, concepts - 1])
        f[f"alike/{of}/count"] = np.tile(np.where(gone, 3, 12), (pairs, 1)).astype(np.int32)
        for name in ("score", "shuffled_mean", "p"):
            f[f"alike/{of}/{name}"] = np.where(gone[:, None], np.nan, random.uniform(0, 1, (pairs, concepts, 4)))


def claim_of(f, random, pairs, concepts, grouped):
    """r and ceilings as they are; p as told by the tests, else small."""
    for measure in ("kl", "loss"):
        for name in (*rs.AGREEMENT, *(f"lin/{q}_{n}" for q in rs.QUESTIONS for n in "rp")):
            values = random.uniform(0.4, 0.9, (4, 5, pairs))
            if name in ("p_grouped", "p_max_grouped"):
                values = values * (0.01 if grouped else np.nan)
            elif name.startswith("p"):
                values *= 0.01
            f[f"claim/{measure}/{name}"] = values
        f[f"claim/{measure}/concepts"][:] = concepts
    for name in rs.CHECKS:
        f[f"claim/kl/{name}"] = random.uniform(0, 1, (4, 5, pairs))


def make(path, groups=GROUPS, names=NAMES, effects=True, shared=(), layers=((2, 3), (4,)), seed=5):
    """A small subspaces.h5. `shared`: the bases whose effects both models have in common."""
    random, concepts = np.random.default_rng(seed), len(names)
    pairs = [(a, b) for a in layers[0] for b in layers[1]]
    with h5py.File(path, "w") as f:
        attributes = {"layers_a": layers[0], "layers_b": layers[1], "bases": BASES, "span_sets": SETS, "measures": MEASURES, "settings": {"fold_case": True, "k": 5}}
        for name, value in attributes.items():
            f.attrs[name] = np.bytes_(json.dumps(value))
        for name in ("software", "command"):
            f.attrs[name] = np.bytes_(f"<b>{name}</b>")
        strings(f, "concepts/names", names)
        strings(f, "concepts/groups", groups)
        f["concepts/occurrences"] = random.integers(0, 100, (concepts, 3))
        f["concepts/spans"], f["concepts/phrases"] = random.integers(1, 50, concepts).astype(np.int32), np.full(concepts, 2, np.int32)
        f["concepts/defined"] = np.array([1] * (concepts - 1) + [0], np.uint8)
        f["concepts/together"] = random.normal(size=(concepts, concepts))
        strings(f, "phrases/texts", [t for c in range(concepts) for t in ("the" if c == 0 else f"(word{c}*", f"<u>never{c}</u>")])
        f["phrases/concept"] = np.repeat(np.arange(concepts), 2).astype(np.int32)
        f["phrases/occurrences"] = np.tile([[5, 2, 1], [0, 0, 0]], (concepts, 1))
        f["pairs"] = np.array(pairs, np.int32)
        write_alike(f, len(pairs), concepts, random)
        common = np.array([random.normal(size=(concepts, concepts)) * (basis in shared) for basis in BASES])
        for side, own in zip("ab", layers):
            write_layers(f, side, len(own), concepts, random, 256)
            if effects:
                write_effects(f, side, len(own), concepts, random, common)
        if effects:
            f["similarity/lin"] = random.uniform(0, 1, (concepts, concepts))
            claim_of(f, random, len(pairs), concepts, len(set(groups)) > 1)
    return path


# Runs a script with figures that are saved as empty files.
UNWRITTEN = """import pathlib, runpy, sys
import matplotlib.figure
matplotlib.figure.Figure.savefig = lambda self, path, **options: pathlib.Path(path).touch()
sys.argv = sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Page(html.parser.HTMLParser):
    """A page as a browser reads it: tags, text, links, and tables as rows of cells. Every tag must be closed where it was opened."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.text, self.tables, self.open = set(), [], "", [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open, (path, self.open)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "a":
            self.links.append(dict(attributes)["href"])
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, *titles):
        """The first table whose head has these columns."""
        return next(t for t in self.tables if t and set(titles) <= set(t[0]))


def rows_of(path):
    with path.open(encoding="utf-8") as f:
        return list(csv.DictReader(f))


class Statistic(unittest.TestCase):
    """Figures of the pages that are not in the file, against worked numbers and scipy."""

    def test_agreement_of_the_worked_example(self):
        a = np.array([[0, 5, 1, 2], [6, 0, 2, 1], [1, 3, 0, 7], [2, 1, 8, 0]], float)
        b = np.array([[0, 4, 2, 1], [7, 0, 1, 3], [2, 1, 0, 6], [1, 2, 5, 0]], float)
        z = np.array([[0, 1, 0, 2], [1, 0, 3, 0], [0, 3, 0, 1], [2, 0, 1, 0]], float)
        self.assertAlmostEqual(rs.correlation(*rs.residuals([a, b], [])), 0.5414278250, places=9)
        self.assertAlmostEqual(rs.correlation(*rs.residuals([a, b], [z])), 0.9792923786, places=9)
        off = ~np.eye(4, dtype=bool)
        np.testing.assert_allclose(rs.normal_scores(a[off]), [0.548522, -0.967422, -0.104633, 0.812218, -0.104633, -0.967422, -0.967422, 0.318639, 1.150349,
                                                             -0.104633, -0.967422, 1.731664], atol=1e-6)

    def test_undefined_entries_take_no_part(self):
        random = np.random.default_rng(1)
        a, b = random.normal(size=(2, 7, 7))
        a[2, 5] = b[4, 1] = np.nan
        mask = ~np.eye(7, dtype=bool) & np.isfinite(a + b)
        row, column = np.nonzero(mask)
        design = np.hstack([np.eye(7)[row], np.eye(7)[column]])
        left = []
        for matrix in (a, b):
            scores = stats.norm.ppf((stats.rankdata(matrix[mask]) - 0.5) / mask.sum())
            left.append(scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0])
        self.assertAlmostEqual(rs.correlation(*rs.residuals([a, b], [])), np.corrcoef(left)[0, 1], places=9)

    def test_a_concept_without_a_row_is_left_out(self):
        matrix = np.ones((5, 5))
        matrix[3] = np.nan
        self.assertEqual(list(rs.defined_concepts([np.ones((5, 5)), matrix])), [0, 1, 2, 4])
        matrix[0, [1, 2, 4]] = np.nan
        self.assertEqual(list(rs.defined_concepts([matrix])), [1, 2, 4])
        self.assertEqual(list(rs.defined_concepts([np.full((2, 2), np.nan)])), [])

    def test_quantiles_of_t(self):
        for df in range(3, 41):
            self.assertAlmostEqual(rs.t_quantile(df) / stats.t.ppf(0.975, df), 1, delta=0.01)

    def test_documents_are_crossed(self):
        s = rs.Subspaces(make(fresh("crossed") / "s.h5", shared=("sae",)))
        a, b = s.effects("a", 1, "kl", "all", "sae"), s.effects("b", 0, "kl", "all", "sae")
        crossed = [rs.correlation(*rs.residuals([a[half], b[1 - half]], [s.together])) for half in (0, 1)]
        halves = [rs.correlation(*rs.residuals(list(side), [s.together])) for side in (a, b)]
        found = rs.Matrices(s, 1, "sae")
        self.assertAlmostEqual(found.r(found.kept), np.mean(crossed), places=12)
        self.assertAlmostEqual(found.ratio(found.kept), np.mean(crossed) / np.sqrt(np.prod(halves)), places=12)

    def test_interval_of_a_difference_leaves_out_groups(self):
        s = rs.Subspaces(make(fresh("jackknife") / "s.h5", shared=("sae",)))
        of, control = (rs.Matrices(s, 0, basis) for basis in ("sae", "dealt"))
        found = rs.Comparison(s.groups, of, control, "r")
        kept = np.arange(8)
        self.assertEqual(list(found.kept), list(kept))
        parts = [of.r(rest) - control.r(rest) for g in dict.fromkeys(GROUPS) if len(rest := np.array([c for c in kept if GROUPS[c] != g]))]
        error = np.sqrt((len(parts) - 2) / 2) * np.std(parts)
        self.assertAlmostEqual(found.difference, of.r(kept) - control.r(kept), places=12)
        self.assertAlmostEqual(found.high - found.difference, rs.t_quantile(3) * error, places=12)


    def test_error_of_a_difference_is_right_in_planted_worlds(self):
        random, groups, shape = np.random.default_rng(4), [c // 4 for c in range(24)], (24, 24)

        def matrices():
            shared, found = random.normal(size=shape), rs.Matrices.__new__(rs.Matrices)
            found.covariates, found.kept = [], np.arange(24)
            found.a, found.b = (np.exp(shared + random.normal(size=shape) + 0.8 * random.normal(size=(2, *shape))) for _ in "ab")
            return found

        worlds = [rs.Comparison(groups, matrices(), matrices(), "r") for _ in range(60)]
        error = np.sqrt(np.mean([((w.high - w.difference) / rs.t_quantile(5))**2 for w in worlds]))
        self.assertAlmostEqual(error / np.std([w.difference for w in worlds]), 1, delta=0.3)  # the deviation of 60 is known to 9 %


class Verdict(unittest.TestCase):
    """What would refute the claim refutes it, and nothing else does."""

    def setUp(self):
        self.path = fresh("verdict") / "s.h5"

    def headline(self, change=None, basis="sae", **options):
        groups = options.pop("groups", [f"group {c // 4}" for c in range(24)])
        make(self.path, names=[f"concept {c}" for c in range(24)], groups=groups, layers=((3,), (6,)), **options)
        with h5py.File(self.path, "a") as f:
            if change:
                change(f)
        return next(h for h in rs.headlines(rs.Subspaces(self.path)) if h.basis == basis)

    @staticmethod
    def claim(f, name, value, basis, span_set="all"):
        f[f"claim/kl/{name}"][SETS.index(span_set), BASES.index(basis)] = value

    def controls_at_chance(self, f):
        for basis in ("dealt", "matched", "random"):
            for name, value in (("r", 0), ("ratio", np.nan), ("p_max_grouped", 0.5), ("reliability_a", 0.1)):
                self.claim(f, name, value, basis)

    def test_holds_where_nothing_refutes_it(self):
        headline = self.headline(self.controls_at_chance, shared=("sae",))
        self.assertEqual([state for state, _ in headline.criteria.values()], ["holds"] * 3, headline.criteria)
        self.assertEqual(headline.verdict, "holds")

    def test_chance_refutes_it(self):
        def change(f):
            self.controls_at_chance(f)
            self.claim(f, "p_max_grouped", 0.06, "sae")

        headline = self.headline(change, shared=("sae",))
        self.assertEqual((headline.criteria[rs.CRITERIA[0]][0], headline.verdict), ("fails", "fails"))

    def test_noise_leaves_it_open(self):
        def change(f):
            self.controls_at_chance(f)
            self.claim(f, "p_max_grouped", 0.3, "sae")
            self.claim(f, "reliability_b", 0.29, "sae")

        self.assertEqual(self.headline(change, shared=("sae",)).criteria[rs.CRITERIA[0]][0], "open")

    def test_a_control_that_agrees_as_well_refutes_it(self):
        headline = self.headline(shared=("sae", "dealt"))
        state, figures = headline.criteria[rs.CRITERIA[1]]
        self.assertEqual((state, headline.verdict), ("fails", "fails"))
        self.assertIn("dealt", figures)
        self.assertIn("dealt", rs.verdict_sentence(headline.subspaces, [headline]))
        self.assertIn("not borne out", rs.verdict_sentence(headline.subspaces, [headline]))

    def test_a_control_beyond_chance_must_be_shown_to_agree_less(self):
        larger = 0
        for seed in range(6):
            for control in self.headline(shared=("sae", "dealt"), seed=seed).controls:
                self.assertEqual(control["state"], "less" if control["low"] > 0 else "as well", control)
                larger += control["difference"] > 0 and not control["low"] > 0
        self.assertGreater(larger, 0)

    def test_a_control_at_chance_that_cannot_be_told_apart_leaves_it_open(self):
        states = set()
        for seed in range(6):  # nothing is shared: the figures of all are noise
            for control in self.headline(self.controls_at_chance, seed=seed).controls:
                self.assertEqual(control["state"], "as well" if control["difference"] <= 0 else "less" if control["low"] > 0 else "undecided", control)
                states.add(control["state"])
        self.assertLessEqual({"as well", "undecided"}, states)

    def test_phrases_at_chance_refute_it(self):
        def change(f):
            self.controls_at_chance(f)
            self.claim(f, "p_max_grouped", 0.2, "sae", "phrase")

        self.assertEqual(self.headline(change, shared=("sae",)).criteria[rs.CRITERIA[2]][0], "fails")

        def neither(f):
            change(f)
            self.claim(f, "p_max_grouped", 0.2, "sae", "one_token")

        self.assertEqual(self.headline(neither, shared=("sae",)).criteria[rs.CRITERIA[2]][0], "open")

        def unknown(f):
            self.controls_at_chance(f)
            self.claim(f, "p_max_grouped", np.nan, "sae", "phrase")

        headline = self.headline(unknown, shared=("sae",))
        self.assertEqual((headline.criteria[rs.CRITERIA[2]][0], headline.verdict), ("open", "open"))

    def test_one_group_is_tested_by_all_permutations(self):
        headline = self.headline(groups=["all"] * 24, shared=("sae",))
        self.assertEqual(headline.p_from, "p_max")
        self.assertEqual(headline.p, headline.subspaces.claim("p_max")[0])

    def test_undefined_effects_decide_nothing(self):
        def change(f):
            for side in "ab":
                for name in ("kl", "loss"):
                    f[f"{side}/{name}"][:] = np.nan
            for name in f["claim/kl"]:
                if name != "lin":
                    f[f"claim/kl/{name}"][:] = np.nan

        make(self.path)
        with h5py.File(self.path, "a") as f:
            change(f)
        s = rs.Subspaces(self.path)
        self.assertEqual((s.measured, rs.headlines(s)), ([], []))
        self.assertIn("cannot be told", rs.verdict_sentence(s, []))


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("report_subspaces")
        cls.study = small_study(cls.folder, drawn=True, sae__steps=40, corpus__max_tokens=3000, model__b__layers=[4])
        undrawn = small_study(fresh("undrawn")).parent / "undrawn"
        run("run", cls.study, "--set", f"report.python={undrawn}")
        cls.out = cls.folder / "out"
        make(cls.out / "subspaces.h5", shared=("sae", "dealt"))
        cls.inputs = {}
        for name, path, attribute in (("tokens", "tokens.h5", "token_hash"), ("features_a", "a/features.h5", "stage_digest"), ("features_b", "b/features.h5", "stage_digest")):
            with h5py.File(cls.out / path) as f:
                cls.inputs[name] = f.attrs[attribute].decode()
        cls.of(cls.out, cls.inputs)
        cls.report = cls.out / "report"
        cls.said = run("report", cls.study)

    @staticmethod
    def of(out, inputs):
        """Says in subspaces.h5 what it was made of."""
        with h5py.File(out / "subspaces.h5", "a") as f:
            f.attrs["inputs"] = np.bytes_(json.dumps(inputs))

    def copy(self, name, **options):
        """Another study with another subspaces.h5; the text of its pages."""
        out = self.folder / name
        shutil.copytree(self.out, out, ignore=shutil.ignore_patterns("report"))
        make(out / "subspaces.h5", **options)
        return out

    def pages(self, out, drawn=False):
        """Not `drawn`: figures are made, but not written, which takes longer than all else."""
        script = ["-c", UNWRITTEN, SOURCE / "scripts/report.py"]
        subprocess.run([sys.executable, "-I", *(script[2:] if drawn else script), out], check=True, timeout=300)
        return Page(out / "report/index.html"), Page(out / "report/subspaces.html"), json.loads((out / "report/summary.json").read_text())

    def test_tables_tell_the_numbers_of_the_file(self):
        with h5py.File(self.out / "subspaces.h5") as f:
            rows = rows_of(self.report / "claim.csv")
            self.assertEqual(len(rows), 2 * 2 * 4 * 5)
            for row in rows:
                place = (SETS.index(row["span_set"]), BASES.index(row["basis"]), [2, 3].index(int(row["layer_a"])))
                self.assertEqual(row["control"] == "1", row["basis"] not in ("sae", "residual"))
                for name in (*rs.AGREEMENT, "lin/beside_p", "lin/effect_a_r"):
                    np.testing.assert_equal(float(row[name.replace("/", "_")]), float(f[f"claim/{row['measure']}/{name}"][place]))
            rows = rows_of(self.report / "effects.csv")
            self.assertEqual(len(rows), 3 * 4 * 5 * 2 * 64)
            for row in rows[::101]:
                layer = {"a": [2, 3], "b": [4]}[row["side"]].index(int(row["layer"]))
                place = (layer, SETS.index(row["set"]), BASES.index(row["basis"]), int(row["half"]) - 1, NAMES.index(row["removed"]), NAMES.index(row["at"]))
                for name in ("kl", "kl_error", "loss", "energy"):
                    self.assertAlmostEqual(float(row[name]) / f[f"{row['side']}/{name}"][place], 1, places=6)
            self.check_members(f)
            self.check_alike(f)

    def check_members(self, f):
        rows = rows_of(self.report / "members.csv")
        self.assertEqual(len(rows), sum((f[f"{side}/members"][:] >= 0).sum() for side in "ab"))
        for row in rows:
            side = row["model"]
            place = ({"a": [2, 3], "b": [4]}[side].index(int(row["layer"])), NAMES.index(row["concept"]), int(row["number"]) - 1)
            self.assertEqual(int(row["feature"]), f[f"{side}/members"][place])
            self.assertEqual(float(row["auc_held_random"]), f[f"{side}/member_auc"][(*place, 1, 1)])
            self.assertEqual(float(row["auc_chosen_concepts"]), f[f"{side}/member_auc"][(*place, 0, 0)])
            self.assertEqual(float(row["sum_auc_held"]), f[f"{side}/sum_auc_held"][place])
        rows = rows_of(self.report / "concepts.csv")
        self.assertEqual([row["concept"] for row in rows], NAMES)
        self.assertEqual([int(row["occurrences_phrase"]) for row in rows], list(f["concepts/occurrences"][:, 2]))
        self.assertEqual([int(row["members_b_4"]) for row in rows], list((f["b/members"][0] >= 0).sum(axis=1)))
        self.assertTrue(np.isnan(float(rows[-1]["auc_held_a_2"])))

    def check_alike(self, f):
        rows = rows_of(self.report / "alike.csv")
        self.assertEqual(len(rows), 2 * 8 * 2 * 4)
        why = {}
        for row in rows:
            place = ([2, 3].index(int(row["layer_a"])), NAMES.index(row["concept"]), MEASURES.index(row["measure"]))
            np.testing.assert_equal(float(row["score"]), float(f[f"alike/{row['of']}/score"][place]))
            if row["undefined"]:
                why.setdefault((row["of"], row["concept"]), row["undefined"])
            self.assertEqual(bool(row["undefined"]), np.isnan(float(row["score"])))
        self.assertEqual(why, {("features", "Rain"): "few paired features", ("phrases", "Snow"): "few phrases", ("features", "Dog"): "concept undefined",
                               ("phrases", "Dog"): "concept undefined"})

    def test_pages_tell_the_numbers_of_the_file(self):
        page, summary = Page(self.report / "subspaces.html"), json.loads((self.report / "summary.json").read_text())["subspaces"]
        with h5py.File(self.out / "subspaces.h5") as f:
            pair = int(np.argmax(f["claim/kl/robust_t"][0, 0]))
            self.assertEqual([h["basis"] for h in summary["headlines"]], ["sae", "residual"])
            self.assertEqual((summary["headlines"][0]["layer_a"], summary["headlines"][0]["layer_b"]), ([2, 3][pair], 4))
            self.assertEqual(summary["headlines"][0]["headline_p"], f["claim/kl/p_max_grouped"][0, 0, pair])
            table = page.table("subspaces of", "effect", "ceiling", "p, groups kept")
            for row in table[1:6]:
                basis = row[0].split("(")[1].rstrip(")")
                for column, name in (("r", "r"), ("reliability B", "reliability_b"), ("r / ceiling", "ratio")):
                    self.assertEqual(row[table[0].index(column)], f"{f[f'claim/kl/{name}'][0, BASES.index(basis), pair]:.3f}")
                self.assertEqual(row[table[0].index("p, groups kept")], f"{f['claim/kl/p_grouped'][0, BASES.index(basis), pair]:.3g}")
        self.assertIn("features: 2 of 16 cells, the concept has too few occurrences or phrases (u); features: 2 of 16 cells, fewer than 10 features of it are paired",
                      page.text)
        self.assertIn("is not borne out: controls agree as well: dealt", page.text)
        self.assertEqual(summary["headlines"][0]["verdict"], "fails")

    def test_controls_stand_beside_every_headline(self):
        for name in ("index.html", "subspaces.html"):
            for table in Page(self.report / name).tables:
                words = " ".join(cell for row in table for cell in row)
                if "(sae)" in words and "criterion" not in words:
                    for control in ("dealt", "matched", "random"):
                        self.assertIn(f"({control})", words)

    def test_every_concept_has_a_page_and_every_link_leads_somewhere(self):
        pages = sorted((self.report / "concepts").glob("*.html"))
        self.assertEqual(len(pages), len(NAMES))
        for path in (self.report / "index.html", self.report / "subspaces.html", *pages):
            for link in Page(path).links:
                self.assertTrue((path.parent / link).exists(), (path, link))
        first, last = Page(pages[0]), Page(pages[-1])
        self.assertRegex(first.source, '(?i)<span class="span">the</span>')
        self.assertIn("Never in the corpus: <u>never0</u>", first.text)
        self.assertEqual(first.table("phrase", "occurrences")[1], ["the", "5", "2", "1", "8"])
        self.assertIn("No feature of either model belongs to it", last.text)
        self.assertIn("Undefined", last.text)

    def test_names_are_texts_and_nothing_else(self):
        for path in self.report.rglob("*.html"):
            page = Page(path)
            self.assertFalse(page.tags & {"script", "u"}, path)
            self.assertNotIn("<i>animals", page.source)
            self.assertNotIn("\u202e", page.source)
        self.assertIn(HOSTILE.replace("\u202e", "[U+202E]"), Page(self.report / "concepts/concept_000.html").text)
        self.assertIn("<b>software</b>", Page(self.report / "subspaces.html").text)

    def test_without_effects(self):
        index, page, summary = self.pages(self.copy("no_effects", effects=False))
        self.assertIn("was not measured (subspaces.effects = false)", index.text)
        self.assertEqual(summary["subspaces"]["headlines"], [])
        self.assertIn("Are concepts alike across models?", page.text)

    def test_with_layers_that_have_no_effects(self):
        out = self.copy("part")
        with h5py.File(out / "subspaces.h5", "a") as f:
            f["a/kl"][0] = np.nan
            for name in rs.AGREEMENT:
                f[f"claim/kl/{name}"][:, :, 0] = np.nan
        _, page, summary = self.pages(out, drawn=True)  # figures with holes
        self.assertEqual(summary["subspaces"]["headlines"][0]["layer_a"], 3)
        self.assertIn("cannot be decided", page.text)  # the statistic leaves a concept out that one pair does not have
        self.assertEqual({row["layer"] for row in rows_of(out / "report/effects.csv") if row["side"] == "a"}, {"3"})

    def test_further_ways_to_act(self):
        """Steering and resampled removals have their tables, with the numbers of the file; controls beside the headline."""
        out = self.copy("acts")
        random = np.random.default_rng(9)
        with h5py.File(out / "subspaces.h5", "a") as f:
            f["steering/strengths"] = [0.5, 1.0]
            f["steering/tokens"] = np.full(8, 3, np.int32)
            for side, layers in (("a", 2), ("b", 1)):
                for name in ("kl", "kl_error", "loss", "energy"):
                    f[f"{side}/resample/{name}"] = random.uniform(0, 1, f[f"{side}/{name}"].shape)
                for name in ("kl", "kl_error", "writes"):
                    f[f"{side}/steering/{name}"] = random.uniform(0, 1, (layers, 2, 5, 2, 8, 8))
                for name in ("contrast", "diagonal", "rest", "contrast_p", "contrast_p_grouped"):
                    f[f"{side}/steering/{name}"] = random.uniform(0, 1, (layers, 2, 5))
                    f[f"{side}/steering/{name}"][:, :, 3] = np.nan  # matched
            for name in rs.AGREEMENT:
                f[f"claim/resample/kl/{name}"] = random.uniform(0, 1, (4, 5, 2))
            contrast, p, own = f["a/steering/contrast"][1, 0, 1], f["b/steering/contrast_p"][0, 1, 4], f["b/resample/kl"][0, 0, 1]
        _, page, _ = self.pages(out)
        steered = page.table("model", "strength", "contrast")
        self.assertEqual(len(steered), 1 + 3 * 2 * 4)
        cells = {tuple(row[:4]): dict(zip(steered[0], row)) for row in steered[1:]}
        self.assertEqual(cells["A", "3", "0.5", rs.BASIS_TITLES["residual"]]["contrast"], f"{contrast:.3f}")
        self.assertEqual(cells["B", "4", "1.0", rs.BASIS_TITLES["dealt"]]["p, all permutations"], f"{p:.3g}")
        resampled = page.table("KL on own, B")
        row = next(dict(zip(resampled[0], row)) for row in resampled[1:] if row[0] == rs.BASIS_TITLES["residual"])
        self.assertEqual(row["KL on own, B"], f"{np.diagonal(own, axis1=1, axis2=2).mean():.3f}")

    def test_carried_subspaces(self):
        """A table of what one model's subspaces do in the other; a kind that was not measured has no row."""
        out = self.copy("carried")
        kinds = ["own_residual", "residual", "dealt", "residual_shuffled", "residual_random", "sae"]
        random = np.random.default_rng(10)
        kl = random.uniform(0, 1, (2, len(kinds), 8, 8))
        kl[:, -1] = np.nan
        ratio, p, r2 = random.uniform(0, 1, (2, len(kinds), 3)), random.uniform(0, 1, (2, len(kinds), 2)), random.uniform(0, 1, (2, 2))
        with h5py.File(out / "subspaces.h5", "a") as f:
            f.attrs["carried"] = json.dumps(kinds)
            f["carried/pairs"] = np.array([[3, 4]], np.int32)
            for name, values in (("kl", kl), ("mean_ratio", ratio), ("contrast_p", p), ("r2", r2)):
                f[f"carried/{name}"] = values
        _, page, _ = self.pages(out)
        table = page.table("removed from", "KL on its own concept")
        self.assertEqual(len(table), 1 + 2 * 5)
        rows = {(row[1], row[2]): dict(zip(table[0], row)) for row in table[1:]}
        row = rows["A", f"B's {rs.BASIS_TITLES['residual']}, by a map of shuffled rows (control)"]
        self.assertEqual(row["KL on its own concept"], f"{np.diag(kl[1, 3]).mean():.3f}")
        self.assertEqual(row["on others"], f"{kl[1, 3][~np.eye(8, dtype=bool)].mean():.3f}")
        self.assertEqual(row["p, inside groups"], f"{p[1, 3, 1]:.3g}")
        self.assertIn(f"{ratio[1, 3, 0]:.2f} ({ratio[1, 3, 1]:.2f} to", row["ratio to the model's own (95 %)"])
        self.assertEqual(row["R\u00b2 of the map"], f"{r2[1, 1]:.3f}")
        self.assertIn(("B", f"its own {rs.BASIS_TITLES['residual']}"), rows)

    def test_one_group(self):
        index, page, summary = self.pages(self.copy("one_group", groups=["all"] * 8))
        self.assertEqual(summary["subspaces"]["headlines"][0]["headline_p_from"], "p_max")
        self.assertIn("All concepts are of one group", page.text)
        self.assertNotIn("groups kept", page.text + index.text)

    def test_results_that_do_not_belong_together_are_refused(self):
        out = self.copy("mixed")
        flags = (self.study, "--set", f"study.output={out}")
        self.assertIn("report: OK", self.said)
        for wrong in self.inputs:
            self.of(out, self.inputs | {wrong: "0" * 32})
            self.assertIn("run `concord subspaces` with --force", run("report", *flags, code=78))

    def test_without_the_stage_nothing_is_left_of_it(self):
        out = self.folder / "without"
        shutil.copytree(self.out, out)
        (out / "subspaces.h5").unlink()
        said = run("report", self.study, "--set", f"study.output={out}")
        self.assertIn("report: OK", said)
        self.assertNotIn("Semantic subspaces", Page(out / "report/index.html").text)
        self.assertIsNone(json.loads((out / "report/summary.json").read_text())["subspaces"])
        self.assertEqual([p.name for p in (out / "report").rglob("*") if p.name.startswith(("subspaces", "concept_", "claim"))], [])


if __name__ == "__main__":
    unittest.main()
