"""scripts/tokenize_hf.py: a byte-level BPE tokenizer made here gives a tokens.h5 that concord reads, with byte ranges that spell the text."""
import json
import subprocess
import sys
import unittest

import h5py
import numpy as np

from support import DEMO, GOLDEN, SOURCE, datasets, fresh, run

try:
    import xxhash  # noqa: F401
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
except ImportError as error:
    print(f"skipped: {error}; scripts/setup --tests installs it")
    sys.exit(77)

TEXT = "A first document, with na\u00efve caf\u00e9s.\nAnd a second line \u4e16\u754c.\n\n \t\nThe second one is rather longer: " + "many words follow. " * 20 + "\n"


class TokenizeHf(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("hf")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=90 + 256, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        tokenizer.train([str(DEMO / "corpus" / "analysis.txt")], trainer)
        tokenizer.save(str(cls.folder / "tokenizer.json"))
        (cls.folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
        (cls.folder / "text.txt").write_text(TEXT)
        cls.tokenizer = tokenizer
        cls.out = cls.folder / "tokens.h5"
        cls.output = cls.script("--tokenizer", cls.folder, "--context", 24, "--out", cls.out, cls.folder / "text.txt")

    @staticmethod
    def script(*arguments, code=0):
        result = subprocess.run([sys.executable, SOURCE / "scripts/tokenize_hf.py", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert result.returncode == code, result.stdout
        return result.stdout

    def test_contexts_open_with_bos_and_byte_ranges_spell_the_text(self):
        data = datasets(self.out)
        documents = [d.encode() for d in (TEXT[:TEXT.index("\n \t\n")], TEXT[TEXT.index("The second"):])]
        spelled = [b"", b""]
        offsets = data["/context_offsets"]
        for c, document in enumerate(data["/context_document"]):
            rows = slice(offsets[c], offsets[c + 1])
            self.assertEqual(data["/tokens"][rows][0], self.tokenizer.token_to_id("<s>"))
            self.assertLessEqual(offsets[c + 1] - offsets[c], 24)
            for begin, end in zip(data["/byte_begin"][rows][1:], data["/byte_end"][rows][1:]):
                if end > len(spelled[document]):  # several tokens may share the bytes of one character
                    spelled[document] = documents[document][:end]
                self.assertLessEqual(begin, end)
        self.assertEqual(spelled[0], documents[0])
        self.assertEqual(spelled[1].rstrip(), documents[1].rstrip())

    def test_ids_may_have_gaps_and_a_language_model_inside_names_its_bos(self):
        folder = fresh("gaps")
        rules = json.loads((self.folder / "tokenizer.json").read_text())
        last = max(rules["model"]["vocab"], key=rules["model"]["vocab"].get)
        rules["model"]["vocab"][last] += 50
        (folder / "tokenizer.json").write_text(json.dumps(rules))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
        (folder / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": {"bos_token_id": 7}}))
        self.script("--tokenizer", folder, "--context", 24, "--out", folder / "tokens.h5", self.folder / "text.txt")
        data = datasets(folder / "tokens.h5")
        self.assertEqual(data["/tokens"][0], 7)
        ends = data["/pieces/ends"]
        self.assertEqual(len(ends), rules["model"]["vocab"][last] + 1)
        self.assertGreater(ends[-1], ends[-2])  # the text of the last token is there

    def test_concord_reads_it_and_runs_a_llama(self):
        run("verify", self.out, ranks=1)
        run("tokenize", "--tokens", self.out, "--out", self.folder / "copy.h5", ranks=1)
        first, second = datasets(self.out), datasets(self.folder / "copy.h5")
        for name in ("/tokens", "/context_offsets", "/byte_begin", "/byte_end", "/pieces/bytes"):
            np.testing.assert_array_equal(first[name], second[name])
        with h5py.File(self.out) as a, h5py.File(self.folder / "copy.h5") as b:
            self.assertEqual(a.attrs["token_hash"], b.attrs["token_hash"])
        # its vocabulary is larger than the model's: said at once
        self.assertIn("the vocabularies do not fit", run("extract", "--model", GOLDEN / "tiny_llama3", "--tokens", self.out, "--out", self.folder / "a.h5", code=65))

    def test_documents_are_those_of_concord(self):
        """Both tokenizers name the same bytes of the same documents, whatever the line ends are."""
        for number, text in enumerate([b"One one.\n\nTwo two.\n", b"One one.\r\n\r\nTwo two.\r\n", b"One\r\rTwo\r", b" \t\nOne one.\n  \nTwo\n\n\n\nThree", b"\xef\xbb\xbfOne\n\nTwo"]):
            for documents in ("blank-line", "file"):
                name = f"{number}{documents}"
                file = self.folder / f"{name}.txt"
                file.write_bytes(text)
                self.script("--tokenizer", self.folder, "--documents", documents, "--out", self.folder / f"{name}_hf.h5", file)
                run("tokenize", "--text", file, "--tokenizer", DEMO / "tokenizer.model", "--documents", documents, "--out", self.folder / f"{name}.h5", ranks=1)
                ends = []
                for made in (f"{name}_hf.h5", f"{name}.h5"):
                    data = datasets(self.folder / made)
                    last = data["/context_offsets"][1:] - 1
                    ends.append({int(d): int(e) for d, e in zip(data["/context_document"], data["/byte_end"][last])})
                self.assertEqual(ends[0], ends[1], (text, documents))

    def test_a_piece_named_bytelevel_is_no_byte_level_tokenizer(self):
        tokenizer = Tokenizer(models.WordLevel({"ByteLevel": 0, "\u00e9": 1, "<s>": 2}, unk_token="ByteLevel"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        other = fresh("hf_words")
        tokenizer.save(str(other / "tokenizer.json"))
        self.script("--tokenizer", other, "--bos", "<s>", "--out", other / "tokens.h5", self.folder / "text.txt")
        data = datasets(other / "tokens.h5")
        raw, ends = data["/pieces/bytes"].tobytes(), data["/pieces/ends"]
        self.assertEqual(raw[ends[0]:ends[1]].decode(), "\u00e9")

    def test_a_limit_cuts_at_contexts(self):
        self.script("--tokenizer", self.folder, "--context", 24, "--max-tokens", 60, "--out", self.folder / "short.h5", self.folder / "text.txt")
        run("tokenize", "--tokens", self.out, "--max-tokens", 60, "--out", self.folder / "short_copy.h5", ranks=1)
        for name in ("/tokens", "/context_offsets", "/byte_end"):
            np.testing.assert_array_equal(datasets(self.folder / "short.h5")[name], datasets(self.folder / "short_copy.h5")[name])

    def test_says_what_is_wrong(self):
        self.assertIn("there is no", self.script("--tokenizer", self.folder / "nowhere", "--out", self.out, self.folder / "text.txt", code=1))
        self.assertIn("knows no token", self.script("--tokenizer", self.folder, "--bos", "<x>", "--out", self.out, self.folder / "text.txt", code=1))
        (self.folder / "latin").write_bytes(b"\xff\xfe")
        self.assertIn("not valid UTF-8", self.script("--tokenizer", self.folder, "--out", self.out, self.folder / "latin", code=1))


if __name__ == "__main__":
    unittest.main()
