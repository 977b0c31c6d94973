"""The page of a scaling study (scaling.py): speed-up and efficiency, where the time goes at each size, and the same as CSV and for TALP-Pages."""
import base64
import html
import io
import json
import pathlib
import statistics
import sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from report_parts import write_csv
except ImportError as error:
    print(f"scaling_page.py: {error}", file=sys.stderr)
    sys.exit(69)

PARTS = [("useful", "useful work", "#4878a8"), ("communication", "communication", "#d8a03c"), ("waiting", "waiting", "#c0504d"), ("files", "files", "#7f9f5f")]
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.3rem .7rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}img{max-width:100%}"""


def rows_of(folder):
    """One row a run, but for those that warm up."""
    rows = []
    for path in sorted((folder / "runs").rglob("ranks_*.json")):
        profile = json.loads(path.read_text(encoding="utf-8"))
        mode, stage = path.parts[-3], path.parts[-2]
        region = profile["Application"][stage]
        seconds = region["seconds"]
        rows.append({"mode": mode, "stage": stage, "ranks": region["numMpiRanks"], "nodes": region["numNodes"], "threads": region["threads"],
                     "run": int(path.stem.rsplit("_", 1)[1]), "seconds": seconds["elapsed"],
                     **{f"useful_{kind}": seconds["useful"][kind] for kind in ("min", "mean", "max")}, "communication": seconds["communication"],
                     "waiting": seconds["waiting"]["mean"], "files": seconds["files"]["mean"], "load_balance": region["mpiLoadBalance"],
                     "communication_efficiency": region["mpiCommunicationEfficiency"], "parallel_efficiency": region["parallelEfficiency"],
                     "file_bytes": region["fileBytes"], "timestamp": profile["timestamp"]})
    return sorted(rows, key=lambda row: (row["mode"], row["stage"], row["ranks"], row["run"]))


def summary_of(rows):
    """One row a size: medians over runs, least and largest time; speed-up and efficiency against the first size."""
    sizes = {}
    for row in rows:
        sizes.setdefault((row["mode"], row["stage"], row["ranks"]), []).append(row)
    base = {}
    out = []
    for (mode, stage, ranks), runs in sizes.items():
        times = [run["seconds"] for run in runs]
        time = statistics.median(times)
        first_ranks, first_time = base.setdefault((mode, stage), (ranks, time))
        grown = ranks / first_ranks
        speed_up = first_time / time * (grown if mode == "weak" else 1)
        out.append({"mode": mode, "stage": stage, "ranks": ranks, "nodes": runs[0]["nodes"], "threads": runs[0]["threads"], "runs": len(runs), "seconds": time,
                    "least": min(times), "largest": max(times), "base_ranks": first_ranks, "speed_up": speed_up, "efficiency": speed_up / grown,
                    **{key: statistics.median(run[key] for run in runs)
                       for key in ("useful_min", "useful_mean", "useful_max", "communication", "waiting", "files", "load_balance", "communication_efficiency",
                                   "parallel_efficiency")}})
    return out


def image(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'


def figure_of(mode, stages):
    """Speed-up and efficiency with the ideal line; bars span the runs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    ranks = sorted({row["ranks"] for rows in stages.values() for row in rows})
    for stage, rows in stages.items():
        x = [row["ranks"] for row in rows]
        grown = [row["ranks"] / row["base_ranks"] for row in rows]
        for axes, key, scale in ((left, "speed_up", [1] * len(rows)), (right, "efficiency", grown)):
            y = [row[key] for row in rows]
            low = [row["seconds"] / row["largest"] * row["speed_up"] / s for row, s in zip(rows, scale)]
            high = [row["seconds"] / row["least"] * row["speed_up"] / s for row, s in zip(rows, scale)]
            line, = axes.plot(x, y, "o-", label=stage)
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2)
    left.plot(ranks, [r / ranks[0] for r in ranks], "k--", lw=1, label="ideal")
    right.axhline(1, color="k", ls="--", lw=1)
    left.set(xlabel="ranks", ylabel="speed-up", title=f"{mode}: speed-up")
    right.set(xlabel="ranks", ylabel="efficiency", title=f"{mode}: efficiency", ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(ranks, [str(r) for r in ranks])
    left.legend()
    return image(figure)


def figure_of_parts(mode, stages):
    """Where the mean rank's time goes at each size; the shade spans the useful work of the least and the most busy rank."""
    figure, all_axes = plt.subplots(1, len(stages), figsize=(3.4 * len(stages), 3.6), squeeze=False)
    for axes, (stage, rows) in zip(all_axes[0], stages.items()):
        x = range(len(rows))
        bottom = [0.0] * len(rows)
        for key, title, colour in PARTS:
            values = [row["useful_mean" if key == "useful" else key] for row in rows]
            axes.bar(x, values, bottom=bottom, color=colour, label=title, width=0.6)
            bottom = [b + v for b, v in zip(bottom, values)]
        for i, row in enumerate(rows):
            axes.fill_between([i - 0.3, i + 0.3], row["useful_min"], row["useful_max"], color="k", alpha=0.25, lw=0)
        axes.set_xticks(list(x), [str(row["ranks"]) for row in rows])
        axes.set(title=stage, xlabel="ranks", ylabel="seconds of a rank")
    all_axes[0][0].legend(fontsize=8)
    figure.suptitle(f"{mode}: where the time goes")
    figure.tight_layout()
    return image(figure)


def table(rows):
    columns = [("stage", "stage", ""), ("nodes", "nodes", "d"), ("ranks", "ranks", "d"), ("threads", "threads", "d"), ("seconds", "seconds", ".2f"), ("least", "least", ".2f"),
               ("largest", "largest", ".2f"), ("speed_up", "speed-up", ".2f"), ("efficiency", "efficiency", ".2f"), ("load_balance", "load balance", ".2f"),
               ("communication_efficiency", "communication", ".2f"), ("parallel_efficiency", "parallel efficiency", ".2f")]
    head = "".join(f"<th>{title}</th>" for _, title, _ in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(format(row[key], form))}</td>" for key, _, form in columns) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def write_talp(folder):
    """TALP-Pages takes each folder with JSON files as one experiment."""
    for path in (folder / "runs").rglob("ranks_*.json"):
        profile = json.loads(path.read_text(encoding="utf-8"))
        mode, stage = path.parts[-3], path.parts[-2]
        region = profile["Application"][stage]
        plain = {key: value for key, value in region.items() if not isinstance(value, dict)}
        profile["Application"] = {"Global": plain, stage: dict(plain)}
        profile.pop("said", None)
        target = folder / "talp" / f"{mode}_scaling" / stage / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(profile), encoding="utf-8")


