"""`--pairing paper` with the paper's filters equals a plain model of its rules (arXiv 2410.06981: public code, 2024-10)."""
import json
import unittest

import h5py
import numpy as np

from support import datasets, fresh, run, small_study

JUNK = {".", "\n", "\\n", "", " ", "-", ",", "!", "?", "<bos>", "|bos|", "<|endoftext|>", "<pad>"}


def codes(path, layer):
    """Dense activations of the rows that count, and the row number of each."""
    file = datasets(path)
    rows = np.flatnonzero(file["/row_kind"] == 0)
    at = f"/layer_{layer:03d}/"
    dense = np.zeros((len(file["/row_kind"]), len(file[at + "count"])))
    for row in rows:
        span = slice(file[at + "indptr"][row], file[at + "indptr"][row + 1])
        dense[row, file[at + "indices"][span]] = file[at + "data"][span]
    return dense[rows], rows


def token_texts(path):
    with h5py.File(path) as f:
        raw, ends = f["pieces/bytes"][:].tobytes(), f["pieces/ends"][:]
        ids = f["tokens"][:]
    pieces = [raw[begin:end].decode() for begin, end in zip(np.concatenate([[0], ends[:-1]]), ends)]

    def text(piece):
        if len(piece) == 6 and piece.startswith("<0x"):
            return chr(int(piece[3:5], 16))
        return piece.replace("\u2581", " ")
    return [text(pieces[i]) for i in ids]


def top_five(column, rows, texts):
    strongest = [t for t in np.argsort(-column, kind="stable")[:5] if column[t] > 0]
    return [texts[rows[t]] for t in strongest]


def paper(a, b, rows, texts, floor):
    """Best A of each B by standardised products; drop a pair with a junk token or without a common one among its top fives; of several
    B features with one A the first that is left; then r > floor. Returns {b: a}."""
    n = len(a)
    with np.errstate(divide="ignore", invalid="ignore"):
        z_a = (a - a.mean(0)) / (a.std(0, ddof=1) + 1e-8)
        z_b = (b - b.mean(0)) / (b.std(0, ddof=1) + 1e-8)
    r = z_a.T @ z_b / n * n / (n - 1)
    best = r.argmax(0)
    live = [j for j in range(b.shape[1]) if b[:, j].any() and a[:, best[j]].any() and (a[:, best[j]] * b[:, j]).any()]
    count = np.bincount(best[live], minlength=a.shape[1])
    kept, seen = {}, set()
    for j in live:
        tokens_a, tokens_b = top_five(a[:, best[j]], rows, texts), top_five(b[:, j], rows, texts)
        if JUNK & set(tokens_a) or JUNK & set(tokens_b) or not set(tokens_a) & set(tokens_b):
            continue
        if count[best[j]] > 1 and best[j] in seen:
            continue
        seen.add(best[j])
        if r[best[j], j] > floor:
            kept[j] = int(best[j])
    return kept


class Paper(unittest.TestCase):
    def test_equals_the_published_rules(self):
        folder = fresh("paper")
        study = small_study(folder, corpus__max_tokens=4000)
        for stage in ("tokenize", "extract", "train-sae", "encode"):
            run(stage, study)
        out = folder / "out"
        run("correlate", "--a", out / "a/features.h5", "--b", out / "b/features.h5", "--tokens", out / "tokens.h5", "--pairing", "paper", "--drop-non-concept",
            "--need-shared-token", "--min-r", 0.1, "--min-firings", 0, "--null-shifts", 0, "--out", out / "paper.h5")
        texts = token_texts(out / "tokens.h5")
        matched = 0
        with h5py.File(out / "paper.h5") as f:
            for layer_a in json.loads(f.attrs["layers_a"]):
                a, rows = codes(out / "a/features.h5", layer_a)
                for layer_b in json.loads(f.attrs["layers_b"]):
                    b, _ = codes(out / "b/features.h5", layer_b)
                    got = f[f"layer_{layer_a:03d}_layer_{layer_b:03d}/match/a"][:]
                    expected = paper(a, b, rows, texts, 0.1)
                    self.assertEqual({int(j): int(got[j]) for j in np.flatnonzero(got >= 0)}, expected)
                    matched += len(expected)
        self.assertGreater(matched, 20)


if __name__ == "__main__":
    unittest.main()
