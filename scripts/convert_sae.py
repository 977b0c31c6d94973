#!/usr/bin/env python3
"""Converts an SAE of dictionary_learning (trainer_0/ae.pt beside config.json) into a SAELens folder, which concord and sae-lens read.

  convert_sae.py AE.pt OUT_FOLDER [--config CONFIG.json]

The pickle is read without running anything it asks for: only tensors and plain containers are understood. Needs numpy alone.
Exit status: 0 done, 65 the file is not such an SAE, 66 it is missing, 74 the folder cannot be written.
"""
import argparse
import collections
import json
import os
import pathlib
import pickle
import struct
import sys
import zipfile

import numpy as np

DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4", "BoolStorage": "?",
          "BFloat16Storage": "bf16"}

# What each class of dictionary_learning saves.
LINEAR = ["encoder.weight", "encoder.bias", "decoder.weight"]
CLASSES = {
    "AutoEncoder": [*LINEAR, "bias"],
    "AutoEncoderNew": [*LINEAR, "decoder.bias"],
    "GatedAutoEncoder": ["encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"],
    "JumpReluAutoEncoder": ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"],
    "AutoEncoderTopK": [*LINEAR, "b_dec", "k", "threshold"],
    "BatchTopKSAE": [*LINEAR, "b_dec", "k", "threshold"],
    "MatryoshkaBatchTopKSAE": ["W_enc", "W_dec", "b_enc", "b_dec", "k", "threshold", "group_sizes"],
}
# Keys of "trainer" in config.json: those that are read here, and those that say how the SAE was trained.
TRAINER_READ = {"dict_class", "k", "activation_dim", "dict_size", "layer", "lm_name"}
TRAINER_HARMLESS = set("""anneal_start auxk_alpha aux_penalty bandwidth decay_start device group_fractions group_sizes group_weights initial_sparsity_penalty
    l1_penalty l0_weight lr n_sparsity_updates p_end p_start resample_steps seed sparsity_function sparsity_loss_type sparsity_penalty
    sparsity_queue_length sparsity_warmup_steps steps submodule_name target_l0 temperature threshold_beta threshold_start_step top_k_aux
    trainer_class wandb_name warmup_steps""".split())


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
            return Storage(name)
        raise BadFile(f"the pickle asks for {module}.{name}, which no SAE needs; it is not loaded")

    def persistent_load(self, pid):
        _, storage, key, _, count = pid
        if not isinstance(storage, Storage) or not isinstance(key, str):
            raise BadFile("the pickle names a storage that is none")
        raw = self.archive.read(f"{self.root}/data/{key}")
        if DTYPES[storage.name] == "bf16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, DTYPES[storage.name])
        if whole(count) > len(values):
            raise BadFile(f"storage {key} has {len(values)} values, the pickle asks for {count}")
        return values[:count]

    @staticmethod
    def tensor(storage, offset, shape, strides, *_):
        """The elements at offset + index . strides, all of which must lie inside the storage."""
        if not isinstance(storage, np.ndarray) or not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
            raise BadFile("the pickle holds a malformed tensor")
        shape, strides, offset = [whole(n) for n in shape], [whole(n) for n in strides], whole(offset)
        if 0 in shape:
            return np.zeros(shape, storage.dtype)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
        elements = 1
        for n in shape:
            elements *= n
        if last >= len(storage) or elements > len(storage):
            raise BadFile(f"a tensor of shape {tuple(shape)} and strides {tuple(strides)} reaches beyond its storage of {len(storage)} values")
        item = storage.dtype.itemsize
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, [s * item for s in strides]).copy()


class Storage:
    """The type of a storage; nothing that a pickle could call."""

    def __init__(self, name):
        self.name = name


