"""Token ids of arrays stand wherever tokens are wanted: the same numbers as by way of `tokenize`."""
import json
import unittest

import numpy as np

from support import DEMO, GOLDEN, datasets, fresh, run

TYPES = {np.dtype(np.int64): "I64", np.dtype(np.float32): "F32"}


def write_safetensors(path, arrays):
    (name, array), = arrays.items()
    header = json.dumps({name: {"dtype": TYPES[array.dtype], "shape": array.shape, "data_offsets": [0, array.nbytes]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + array.tobytes())


class TokenIds(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("token_ids")
        ids = np.load(GOLDEN / "demo_small_ids.npy")[:6].astype(np.int64)
        cls.files = {kind: cls.folder / f"{kind} of ids.{kind}" for kind in ("npy", "npz", "safetensors")}
        np.save(cls.files["npy"], ids)
        np.savez(cls.files["npz"], other=np.zeros(3), input_ids=ids.astype(np.int32))
        write_safetensors(cls.files["safetensors"], {"input_ids": ids})
        run("tokenize", "--tokens", cls.files["npy"], "--bos-id", 2, "--out", cls.folder / "tokens.h5")
        cls.model = ["--model", DEMO / "models/small", "--layers", "1", "--bos-id", 2]
        cls.extract("tokens.h5", "expected.h5")
        cls.expected = datasets(cls.folder / "expected.h5")

    @classmethod
    def extract(cls, tokens, out, **options):
        return run("extract", *cls.model, "--tokens", cls.folder / tokens, "--out", cls.folder / out, **options)

    def test_extract_takes_each_kind(self):
        for kind, path in self.files.items():
            self.extract(path.name, f"{kind}.h5")
            for name, values in datasets(self.folder / f"{kind}.h5").items():
                np.testing.assert_array_equal(values, self.expected[name], err_msg=f"{kind} {name}")
            self.assertTrue((self.folder / f"{path.stem}.tokens.h5").exists())
            tokens = datasets(self.folder / f"{path.stem}.tokens.h5")
            np.testing.assert_array_equal(tokens["/tokens"], datasets(self.folder / "tokens.h5")["/tokens"])

    def test_a_second_run_finds_them_done(self):
        self.extract(self.files["npz"].name, "again.h5")
        self.assertIn("is done", self.extract(self.files["npz"].name, "again.h5"))

    def test_other_ids_are_taken_by_force(self):
        ids = np.load(self.files["npy"])
        np.save(self.folder / "changing.npy", ids)
        self.extract("changing.npy", "changing.h5")
        np.save(self.folder / "changing.npy", ids[:1])
        self.assertIn("--force", self.extract("changing.npy", "changing.h5", code=78))
        run("extract", *self.model, "--tokens", self.folder / "changing.npy", "--out", self.folder / "changing.h5", "--force")
        self.assertEqual(datasets(self.folder / "changing.tokens.h5")["/context_offsets"].size, 2)

    def test_what_are_no_ids_is_refused(self):
        for name, array in (("floats", np.zeros((2, 3), np.float32)), ("flat", np.zeros(3, np.int64))):
            for kind, path in (("npz", self.folder / f"{name}.npz"), ("safetensors", self.folder / f"{name}.safetensors")):
                np.savez(path, ids=array) if kind == "npz" else write_safetensors(path, {"ids": array})
                self.assertIn("must be an integer array [contexts, length]", self.extract(path.name, "none.h5", code=65))
        np.savez(self.folder / "two.npz", x=np.zeros((2, 3), np.int64), y=np.zeros((2, 3), np.int64))
        self.assertIn("has the arrays x, y; call that of the token ids input_ids", self.extract("two.npz", "none.h5", code=65))
        np.savez(self.folder / "negative.npz", ids=np.full((2, 3), -1))
        self.assertIn("context 0 holds the token id -1", self.extract("negative.npz", "none.h5", code=65))


if __name__ == "__main__":
    unittest.main()
