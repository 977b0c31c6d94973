"""Stage `subspaces` in the report: resampled removals and steering, where they were measured. Imported by report_subspaces_pages.py."""
import numpy as np

from report_parts import html_table
from report_subspaces import BASIS_TITLES


def mean_of(values):
    """Of those that are defined; NaN of none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def steering_rows(s):
    """A row a model, layer, strength and basis: what is written of the same concept and of others, and how far predictions change."""
    strengths = s.file["steering/strengths"][:]
    off = ~np.eye(s.concepts, dtype=bool)
    rows = []
    for side in "ab":
        group = s.file[f"{side}/steering"]
        for i, layer in enumerate(s.layers[side]):
            for j, strength in enumerate(strengths):
                for k, basis in enumerate(s.bases):
                    values = {name: float(group[name][i, j, k]) for name in ("diagonal", "rest", "contrast", "contrast_p", "contrast_p_grouped")}
                    if np.isfinite(values["contrast"]):
                        kl = group["kl"][i, j, k]
                        rows.append({"model": side.upper(), "layer": layer, "strength": float(strength), "basis": BASIS_TITLES[basis], **values,
                                     "kl": mean_of(kl[:, off])})
    return rows


def resample_rows(s, pair):
    rows = []
    a, b = s.place(pair)
    off = ~np.eye(s.concepts, dtype=bool)
    for basis in s.measured:
        k = s.bases.index(basis)
        row = {"basis": BASIS_TITLES[basis]}
        for side, layer in (("a", a), ("b", b)):
            kl = s.file[f"{side}/resample/kl"][layer, 0, k]
            row |= {f"own_{side}": mean_of(np.diagonal(kl, axis1=1, axis2=2)), f"others_{side}": mean_of(kl[:, off])}
        rows.append(row | {name: float(s.claim(name, "resample/kl", "all", basis)[pair]) for name in ("r", "p", "p_grouped", "ratio")})
    return rows


def steering_html(s):
    """Whether adding a direction writes its concept; empty where nothing was steered."""
    if "steering" not in s.file:
        return ""
    columns = [("model", "model"), ("layer", "layer"), ("strength", "strength"), ("basis", "direction of"), ("diagonal", "own concept"), ("rest", "others"),
               ("contrast", "contrast"), ("contrast_p", "p, all permutations")] + ([] if s.one_group else [("contrast_p_grouped", "p, inside groups")]) + [("kl", "KL")]
    table = html_table(steering_rows(s), columns, dict.fromkeys(("diagonal", "rest", "contrast", "kl"), ".3f") | dict.fromkeys(("contrast_p", "contrast_p_grouped"), ".3g"))
    return f"""<h2>Does adding a direction write its concept?</h2><p>The first direction of a concept's subspace is added at spans of other concepts; strength 1 is as much of it
as the concept's own words hold. Shown is the change of the log probability of the first tokens of the concept's own words and of other concepts' words, behind the span. It is
refuted by p above 0.05 at strength 1, or by a contrast no larger than that of the control (<i>{BASIS_TITLES["random"]}</i> beside <i>{BASIS_TITLES["sae"]}</i>,
<i>{BASIS_TITLES["dealt"]}</i> beside <i>{BASIS_TITLES["residual"]}</i>).</p>{table}"""


def resample_html(s, pair):
    """Removals that leave another span's part, at a layer pair; empty where they were not measured."""
    if "resample" not in s.file["a"]:
        return ""
    columns = [("basis", "subspaces of"), ("own_a", "KL on own, A"), ("others_a", "on others, A"), ("own_b", "KL on own, B"), ("others_b", "on others, B"), ("r", "r"),
               *([] if s.one_group else [("p_grouped", "p, groups kept")]), ("p", "p, all permutations"), ("ratio", "r / ceiling")]
    table = html_table(resample_rows(s, pair), columns, dict.fromkeys(("own_a", "others_a", "own_b", "others_b", "r", "ratio"), ".3f") | {"p": ".3g", "p_grouped": ".3g"})
    return f"<h3>Resampled removals</h3><p>The part of another concept's span takes the place of the mean's.</p>{table}"
