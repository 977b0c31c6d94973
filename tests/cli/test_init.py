"""`concord init` writes a study that plan and tokenize take as it is; `plan --tokens` needs no corpus and config.json alone."""
import re
import shutil
import tomllib
import unittest

from support import DEMO, GOLDEN, fresh, run


class Init(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("init")
        cls.corpus = cls.folder / "with space.txt"
        cls.corpus.write_text((DEMO / "corpus" / "analysis.txt").read_text()[:8000])
        cls.study = cls.folder / "study.toml"
        cls.words = ["init", DEMO / "models/small", DEMO / "models/large", cls.corpus, "--out", cls.study]
        cls.said = run(*cls.words)

    def test_what_it_writes_is_a_study_of_these_models(self):
        study = tomllib.loads(self.study.read_text())
        self.assertEqual(list(study["model"]), ["small", "large"])
        self.assertEqual(study["corpus"]["paths"], [str(self.corpus.resolve())])
        self.assertEqual(study["corpus"]["tokenizer"], str(DEMO / "tokenizer.model"))
        self.assertEqual(study["corpus"]["context"], 512)  # max_position_embeddings of both
        self.assertIn("gemma2, 6 layers", self.study.read_text())
        run("tokenize", self.study, "--set", f"study.output={self.folder / 'out'}", "--set", "corpus.context=64")
        self.assertTrue((self.folder / "out/tokens.h5").exists())

    def test_it_says_what_plan_says(self):
        planned = run("plan", self.study, ranks=1)
        self.assertIn("train-sae", planned)
        self.assertEqual(self.said[self.said.index("tokens on 1 ranks"):], planned[planned.index("tokens on 1 ranks"):])

    def test_a_study_that_is_there_is_kept(self):
        before = self.study.read_text()
        self.assertIn("give --force to replace it", run(*self.words, code=64))
        self.assertEqual(self.study.read_text(), before)
        run(*self.words, "--force")

    def test_what_cannot_be_read_is_named(self):
        out = self.folder / "none.toml"
        self.assertIn("there is no model folder", run("init", DEMO / "models/small", self.folder / "nothing", self.corpus, "--out", out, code=66))
        self.assertIn("nothing", run("init", DEMO / "models/small", DEMO / "models/large", self.folder / "nothing.txt", "--out", out, code=66))
        self.assertFalse(out.exists())

    def test_models_of_one_name_are_called_a_and_b(self):
        other = self.folder / "other/small"
        other.mkdir(parents=True)
        shutil.copy(DEMO / "models/large/config.json", other)
        out = self.folder / "ab.toml"
        run("init", DEMO / "models/small", other, self.corpus, "--out", out)
        self.assertEqual(list(tomllib.loads(out.read_text())["model"]), ["a", "b"])

    def test_contexts_are_no_longer_than_a_model_was_made_for(self):
        """Also where a model of several modalities or GPT-2 says so in its own words."""
        for other, longest in (("tiny_llava", 128), ("tiny_gpt2", 24)):
            out = self.folder / f"{other}.toml"
            run("init", DEMO / "models/small", GOLDEN / other, self.corpus, "--out", out)
            self.assertEqual(tomllib.loads(out.read_text())["corpus"]["context"], longest)

    def test_models_of_different_tokenizers_get_one_each(self):
        folders = []
        for name, tokenizer in (("one", "tokenizer.model"), ("two", "tokenizer.json"), ("three", "tokenizer.json")):
            folders.append(self.folder / "tokenized" / name)
            folders[-1].mkdir(parents=True)
            shutil.copy((DEMO / "models/large" if name == "one" else GOLDEN / "tiny_llama3") / "config.json", folders[-1])
            (folders[-1] / tokenizer).write_text("of a family")  # init looks whether files are the same
        out = self.folder / "tokenized.toml"
        run("init", *folders[:2], self.corpus, "--out", out)
        study = tomllib.loads(out.read_text())
        self.assertNotIn("tokenizer", study["corpus"])
        self.assertEqual([model["tokenizer"] for model in study["model"].values()], [str(folders[0] / "tokenizer.model"), str(folders[1] / "tokenizer.json")])
        run("init", *folders[1:], self.corpus, "--out", out, "--force")
        study = tomllib.loads(out.read_text())
        self.assertEqual(study["corpus"]["tokenizer"], str(folders[1] / "tokenizer.json"))
        self.assertFalse(any("tokenizer" in model for model in study["model"].values()))

    def test_names_of_folders_may_hold_dots(self):
        folder = self.folder / "tiny-3.2-1B"
        folder.mkdir()
        shutil.copy(DEMO / "models/large/config.json", folder)
        out = self.folder / "dots.toml"
        run("init", DEMO / "models/small", folder, self.corpus, "--out", out)
        self.assertEqual(list(tomllib.loads(out.read_text())["model"]), ["small", "tiny-3.2-1B"])

    def test_plan_needs_no_corpus_and_no_weights(self):
        folders = []
        for name in ("small", "large"):
            folders.append(self.folder / "configs" / name)
            folders[-1].mkdir(parents=True)
            shutil.copy(DEMO / "models" / name / "config.json", folders[-1])
        study = self.folder / "plan.toml"
        study.write_text(f'[model.a]\npath = "{folders[0]}"\n[model.b]\npath = "{folders[1]}"\n[sae]\nlatents = 1024\nk = 16\n')
        one, ten = (run("plan", study, "--tokens", tokens, "--json", ranks=1) for tokens in ("1e9", "1e10"))
        tokens = [float(re.search(r'"tokens": ([0-9.e+]+)', text)[1]) for text in (one, ten)]
        self.assertEqual(tokens, [1e9, 1e10])
        flops = [sum(float(x) for x in re.findall(r'"flops": ([0-9.e+]+)', text)) for text in (one, ten)]
        self.assertGreater(flops[1], 5 * flops[0])
        self.assertIn("--tokens", run("plan", study, "--tokens", "-3", ranks=1, code=64))


if __name__ == "__main__":
    unittest.main()
