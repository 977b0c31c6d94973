#!/usr/bin/env python3
"""Writes the first inputs of every fuzz target to a folder: golden files that are small, and files of each kind made here.

    seeds.py FOLDER       needs numpy and scipy
"""
import hashlib
import io
import json
import pathlib
import re
import struct
import sys
import zipfile

import numpy as np
import scipy.sparse

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/golden"
LARGEST = 20_000  # bytes: the fuzzer goes through small files faster
LINE = b"\n"


def npy(array, order="C", version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array, order=order), version=version)
    return out.getvalue()


def npz(arrays, compress=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as archive:
        for name, array in arrays.items():
            archive.writestr(name + ".npy", npy(array))
    return out.getvalue()


def safetensors(arrays):
    """The container by hand: 8 bytes of size, a JSON index, the tensors."""
    index, data = {}, b""
    names = {"f4": "F32", "f2": "F16", "f8": "F64", "i8": "I64", "i4": "I32", "u1": "U8"}
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        index[name] = {"dtype": names[array.dtype.str[1:]], "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    header = json.dumps(index).encode()
    return struct.pack("<Q", len(header)) + header + data


def pair(first, second):
    """Two files in one input, as fuzz.hpp takes them apart."""
    return struct.pack("<I", len(first)) + first + second


def arrays():
    matrix = np.arange(6, dtype="f4").reshape(2, 3)
    for dtype in ("<f8", "<f4", "<f2", "<i8", "<u8", "<i4", "<u4", "<i2", "<u2", "|i1", "|u1", "|b1", ">f8", ">i2"):
        yield npy(matrix.astype(dtype))
    yield npy(matrix, order="F")
    yield npy(np.zeros((0, 3), "f4"), order="F")
    yield npy(np.float64(3))
    yield npy(matrix, version=(2, 0))
    yield npy(np.array("csr"))


def sparse_matrices():
    dense = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 0]], "f4")
    for compressed in (True, False):
        for dtype in ("f4", "f8"):
            out = io.BytesIO()
            scipy.sparse.save_npz(out, scipy.sparse.csr_matrix(dense.astype(dtype)), compressed=compressed)
            yield out.getvalue()
    out = io.BytesIO()
    scipy.sparse.save_npz(out, scipy.sparse.csr_matrix((2, 2), dtype="f4"))
    yield out.getvalue()


def sae_arrays(d=2, f=3):
    rng = np.random.default_rng(1)
    sizes = {"W_enc": (d, f), "W_dec": (f, d), "b_enc": (f,), "b_dec": (d,), "threshold": (f,)}
    return {name: rng.standard_normal(shape).astype("f4") for name, shape in sizes.items()}


def gemma_scopes():
    for compress in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield npz(sae_arrays(), compress)


def saes():
    """cfg.json and weights of each format and architecture."""
    weights = sae_arrays()
    several = {"topk": ({"k": 2}, ["b_enc"]), "jumprelu": ({}, ["b_enc", "threshold"]), "standard": ({}, ["b_enc"]),
               "gated": ({}, ["b_gate", "b_mag", "r_mag"])}
    for architecture, (more, latent) in several.items():
        held = {name: weights[name] for name in ("W_enc", "W_dec", "b_dec")} | {name: weights["b_enc"] for name in latent}
        new = {"architecture": architecture, "d_in": 2, "d_sae": 3, "normalize_activations": "none", "apply_b_dec_to_input": True,
               "reshape_activations": "none", "metadata": {"sae_lens_version": "6.5.0"}, **more}
        yield pair(json.dumps(new).encode(), safetensors(held))
    topk = {name: weights[name] for name in ("W_enc", "W_dec", "b_dec", "b_enc")}
    old = {"d_in": 2, "d_sae": 3, "activation_fn": "topk", "activation_fn_kwargs": {"k": 1}, "hook_name": "blocks.1.hook_resid_post"}
    yield pair(json.dumps(old).encode(), safetensors(topk | {"scaling_factor": np.ones(3, "f4")}))
    sparsify = {"d_in": 2, "num_latents": 3, "k": 2, "activation": "topk", "signed": False}
    held = {"encoder.weight": weights["W_dec"], "encoder.bias": weights["b_enc"], "W_dec": weights["W_dec"], "b_dec": weights["b_dec"]}
    yield pair(json.dumps(sparsify).encode(), safetensors(held))
    crosscoder = {"architecture": "crosscoder", "activation": "topk", "k": 1, "d_sae": 3, "d_in_parts": [2, 2], "dtype": "float32"}
    held = {name + part: weights[name] for name in ("W_enc", "W_dec", "b_dec") for part in ("_a", "_b")} | {"b_enc": weights["b_enc"]}
    yield pair(json.dumps(crosscoder).encode(), safetensors(held))
    scope = {"architecture": "jump_relu", "type": "sae", "hf_hook_point_in": "x", "hf_hook_point_out": "x", "width": 3}
    yield pair(json.dumps(scope).encode(), safetensors({name.lower(): array for name, array in weights.items()}))


def golden_saes():
    for folder in sorted((GOLDEN / "saes").iterdir()):
        weights = [folder / name for name in ("sae_weights.safetensors", "sae.safetensors") if (folder / name).exists()]
        if folder.is_dir() and (folder / "cfg.json").exists() and weights:
            yield pair((folder / "cfg.json").read_bytes(), weights[0].read_bytes())


def model_configs():
    for path in sorted(GOLDEN.glob("*/config.json")) + sorted((ROOT / "data").glob("**/config.json")):
        yield path.read_bytes()
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    yield json.dumps({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
                      "num_attention_heads": 4, "num_key_value_heads": 2, "rope_scaling": rope}).encode()
    yield json.dumps({"model_type": "gemma2", "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"],
                      "attn_logit_softcapping": None, "query_pre_attn_scalar": 256}).encode()


