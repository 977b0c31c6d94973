"""SAEs as other programs save them, encoded by the program itself: codes and reconstructions equal those of the programs they come from
(tests/golden/saes, made by make_sae_golden.py)."""
import json
import pathlib
import shutil
import subprocess
import sys
import unittest

import h5py
import numpy as np

from support import GOLDEN, SOURCE, fresh, run

SAES = GOLDEN / "saes"


def activations(path, x, layers=1):
    """The same rows as every layer."""
    with h5py.File(path, "w") as f:
        for layer in range(layers):
            f[f"layer_{layer:03d}/x"] = x
        f["row_kind"] = np.zeros(len(x), np.uint8)
        f["block_offsets"] = np.array([0, len(x)], np.int64)
        for name, value in {"layers": str(list(range(layers))), "token_hash": "t", "stage_digest": "d"}.items():
            f.attrs[name] = np.bytes_(value)


class SaeFormats(unittest.TestCase):
    def check(self, folder, names, saes):
        """Encodes layer i with the SAE names[i]."""
        x = np.load(SAES / "x.npy")
        activations(folder / "acts.h5", x, len(names))
        output = run("encode", "--activations", folder / "acts.h5", "--saes", saes, "--out", folder / "features.h5")
        self.assertEqual(output.count("unexplained"), len(names), "random weights explain nothing, which must be said")
        with h5py.File(folder / "features.h5") as f:
            for layer, name in enumerate(names):
                with self.subTest(name):
                    self.check_layer(f[f"layer_{layer:03d}"], x.astype(np.float64), np.load(SAES / f"{name}.expected.npz"))

    def check_layer(self, group, x, expected):
        codes = np.zeros((len(x), len(group["count"])), np.float32)
        for r, (begin, end) in enumerate(zip(group["indptr"][:-1], group["indptr"][1:])):
            codes[r, group["indices"][begin:end]] = group["data"][begin:end]
        np.testing.assert_allclose(codes, expected["codes"], atol=1e-5)
        want = ((x - expected["reconstruction"]) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
        self.assertAlmostEqual(float(group.attrs["reference_fvu"]), want, delta=1e-5 * want)
        self.assertAlmostEqual(float(group.attrs["reference_l0"]), (expected["codes"] > 0).sum(1).mean())

    def test_rows_of_great_norm_have_no_codes(self):
        """Attention sinks: as if no feature were active on them, whatever the SAE makes of them; all other rows keep their codes."""
        folder = fresh("formats_sinks")
        x = np.load(SAES / "x.npy")
        sinks = [0, 3, len(x) - 1]
        far = x.copy()
        far[sinks] *= 1000
        (folder / "saes").mkdir()
        shutil.copytree(SAES / "saelens_topk", folder / "saes" / "layer_000")
        rows = {}
        for name, data, limit in (("plain", x, 10), ("far", far, 10), ("all", far, 0)):
            activations(folder / f"{name}.h5", data)
            run("encode", "--activations", folder / f"{name}.h5", "--saes", folder / "saes", "--max-norm", limit, "--out", folder / f"{name}_features.h5")
            with h5py.File(folder / f"{name}_features.h5") as f:
                group = f["layer_000"]
                ends = group["indptr"][:]
                rows[name] = [group["indices"][a:b].tolist() + group["data"][a:b].tolist() for a, b in zip(ends[:-1], ends[1:])]
                self.assertEqual(int(group.attrs["left_out"]), 3 if name == "far" else 0)
        self.assertTrue(all(rows["far"][r] == [] for r in sinks))
        self.assertTrue(any(rows["all"][r] != [] for r in sinks))
        for r in set(range(len(x))) - set(sinks):
            self.assertEqual(rows["far"][r], rows["plain"][r])

    def test_folders(self):
        """SAELens 6 and 5, sparsify, Gemma Scope 2, and dictionary_learning by the converter."""
        folder = fresh("formats_folders")
        names = [p.name for p in sorted(SAES.iterdir()) if p.is_dir() and p.name not in ("gemma_scope", "spliced")]
        self.assertEqual(len(names), 22)
        for layer, name in enumerate(names):
            target = folder / f"layer_{layer:03d}"
            if name.startswith("dictionary_learning"):
                subprocess.run([sys.executable, SOURCE / "scripts/convert_sae.py", SAES / name / "ae.pt", target], check=True, capture_output=True)
                metadata = json.loads((target / "cfg.json").read_text())["metadata"]
                self.assertEqual(metadata["hook_name"], "blocks.3.hook_resid_post")
            else:
                shutil.copytree(SAES / name, target)
        self.check(folder, names, folder)

    def test_gemma_scope_archives(self):
        folder = fresh("formats_archives")
        for layer, variant in enumerate(("stored", "deflated")):
            shutil.copy(SAES / "gemma_scope" / f"{variant}.npz", folder / f"params_{layer}.npz")
        self.check(folder, ["gemma_scope", "gemma_scope"], folder / "params_{layer}.npz")

    def test_a_pickle_that_would_run_code_is_not_loaded(self):
        import pickle
        import zipfile

        class Harm:
            def __reduce__(self):
                return (pathlib.Path.touch, (pathlib.Path("touched"),))

        folder = fresh("formats_pickle")
        with zipfile.ZipFile(folder / "ae.pt", "w") as archive:
            archive.writestr("ae/data.pkl", pickle.dumps(Harm()))
        result = subprocess.run([sys.executable, SOURCE / "scripts/convert_sae.py", folder / "ae.pt", folder / "out"], capture_output=True, text=True, cwd=folder)
        self.assertEqual(result.returncode, 65, result.stderr)
        self.assertIn("not loaded", result.stderr)
        self.assertFalse((folder / "touched").exists())

    def test_what_is_no_sae_ends_the_converter_with_one_line(self):
        import pickle
        import zipfile

        folder = fresh("formats_converter")
        whole = SAES / "dictionary_learning_AutoEncoderTopK/ae.pt"
        with zipfile.ZipFile(folder / "empty.pt", "w") as archive:
            archive.writestr("ae/data.pkl", b"")
        (folder / "bare.pt").write_bytes(pickle.dumps({"k": 3}))
        (folder / "nothing.pt").write_bytes(b"")
        broken = {"cut": b'{"trainer": {"k"', "deep": b"[" * 200000, "latin": b'{"trainer": "\xe9"}', "list": b"[]", "empty": b""}
        for name, text in broken.items():
            (folder / f"{name}.json").write_bytes(text)
        (folder / "file").write_text("a file, no folder")
        cases = [(65, "no file of torch.save that can be read", "empty.pt", "out"), (65, "is no archive of torch.save", "bare.pt", "out"),
                 (65, "is no archive of torch.save", "nothing.pt", "out"), (66, "there is no", "none.pt", "out"), (66, "there is no", whole, "out", "--config", "none.json"),
                 (74, "cannot write", whole, "file"), (74, "cannot write", whole, "file/below"), (74, "cannot write", whole, "/proc/nowhere")]
        cases += [(65, "holds no object trainer" if name == "list" else "is not valid JSON", whole, "out", "--config", f"{name}.json") for name in broken]
        for code, message, *arguments in cases:
            with self.subTest(arguments=arguments):
                result = subprocess.run([sys.executable, SOURCE / "scripts/convert_sae.py", *arguments], capture_output=True, text=True, cwd=folder)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
                self.assertTrue(result.stderr.startswith("convert_sae.py: ") and message in result.stderr, result.stderr)
        self.assertFalse((folder / "out").exists())

    def test_bad_files_say_what_is_wrong(self):
        folder = fresh("formats_bad")
        shutil.copytree(SAES / "sparsify_topk", folder / "layer_000")
        cfg = json.loads((folder / "layer_000/cfg.json").read_text())
        (folder / "layer_000/cfg.json").write_text(json.dumps(cfg | {"num_latents": 41}))
        activations(folder / "acts.h5", np.load(SAES / "x.npy"))
        arguments = ["encode", "--activations", folder / "acts.h5", "--saes", folder, "--out", folder / "features.h5"]
        self.assertIn("encoder.weight has shape [40, 12], cfg.json asks for [41, 12]", run(*arguments, code=65))
        (folder / "layer_000/cfg.json").write_text(json.dumps(cfg | {"transcode": True}))
        self.assertIn("transcoders", run(*arguments, code=65))
        shutil.rmtree(folder / "layer_000")
        shutil.copytree(SAES / "dictionary_learning_AutoEncoderTopK", folder / "layer_000")
        self.assertIn("scripts/convert_sae.py", run(*arguments, code=65))


if __name__ == "__main__":
    unittest.main()
