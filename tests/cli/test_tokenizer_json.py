"""`concord tokenize` by a tokenizer.json: ids are its own library's, byte ranges spell the text, and it is read as a SentencePiece model is."""
import json
import os
import subprocess
import sys
import unittest

import h5py
import numpy as np

from support import DEMO, GOLDEN, datasets, fresh, run

try:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
except ImportError as error:
    print(f"skipped: {error}; scripts/setup installs it")
    sys.exit(77)

TEXT = "A first document, with na\u00efve caf\u00e9s.\nAnd a second line \u4e16\u754c.\n\n \t\nThe second one is rather longer: " + "many words follow. " * 20 + "\n"
DOCUMENTS = (TEXT[:TEXT.index("\n \t\n")], TEXT[TEXT.index("The second"):])


def byte_level(folder, trim, vocabulary=90 + 256):
    """A byte-level BPE tokenizer that is trained here. `trim`: its offsets leave leading spaces out, as Llama 3's do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train([str(DEMO / "corpus" / "analysis.txt")], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    return tokenizer


class TokenizerJson(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("tokenizer_json")
        cls.tokenizer = byte_level(cls.folder, trim=True)
        (cls.folder / "text.txt").write_text(TEXT)
        cls.out = cls.folder / "tokens.h5"
        cls.tokenize(cls.out)

    @classmethod
    def tokenize(cls, out, *words, text=None, tokenizer=None, context=24, **rest):
        return run("tokenize", "--text", text or cls.folder / "text.txt", "--tokenizer", tokenizer or cls.folder / "tokenizer.json", "--context",
                   context, "--out", out, *words, **rest)

    def test_ids_are_the_librarys_and_byte_ranges_spell_the_text(self):
        data = datasets(self.out)
        spelled, ids = [b"", b""], [[], []]
        offsets = data["/context_offsets"]
        for c, document in enumerate(data["/context_document"]):
            rows = slice(offsets[c], offsets[c + 1])
            self.assertEqual(data["/tokens"][rows][0], self.tokenizer.token_to_id("<s>"))
            self.assertLessEqual(offsets[c + 1] - offsets[c], 24)
            ids[document] += list(data["/tokens"][rows][1:])
            raw = DOCUMENTS[document].encode()
            for begin, end in zip(data["/byte_begin"][rows][1:], data["/byte_end"][rows][1:]):
                self.assertLessEqual(begin, len(spelled[document]))  # nothing between tokens, spaces neither
                if end > len(spelled[document]):  # several tokens may share the bytes of one character
                    spelled[document] = raw[:end]
                self.assertLessEqual(begin, end)
        for document in (0, 1):
            whole = DOCUMENTS[document].encode()[:len(spelled[document])].decode()
            self.assertEqual(whole.rstrip(), DOCUMENTS[document].rstrip())
            self.assertEqual(ids[document], self.tokenizer.encode(whole, add_special_tokens=False).ids)

    def test_any_ranks_give_the_same_file(self):
        for ranks in (1, 3):
            self.tokenize(self.folder / f"{ranks}.h5", ranks=ranks)
            first, second = datasets(self.out), datasets(self.folder / f"{ranks}.h5")
            for name in first:
                np.testing.assert_array_equal(first[name], second[name])

    def test_ids_may_have_gaps_and_a_language_model_inside_names_its_bos(self):
        folder = fresh("gaps")
        rules = json.loads((self.folder / "tokenizer.json").read_text())
        last = max(rules["model"]["vocab"], key=rules["model"]["vocab"].get)
        rules["model"]["vocab"][last] += 50
        (folder / "tokenizer.json").write_text(json.dumps(rules))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
        (folder / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": {"bos_token_id": 7}}))
        self.tokenize(folder / "tokens.h5", tokenizer=folder / "tokenizer.json")
        data = datasets(folder / "tokens.h5")
        self.assertEqual(data["/tokens"][0], 7)
        ends = data["/pieces/ends"]
        self.assertEqual(len(ends), rules["model"]["vocab"][last] + 1)
        self.assertGreater(ends[-1], ends[-2])  # the text of the last token is there

    def test_bos_is_what_is_asked_for(self):
        for bos, wanted in (("none", -1), ("Z", self.tokenizer.token_to_id("Z"))):
            out = self.folder / f"bos_{bos}.h5"
            self.tokenize(out, "--bos", bos)
            with h5py.File(out) as f:
                self.assertEqual(f.attrs["bos_id"], str(wanted).encode() if isinstance(f.attrs["bos_id"], bytes) else str(wanted))
                first = f["tokens"][0]
            self.assertEqual(first == wanted, bos != "none")
            if bos == "none":
                self.assertEqual(datasets(out)["/context_offsets"][1], 24)
                run("extract", "--model", GOLDEN / "tiny_llama3", "--tokens", out, "--out", self.folder / "a.h5", code=65)

    def test_another_bos_in_the_models_files_is_another_input(self):
        folder = fresh("changed")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((self.folder / name).read_bytes())
        self.tokenize(folder / "tokens.h5", tokenizer=folder / "tokenizer.json")
        self.assertIn("is done", self.tokenize(folder / "tokens.h5", tokenizer=folder / "tokenizer.json"))
        (folder / "config.json").write_text(json.dumps({"bos_token_id": 5}))
        self.assertIn("--force", self.tokenize(folder / "tokens.h5", tokenizer=folder / "tokenizer.json", code=78))

    def test_verify_copy_and_extract_take_it(self):
        run("verify", self.out, ranks=1)
        run("tokenize", "--tokens", self.out, "--out", self.folder / "copy.h5", ranks=1)
        first, second = datasets(self.out), datasets(self.folder / "copy.h5")
        for name in ("/tokens", "/context_offsets", "/byte_begin", "/byte_end", "/pieces/bytes"):
            np.testing.assert_array_equal(first[name], second[name])
        with h5py.File(self.out) as a, h5py.File(self.folder / "copy.h5") as b:
            self.assertEqual(a.attrs["token_hash"], b.attrs["token_hash"])
        # its vocabulary is larger than the model's: said at once
        self.assertIn("the vocabularies do not fit", run("extract", "--model", GOLDEN / "tiny_llama3", "--tokens", self.out, "--out", self.folder / "a.h5", code=65))

    def test_documents_are_those_of_sentencepiece(self):
        """Both kinds of tokenizers name the same bytes of the same documents, whatever the line ends are."""
        for number, text in enumerate([b"One one.\n\nTwo two.\n", b"One one.\r\n\r\nTwo two.\r\n", b"One\r\rTwo\r", b" \t\nOne one.\n  \nTwo\n\n\n\nThree", b"\xef\xbb\xbfOne\n\nTwo"]):
            for documents in ("blank-line", "file"):
                file = self.folder / f"{number}{documents}.txt"
                file.write_bytes(text)
                ends = []
                for tokenizer in (self.folder / "tokenizer.json", DEMO / "tokenizer.model"):
                    out = self.folder / f"{number}{documents}{tokenizer.suffix}.h5"
                    self.tokenize(out, "--documents", documents, text=file, tokenizer=tokenizer, ranks=1)
                    data = datasets(out)
                    last = data["/context_offsets"][1:] - 1
                    ends.append({int(d): int(e) for d, e in zip(data["/context_document"], data["/byte_end"][last])})
                self.assertEqual(ends[0], ends[1], (text, documents))

    def test_a_piece_named_bytelevel_is_no_byte_level_tokenizer(self):
        tokenizer = Tokenizer(models.WordLevel({"ByteLevel": 0, "\u00e9": 1, "<s>": 2}, unk_token="ByteLevel"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        other = fresh("words")
        tokenizer.save(str(other / "tokenizer.json"))
        self.tokenize(other / "tokens.h5", "--bos", "<s>", tokenizer=other / "tokenizer.json")
        data = datasets(other / "tokens.h5")
        raw, ends = data["/pieces/bytes"].tobytes(), data["/pieces/ends"]
        self.assertEqual(raw[ends[0]:ends[1]].decode(), "\u00e9")

    def test_says_what_is_wrong(self):
        def said(code, *words, environment=None, tokenizer=None):
            out = self.folder / "wrong.h5"
            message = self.tokenize(out, *words, tokenizer=tokenizer, code=code, **({"env": {**os.environ, **environment}} if environment else {}))
            self.assertFalse(out.exists())
            return message
        self.assertIn("there is no tokenizer", said(66, tokenizer=self.folder / "nowhere.json"))
        self.assertIn("name its tokenizer.model or tokenizer.json", said(65, tokenizer=self.folder))
        self.assertIn("knows no token '<x>'", said(78, "--bos", "<x>"))
        broken = fresh("broken")
        (broken / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": ')
        self.assertIn("tokenizer.json", said(65, tokenizer=broken / "tokenizer.json"))
        (broken / "tokenizer.json").write_text('{"model": {"type": "nothing"}}')
        self.assertIn("is no tokenizer", said(65, tokenizer=broken / "tokenizer.json"))
        (broken / "tokenizer.json").write_bytes((self.folder / "tokenizer.json").read_bytes())
        self.assertIn("set corpus.bos", said(78, tokenizer=broken / "tokenizer.json"))
        self.assertIn("CONCORD_PYTHON", said(69, environment={"CONCORD_PYTHON": "/nowhere/python3"}))
        self.assertIn("CONCORD_PYTHON", said(69, environment={"CONCORD_PYTHON": "/bin/true"}))  # no Python
        bare = subprocess.run(["/usr/bin/python3", "-I", "-c", "import tokenizers"], capture_output=True, check=False).returncode
        if bare != 0:  # that of the system has no wheels
            self.assertIn("lacks numpy or tokenizers", said(69, environment={"CONCORD_PYTHON": "/usr/bin/python3"}))
        (self.folder / "latin").write_bytes(b"\xff\xfe")
        self.assertIn("not valid UTF-8", self.tokenize(self.folder / "wrong.h5", text=self.folder / "latin", code=65))
        self.assertIn("has no piece", said(78, "--bos", "<x>", tokenizer=DEMO / "tokenizer.model"))


if __name__ == "__main__":
    unittest.main()