def whole(value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadFile(f"the pickle holds {value!r} in the place of a size")
    return value


def read_torch(path):
    if not zipfile.is_zipfile(path):
        raise BadFile(f"{path} is no archive of torch.save (files of torch before 1.6 are bare pickles: load and save them again with torch)")
    try:
        with zipfile.ZipFile(path) as archive:
            root = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if root is None:
                raise BadFile(f"{path} is no file of torch.save: it holds no data.pkl")
            state = TensorReader(archive, root[: -len("/data.pkl")]).load()
    except BadFile:
        raise
    except Exception as error:  # a hostile pickle can raise anything
        raise BadFile(f"{path} is no file of torch.save that can be read: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(name, str) and isinstance(value, np.ndarray) for name, value in state.items()):
        raise BadFile(f"{path} does not hold the tensors of an SAE by name")
    return state


def class_of(state, named):
    """The class that config.json names, whose tensors these must be; without a name, the one class that saves them."""
    if named is not None and named not in CLASSES:
        raise BadFile(f"trainer.dict_class {named} is not supported; known are {', '.join(CLASSES)}")
    fitting = [name for name, tensors in CLASSES.items() if set(tensors) == set(state)]
    if named is None and len(fitting) > 1:
        raise BadFile(f"{' and '.join(fitting)} save the same tensors; name the class as trainer.dict_class in config.json (--config)")
    if not fitting or (named is not None and named not in fitting):
        raise BadFile(f"tensors {', '.join(sorted(state))} are not those of {f'trainer.dict_class {named}' if named else 'any class that is known: ' + ', '.join(CLASSES)}")
    return named or fitting[0]


def scalar(state, name):
    if state[name].size != 1:
        raise BadFile(f"{name} is no single number")
    return state[name].item()


def trained_k(state, trainer, latents):
    k = scalar(state, "k")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= latents:
        raise BadFile(f"k is {k}; it must be a whole number from 1 to {latents}")
    if trainer.get("k", k) != k:
        raise BadFile(f"trainer.k of config.json is {trainer['k']!r}, k of the file {k}")
    return k


def unit_decoder(tensors):
    """As AutoEncoder.from_pretrained does unless all rows have norm 1: unit rows, their norms in the encoder."""
    norms = np.linalg.norm(tensors["W_dec"], axis=1)
    if np.allclose(norms, 1, rtol=1e-5, atol=1e-8):
        return
    if not (norms > 0).all():
        raise BadFile("decoder.weight has a column of zeros, which cannot be brought to norm 1")
    tensors["W_dec"] = tensors["W_dec"] / norms[:, None]
    tensors["W_enc"] = tensors["W_enc"] * norms
    tensors["b_enc"] = tensors["b_enc"] * norms


def saelens(state, trainer):
    """cfg and tensors of a SAELens folder from dictionary_learning's tensors, with the meaning of its load_dictionary and encode."""
    dict_class = class_of(state, trainer.get("dict_class"))
    f32 = {name: value.astype(np.float32) for name, value in state.items()}
    transposed = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
    names = {"AutoEncoder": {"b_enc": "encoder.bias", "b_dec": "bias"}, "AutoEncoderNew": {"b_enc": "encoder.bias", "b_dec": "decoder.bias"},
             "GatedAutoEncoder": {"b_dec": "decoder_bias", "b_gate": "gate_bias", "b_mag": "mag_bias", "r_mag": "r_mag"}}
    names = names.get(dict_class, {"b_enc": "encoder.bias" if "encoder.bias" in f32 else "b_enc", "b_dec": "b_dec"})
    for ours, theirs in transposed.items():
        if f32[theirs if theirs in f32 else ours].ndim != 2:
            raise BadFile(f"{theirs if theirs in f32 else ours} is no matrix")
    tensors = {ours: f32[theirs].T if theirs in f32 else f32[ours] for ours, theirs in transposed.items()}
    tensors.update({ours: f32[theirs] for ours, theirs in names.items()})
    d, latents = tensors["W_enc"].shape
    cfg = {"architecture": "standard", "apply_b_dec_to_input": dict_class not in ("AutoEncoderNew", "JumpReluAutoEncoder")}
    if dict_class == "AutoEncoderTopK":
        cfg.update({"architecture": "topk", "k": trained_k(state, trainer, latents), "rescale_acts_by_decoder_norm": False})
    elif dict_class in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE"):  # no batch when they are used: their threshold, -1 where it was never set
        trained_k(state, trainer, latents)
        cfg["architecture"] = "jumprelu"
        tensors["threshold"] = np.full(latents, scalar(state, "threshold"), np.float32)
    elif dict_class == "JumpReluAutoEncoder":
        cfg["architecture"] = "jumprelu"
        tensors["threshold"] = f32["threshold"]
    elif dict_class == "GatedAutoEncoder":
        cfg["architecture"] = "gated"
    check_tensors(tensors, d, latents, trainer)
    if dict_class == "MatryoshkaBatchTopKSAE" and int(state["group_sizes"].sum()) != latents:
        raise BadFile(f"group_sizes add up to {state['group_sizes'].sum()}, not to the {latents} latents")
    if dict_class == "AutoEncoder":
        unit_decoder(tensors)
    cfg.update({"d_in": d, "d_sae": latents, "dtype": "float32", "device": "cpu", "normalize_activations": "none", "reshape_activations": "none"})
    return cfg, tensors


def check_tensors(tensors, d, latents, trainer):
    if d == 0 or latents == 0:
        raise BadFile("the encoder is empty")
    for name, value in tensors.items():
        wanted = {"W_enc": (d, latents), "W_dec": (latents, d), "b_dec": (d,)}.get(name, (latents,))
        if value.shape != wanted:
            raise BadFile(f"{name} has shape {value.shape}, not {wanted}")
        if not np.isfinite(value).all():
            raise BadFile(f"{name} holds a value that is not finite")
    for key, size in (("activation_dim", d), ("dict_size", latents)):
        if trainer.get(key, size) != size:
            raise BadFile(f"trainer.{key} of config.json is {trainer[key]!r}, the file has {size}")


def read_trainer(path):
    """The "trainer" of config.json; every key of it is read here, of training, or refused."""
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not valid JSON: {error}") from error
    trainer = config.get("trainer", {}) if isinstance(config, dict) else None
    if not isinstance(trainer, dict):
        raise BadFile(f"{path} holds no object trainer")
    trainer = {key: value for key, value in trainer.items() if value is not None}
    for key, value in trainer.items():
        if key not in TRAINER_READ | TRAINER_HARMLESS:
            raise BadFile(f"{path}: the key trainer.{key} is not known and may change what the numbers mean")
        kind = str if key in ("dict_class", "lm_name") else int
        if key in TRAINER_READ and (not isinstance(value, kind) or isinstance(value, bool)) and not (key == "layer" and isinstance(value, str)):
            raise BadFile(f"{path}: trainer.{key} has the wrong type: {value!r}")
    return trainer


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
        f.flush()
        os.fsync(f.fileno())  # before cfg.json names it


def write_folder(out, cfg, tensors):
    """Weights and cfg.json, or neither. Both are written beside their names first; the new cfg.json, without which readers see no SAE, is named last."""
    out.mkdir(parents=True, exist_ok=True)
    files = [(out / "sae_weights.safetensors", lambda path: write_safetensors(path, tensors)),
             (out / "cfg.json", lambda path: path.write_text(json.dumps(cfg, indent=2) + "\n"))]
    try:
        for path, write in files:
            write(beside(path))
        (out / "cfg.json").unlink(missing_ok=True)  # of an SAE that was here: its cfg.json is not that of the new weights
        for path, _ in files:
            os.replace(beside(path), path)
    except BaseException:
        for path, _ in files:
            beside(path).unlink(missing_ok=True)
        raise


def beside(path):
    return path.with_name(f".{path.name}.{os.getpid()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ae", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--config", type=pathlib.Path, help="config.json of the training (default: beside the file)")
    o = parser.parse_args()
    if not o.ae.exists():
        print(f"convert_sae.py: there is no {o.ae}", file=sys.stderr)
        return 66
    if o.config and not o.config.exists():
        print(f"convert_sae.py: there is no {o.config}", file=sys.stderr)
        return 66
    try:
        trainer = read_trainer(o.config or o.ae.parent / "config.json")
        cfg, tensors = saelens(read_torch(o.ae), trainer)
    except (BadFile, OSError, UnicodeDecodeError) as error:
        print(f"convert_sae.py: {error}", file=sys.stderr)
        return 65
    layer = trainer.get("layer")
    cfg["metadata"] = {"model_name": trainer.get("lm_name", "unknown"), "hook_name": f"blocks.{layer}.hook_resid_post" if layer is not None else "unknown"}
    try:
        write_folder(o.out, cfg, tensors)
    except OSError as error:
        print(f"convert_sae.py: cannot write {o.out}: {error}", file=sys.stderr)
        return 74
    print(f"{o.out}: {cfg['architecture']}, {cfg['d_in']} x {cfg['d_sae']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
