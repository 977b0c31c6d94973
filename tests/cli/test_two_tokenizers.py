"""Models with tokenizers of their own: rows are tokens of both that end at one byte, and all stages up to the report compare those."""
import json
import sys
import unittest

import h5py
import numpy as np

from support import DEMO, RANKS, datasets, fresh, run, small_study
from test_tokenizer_json import byte_level

BOS, UNPAIRED = 1, 2


def contexts(data):
    """Document, ids, ends and kinds of each context."""
    offsets = data["/context_offsets"]
    for c, document in enumerate(data["/context_document"]):
        rows = slice(offsets[c], offsets[c + 1])
        yield int(document), data["/tokens"][rows], data["/byte_end"][rows], data["/row_kind"][rows]


def counted(features):
    """Dense codes of the layers of a features.h5 on the counted rows."""
    with h5py.File(features) as f:
        kept = f["row_kind"][:] == 0
        layers = {}
        for layer in json.loads(f.attrs["layers"]):
            group = f[f"layer_{layer:03d}"]
            indptr, latents = group["indptr"][:], len(group["count"])
            dense = np.zeros((len(kept), latents), dtype=np.float64)
            for row in range(len(kept)):
                part = slice(indptr[row], indptr[row + 1])
                dense[row, group["indices"][part]] = group["data"][part]
            assert not dense[~kept].any()
            layers[layer] = dense[kept]
    return layers


