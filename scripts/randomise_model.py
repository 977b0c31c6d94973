#!/usr/bin/env python3
"""Writes a copy of a Hugging Face model with re-randomised weights: a control with the model's shape and scales and none of what
it learnt.

  randomise_model.py MODEL_FOLDER OUT_FOLDER [--seed 0]

Every matrix becomes Gaussian noise of the same Frobenius norm; embeddings and the head keep the norm of every row; biases keep theirs.
Weights of norms stay as they are, and so do buffers (masks, rotary frequencies). A head that equals the embedding equals it afterwards.
Shapes, data types (float64, float32, float16, bfloat16) and the layout of the safetensors files stay. The draws hang on the seed and on the
tensor's name alone. Needs numpy, and memory for three of the largest matrix in float64. Exit status: 0 done, 64 OUT_FOLDER is not empty,
65 not such a model, 66 a missing file.
"""
import argparse
import hashlib
import json
import pathlib
import shutil
import struct
import sys

import numpy as np

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
ROWS = ("embed_tokens.weight", "embed_in.weight", "embed_out.weight", "lm_head.weight", "wte.weight", "wpe.weight")
BUFFERS = ("inv_freq", ".masked_bias", ".attn.bias", ".attention.bias")
CHUNK = 1 << 24  # values of a matrix that are held at once when its rows are scaled one by one


class Bad(Exception):
    """What the user is told, with the exit status."""

    def __init__(self, message, status=65):
        super().__init__(message)
        self.status = status


def header_of(path):
    """The tensors of a safetensors file by name, and where their bytes begin."""
    with path.open("rb") as f:
        start = f.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= size <= path.stat().st_size - 8:
            raise Bad(f"{path} is no safetensors file")
        try:
            header = json.loads(f.read(size))
        except ValueError:
            raise Bad(f"{path} is no safetensors file: its header is no JSON") from None
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        width = np.dtype(FLOATS.get(entry["dtype"], "V1")).itemsize
        if entry["dtype"] in FLOATS and end - begin != width * int(np.prod(entry["shape"], dtype=np.int64)):
            raise Bad(f"{path}: {name} has {end - begin} bytes, which its shape {entry['shape']} does not need")
        if not 0 <= begin <= end <= path.stat().st_size - 8 - size:
            raise Bad(f"{path} is cut short: {name} lies behind its end")
    return header, 8 + size


