"""Bad input ends with the right exit code, one clear message, no hang and no half file: on several ranks, and on one where the number of
ranks makes no difference."""
import json
import os
import pathlib
import shutil
import subprocess
import unittest

import h5py
import numpy as np

from support import CONCORD, DEMO, MPIRUN, RANKS, fresh, run, small_study


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = fresh("base")
        cls.study = small_study(cls.base, corpus__max_tokens=1500, sae__steps=20, subspaces__concepts="")
        run("tokenize", cls.study, ranks=1)
        cls.tokens = cls.base / "out" / "tokens.h5"

    def fails(self, code, message, *arguments, ranks=None):
        output = run(*arguments, code=code, ranks=ranks)
        errors = [line for line in output.splitlines() if line.startswith("concord: ")]
        self.assertEqual(len(errors), 1, output)
        self.assertIn(message, errors[0])

    def model(self, name, **changes):
        """A copy of the small demo model with changes to its config."""
        folder = fresh(name)
        for file in ("config.json", "model.safetensors"):
            shutil.copy(DEMO / "models" / "small" / file, folder / file)
            os.chmod(folder / file, 0o644)
        config = json.loads((folder / "config.json").read_text())
        config.update(changes)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def extract(self, code, message, model, *flags, ranks=None):
        out = fresh("extract_out") / "acts.h5"
        self.fails(code, message, "extract", "--model", model, "--tokens", self.tokens, "--out", out, *flags, ranks=ranks)
        self.assertFalse(out.exists())

    def test_study(self):
        folder = fresh("study")
        (folder / "s.toml").write_text("[sae]\nlatnts = 4\n")
        self.fails(78, "did you mean sae.latents?", "run", folder / "s.toml")
        self.fails(66, "cannot open the study", "run", folder / "none.toml", ranks=1)
        self.fails(78, "model.a.path is not set", "extract", self.study, "--set", "model.a.path=", ranks=1)

    def test_usage(self):
        self.assertIn("--help", run("extract", "--no-such-flag", code=64))
        run("no-such-stage", code=64, ranks=1)
        self.fails(64, "needs a study file, or", "extract", "--model", "x")
        self.fails(64, "is no list of layers", "extract", "--model", "x", "--tokens", "x", "--out", "x", "--layers", "1,b", ranks=1)

    def test_numbers_out_of_range(self):
        self.assertIn("--contexts", run("recovered", "--contexts", -2, code=64, ranks=1))
        given = ["--set", "model.a.saes=x", "--set", "model.b.saes=x"]  # nothing else is to be trained
        for words in ("3:4294967299", "4294967299:3", "99999999999999999999:3", "3:"):  # 2^32 + 3 is no 3
            self.fails(78, f'write "layer of A:layer of B", not "{words}"', "train-sae", self.study, *given, "--set", f'sae.crosscoders=["{words}"]', ranks=1)

    def test_flags_beside_a_study_are_refused(self):
        for stage, flag, value, instead in (("tokenize", "--context", 32, "corpus.context"), ("extract", "--layers", "2", "model.a.layers"),
                                            ("train-sae", "--k", 4, "sae.k"), ("train-sae", "--learning-rate", 0.1, "sae.learning_rate"), ("encode", "--top", 3, "encode.top"),
                                            ("correlate", "--best", 3, "correlate.best"), ("compare", "--permutations", 9, "compare.permutations"),
                                            ("subspaces", "--k", 3, "subspaces.k"), ("subspaces", "--layer-shards", 2, "extract.layer_shards")):
            self.fails(64, f"{flag} goes without a study file; beside one give --set {instead}=VALUE", stage, self.study, flag, value)
        self.fails(64, "--learning-rate goes without a study file", "train-sae", self.study, "--lr", 0.1, ranks=1)  # by its second name
        self.fails(64, "the study says which files a stage reads and writes", "encode", self.study, "--out", "x.h5")
        self.assertIn("is done", run("tokenize", self.study, "--wait", "--set", "study.seed=3"))

    def test_more_threads_than_cores_are_said(self):
        core = str(min(os.sched_getaffinity(0)))
        for threads, crowded in (("1", False), ("3", True)):
            command = [*MPIRUN, "-np", "2", "env", f"OMP_NUM_THREADS={threads}", "taskset", "-c", core, CONCORD, "verify", self.tokens]
            said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=60).stdout
            self.assertEqual("rank 0 on" in said and "has 3 threads (OMP_NUM_THREADS) for 1 core (and 1 more like it)" in said, crowded, said)
            self.assertEqual("warning" in said, crowded, said)

    def test_paths_need_not_be_utf8(self):
        folder = pathlib.Path(os.fsdecode(os.fsencode(fresh("paths")) + b"/caf\xe9"))
        folder.mkdir()
        np.save(folder / "x.npy", np.random.default_rng(4).standard_normal((60, 5)))
        run("compare", "--x", folder / "x.npy", "--y", folder / "x.npy", "--permutations", 3, "--json", folder / "out.json")
        self.assertIn("caf\ufffd", json.loads((folder / "out.json").read_text())["x"])

    def test_weight_maps_that_name_no_file(self):
        folder = self.model("weight_map")
        raw = (folder / "model.safetensors").read_bytes()
        names = json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")])
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        for value in (None, 3, ["part.safetensors"]):
            weights = {name: "part.safetensors" for name in names if name != "__metadata__"}
            weights["model.norm.weight"] = value
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
            self.extract(65, "the value of model.norm.weight has the wrong type", folder)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": None}))
        self.extract(65, "the value of weight_map has the wrong type", folder)

    def test_truncated_weights(self):
        folder = self.model("truncated")
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[:len(data) // 2])
        self.extract(65, "is truncated", folder)
        (folder / "model.safetensors").write_bytes(b"abc")
        self.extract(65, "is truncated", folder, ranks=1)
        (folder / "model.safetensors").unlink()
        self.extract(66, "holds neither", folder, ranks=1)

    def test_wrong_architecture(self):
        self.extract(65, 'model_type "mamba" is not supported', self.model("mamba", model_type="mamba"))
        self.extract(65, "config.json asks for", self.model("sizes", hidden_size=64), ranks=1)
        self.extract(66, "there is no model folder", "nowhere", ranks=1)

    def test_vocabulary_that_does_not_fit(self):
        self.extract(65, "the vocabularies do not fit", self.model("vocabulary", vocab_size=4000))

    def test_layer_out_of_range(self):
        self.extract(78, "layer 6 does not exist", DEMO / "models" / "small", "--layers", "2,6", ranks=1)

    def test_nan_weights_and_activations(self):
        folder = self.model("nan")
        raw = bytearray((folder / "model.safetensors").read_bytes())
        size = int.from_bytes(raw[:8], "little")
        begin = 8 + size + json.loads(raw[8:8 + size])["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0]
        raw[begin:begin + 2] = b"\xc0\x7f"  # a bf16 NaN
        (folder / "model.safetensors").write_bytes(raw)
        self.extract(65, "layer_001: row", folder)
        run("extract", "--model", DEMO / "models" / "small", "--tokens", self.tokens, "--layers", "2", "--dtype", "f32", "--out", folder / "acts.h5", ranks=1)
        with h5py.File(folder / "acts.h5", "r+") as f:
            f["layer_002/x"][41, 3] = np.nan
        self.fails(65, "row 41 holds nan in column 3", "train-sae", "--activations", f"{folder / 'acts.h5'}:/layer_002/x", "--d-sae", 32, "--k", 2, "--steps", 400,
                   "--batch", 64, "--out", folder / "sae")
        self.fails(65, "layer_002: rows 0 to 1471 are not what was written", "verify", folder / "acts.h5", ranks=1)

    def test_different_tokens(self):
        out = self.base / "out"
        run("run", self.study, "--set", "compare.permutations=3", ranks=1)
        other = fresh("other")
        study = small_study(other, corpus__max_tokens=1400)
        run("tokenize", study, ranks=1)
        run("extract", study, ranks=1)
        run("encode", study, "--set", f"model.a.saes={out / 'a/saes'}/layer_00{{layer}}",
            "--set", f"model.b.saes={out / 'b/saes'}/layer_00{{layer}}", ranks=1)
        self.fails(65, "do not come from the same tokens", "correlate", "--a", out / "a/features.h5", "--b", other / "out/b/features.h5", "--out", other / "m.h5")

    def test_results_of_other_settings(self):
        self.fails(78, "setting context: 64 -> 32", "tokenize", self.study, "--set", "corpus.context=32")
        self.assertTrue(self.tokens.exists())

    def test_foreign_files(self):
        folder = fresh("foreign")
        (folder / "x.h5").write_text("no HDF5")
        self.fails(65, "as HDF5", "extract", "--model", DEMO / "models" / "small", "--tokens", folder / "x.h5", "--out", folder / "a.h5")
        with h5py.File(folder / "y.h5", "w") as f:
            f["z"] = 1
        np.save(folder / "ids.npy", np.zeros((2, 8), np.float32))
        self.fails(65, "ids.npy must be an integer array", "extract", "--model", DEMO / "models" / "small", "--tokens", folder / "ids.npy", "--out", folder / "a.h5", ranks=1)
        self.fails(65, "no tokens file", "extract", "--model", DEMO / "models" / "small", "--tokens", folder / "y.h5", "--out", folder / "a.h5", ranks=1)
        self.fails(65, "was not made by concord", "verify", folder / "y.h5", ranks=1)

    def test_damaged_tokens(self):
        folder = fresh("damaged")
        shutil.copy(self.tokens, folder / "tokens.h5")
        with h5py.File(folder / "tokens.h5", "r+") as f:
            f["tokens"][5] = 99
        self.fails(65, "hold other values than were written", "verify", folder / "tokens.h5")

    def test_output_that_cannot_be_written(self):
        self.fails(74, "cannot create", "tokenize", self.study, "--set", "study.output=/proc/nowhere")
        (fresh("file") / "out").write_text("a file, no folder")
        self.fails(74, "cannot create", "tokenize", self.study, "--set", f"study.output={pathlib.Path('scratch/file/out').resolve()}", ranks=1)

    def test_disk_full(self):
        """A tmpfs of 600 KiB: the size is known before the first byte, and what fits no longer is refused."""
        mount = fresh("tiny_disk")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", mount], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no permission to mount a tmpfs")
        try:
            self.fails(74, "has only", "extract", "--model", DEMO / "models" / "small", "--tokens", self.tokens, "--out", mount / "acts.h5")
            self.assertEqual(list(mount.iterdir()), [])
            (mount / "ballast").write_bytes(bytes(560 * 1024))  # now even a small SAE does not fit
            np.save(self.base / "x.npy", np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32))
            self.fails(74, "is the disk full?", "train-sae", "--activations", self.base / "x.npy", "--d-sae", 256, "--k", 4, "--steps", 3, "--batch", 64,
                       "--out", mount / "sae")
            self.assertFalse((mount / "sae").exists())
        finally:
            subprocess.run(["umount", mount], check=True)

    def test_missing_sae_and_wrong_width(self):
        run("run", self.study, "--set", "compare.permutations=3", ranks=1)
        out = self.base / "out"
        self.fails(66, "there is no SAE", "encode", "--activations", out / "a/activations.h5", "--saes", "nowhere", "--out", self.base / "f.h5", ranks=1)
        shutil.copytree(out / "b/saes/layer_004", self.base / "wrong/layer_002", dirs_exist_ok=True)
        self.fails(65, "is 192 wide", "encode", "--activations", out / "a/activations.h5", "--saes", self.base / "wrong", "--layers", "2", "--out", self.base / "f.h5")


if __name__ == "__main__":
    assert RANKS >= 2
    unittest.main()
