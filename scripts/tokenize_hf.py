#!/usr/bin/env python3
"""Makes a tokens.h5 with a Hugging Face tokenizer (tokenizer.json), for models without a SentencePiece model such as Llama 3 or SmolLM2.

  scripts/tokenize_hf.py --tokenizer MODEL_FOLDER --context 1024 --out tokens.h5 corpus/*.txt
  concord extract --model MODEL_FOLDER --tokens tokens.h5 --out activations.h5      or, in a study:  [corpus] token_ids = "tokens.h5"

Documents are those of `concord tokenize`, which says where they lie (`concord documents`); BOS opens each context, no context spans two
documents. Byte ranges of the tokens in their document go with them. Needs: pip install tokenizers h5py numpy xxhash
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

import h5py
import numpy as np
import xxhash
from tokenizers import Tokenizer


def fail(message):
    sys.exit(f"tokenize_hf: error: {message}")


def bos_of(folder, tokenizer, wanted):
    """Id that opens contexts: --bos, else what the model's configuration names."""
    if wanted == "none":
        return -1
    if wanted != "auto":
        found = tokenizer.token_to_id(wanted)
        if found is None:
            fail(f"the tokenizer knows no token {wanted!r}; give another --bos, or --bos none")
        return found
    for name in ("config.json", "generation_config.json"):
        if (folder / name).exists():
            config = json.loads((folder / name).read_text())
            for told in (config, config.get("text_config") or {}):  # of a model of several modalities
                if isinstance(told.get("bos_token_id"), int):
                    return told["bos_token_id"]
    if (folder / "tokenizer_config.json").exists():
        token = json.loads((folder / "tokenizer_config.json").read_text()).get("bos_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token and tokenizer.token_to_id(token) is not None:
            return tokenizer.token_to_id(token)
    fail(f"{folder} names no BOS token; give --bos TOKEN, or --bos none")


def documents_of(concord, paths, at):
    """The documents as `concord documents` says where they lie: one rule, one implementation."""
    try:
        done = subprocess.run([concord, "documents", f"--documents={at}", *(f"--text={path}" for path in paths)], stdout=subprocess.PIPE, check=False)
    except OSError as error:
        fail(f"cannot start {concord}: {error.strerror}; build concord, or give --concord PROGRAM")
    if done.returncode != 0:
        fail(f"{concord} documents ended with {done.returncode}")
    for entry in done.stdout.split(b"\0")[:-1]:
        begin, end, path = entry.split(b" ", 2)
        with open(path, "rb") as f:
            f.seek(int(begin))
            yield f.read(int(end) - int(begin)).decode()


def concord_program():
    """The program of the build beside this script, else the one on the path."""
    built = pathlib.Path(__file__).resolve().parent.parent / "build" / "concord"
    return os.environ.get("CONCORD") or (str(built) if built.exists() else "concord")


def is_byte_level(description):
    """Whether a part of the tokenizer that cuts or joins texts is of kind ByteLevel; a piece of the vocabulary of this name says nothing."""
    parts = [description.get(name) or {} for name in ("pre_tokenizer", "decoder")]
    while parts:
        part = parts.pop()
        if part.get("type") == "ByteLevel":
            return True
        parts += [*part.get("pretokenizers", []), *part.get("decoders", [])]
    return False


def byte_positions(text):
    """Byte offset of each character, and the end."""
    sizes = np.fromiter((len(c.encode()) for c in text), dtype=np.int64, count=len(text))
    return np.concatenate([[0], np.cumsum(sizes)])


def gpt2_bytes():
    """The printable stand-ins of byte-level BPE, back to bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {chr(b): b for b in kept}, 0
    for b in range(256):
        if b not in kept:
            table[chr(256 + extra)] = b
            extra += 1
    return table


def piece_text(token, byte_level, table):
    """A token as SentencePiece would name it: a space is U+2581, a single byte <0xHH>."""
    if not byte_level or any(c not in table for c in token):
        return token
    raw = bytes(table[c] for c in token)
    try:
        return raw.decode().replace(" ", "\u2581")
    except UnicodeDecodeError:
        return f"<0x{raw[0]:02X}>" if len(raw) == 1 else raw.decode(errors="replace")


def tokenize(arguments, tokenizer, bos):
    ids, begins, ends, offsets, document_of = [], [], [], [0], []
    room = arguments.context - (bos >= 0)
    total = 0
    for number, document in enumerate(documents_of(arguments.concord, arguments.text, arguments.documents)):
        encoded = tokenizer.encode(document, add_special_tokens=False)
        at = byte_positions(document)
        spans = np.array(encoded.offsets, dtype=np.int64).reshape(-1, 2)
        tokens = np.array(encoded.ids, dtype=np.int32)
        for first in range(0, len(tokens), room):
            part = slice(first, min(first + room, len(tokens)))
            size = part.stop - first + (bos >= 0)
            if arguments.max_tokens and total + size > arguments.max_tokens:
                return ids, begins, ends, offsets, document_of
            head = [bos] if bos >= 0 else []
            ids.append(np.concatenate([np.array(head, dtype=np.int32), tokens[part]]))
            place = at[spans[first, 0]]
            begins.append(np.concatenate([np.array([place] * len(head), dtype=np.int64), at[spans[part, 0]]]))
            ends.append(np.concatenate([np.array([place] * len(head), dtype=np.int64), at[spans[part, 1]]]))
            total += size
            offsets.append(total)
            document_of.append(number)
    return ids, begins, ends, offsets, document_of


def write(path, arrays, pieces, bos, settings):
    ids, begins, ends, offsets, document_of = arrays
    if not ids:
        fail("the corpus holds no text (or --max-tokens is less than the first context)")
    ids, offsets = np.concatenate(ids), np.array(offsets, dtype=np.int64)
    token_hash = xxhash.xxh3_128(ids.tobytes() + offsets.tobytes()).hexdigest()
    temporary = pathlib.Path(f"{path}.partial")
    with h5py.File(temporary, "w") as f:
        f["tokens"], f["context_offsets"] = ids, offsets
        f["context_document"] = np.array(document_of, dtype=np.int64)
        f["byte_begin"], f["byte_end"] = np.concatenate(begins), np.concatenate(ends)
        text = [p.encode() for p in pieces]
        f["pieces/bytes"] = np.frombuffer(b"".join(text), dtype=np.uint8)
        f["pieces/ends"] = np.cumsum([len(t) for t in text]).astype(np.int64)
        attributes = {"concord_stage": "tokenize", "concord_schema_version": "1", "token_hash": token_hash, "bos_id": str(bos),
                      "stage_digest": xxhash.xxh3_128(json.dumps([settings, token_hash]).encode()).hexdigest(), "settings": json.dumps(settings),
                      "inputs": json.dumps({"tokens": token_hash}), "software": "tokenize_hf.py", "command": " ".join(sys.argv),
                      "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
        for name, value in attributes.items():
            f.attrs.create(name, np.bytes_(value.encode()))
    temporary.rename(path)
    print(f"tokenize_hf: OK tokens={len(ids)} contexts={len(offsets) - 1} hash={token_hash} file={path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+", help="text files, folders or patterns, as `concord tokenize --text` takes them")
    parser.add_argument("--tokenizer", required=True, type=pathlib.Path, help="model folder with tokenizer.json, or that file")
    parser.add_argument("--out", required=True)
    parser.add_argument("--context", type=int, default=1024, help="longest context in tokens, BOS included")
    parser.add_argument("--max-tokens", type=int, default=0, help="stop behind the last context that fits; 0: all")
    parser.add_argument("--documents", choices=("blank-line", "file"), default="blank-line")
    parser.add_argument("--bos", default="auto", help="token that opens contexts; auto: as the model's configuration says; none")
    parser.add_argument("--concord", default=concord_program(), help="the program that says where the documents lie")
    arguments = parser.parse_args()
    file = arguments.tokenizer / "tokenizer.json" if arguments.tokenizer.is_dir() else arguments.tokenizer
    if not file.exists():
        fail(f"there is no {file}; a model with tokenizer.model needs only `concord tokenize`")
    if arguments.context < 2:
        fail("--context must be at least 2")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        fail(f"{file} is no tokenizer: {error}")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bos = bos_of(file.parent, tokenizer, arguments.bos)
    byte_level = is_byte_level(json.loads(file.read_text(encoding="utf-8")))
    table = gpt2_bytes()
    pieces = [piece_text(tokenizer.id_to_token(i) or "", byte_level, table) for i in range(1 + max(tokenizer.get_vocab().values()))]
    settings = {"tokenizer": file.name, "context": arguments.context, "max_tokens": arguments.max_tokens, "documents": arguments.documents}
    write(arguments.out, tokenize(arguments, tokenizer, bos), pieces, bos, settings)


if __name__ == "__main__":
    main()
