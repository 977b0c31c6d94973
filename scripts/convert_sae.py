#!/usr/bin/env python3
"""Converts an SAE of dictionary_learning (trainer_0/ae.pt beside config.json) into a SAELens folder, which concord and sae-lens read.

  convert_sae.py AE.pt OUT_FOLDER [--config CONFIG.json]

The pickle is read without running anything it asks for: only tensors and plain containers are understood. Needs numpy alone.
Exit status: 0 done, 65 the file is not such an SAE, 66 it is missing.
"""
import argparse
import collections
import json
import pathlib
import pickle
import struct
import sys
import zipfile

import numpy as np

DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4", "BoolStorage": "?",
          "BFloat16Storage": "bf16"}


class BadFile(Exception):
    """What the user is told."""


class TensorReader(pickle.Unpickler):
    """The pickle inside a file that torch.save wrote: names that are not needed for tensors are refused."""

    def __init__(self, archive, root):
        super().__init__(archive.open(f"{root}/data.pkl"))
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in DTYPES:
            return name
        raise BadFile(f"the pickle asks for {module}.{name}, which no SAE needs; it is not loaded")

    def persistent_load(self, pid):
        _, storage, key, _, count = pid
        raw = self.archive.read(f"{self.root}/data/{key}")
        if DTYPES[storage] == "bf16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, DTYPES[storage])
        return values[:count]

    @staticmethod
    def tensor(storage, offset, shape, strides, *_):
        item = storage.dtype.itemsize
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, [s * item for s in strides]).copy()


def read_torch(path):
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/data.pkl"))[: -len("/data.pkl")]
            state = TensorReader(archive, root).load()
    except (zipfile.BadZipFile, StopIteration, KeyError, pickle.UnpicklingError) as error:
        raise BadFile(f"{path} is no file of torch.save: {error}") from error
    if not isinstance(state, dict):
        raise BadFile(f"{path} holds a {type(state).__name__}, not the tensors of an SAE")
    return {name: np.asarray(value) for name, value in state.items()}


def saelens(state, dict_class):
    """cfg and tensors of a SAELens folder from dictionary_learning's tensors. Their names tell the class, but for BatchTopK, which looks
    like TopK: it and Matryoshka, which have no batch when they are used, go by their threshold."""
    f32 = {name: value.astype(np.float32) for name, value in state.items() if value.ndim > 0}
    cfg = {"apply_b_dec_to_input": True}
    if "r_mag" in f32:  # GatedAutoEncoder
        cfg["architecture"] = "gated"
        tensors = {"W_enc": f32["encoder.weight"].T, "W_dec": f32["decoder.weight"].T, "b_dec": f32["decoder_bias"], "b_gate": f32["gate_bias"],
                   "b_mag": f32["mag_bias"], "r_mag": f32["r_mag"]}
    elif "k" in state:  # AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE
        matryoshka = "W_enc" in f32
        tensors = {"W_enc": f32["W_enc"] if matryoshka else f32["encoder.weight"].T, "W_dec": f32["W_dec"] if matryoshka else f32["decoder.weight"].T,
                   "b_enc": f32["b_enc"] if matryoshka else f32["encoder.bias"], "b_dec": f32["b_dec"]}
        cfg.update({"architecture": "topk", "k": int(state["k"]), "rescale_acts_by_decoder_norm": False})
        threshold = float(state.get("threshold", -1))
        if (matryoshka or dict_class == "BatchTopKSAE") and threshold >= 0:
            cfg = {"apply_b_dec_to_input": True, "architecture": "jumprelu"}
            tensors["threshold"] = np.full(len(tensors["b_enc"]), threshold, np.float32)
    elif "threshold" in f32:  # JumpReluAutoEncoder
        cfg = {"apply_b_dec_to_input": False, "architecture": "jumprelu"}
        tensors = {name: f32[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    elif "bias" in f32 and "encoder.weight" in f32:  # AutoEncoder
        cfg["architecture"] = "standard"
        tensors = {"W_enc": f32["encoder.weight"].T, "W_dec": f32["decoder.weight"].T, "b_enc": f32["encoder.bias"], "b_dec": f32["bias"]}
    else:
        raise BadFile(f"tensors {', '.join(sorted(state))} are of no SAE class that is known (AutoEncoder, GatedAutoEncoder, JumpReluAutoEncoder, "
                      "AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE)")
    d, latents = tensors["W_enc"].shape
    if tensors["W_dec"].shape != (latents, d):
        raise BadFile(f"W_dec has shape {tensors['W_dec'].shape}, not {(latents, d)}")
    cfg.update({"d_in": d, "d_sae": latents, "dtype": "float32", "device": "cpu", "normalize_activations": "none", "reshape_activations": "none"})
    return cfg, tensors


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + 4 * value.size]}
        offset += 4 * value.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            f.write(np.ascontiguousarray(value, "<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ae", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--config", type=pathlib.Path, help="config.json of the training (default: beside the file)")
    o = parser.parse_args()
    if not o.ae.exists():
        print(f"convert_sae.py: there is no {o.ae}", file=sys.stderr)
        return 66
    config_path = o.config or o.ae.parent / "config.json"
    trainer = json.loads(config_path.read_text()).get("trainer", {}) if config_path.exists() else {}
    try:
        cfg, tensors = saelens(read_torch(o.ae), trainer.get("dict_class"))
    except BadFile as error:
        print(f"convert_sae.py: {error}", file=sys.stderr)
        return 65
    layer = trainer.get("layer")
    cfg["metadata"] = {"model_name": trainer.get("lm_name", "unknown"), "hook_name": f"blocks.{layer}.hook_resid_post" if layer is not None else "unknown"}
    o.out.mkdir(parents=True, exist_ok=True)
    write_safetensors(o.out / "sae_weights.safetensors", tensors)
    (o.out / "cfg.json").write_text(json.dumps(cfg, indent=2) + "\n")
    print(f"{o.out}: {cfg['architecture']}, {cfg['d_in']} x {cfg['d_sae']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
