"""extract equals Hugging Face transformers (tests/golden/make_golden.py) on the demo models and two random small ones."""
import json
import pathlib
import unittest

import h5py
import numpy as np

from support import GOLDEN, RANKS, SOURCE, fresh, run

RECORD = json.loads((GOLDEN / "golden.json").read_text())["extraction"]


def layer_name(layer):
    return "embedding" if layer < 0 else f"layer_{layer:03d}"


def renamed(file, old, new):
    """A safetensors file whose tensors that begin with `old` begin with `new`."""
    size = int.from_bytes(file[:8], "little")
    header = {new + name[len(old):] if name.startswith(old) else name: entry for name, entry in json.loads(file[8:8 + size]).items()}
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[8 + size:]


class ExtractGolden(unittest.TestCase):
    def extract(self, name, dtype="f32", batch=1, extra=()):
        folder = fresh(f"{name}_{dtype}_{batch}")
        golden = RECORD[name]
        run("tokenize", "--tokens", GOLDEN / f"{name}_ids.npy", "--out", folder / "tokens.h5", ranks=1)
        ranks = min(RANKS, len(np.load(GOLDEN / f"{name}_ids.npy")))
        output = run("extract", "--model", SOURCE / golden["model"], "--tokens", folder / "tokens.h5", "--layers", ",".join(map(str, golden["layers"])),
                     "--dtype", dtype, "--batch", batch, "--loss", *extra, "--out", folder / "acts.h5", ranks=ranks)
        loss = float(output.split("loss=")[1].split()[0])
        with h5py.File(folder / "acts.h5") as f:
            return [f[layer_name(layer)]["x"][:] for layer in golden["layers"]], loss, golden

    def check(self, name, batch):
        streams, loss, golden = self.extract(name, batch=batch)
        expected = np.load(GOLDEN / f"{name}_residual.npy")
        self.assertAlmostEqual(loss, golden["loss"], delta=1e-4)
        for layer, got, want in zip(golden["layers"], streams, expected):
            want = want.reshape(got.shape)
            rms = np.sqrt((want.astype(np.float64) ** 2).mean())
            self.assertLess(np.abs(got - want).max() / rms, 2e-4, f"{name} layer {layer}")

    def test_models_equal_transformers(self):
        for name in RECORD:
            for batch in (1, 8) if RANKS == 1 else (1,):
                with self.subTest(model=name, batch=batch):
                    self.check(name, batch)

    def test_other_names_of_tensors(self):
        """Of wholes that were saved without their head, and of a tied head that the file holds alone."""
        for name, old, new in (("tiny_llava", "language_model.model.", "language_model."), ("tiny_smolvlm", "model.text_model.", "text_model."),
                               ("tiny_llama3", "model.embed_tokens.", "lm_head."), ("tiny_pythia", "gpt_neox.", ""), ("tiny_gpt2", "transformer.", "")):
            with self.subTest(model=name):
                folder = fresh(f"renamed_{name}")
                config, weights = (SOURCE / RECORD[name]["model"] / file for file in ("config.json", "model.safetensors"))
                (folder / "config.json").write_bytes(config.read_bytes())
                (folder / "model.safetensors").write_bytes(renamed(weights.read_bytes(), old, new))
                run("tokenize", "--tokens", GOLDEN / f"{name}_ids.npy", "--out", folder / "tokens.h5", ranks=1)
                for model in (config.parent, folder):
                    run("extract", "--model", model, "--tokens", folder / "tokens.h5", "--layers", "-1,1", "--dtype", "f32", "--out", folder / f"{model.name}.h5", ranks=1)
                with h5py.File(folder / f"{config.parent.name}.h5") as expected, h5py.File(folder / f"{folder.name}.h5") as got:
                    for layer in ("embedding", "layer_001"):
                        np.testing.assert_array_equal(got[layer]["x"][:], expected[layer]["x"][:])

    def test_stored_types_round_the_f32_values(self):
        wide, _, _ = self.extract("demo_small")
        for dtype, relative in (("bf16", 2.0 ** -8), ("f16", 2.0 ** -11)):
            narrow, _, _ = self.extract("demo_small", dtype=dtype)
            for a, b in zip(wide, narrow):
                np.testing.assert_allclose(b.astype(np.float64), a, rtol=relative, atol=1e-6)

    def test_padding_changes_nothing(self):
        """Contexts of different lengths in one batch give what each gives alone."""
        folder = fresh("ragged")
        text = "A short one.\n\nA second document that is a good deal longer than the first one was.\n\nThe end of it.\n"
        (folder / "text.txt").write_text(text)
        run("tokenize", "--text", folder / "text.txt", "--tokenizer", SOURCE / "data/demo/tokenizer.model", "--context", 40, "--out", folder / "tokens.h5", ranks=1)
        for batch in (1, 4):
            run("extract", "--model", SOURCE / "data/demo/models/small", "--tokens", folder / "tokens.h5", "--layers", "5", "--dtype", "f32",
                "--batch", batch, "--out", folder / f"{batch}.h5", ranks=min(RANKS, 3))
        with h5py.File(folder / "1.h5") as one, h5py.File(folder / "4.h5") as four:
            np.testing.assert_allclose(one["layer_005/x"][:], four["layer_005/x"][:], rtol=1e-4, atol=1e-3)


if __name__ == "__main__":
    unittest.main()