def values_of(stored, dtype):
    """Stored values as float64."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return stored.astype(np.float64)


def stored_of(values, dtype):
    """float64 values as they are stored; bfloat16 by rounding float32 to the nearest, ties to even."""
    if dtype != "BF16":
        return values.astype(FLOATS[dtype])
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def kind_of(name, entry):
    """What happens to a tensor: 'keep', 'rows' (each row its norm) or 'matrix' (the last two axes are a matrix, or the last a vector)."""
    if entry["dtype"] not in FLOATS:
        if entry["dtype"] in ("BOOL", "U8", "I8", "I16", "I32", "I64"):
            if entry["dtype"] in ("U8", "I8") and name.endswith(".weight"):
                raise Bad(f"{name} is stored as {entry['dtype']}: quantised weights cannot be randomised; give the unquantised model")
            return "keep"
        raise Bad(f"{name} is stored as {entry['dtype']}; only {', '.join(FLOATS)} can be randomised")
    parts = name.lower().split(".")
    if name.endswith(BUFFERS) or any("norm" in part or part.startswith("ln_") for part in parts) or not entry["shape"]:
        return "keep"
    return "rows" if name.endswith(ROWS) else "matrix"


def noise_like(values, generator, axis):
    """Gaussian noise with the norms that `values` has along `axis`."""
    noise = generator.standard_normal(values.shape)
    wanted, drawn = (np.sqrt(np.sum(np.square(x), axis=axis, keepdims=True)) for x in (values, noise))
    return noise * np.divide(wanted, drawn, out=np.zeros_like(wanted), where=drawn > 0)


def randomise(tensor, name, entry, seed):
    """Writes noise over one tensor, a numpy view of the file."""
    key = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:16], "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    if kind_of(name, entry) == "rows":
        parts, axis = tensor.reshape(-1, tensor.shape[-1]), 1
        step = max(1, CHUNK // tensor.shape[-1])
    else:  # a stack of matrices, as experts are, one by one; a vector is a matrix of one row
        parts, axis, step = tensor.reshape(-1, *tensor.shape[-2:]), (1, 2)[:min(tensor.ndim, 2)], 1
        parts = parts if tensor.ndim > 1 else tensor[None]
    for begin in range(0, len(parts), step):
        part = parts[begin:begin + step]
        part[...] = stored_of(noise_like(values_of(part, entry["dtype"]), generator, axis), entry["dtype"])


def mapped(path, entry, start, mode):
    begin = start + entry["data_offsets"][0]
    return np.memmap(path, dtype=FLOATS[entry["dtype"]], mode=mode, offset=begin, shape=tuple(entry["shape"]))


def tied_head(folder, where):
    """Names of the head and of the embedding that it is a copy of, or of none."""
    embedding = next((name for name in where if name.endswith(("embed_tokens.weight", "embed_in.weight", "wte.weight"))), None)
    head = next((name for name in where if name.endswith(("lm_head.weight", "embed_out.weight"))), None)
    if embedding is None or head is None:
        return None, None
    (file_a, a, start_a), (file_b, b, start_b) = where[embedding], where[head]
    if (a["dtype"], a["shape"]) != (b["dtype"], b["shape"]):
        return None, None
    same = np.array_equal(mapped(folder / file_a, a, start_a, "r"), mapped(folder / file_b, b, start_b, "r"))
    return (head, embedding) if same else (None, None)


def copy_and_randomise(source, out, seed):
    files = sorted(p.name for p in source.glob("*.safetensors"))
    if not files:
        raise Bad(f"there is no safetensors file in {source}", 66)
    where = {}
    for file in files:
        header, start = header_of(source / file)
        where.update((name, (file, entry, start)) for name, entry in header.items())
    kinds = {name: kind_of(name, entry) for name, (_, entry, _) in where.items()}
    head, embedding = tied_head(source, where)
    for path in sorted(source.iterdir()):  # weights in other formats would be the trained ones
        if path.is_file() and path.suffix not in (".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx"):
            shutil.copyfile(path, out / path.name)
    for name, (file, entry, start) in where.items():
        if kinds[name] != "keep" and 0 not in entry["shape"]:
            tensor = mapped(out / file, entry, start, "r+")
            randomise(tensor, embedding if name == head else name, entry, seed)
            tensor.flush()
    counts = {kind: sum(k == kind for k in kinds.values()) for kind in ("matrix", "rows", "keep")}
    note = {"source": source.resolve().name, "seed": seed, "tensors": counts, "numpy": np.__version__}
    (out / "randomised.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.model / "config.json").exists():
        raise Bad(f"there is no {arguments.model / 'config.json'}; give the folder of a Hugging Face model", 66)
    if arguments.out.exists() and any(arguments.out.iterdir()):
        raise Bad(f"{arguments.out} is not empty; give another folder", 64)
    partial = arguments.out.with_name(arguments.out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    counts = copy_and_randomise(arguments.model, partial, arguments.seed)
    if arguments.out.exists():
        arguments.out.rmdir()
    partial.rename(arguments.out)
    kinds = f"matrices={counts['matrix']} by_row={counts['rows']} kept={counts['keep']}"
    print(f"randomise_model: OK seed={arguments.seed} {kinds} folder={arguments.out}")


if __name__ == "__main__":
    try:
        main()
    except Bad as error:
        print(f"randomise_model: error: {error}", file=sys.stderr)
        sys.exit(error.status)
