"""What the pages of the report share: texts made safe, tables, figures, contexts of tokens. Imported by report.py and its other modules."""
import base64
import csv
import html
import re
import sys
import unicodedata

import h5py
import matplotlib.pyplot as plt
import numpy as np


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def layer_name(layer):
    return "embedding" if layer < 0 else f"layer_{layer:03d}"


def strings(group):
    """A list of texts as concord writes it."""
    raw, ends = group["bytes"][:].tobytes(), group["ends"][:]
    return [raw[start:end].decode(errors="replace") for start, end in zip([0, *ends[:-1]], ends)]


class Html(str):
    """A text that is HTML already."""


def visible(value):
    """A text of any origin: control and direction marks are shown as pictures or numbers, never sent as they are."""
    shown = []
    for c in str(value):
        if ord(c) < 32:
            shown.append(chr(0x2400 + ord(c)) if c != "\n" else "\u21b5")
        elif c == "\x7f":
            shown.append("\u2421")
        elif unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            shown.append(f"[U+{ord(c):04X}]")
        else:
            shown.append(c)
    return "".join(shown)


def readable(value):
    """HTML of a text of any origin."""
    return html.escape(visible(value))


def label(value, most=18):
    """A text for a figure, shortened, without what Matplotlib would take for mathematics."""
    shown = visible(value)
    return (shown if len(shown) <= most else shown[:most - 1] + "\u2026").replace("$", r"\$")


def cell(value, form=""):
    """A table cell: a number in its form, HTML as it is, any other text escaped, a dash for what is not known."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "<td>\u2013</td>"
    if isinstance(value, Html):
        return f"<td>{value}</td>"
    return f"<td>{readable(format(value, form) if isinstance(value, (int, float)) else value)}</td>"


def save(figure, folder, name):
    """Writes PNG and PDF and returns the PNG as an HTML image."""
    figure.savefig(folder / f"{name}.pdf")
    figure.set_layout_engine("none")  # found once: the layout takes a quarter of the time
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


def html_table(rows, columns, formats):
    head = "".join(f"<th>{html.escape(title)}</th>" for _, title in columns)
    body = "".join("<tr>" + "".join(cell(row[key], formats.get(key, "")) for key, _ in columns) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def node_hours(output):
    """What the study's jobs came to, a row a stage; [] where no job ran it, or where its account cannot be read."""
    path = output / "jobs/node_hours.tsv"  # by jobs/node_hours
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as f:
            return [{**row, "node_hours": float(row["node_hours"])} for row in csv.DictReader(f, delimiter="\t") if row["stage"] and row["from"]]
    except (KeyError, TypeError, ValueError) as error:
        print(f"report: {path} is left out: {error!r}", file=sys.stderr)
        return []


def node_hours_html(rows):
    """A table with its sum; nothing of a study that no job ran."""
    if not rows:
        return ""
    rows = [*rows, {"stage": "together", "runs": "", "node_hours": sum(row["node_hours"] for row in rows), "from": ""}]
    return ("<h2>What it took</h2><p>Node-hours of every run of every stage, also of those that were stopped or failed, up to the beginning of this report.</p>"
            + html_table(rows, [("stage", "stage"), ("runs", "runs"), ("node_hours", "node-hours"), ("from", "counted by")], {"node_hours": ".4g"}).replace("<table>", '<table class="wide">', 1))


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1150px;margin:2em auto;padding:0 1em;color:#1a1a1a}
h1,h2{line-height:1.2}h2{margin-top:2em}img{max-width:100%}table{border-collapse:collapse;font-size:13px;margin:.6em 0}
th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}th{background:#f4f4f4}mark{background:#ffd54a;padding:0 1px}
.match{display:grid;grid-template-columns:1fr 1fr;gap:1em;border-top:1px solid #ddd;padding:.6em 0;font-size:13px}
.match h3{grid-column:1/3;margin:0;font-size:14px}.context{font-family:ui-monospace,monospace;font-size:12px;white-space:pre-wrap;margin:.2em 0}
.span{text-decoration:underline 2px #2a7}.note{color:#555;font-size:13px}table.wide td:first-child,table.wide th:first-child{text-align:left}
.value{color:#777}.lead{font-size:17px}dt{font-weight:600}dd{margin:0 0 .4em 0}"""


# --- contexts ---------------------------------------------------------------------------------------------------------

class Corpus:
    """Token texts with the contexts they stand in; ids are read where they are shown."""

    def __init__(self, path):
        self.file = h5py.File(path)
        self.ids = self.file["tokens"]
        self.offsets = self.file["context_offsets"][:]
        self.pieces = None
        if "pieces" in self.file:
            self.pieces = strings(self.file["pieces"])

    def token(self, token_id):
        """Bytes of a token; a character may be spread over several byte tokens."""
        if self.pieces is None or not 0 <= token_id < len(self.pieces):
            return f"#{token_id} ".encode()
        piece = self.pieces[token_id]
        byte = re.fullmatch("<0x([0-9A-Fa-f]{2})>", piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace("\u2581", " ").encode()

    def context(self, row):
        """Number of the context that holds a row."""
        return int(np.searchsorted(self.offsets, row, side="right")) - 1

    def parts(self, row, before, after):
        """The text in front of a row in its context, that of its token, and that behind."""
        c = self.context(row)
        begin, end = max(self.offsets[c], row - before), min(self.offsets[c + 1], row + after + 1)
        ids = [int(i) for i in self.ids[begin:end]]
        here = row - begin
        return [b"".join(map(self.token, part)).decode(errors="replace") for part in (ids[:here], ids[here:here + 1], ids[here + 1:])]

    def around(self, row, before=10, after=5):
        """HTML of a row's neighbourhood with the row marked."""
        left, middle, right = map(readable, self.parts(row, before, after))
        return f"{left}<mark>{middle}</mark>{right}"


def top_contexts(file, corpus, layer, feature, count=4, around=None):
    """The strongest activations of a feature, at most one a context. `around`: HTML of a row's neighbourhood."""
    around = around or corpus.around
    group = file[layer_name(layer)]
    seen, out = set(), []
    for row, value in zip(group["top_rows"][feature], group["top_values"][feature]):
        if row < 0 or corpus.context(row) in seen:
            continue
        seen.add(corpus.context(row))
        out.append((float(value), around(int(row))))
        if len(out) == count:
            break
    return out
