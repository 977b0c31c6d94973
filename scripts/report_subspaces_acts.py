"""Stage `subspaces` in the report: resampled removals, steering, and subspaces carried between the models, where they were measured. Imported by
report_subspaces_pages.py."""
import json

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


def equal_energy_rows(s, pair):
    """A row a model and basis: KL less that of words of other concepts that take as much energy, on the own concept and on others."""
    rows = []
    off = ~np.eye(s.concepts, dtype=bool)
    for side, layer in zip("ab", s.place(pair)):
        group = s.file[f"{side}/equal"]
        for k, basis in enumerate(s.bases):
            excess, error = group["excess"][layer, 0, k], group["excess_error"][layer, 0, k]
            if not np.isfinite(excess).any():
                continue
            energy, control = s.file[f"{side}/energy"][layer, 0, k], group["energy"][layer, 0, k]
            row = {"model": side.upper(), "basis": BASIS_TITLES[basis]}
            for name, of in (("own", lambda v: np.diagonal(v, axis1=1, axis2=2)), ("others", lambda v: v[:, off])):
                with np.errstate(invalid="ignore", divide="ignore"):
                    z = of(excess) / of(error)
                row |= {f"kl_{name}": mean_of(of(excess)), f"z_{name}": float(np.median(z[np.isfinite(z)])) if np.isfinite(z).any() else np.nan,
                        f"energy_{name}": f"{mean_of(of(energy)):.3f} / {mean_of(of(control)):.3f}"}
            rows.append(row)
    return rows


def equal_energy_html(s, pair):
    """Effects beyond those of word sets that take as much, at a layer pair; empty where they were not measured."""
    if "equal" not in s.file["a"]:
        return ""
    columns = [("model", "model"), ("basis", "subspaces of"), *((f"{of}_{name}", f"{words} {where}") for name, where in (("own", "on its own concept"), ("others", "on others"))
                                                              for of, words in (("kl", "KL beyond the control,"), ("z", "in units of its error (median)"), ("energy", "energy, own / control,")))]
    table = html_table(equal_energy_rows(s, pair), columns, dict.fromkeys(("kl_own", "kl_others"), ".3f") | dict.fromkeys(("z_own", "z_others"), ".1f"))
    return f"""<h3>Beyond what is taken</h3><p>Beside each subspace words of other concepts were removed that take nearly as much of the spans' energy. An effect is of the concept,
not of the amount, where it is larger than theirs by more than some errors. Energies beside each other say how near they are.</p>{table}"""


def carried_title(kind, source):
    """"own_sae" is the other model's own basis; "_shuffled" and "_random" are controls of the map."""
    if kind.startswith("own_"):
        return f"its own {BASIS_TITLES[kind[4:]]}"
    for suffix, words in (("_shuffled", "by a map of shuffled rows (control)"), ("_random", "")):
        if kind.endswith(suffix):
            basis = BASIS_TITLES[kind[:-len(suffix)]]
            return f"{source}'s {basis}, {words}" if words else f"random, as many dimensions as {basis} (control)"
    return f"{source}'s {BASIS_TITLES[kind]}, carried"


def carried_rows(s):
    """A row a pair of layers, direction and kind of basis: what its removal does on its own concept and on others."""
    group, kinds = s.file["carried"], json.loads(s.file.attrs["carried"])
    off = ~np.eye(s.concepts, dtype=bool)
    rows = []
    for i, layers in enumerate(np.repeat(group["pairs"][:], 2, axis=0)):
        source, target = ("A", "B") if i % 2 == 0 else ("B", "A")
        for k, kind in enumerate(kinds):
            kl = group["kl"][i, k]
            if not np.isfinite(kl).any():
                continue
            ratio, low, high = map(float, group["mean_ratio"][i, k])
            rows.append({"layers": f"{layers[0]}, {layers[1]}", "in": target, "basis": carried_title(kind, source), "own": mean_of(np.diag(kl)), "others": mean_of(kl[off]),
                         "contrast_p": float(group["contrast_p"][i, k, 0]), "contrast_p_grouped": float(group["contrast_p"][i, k, 1]),
                         "ratio": f"{ratio:.2f} ({low:.2f} to {high:.2f})", "r2": float(group["r2"][i, 1 if kind.endswith("_shuffled") else 0])})
    return rows


def carried_html(s):
    """Whether one model's subspaces act in the other; empty where none was carried."""
    if "carried" not in s.file:
        return ""
    columns = [("layers", "layers of A, B"), ("in", "removed from"), ("basis", "subspace"), ("own", "KL on its own concept"), ("others", "on others"),
               ("contrast_p", "p, all permutations")] + ([] if s.one_group else [("contrast_p_grouped", "p, inside groups")]) + [
               ("ratio", "ratio to the model's own (95 %)"), ("r2", "R\u00b2 of the map")]
    table = html_table(carried_rows(s), columns, {"own": ".3f", "others": ".3f", "contrast_p": ".3g", "contrast_p_grouped": ".3g", "r2": ".3f"})
    return f"""<h2>Do one model's subspaces act in the other?</h2><p>A linear map from one residual stream to the other, fitted on one half of the documents, carries each
concept's subspace over; it is removed there, on the other half. They do where the effect on the own concept is larger than on others (p) and the ratio is well above that of the
controls. R\u00b2 is that of rows the map was not fitted on.</p>{table}"""
