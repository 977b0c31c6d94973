"""data/concepts, scripts/make_concepts.py, which makes it, and scripts/randomise_model.py; what needs WordNet is skipped without it."""
import collections
import contextlib
import io
import json
import re
import struct
import subprocess
import sys
import unittest

import numpy as np

from support import DEMO, SOURCE, fresh

sys.path.insert(0, str(SOURCE / "scripts"))
import make_concepts as concepts  # noqa: E402
import randomise_model as randomise  # noqa: E402

DATA = SOURCE / "data" / "concepts"
TEXT = DEMO / "corpus" / "analysis.txt"
needs_wordnet = unittest.skipUnless((concepts.WORDNET / "data.noun").exists() and (concepts.WORDNET / "index.sense").exists(),
                                    "WordNet is not here: apt install wordnet-base wordnet-sense-index")


def script(name, *arguments, code=0):
    command = [sys.executable, SOURCE / "scripts" / name, *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == code, f"exit code {result.returncode}, expected {code}:\n{result.stdout}"
    return result.stdout


class Lists(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = concepts.read_table(DATA / "concepts.tsv")
        cls.senses = concepts.read_table(DATA / "senses.tsv")

    def test_eight_groups_of_four_concepts(self):
        groups = collections.defaultdict(dict)
        for row in self.rows:
            groups[row["group"]].setdefault(row["concept"], []).append(row["phrase"])
        self.assertEqual([len(g) for g in groups.values()], [4] * 8)
        for group in groups.values():
            for name, phrases in group.items():
                self.assertTrue(15 <= len(phrases) <= 60, f"{name} has {len(phrases)}")

    def test_a_word_is_in_one_concept(self):
        counts = collections.Counter(row["phrase"].lower() for row in self.rows)
        self.assertEqual([p for p, n in counts.items() if n > 1], [])

    def test_phrases_are_clean(self):
        for row in self.rows:
            self.assertRegex(row["phrase"], r"^\S+( \S+)*$")
            self.assertLessEqual(len(row["phrase"].split()), 8)
            self.assertIn(row["weight"], ("0", "1"))

    def test_senses_go_with_the_lists(self):
        self.assertEqual([(r["concept"], r["phrase"]) for r in self.rows], [(r["concept"], r["phrase"]) for r in self.senses])
        for row, sense in zip(self.rows, self.senses):
            if row["weight"] == "0" or sense["first"] == "0":
                self.assertTrue(sense["note"], f"{row['phrase']} has no reason")

    def test_every_concept_is_measurable_in_the_demo(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(concepts.print_table(DATA, TEXT), [])
        self.assertEqual(len(output.getvalue().splitlines()), 33)

    def test_the_readme_has_the_table_that_the_script_prints(self):
        printed = script("make_concepts.py", "--table", TEXT)
        for line in printed.splitlines():
            self.assertIn("| " + line.replace("\t", " | ") + " |", (DATA / "README.md").read_text())

    def test_counts_equal_a_regular_expression(self):
        text = concepts.Text(TEXT)
        hard = " sea-king king's kings_ New  York New York. old man's old\nman O\u2019King Kings2 \u00e9king \u017fea "
        text.text = text.text[:250000] + hard
        phrases = [row["phrase"] for row in self.rows]
        choices = "|".join(re.escape(p) for p in sorted(phrases, key=len, reverse=True))
        for fold in (False, True):
            pattern = re.compile(rf"(?<![^\W_])(?:{choices})(?![^\W_])", re.IGNORECASE if fold else 0)
            if fold:  # the expression folds the long s as well, lower() does not
                hits = [m.group() for m in pattern.finditer(text.text)]
                expected = collections.Counter(hit.lower() for hit in hits if "\u017f" not in hit)
                found = collections.Counter({p.lower(): n for p, n in text.counts(phrases, True, True).items()})
            else:
                expected = collections.Counter(m.group() for m in pattern.finditer(text.text))
                found = text.counts(phrases, False, True)
            self.assertEqual(found, expected)
            self.assertGreater(sum(found.values()), 1000)

    def test_similarities_are_there_for_each_pair(self):
        names = list(dict.fromkeys(row["concept"] for row in self.rows))
        group = {row["concept"]: row["group"] for row in self.rows}
        table = concepts.read_table(DATA / "similarity.tsv")
        self.assertEqual([(r["concept"], r["other"]) for r in table], [(a, b) for i, a in enumerate(names) for b in names[i + 1:]])
        for column in ("lin", "path", "wup", "lin_meant", "path_meant", "wup_meant"):
            values = np.array([float(r[column]) for r in table])
            kin = np.array([group[r["concept"]] == group[r["other"]] for r in table])
            self.assertTrue(0 <= values.min() and values.max() <= 1)
            self.assertGreater(values[kin].mean(), values[~kin].mean(), column)


@needs_wordnet
class WordNet(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.wordnet = concepts.WordNet()

    def pair(self, a, b):
        return {k: m[0, 1] for k, m in concepts.similarities(self.wordnet, [self.wordnet.synset(a), self.wordnet.synset(b)]).items()}

    def test_worked_numbers(self):
        w = self.wordnet
        self.assertEqual(len(w.lemmas), 82115)
        self.assertEqual(len(w.tree([w.synset("dog.n.01")])) - 1, 189)
        self.assertEqual(len(w.tree([w.synset("carnivore.n.01")])) - 1, 365)
        pair = self.pair("dog.n.01", "cat.n.01")
        self.assertAlmostEqual(pair["path"], 0.2, 12)
        self.assertAlmostEqual(pair["wup"], 0.8571428571, 10)
        for a, b, lin, path in [("dog", "cat", 0.789035, 0.2), ("january", "monday", 0.436884, 0.125), ("joy", "grief", 0.531223, 1 / 6),
                                ("france", "germany", 0.652539, 1 / 3), ("gene", "virus", 0, 1 / 13)]:
            pair = self.pair(f"{a}.n.01", f"{b}.n.01")
            self.assertAlmostEqual(pair["lin"], lin, 6, (a, b))
            self.assertAlmostEqual(pair["path"], path, 12, (a, b))

    def test_a_match_is_the_mean_of_best_matches_both_ways(self):
        matrix = np.random.default_rng(0).random((9, 9))
        ours, theirs = [[0, 3], [1]], [[2], [4, 5, 8], [6, 7]]
        best = [[max(matrix[i, j] for i in a for j in b) for b in theirs] for a in ours]
        expected = (sum(map(max, best)) / 2 + sum(map(max, zip(*best))) / 3) / 2
        self.assertAlmostEqual(concepts.matched(matrix, ours, theirs), expected, 14)

    def test_senses_are_those_of_the_recipe(self):
        w = self.wordnet
        recipe = {c["name"]: c for c in concepts.tomllib.loads((DATA / "recipe.toml").read_text())["concept"]}
        for row in concepts.read_table(DATA / "senses.tsv"):
            concept = recipe[row["concept"]]
            tree = w.tree(map(w.synset, concept["roots"]), set(map(w.synset, concept.get("cut", []))))
            synset = w.synset(row["synset"])
            self.assertIn(synset, tree, row)
            self.assertIn(synset, w.senses[row["entry"]], row)
            self.assertEqual(row["first"] == "1", w.senses[row["entry"]][0] == synset, row)
            base = row["entry"].replace("_", " ")
            self.assertIn(row["phrase"].lower(), [base, *map(str.lower, w.plurals(base))], row)

    def test_similarities_follow_from_the_lists(self):
        weight = {(r["concept"], r["phrase"]): int(r["weight"]) for r in concepts.read_table(DATA / "concepts.tsv")}
        lists = {}
        for row in concepts.read_table(DATA / "senses.tsv"):
            phrase = concepts.Phrase(row["phrase"], row["entry"], self.wordnet.synset(row["synset"]), row["first"] == "1")
            phrase.weight = weight[row["concept"], row["phrase"]]
            lists.setdefault(row["concept"], []).append(phrase)
        rows = concepts.similarity_rows(self.wordnet, [("", name, phrases) for name, phrases in lists.items()])
        shipped = [list(r.values()) for r in concepts.read_table(DATA / "similarity.tsv")]
        for made, row in zip(rows, shipped, strict=True):
            self.assertEqual(made[:2], row[:2])
            np.testing.assert_allclose(np.array(made[2:], float), np.array(row[2:], float), rtol=0, atol=2e-6)


@needs_wordnet
class Rules(unittest.TestCase):
    """The rules of README.md on a recipe and a text of a few lines."""
    RECIPE = """
[[concept]]
group = "g"
name = "Animals"
roots = ["animal.n.01"]
least = 3
names = false
also = ["lion"]
drop = { "not wanted" = ["cat"] }
zero = { "mostly the verb" = ["bear"] }
[[concept]]
group = "g"
name = "Countries"
roots = ["country.n.02"]
least = 3
names = true
"""
    WORDS = "dog dog dog dogs Dogs dogs mouse mice mice mice cat cat cat horse Lion Lion Lion bear fly fly fly Fox Fox Fox " \
            "France France France China China China China china china polar bear polar bear polar bear goat goat "
    MORE = "horse horse horse "

    def make(self, name, recipe=RECIPE, code=65):  # 65: so few words are never measurable
        folder = fresh(name)
        (folder / "recipe.toml").write_text(recipe)
        (folder / "text.txt").write_text(self.WORDS)
        (folder / "more.txt").write_text(self.MORE)
        return folder, script("make_concepts.py", "--text", folder / "text.txt", folder / "more.txt", "--folder", folder, code=code)

    def test_rules(self):
        folder, output = self.make("rules")
        rows = {r["phrase"]: r["weight"] for r in concepts.read_table(folder / "concepts.tsv")}
        # Left out: cat (dropped), horse (once in the first text), goat (twice in all), fly (a verb), Fox (a name in this text),
        # mouse (once), China (in a third of its occurrences without a capital).
        expected = {"dog": "1", "dogs": "1", "mice": "1", "lion": "1", "bear": "0", "polar bear": "1", "France": "1"}
        self.assertEqual(rows, expected)
        self.assertIn("Animals, Countries", output)
        again, _ = self.make("rules_again")
        for name in ("concepts.tsv", "senses.tsv", "similarity.tsv"):
            self.assertEqual((folder / name).read_bytes(), (again / name).read_bytes())

    def test_what_is_wrong_is_said(self):
        _, output = self.make("rules_twice", self.RECIPE + self.RECIPE.replace('"Animals"', '"Beasts"').replace('"Countries"', '"Lands"'))
        self.assertIn("words in two concepts", output)
        self.assertIn("dog (Animals, Beasts)", output)
        self.assertIn("below its roots: unicorns", self.make("rules_unknown", self.RECIPE.replace('"lion"', '"lion", "unicorns"'))[1])
        self.assertIn("no noun synset animal.n.99", self.make("rules_synset", self.RECIPE.replace("animal.n.01", "animal.n.99"))[1])
        folder = fresh("rules_missing")
        self.assertIn("there is no text", script("make_concepts.py", "--text", folder / "none.txt", code=66))
        (folder / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
        self.assertIn("not UTF-8", script("make_concepts.py", "--table", folder / "latin.txt", code=65))
        self.assertIn("data.noun", script("make_concepts.py", "--text", TEXT, "--wordnet", folder, code=66))


FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def tensors_of(folder):
    """Every tensor of a model folder: (stored type, raw bytes, values)."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        for name, entry in json.loads(raw[8:8 + size]).items():
            if name == "__metadata__":
                continue
            part = raw[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]]
            values = None
            if entry["dtype"] == "BF16":
                values = (np.frombuffer(part, "<u2").astype(np.uint32) << 16).view(np.float32).astype(float).reshape(entry["shape"])
            elif entry["dtype"] in FLOATS:
                values = np.frombuffer(part, FLOATS[entry["dtype"]]).astype(float).reshape(entry["shape"])
            found[name] = (entry["dtype"], part, values)
    return found


def write_model(folder, files):
    """files: {file name: {tensor name: (dtype word, array)}}"""
    (folder / "config.json").write_text("{}")
    for file, tensors in files.items():
        header, data = {"__metadata__": {"format": "pt"}}, b""
        for name, (dtype, array) in tensors.items():
            raw = np.ascontiguousarray(array).tobytes()
            header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        text = json.dumps(header).encode()
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + data)


class RandomisedModel(unittest.TestCase):
    def test_demo_model(self):
        folder = fresh("randomised")
        source = DEMO / "models" / "small"
        output = script("randomise_model.py", source, folder / "a")
        self.assertIn("matrices=42 by_row=1 kept=25", output)
        script("randomise_model.py", source, folder / "again")
        script("randomise_model.py", source, folder / "other", "--seed", 1)
        before, after, again, other = (tensors_of(f) for f in (source, folder / "a", folder / "again", folder / "other"))
        self.assertEqual(list(before), list(after))
        self.assertEqual((source / "config.json").read_bytes(), (folder / "a" / "config.json").read_bytes())
        draws = []
        for name, (dtype, raw, values) in before.items():
            self.assertEqual(after[name][0], dtype)
            self.assertEqual(after[name][1], again[name][1])
            if "norm" in name:
                self.assertEqual(after[name][1], raw)
                continue
            self.assertNotEqual(after[name][1], other[name][1])
            new = after[name][2]
            self.assertEqual(new.shape, values.shape)
            np.testing.assert_allclose(np.linalg.norm(new), np.linalg.norm(values), rtol=1e-3)  # bfloat16 has 8 bits, thousands of values
            self.assertLess(abs(np.corrcoef(new.ravel(), values.ravel())[0, 1]), 6 / np.sqrt(values.size))
            if "embed" in name:
                np.testing.assert_allclose(np.linalg.norm(new, axis=1), np.linalg.norm(values, axis=1), rtol=4e-3)
            else:
                draws.append(new.ravel() / new.std())
        draws = np.concatenate(draws)  # 1.5 million draws: skewness and kurtosis of a Gaussian have errors of 0.002 and 0.004
        self.assertAlmostEqual(np.mean(draws**3), 0, delta=0.02)
        self.assertAlmostEqual(np.mean(draws**4), 3, delta=0.04)

    def test_kinds_of_tensors(self):
        folder = fresh("randomised_kinds")
        rng = np.random.default_rng(2)
        embedding = rng.normal(size=(50, 16)).astype("<f4") * np.arange(50, dtype="<f4")[:, None]  # row 0 is zero and stays so
        normal = rng.normal
        write_model(folder, {
            "one.safetensors": {
                "model.embed_tokens.weight": ("F32", embedding),
                "layers.0.q_proj.weight": ("F16", normal(size=(8, 16)).astype("<f2")),
                "layers.0.q_proj.bias": ("F32", normal(size=8).astype("<f4")),
                "layers.0.input_layernorm.weight": ("F32", normal(size=16).astype("<f4")),
                "layers.0.rotary_emb.inv_freq": ("F32", np.arange(4, dtype="<f4")),
                "layers.0.attention.bias": ("BOOL", np.ones((1, 1, 4, 4), bool))},
            "two.safetensors": {
                "lm_head.weight": ("F32", embedding),
                "experts.down": ("F64", normal(size=(3, 4, 6)) * [[[1]], [[10]], [[0]]])}})
        (folder / "model.safetensors.index.json").write_text("{}")
        (folder / "pytorch_model.bin").write_text("trained")
        out = folder / "out"
        script("randomise_model.py", folder, out)
        before, after = tensors_of(folder), tensors_of(out)
        for name in ("layers.0.input_layernorm.weight", "layers.0.rotary_emb.inv_freq", "layers.0.attention.bias"):
            self.assertEqual(before[name][1], after[name][1])
        for name, axis, tolerance in [("model.embed_tokens.weight", 1, 1e-6), ("layers.0.q_proj.weight", None, 1e-3),
                                      ("layers.0.q_proj.bias", None, 1e-6), ("experts.down", (1, 2), 1e-12)]:
            old, new = before[name][2], after[name][2]
            np.testing.assert_allclose(np.linalg.norm(new, axis=axis), np.linalg.norm(old, axis=axis), rtol=tolerance)
            self.assertFalse(np.any((new == old) & (old != 0)), name)
        self.assertEqual(after["lm_head.weight"][1], after["model.embed_tokens.weight"][1])
        self.assertTrue((out / "model.safetensors.index.json").exists())
        self.assertFalse((out / "pytorch_model.bin").exists())
        self.assertIn("is not empty", script("randomise_model.py", folder, out, code=64))

    def test_heads_inside_and_under_other_names(self):
        embedding = np.random.default_rng(4).normal(size=(20, 8)).astype("<f4")
        for names in (("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"), ("gpt_neox.embed_in.weight", "embed_out.weight")):
            folder = fresh("randomised_" + names[1])
            write_model(folder, {"model.safetensors": {name: ("F32", embedding) for name in names}})
            script("randomise_model.py", folder, folder / "out")
            after = tensors_of(folder / "out")
            self.assertEqual(after[names[0]][1], after[names[1]][1])

    def test_bfloat16_rounds_to_nearest_even(self):
        for value, stored in [(1.0, 0x3F80), (1 + 2**-8, 0x3F80), (1 + 3 * 2**-8, 0x3F82), (1 + 2**-8 + 2**-20, 0x3F81), (-0.0, 0x8000)]:
            self.assertEqual(randomise.stored_of(np.array([value]), "BF16")[0], stored)
        values = np.random.default_rng(3).normal(size=10000)
        stored = randomise.stored_of(values, "BF16")
        error = np.abs(randomise.values_of(stored, "BF16") - values.astype(np.float32))
        for step in (-1, 1):  # neither neighbour is nearer
            neighbour = randomise.values_of((stored.astype(int) + step).astype("<u2"), "BF16")
            self.assertTrue(np.all(error <= np.abs(neighbour - values.astype(np.float32))))

    def test_what_is_wrong_is_said(self):
        folder = fresh("randomised_wrong")
        self.assertIn("there is no", script("randomise_model.py", folder, folder / "out", code=66))
        (folder / "config.json").write_text("{}")
        self.assertIn("no safetensors file", script("randomise_model.py", folder, folder / "out", code=66))
        (folder / "model.safetensors").write_bytes(b"\xff" * 20)
        self.assertIn("is no safetensors file", script("randomise_model.py", folder, folder / "out", code=65))
        write_model(folder, {"model.safetensors": {"q.weight": ("F8_E4M3", np.zeros((2, 2), np.uint8))}})
        self.assertIn("F8_E4M3", script("randomise_model.py", folder, folder / "out", code=65))
        write_model(folder, {"model.safetensors": {"q.weight": ("F32", np.zeros((4, 4), "<f4"))}})
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[:-8])
        self.assertIn("cut short", script("randomise_model.py", folder, folder / "out", code=65))
        self.assertFalse((folder / "out").exists())


if __name__ == "__main__":
    unittest.main()