class TwoTokenizers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh(f"two_tokenizers_{RANKS}")
        byte_level(cls.folder, trim=True, vocabulary=3000)
        cls.json = cls.folder / "tokenizer.json"
        cls.model = DEMO / "tokenizer.model"
        cls.study = small_study(cls.folder, drawn=True, model__b__tokenizer=str(cls.json))
        text = cls.study.read_text()
        cls.study.write_text(text[:text.index("[subspaces]")])
        run("run", cls.study)
        cls.out = cls.folder / "out"
        cls.tokens = [datasets(cls.out / side / "tokens.h5") for side in "ab"]

    def test_contexts_hold_one_text_and_paired_rows_end_at_one_byte(self):
        a, b = (list(contexts(data)) for data in self.tokens)
        self.assertEqual(len(a), len(b))
        self.assertGreater(len(a), 50)
        begin = {}
        for (document, ids_a, ends_a, kinds_a), (document_b, ids_b, ends_b, kinds_b) in zip(a, b):
            self.assertEqual(document, document_b)
            self.assertLessEqual(max(len(ids_a), len(ids_b)), 64)
            self.assertEqual(ends_a[-1], ends_b[-1])
            for ends, kinds in ((ends_a, kinds_a), (ends_b, kinds_b)):
                self.assertEqual(list(kinds == BOS), [True] + [False] * (len(kinds) - 1))
                self.assertEqual(ends[0], begin.get(document, ends[0]))  # where the last context ended
            begin[document] = ends_a[-1]
            shared = sorted(set(ends_a[1:]) & set(ends_b[1:]))
            for ends, kinds in ((ends_a, kinds_a), (ends_b, kinds_b)):
                self.assertEqual(list(ends[kinds == 0]), shared)
                self.assertEqual(set(kinds[1:]) - {0, UNPAIRED}, set())
        for data in self.tokens:
            self.assertIn(UNPAIRED, data["/row_kind"])
            self.assertLessEqual(len(data["/tokens"]), 6000)  # corpus.max_tokens

    def test_tokens_are_those_of_each_tokenizer_by_itself(self):
        for side, tokenizer in zip("ab", (self.model, self.json)):
            alone = self.folder / f"alone_{side}.h5"
            run("tokenize", "--text", self.folder / "text.txt", "--tokenizer", tokenizer, "--context", 64, "--out", alone)
            data, own = datasets(alone), self.tokens["ab".index(side)]
            ids = [data["/tokens"][begin + 1:end] for begin, end in zip(data["/context_offsets"], data["/context_offsets"][1:])]
            text = own["/tokens"][own["/row_kind"] != BOS]
            np.testing.assert_array_equal(text, np.concatenate(ids)[:len(text)])

    def test_correlations_are_those_of_paired_rows(self):
        a, b = (counted(self.out / side / "features.h5") for side in "ab")
        with h5py.File(self.out / "matches.h5") as f:
            for layer_a, codes_a in a.items():
                for layer_b, codes_b in b.items():
                    self.assertEqual(len(codes_a), len(codes_b))
                    group = f[f"layer_{layer_a:03d}_layer_{layer_b:03d}"]
                    with np.errstate(invalid="ignore", divide="ignore"):
                        r = np.nan_to_num(np.corrcoef(codes_a.T, codes_b.T)[:codes_a.shape[1], codes_a.shape[1]:], nan=-2)
                    best = group["b_to_a/r"][:, 0]
                    known = np.isfinite(best) & (group["b_to_a/partner"][:, 0] >= 0)
                    np.testing.assert_allclose(best[known], r.max(axis=0)[known], atol=2e-5)
                    self.assertGreater(known.sum(), 20)
            self.assertEqual(int(f.attrs["counted_rows"]), sum((data["/row_kind"] == 0).sum() for data in self.tokens[:1]))

    def test_training_sees_unpaired_rows_too_and_the_report_shows_both_texts(self):
        with h5py.File(self.out / "b/activations.h5") as f:
            np.testing.assert_array_equal(f["row_kind"][:], self.tokens[1]["/row_kind"])
        page = (self.out / "report/index.html").read_text()
        self.assertIn("matched", page)
        run("verify", *(self.out / side / name for side in "ab" for name in ("tokens.h5", "activations.h5", "features.h5")), self.out / "matches.h5")
        self.assertIn("tokenize a", run("status", self.study, ranks=1))

    def test_fused_stages_count_the_same_rows(self):
        out = self.folder / "fused"
        words = [self.study, "--set", f"study.output={out}", "--set", "extract.fused=true", "--set", f"model.a.saes={self.out}/a/saes", "--set", f"model.b.saes={self.out}/b/saes"]
        for stage in ("tokenize", "encode"):
            run(stage, *words)
        for side in "ab":
            first, second = (datasets(folder / side / "features.h5") for folder in (self.out, out))
            self.assertEqual(set(first), set(second))
            for name in first:
                np.testing.assert_array_equal(first[name], second[name], err_msg=name)

    def test_another_tokenizer_of_one_model_makes_the_rows_of_both_anew(self):
        other = fresh("another_tokenizer")
        byte_level(other, trim=False, vocabulary=800)
        words = ["--set", f"study.output={other / 'out'}", "--set", "corpus.max_tokens=600", "--set"]
        run("tokenize", self.study, *words, f"model.b.tokenizer={self.json}")
        run("extract", self.study, *words, f"model.b.tokenizer={self.json}")
        same = f"model.b.tokenizer={other / 'tokenizer.json'}"
        run("tokenize", self.study, *words, same, "--force")
        said = run("status", self.study, *words, same, ranks=1)
        self.assertEqual(said.count("tokens.h5"), 4, said)  # two files, and that both models' activations are made of others
        self.assertIn("--force", run("extract", self.study, *words, same, code=78))

    def test_a_tokenizer_beside_itself_pairs_every_row(self):
        """Of text whose characters are a byte: those of more may be several tokens, of which the last one is paired."""
        text = self.folder / "ascii.txt"
        text.write_text((self.folder / "text.txt").read_text().encode("ascii", "ignore").decode())
        both = [self.folder / f"same_{side}.h5" for side in "ab"]
        words = ["tokenize", "--text", text, "--tokenizer", self.json, "--context", 64, "--out"]
        run(*words, both[0], "--with", self.json, "--with-out", both[1])
        run(*words, self.folder / "same.h5")
        plain = datasets(self.folder / "same.h5")
        for path in both:
            data = datasets(path)
            for name in plain:
                np.testing.assert_array_equal(data[name], plain[name])
            self.assertNotIn(UNPAIRED, data["/row_kind"])

    def test_three_models_share_the_rows_of_all_and_one_file_a_tokenizer(self):
        folder = fresh(f"three_tokenizers_{RANKS}")
        study = small_study(folder, model__b__tokenizer=str(self.json), model__c__path=str(DEMO / "models/small"), model__c__layers=[2], corpus__max_tokens=3000)
        words = [study, "--set", "subspaces.concepts="]
        for stage in ("tokenize", "extract", "train-sae", "encode", "correlate", "graph"):
            run(stage, *words)
        self.assertEqual(sorted(str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("tokens.h5")), ["models/a/tokens.h5", "models/b/tokens.h5"])
        counted_rows = set()
        for name in "abc":
            with h5py.File(folder / f"out/models/{name}/features.h5") as f:
                counted_rows.add(int(f.attrs["counted_rows"]))
        self.assertEqual(len(counted_rows), 1)
        self.assertIn("graph", run("status", *words, ranks=1))

    def test_what_does_not_go_is_said(self):
        said = run("correlate", "--a", self.out / "a/features.h5", "--b", self.out / "b/features.h5", "--tokens", self.out / "b/tokens.h5", "--out", self.folder / "m.h5", code=65)
        self.assertIn("token hash", said)
        self.assertIn("name the text instead", run("tokenize", "--tokens", self.out / "a/tokens.h5", "--out", self.folder / "copy.h5", code=65))
        study = small_study(fresh("with_subspaces"), model__b__tokenizer=str(self.json))
        self.assertIn("tokenizers of their own", run("subspaces", study, code=78))
        ids = small_study(fresh("with_ids"), model__b__tokenizer=str(self.json), corpus__token_ids=str(self.out / "a/tokens.h5"))
        self.assertIn("token_ids", run("tokenize", ids, code=78))


if __name__ == "__main__":
    unittest.main()