def studies():
    yield LINE
    for path in sorted((ROOT / "configs").glob("**/*.toml")):
        yield LINE + path.read_bytes()
    yield b"sae.k=3" + LINE + b'[study]\nname = "a\\u00e9\\\\b"\npaper = true\n[sae]\nlatents = 64\nvariants = ["k=2"]\n'
    yield b'corpus.paths=["a", "b"]' + LINE + b"[model.a]\nlayers = [0, -1]\n"


def concept_tables():
    text = "The king of France and the K\u0130NG's old-fashioned hou\u00adse; stra\u00dfe STRASSE caf\u00e9 cafe\u0301 \U0001F600 long\ntime, New  York\n\nyork".encode()
    for table in ("concept\tphrase\nA\tking of france\nA\tking\nB\tstra\u00dfe\n", "\ufeffgroup\tconcept\tphrase\tweight\r\ng\tA\tNew York\t0\r\ng\tA\tyork\t1.5\r\nh\tB\tcaf\u00e9\t1\r\n",
                  "category\tphrase\tn_words\nTime\tlong time\t2\nAll\tlong time\t2\nAll\thouse\t1\n", "concept\tphrase\nA\t\n"):
        table = table.encode()
        yield len(table).to_bytes(4, "little") + table + text


def parts(count):
    """One control byte a part of hdf5_parts.hpp: all as they should be, and each of them missing, empty or of other shape."""
    yield bytes(count)
    for part in range(count):
        for control in (1, 2, 5, 12):
            yield bytes(part) + bytes([control]) + bytes(range(1, 40))


def results(counts=(1, 5, 9, 9, 31)):
    """The same behind the byte that says which file; parts as results.cpp writes them."""
    for kind, count in enumerate(counts):
        for seed in parts(count):
            yield bytes([kind]) + seed


def records():
    rates = {"alone": 1e9, "together": 5e8, "half": 30}
    words = re.findall(r'"(\w+)"', (ROOT / "src/cost/machine.cpp").read_text().split("words{")[1].split("}")[0])
    link, files = {"latency": 1e-6, "bandwidth": 1e10}, {"rank": 1e9, "node": 1e9, "all": 1e10}
    yield json.dumps({"name": "x", "source": "y", "ranks_a_node": 2, "threads_a_rank": 1, "work": {word: rates for word in words},
                      "memory": 1e10, "messages": {"within": link, "between": link}, "files": {"read": files, "write": files},
                      "gpus_a_node": 1, "gpu": {"work": {words[0]: rates}, "memory": 1e12}}).encode()
    yield b"".join(json.dumps({"step": step, "loss": 0.5}).encode() + LINE for step in (1, 5, 9)) + b'{"step": 1'


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """A field of a protocol buffer: whole numbers, floats, and bytes behind their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tokenizers():
    """A SentencePiece model of few pieces: unknown, control, bytes, letters."""
    pieces = [(b"<unk>", 2), (b"<s>", 3), (b"</s>", 3)] + [(b"<0x%02X>" % b, 6) for b in range(256)]
    letters = [(p.encode(), 1) for p in ("\u2581", "\u2581the", "e", "t", "h", "c", "a", "f", "o", "p", "n", "s", "9", ".", "in", "en")]
    for kind in (1, 2):  # unigram, byte pairs
        for byte_fallback in (0, 1):
            used = pieces + letters if byte_fallback else pieces[:3] + letters
            model = b"".join(field(1, field(1, piece) + field(2, -float(i)) + field(3, sort)) for i, (piece, sort) in enumerate(used))
            trainer = field(3, kind) + field(35, byte_fallback) + field(40, 0) + field(41, 1) + field(42, 2) + field(43, (1 << 64) - 1)
            yield model + field(2, trainer) + field(3, field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1))


def with_charsmap():
    """The normaliser of the demo's model, with few of its pieces."""
    data = (ROOT / "data/demo/tokenizer.model").read_bytes()
    at, kept, count = 0, b"", 0
    while at < len(data):
        begin, tag, at = at, data[at], at + 1
        length = shift = 0
        while True:
            byte = data[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        at += length
        count += tag == 0x0A
        if tag != 0x0A or count <= 300:
            kept += data[begin:at]
    yield kept


TARGETS = {
    "npy": [arrays, lambda: (path.read_bytes() for path in sorted(GOLDEN.glob("**/*.npy")))],
    "npz": [sparse_matrices],
    "safetensors": [lambda: [safetensors(sae_arrays())], lambda: (path.read_bytes() for path in sorted(GOLDEN.glob("**/*.safetensors")))],
    "model_config": [model_configs],
    "sae_config": [saes, golden_saes],
    "gemma_scope": [gemma_scopes, lambda: (path.read_bytes() for path in sorted(GOLDEN.glob("saes/gemma_scope/*.npz")))],
    "study": [studies],
    "tokens": [lambda: parts(9)],
    "features": [lambda: parts(15)],
    "activations": [lambda: parts(8)],
    "matches": [lambda: parts(26)],
    "results": [results],
    "records": [records],
    "tokenizer": [tokenizers, with_charsmap],
    "concepts": [concept_tables],
}


def main():
    folder = pathlib.Path(sys.argv[1])
    for target, sources in TARGETS.items():
        place = folder / target
        place.mkdir(parents=True, exist_ok=True)
        for source in sources:
            for seed in source():
                if len(seed) <= LARGEST or source is with_charsmap:
                    (place / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


if __name__ == "__main__":
    main()
