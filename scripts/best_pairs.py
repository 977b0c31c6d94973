#!/usr/bin/env python3
"""Prints the ten best layer pairs of a finished study from its report/summary.json."""
import json
import pathlib
import sys

if len(sys.argv) != 2:
    sys.exit("usage: best_pairs.py OUTPUT_FOLDER")
summary = json.loads((pathlib.Path(sys.argv[1]) / "report" / "summary.json").read_text())


def number(value, form):
    return format(value, form) if value is not None else "-"


columns = [("layer_a", "A", "d"), ("layer_b", "B", "d"), ("matched", "matched", ".0f"), ("mean_r", "mean r", ".3f"), ("null_r", "null r", ".3f"),
           ("svcca_score", "SVCCA", ".3f"), ("svcca_null_mean", "null", ".3f"), ("svcca_p", "p", ".3f"), ("rsa_score", "RSA", ".3f"),
           ("rsa_null_mean", "null", ".3f"), ("rsa_p", "p", ".3f")]
print(" ".join(f"{title:>8}" for _, title, _ in columns))
ranked = sorted(summary["pairs"], key=lambda p: -(p.get("svcca_adjusted") if p.get("svcca_adjusted") is not None else -9))
for pair in ranked[:10]:
    print(" ".join(f"{number(pair.get(key), form):>8}" for key, _, form in columns))
