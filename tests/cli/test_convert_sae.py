#!/usr/bin/env python3
"""config.json of dictionary_learning changed key by key: scripts/convert_sae.py gives what the library loads, or names the key.

The library's answers are tests/golden/mutations/dictionary_learning.json (make_mutation_golden.py).
"""
import copy
import importlib.util
import json
import os
import pathlib
import tempfile
import unittest
import unittest.mock

import numpy as np

SOURCE = pathlib.Path(os.environ["CONCORD_SOURCE"])
SAES = SOURCE / "tests/golden/saes"
ROWS = 3
# Values that the library does not look at and the script refuses: they contradict the file, or their key is unknown.
REFUSED = {"trainer", "key_that_nobody_knows", "dict_class", "k", "activation_dim", "dict_size", "layer", "lm_name"}


def script():
    spec = importlib.util.spec_from_file_location("convert_sae", SOURCE / "scripts/convert_sae.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer_of(cfg, tensors):
    """Codes and reconstructions by SAELens' rules for what the script makes."""
    x = np.load(SAES / "x.npy")[:ROWS]
    h = (x - tensors["b_dec"] * cfg["apply_b_dec_to_input"]) @ tensors["W_enc"]
    if cfg["architecture"] == "gated":
        codes = (h + tensors["b_gate"] > 0) * np.maximum(np.exp(tensors["r_mag"]) * h + tensors["b_mag"], 0)
    else:
        codes = np.maximum(h + tensors["b_enc"], 0)
    if cfg["architecture"] == "jumprelu":
        codes = codes * (codes > tensors["threshold"])
    if cfg["architecture"] == "topk":
        codes = codes * (codes >= np.sort(codes, axis=1)[:, -cfg["k"]][:, None])
    return np.concatenate([codes.ravel(), (codes @ tensors["W_dec"] + tensors["b_dec"]).ravel()])


def changed(cfg, case):
    cfg = copy.deepcopy(cfg)
    for pointer, value in [*((p, None) for p in case.get("remove", [])), *case.get("set", {}).items()]:
        *path, last = pointer.split("/")[1:]
        inner = cfg
        for key in path:
            inner = inner[key]
        if pointer in case.get("remove", []):
            del inner[last]
        else:
            inner[last] = value
    return cfg


class ConvertSae(unittest.TestCase):
    def test_follows_the_library_or_names_the_key(self):
        convert = script()
        golden = json.loads((SOURCE / "tests/golden/mutations/dictionary_learning.json").read_text())["configs"]
        self.assertEqual(len(golden), 8)
        for name, config in golden.items():
            state = convert.read_torch(SAES / config["weights"] / "ae.pt")
            followed = 0
            for case in [{"got": [0]}, *config["cases"]]:
                keys = [p.split("/")[-1] for p in [*case.get("remove", []), *case.get("set", {})]]
                got = case["got"][0]
                with self.subTest(name=name, case=case), tempfile.TemporaryDirectory() as folder:
                    path = pathlib.Path(folder) / "config.json"
                    path.write_text(json.dumps(changed(config["cfg"], case)))
                    try:
                        found = answer_of(*convert.saelens(dict(state), convert.read_trainer(path)))
                    except convert.BadFile as error:
                        self.assertTrue(any(key in str(error) for key in keys), f"names no changed key: {error}")
                        wrong_type = "wrong type" in str(error) or "no object" in str(error)
                        self.assertTrue(isinstance(got, str) or wrong_type or REFUSED & set(keys) or "is not known" in str(error), f"the library follows it: {error}")
                        continue
                    self.assertNotIsInstance(got, str, "the library refuses it")
                    np.testing.assert_allclose(found, config["answers"][got], atol=1e-5)
                    followed += 1
            self.assertGreater(followed, 40, name)

    def test_a_folder_holds_a_whole_sae_or_none(self):
        """Whichever write or renaming fails, also where another SAE was before: its weights never stand beside the new cfg.json."""
        convert = script()
        new = convert.saelens(convert.read_torch(SAES / "dictionary_learning_AutoEncoderTopK/ae.pt"), {"dict_class": "AutoEncoderTopK"})
        calls = ["write_safetensors", "write_text", "replace 1", "replace 2"]
        for before, call in [(before, call) for before in (False, True) for call in calls]:
            with self.subTest(before=before, call=call), tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder) / "sae"
                if before:
                    convert.write_folder(out, {"old": True}, {"old": np.zeros(2, np.float32)})
                done, number = [], int(call.split()[1]) if " " in call else 1

                def failing(real):
                    def called(*arguments, **options):
                        done.append(arguments)
                        if len(done) == number:
                            raise OSError("no space")
                        return real(*arguments, **options)
                    return called
                target, name = {"write_safetensors": (convert, call), "write_text": (pathlib.Path, call)}.get(call, (convert.os, "replace"))
                with unittest.mock.patch.object(target, name, failing(getattr(target, name))), self.assertRaises(OSError):
                    convert.write_folder(out, *new)
                self.assertEqual(len(done), number)
                left = sorted(path.name for path in out.iterdir())
                if "cfg.json" in left:
                    self.assertEqual((before, json.loads((out / "cfg.json").read_text()), left), (True, {"old": True}, ["cfg.json", "sae_weights.safetensors"]))
                    self.assertIn(b'"old"', (out / "sae_weights.safetensors").read_bytes())
                self.assertEqual([name for name in left if name.startswith(".")], [])
                convert.write_folder(out, *new)
                self.assertEqual(json.loads((out / "cfg.json").read_text()), new[0])
                self.assertEqual(sorted(path.name for path in out.iterdir()), ["cfg.json", "sae_weights.safetensors"])

    def test_tensors_that_lie_about_their_storage_are_refused(self):
        convert = script()
        storage = np.arange(12, dtype=np.float32)
        make = convert.TensorReader.tensor
        np.testing.assert_array_equal(make(storage, 2, (2, 3), (1, 2)), [[2, 4, 6], [3, 5, 7]])
        np.testing.assert_array_equal(make(storage, 0, (3, 4), (4, 1)), storage.reshape(3, 4))
        lies = {"beyond its end by strides": (0, (3, 4), (5, 1)), "beyond its end by offset": (1, (3, 4), (4, 1)), "backwards": (4, (3,), (-1,)),
                "before its begin": (-1, (2,), (1,)), "more than it has": (0, (1 << 40,), (0,)), "other dimensions": (0, (3, 4), (4,)),
                "no numbers": (0, (3.0, 4.0), (4, 1)), "too large a stride": (0, (2,), (1 << 62,)), "truth": (True, (2,), (1,))}
        for lie, (offset, shape, strides) in lies.items():
            with self.subTest(lie=lie), self.assertRaises(convert.BadFile):
                make(storage, offset, shape, strides)


if __name__ == "__main__":
    unittest.main()
