"""One page over all pairs of a study: what each pair came to, with a link to its own report.

    report_pairs.py --name NAME [--graph graph.h5] OUTPUT PAIR=FOLDER...

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
    import h5py
    import numpy as np
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


def cycle_rows(path):
    """Of each three models the layers whose mutual links close most often; and the shares over all layers, beside those of shifted rows."""
    rows = []
    with h5py.File(path) as f:
        for number in sorted(f["cycles"], key=int):
            group = f["cycles"][number]
            models = json.loads(group.attrs["models"])
            begun, closed = np.moveaxis(group["mutual"][:], -1, 0)
            place = np.unravel_index(closed.argmax(), closed.shape)
            row = {"models": " - ".join(models), "layers": " - ".join(str(group[f"layers_{i}"][place[i]]) for i in range(3)),
                   "begun": int(begun[place]), "closed": int(closed[place]), "share": closed[place] / max(1, begun[place])}
            for kind in ("mutual", "best"):
                for prefix in ("", "shifted_"):
                    if prefix + kind in group:
                        begun_all, closed_all = np.moveaxis(group[prefix + kind][:], -1, 0)
                        row[f"{prefix}{kind}_of_all_layers"] = closed_all.sum() / max(1, begun_all.sum())
            rows.append(row)
    return rows


def shared_streams(path):
    """Models that are SAEs of one model's residual streams, as a sentence; "" where there are none."""
    with h5py.File(path) as f:
        models, streams = json.loads(f.attrs["models"]), json.loads(f.attrs.get("streams", "[]"))
    groups = {}
    for model, stream in zip(models, streams):
        groups.setdefault(stream, []).append(model)
    return " ".join(f"{' and '.join(group)} are SAEs of one model's residual streams: a link between them says that two trainings found a feature, not two models."
                    for group in groups.values() if len(group) > 1)


def found_rows(path):
    with h5py.File(path) as f:
        models = json.loads(f.attrs["models"])
        kinds = [("found", "rows as they are"), ("shifted_found", "shifted rows")]
        return [{"model": model, "rows": words} | {f"in_{m + 1}": int(count) for m, count in enumerate(f[kind][i])}
                for i, model in enumerate(models) for kind, words in kinds if kind in f]


def table(rows, columns):
    head = "".join(f"<th>{html.escape(title)}</th>" for _, title, _ in columns)
    body = "".join("<tr>" + "".join(f"<td>{shown(row.get(key), form) if form else html.escape(str(row[key]))}</td>" for key, _, form in columns) + "</tr>"
                   for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def graph_html(cycles, found, note):
    if not cycles:
        return ""
    models = len([key for key in found[0] if key.startswith("in_")])
    return ("<h2>What three models agree on</h2><p>A link joins two features that are each other's best partner, with a correlation beyond chance. A path "
            "leads from a feature of the first model over one of the second to one of the third; it closes where the third links back to the first feature. "
            "The shares over all layers stand beside those of shifted rows, which have no counterparts. "
            + html.escape(note) + "</p>"
            + table(cycles, [("models", "models", ""), ("layers", "layers that close most", ""), ("begun", "paths", ".0f"), ("closed", "closed", ".0f"),
                             ("share", "share", ".3f"), ("mutual_of_all_layers", "all layers", ".3f"), ("shifted_mutual_of_all_layers", "shifted", ".3f"),
                             ("best_of_all_layers", "best partners alone", ".3f"), ("shifted_best_of_all_layers", "shifted", ".4f")])
            + "<h2>In how many models a feature is found</h2><p>Features of all layers that are each other's best over all layers of both models hang "
            "together, directly or over others. Counted are the features that are ever active.</p>"
            + table(found, [("model", "model", ""), ("rows", "", "")] + [(f"in_{m}", f"in {m} of {models} models", ".0f") for m in range(1, models + 1)]))


def page(name, rows, links, graph, hours):
    keys = [(key, title, form) for key, title, form in COLUMNS if any(row[key] is not None for row in rows)]
    head = "".join(f"<th>{html.escape(title)}</th>" for _, title, _ in keys)
    body = "".join(
        f'<tr><td><a href="{html.escape(link)}">{html.escape(row["pair"])}</a></td><td>{row["layer_a"]} x {row["layer_b"]}</td>'
        + "".join(f"<td>{shown(row[key], form)}</td>" for key, _, form in keys) + "</tr>" for row, link in zip(rows, links))
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(name)}</title><style>{STYLE}</style>"
            f"<h1>{html.escape(name)}</h1><p>Each line is a pair of models, at its best pair of layers: the one whose matched features correlate "
            f"most. The link leads to all its layer pairs, with the levels of chance.</p>"
            f"<table><tr><th>pair</th><th>layers</th>{head}</tr>{body}</table>{graph}{node_hours_html(hours)}</html>")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--graph", type=pathlib.Path)
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
    cycles, found = (cycle_rows(arguments.graph), found_rows(arguments.graph)) if arguments.graph else ([], [])
    for table_name, table_rows in (("cycles", cycles), ("found", found)):
        if table_rows:
            write_csv(folder / f"{table_name}.csv", table_rows)
    summary = {"name": arguments.name, "pairs": rows, "cycles": cycles, "found": found, "node_hours": hours}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    temporary = folder / "index.html.new"
    temporary.write_text(page(arguments.name, rows, links, graph_html(cycles, found, shared_streams(arguments.graph) if arguments.graph else ""), hours), encoding="utf-8")
    temporary.replace(folder / "index.html")


if __name__ == "__main__":
    main()