def write(folder, name):
    rows = rows_of(folder)
    if not rows:
        print(f"scaling: there are no runs below {folder / 'runs'}", file=sys.stderr)
        sys.exit(66)
    summary = summary_of(rows)
    write_csv(folder / "runs.csv", rows)
    write_csv(folder / "scaling.csv", summary)
    write_talp(folder)
    parts = []
    for mode in dict.fromkeys(row["mode"] for row in summary):
        stages = {}
        for row in summary:
            if row["mode"] == mode:
                stages.setdefault(row["stage"], []).append(row)
        what = "The study is the same at each size." if mode == "strong" else \
            "Tokens, or for train-sae the rows of a step, grow with the ranks. Speed-up counts the work: twice the work in the same time is 2."
        parts.append(f"<h2>{mode.capitalize()} scaling</h2><p>{what} Base case: {min(row['base_ranks'] for row in summary)} ranks. Shades span the runs.</p>"
                     + figure_of(mode, stages) + figure_of_parts(mode, stages) + table([row for row in summary if row["mode"] == mode]))
    text = (f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(name)}: scaling</title><style>{STYLE}</style><h1>{html.escape(name)}: scaling</h1>"
            "<p>Times are medians over the runs, of a stage alone: the start of the program and the runs that warm up are left out. Load balance is the mean "
            "useful time of a rank over the largest, communication efficiency the largest useful time over the run time, parallel efficiency their product. "
            "Waiting is what a rank spends in MPI beyond the rank that is least there; black shades span the least and the most busy rank.</p>" + "".join(parts) + "</html>")
    temporary = folder / "index.html.new"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / "index.html")
    print(f"scaling: {folder / 'index.html'}")


if __name__ == "__main__":
    sys.path.append(str(pathlib.Path(__file__).resolve().parent))
    write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]).name)
