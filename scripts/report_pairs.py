"""One page over all pairs of a study: what each pair came to, with a link to its own report.

    report_pairs.py --name NAME OUTPUT PAIR=FOLDER...

Reads FOLDER/report/summary.json of each pair and writes OUTPUT/report/index.html, pairs.csv and summary.json. Ends with 66 where a pair has
no report."""
import argparse
import html
import json
import os
import pathlib
import sys

sys.dont_write_bytecode = True  # a program leaves nothing beside itself
sys.path.append(str(pathlib.Path(__file__).resolve().parent))  # python -I leaves it out
try:
    from report_parts import node_hours, node_hours_html, write_csv
except ImportError as error:
    print(f"report_pairs.py: {error}", file=sys.stderr)
    sys.exit(69)

COLUMNS = [("matched", "matched features of the best layer pair", ".0f"), ("mean_r", "mean r of these", ".3f"), ("null_r", "r by chance", ".3f"),
           ("mppc_a", "mean best r, A to B", ".3f"), ("mppc_b", "B to A", ".3f"), ("svcca_score", "SVCCA", ".3f"), ("svcca_p", "p of SVCCA", ".4f"),
           ("rsa_score", "RSA", ".3f"), ("rsa_p", "p of RSA", ".4f")]
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}th,td{padding:.3rem .7rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}"""


def rows_of(pairs):
    rows = []
    for name, folder in pairs:
        summary = folder / "report/summary.json"
        if not summary.exists():
            print(f"there is no report of {name} at {summary}", file=sys.stderr)
            sys.exit(66)
        best = json.loads(summary.read_text(encoding="utf-8"))["best_pair"]
        rows.append({"pair": name, "layer_a": best["layer_a"], "layer_b": best["layer_b"],
                     **{key: best.get(key) for key, _, _ in COLUMNS}})
    return rows


def shown(value, form):
    return "" if value is None else format(float(value), form)


def page(name, rows, links, hours):
    keys = [(key, title, form) for key, title, form in COLUMNS if any(row[key] is not None for row in rows)]
    head = "".join(f"<th>{html.escape(title)}</th>" for _, title, _ in keys)
    body = "".join(
        f'<tr><td><a href="{html.escape(link)}">{html.escape(row["pair"])}</a></td><td>{row["layer_a"]} x {row["layer_b"]}</td>'
        + "".join(f"<td>{shown(row[key], form)}</td>" for key, _, form in keys) + "</tr>" for row, link in zip(rows, links))
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(name)}</title><style>{STYLE}</style>"
            f"<h1>{html.escape(name)}</h1><p>Each line is a pair of models, at its best pair of layers: the one whose matched features correlate "
            f"most. The link leads to all its layer pairs, with the levels of chance.</p>"
            f"<table><tr><th>pair</th><th>layers</th>{head}</tr>{body}</table>{node_hours_html(hours)}</html>")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("pairs", nargs="+")
    arguments = parser.parse_args()
    pairs = [(name, pathlib.Path(folder)) for name, _, folder in (pair.partition("=") for pair in arguments.pairs)]
    rows = rows_of(pairs)
    folder = arguments.output / "report"
    folder.mkdir(exist_ok=True)
    hours = node_hours(arguments.output)
    links = [os.path.relpath(place / "report/index.html", folder) for _, place in pairs]
    write_csv(folder / "pairs.csv", rows)
    (folder / "summary.json").write_text(json.dumps({"name": arguments.name, "pairs": rows, "node_hours": hours}, indent=1), encoding="utf-8")
    temporary = folder / "index.html.new"
    temporary.write_text(page(arguments.name, rows, links, hours), encoding="utf-8")
    temporary.replace(folder / "index.html")


if __name__ == "__main__":
    main()
