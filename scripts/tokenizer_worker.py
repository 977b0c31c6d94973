#!/usr/bin/env python3
"""Tokens of documents by a Hugging Face tokenizer, for `concord tokenize`, each rank of which starts one worker.

    tokenizer_worker.py PATH/tokenizer.json BOS       BOS: a token, none, or auto: what the model's files beside it name

Standard input and output carry whole numbers of 64 bits and bytes. An answer is 0 and what follows, or an exit code of concord, the length of
a message, the message, and the end. The first answer comes by itself: BOS (32 bits, -1: none), the number of pieces, their lengths, the text of
each. A request is the number of documents, their lengths in bytes and their bytes (UTF-8). Its answer is for each document the number of
tokens, their ids (32 bits), where they begin and where they end in the document's bytes. The worker ends with its input.
Needs numpy and tokenizers.
"""
import json
import os
import pathlib
import sys

BAD_DATA, UNAVAILABLE, CONFIG = 65, 69, 78
CONFIGS = ("config.json", "generation_config.json")


class Trouble(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Trouble(BAD_DATA, f"{path}: {error}") from error


def bos_of(folder, tokenizer, wanted):
    """Id that opens contexts: `wanted`, else what the model's files name."""
    if wanted == "none":
        return -1
    if wanted != "auto":
        found = tokenizer.token_to_id(wanted)
        if found is None:
            raise Trouble(CONFIG, f"corpus.bos: {folder / 'tokenizer.json'} knows no token {wanted!r}")
        return found
    for path in (folder / name for name in CONFIGS):
        if path.exists():
            config = read_json(path)
            for told in (config, config.get("text_config") or {}):  # of a model of several modalities
                if isinstance(told.get("bos_token_id"), int):
                    return told["bos_token_id"]
    path = folder / "tokenizer_config.json"
    if path.exists():
        token = read_json(path).get("bos_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token and tokenizer.token_to_id(token) is not None:
            return tokenizer.token_to_id(token)
    raise Trouble(CONFIG, f"the files in {folder} name no BOS token; set corpus.bos to the token that opens contexts, or to none")


def parts_of(description):
    """The parts of the tokenizer that cut or join texts; a piece of the vocabulary of the same name says nothing."""
    waiting = [description.get(name) or {} for name in ("pre_tokenizer", "decoder", "post_processor")]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += [*part.get("pretokenizers", []), *part.get("decoders", []), *part.get("processors", [])]


def gpt2_bytes():
    """The printable stand-ins of byte-level BPE, back to bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {chr(b): b for b in kept}, 0
    for b in range(256):
        if b not in kept:
            table[chr(256 + extra)] = b
            extra += 1
    return table


def piece_text(token, table):
    """A token as SentencePiece would name it: a space is U+2581, a single byte <0xHH>. `table`: None where tokens are no stand-ins of bytes."""
    if table is None or any(c not in table for c in token):
        return token
    raw = bytes(table[c] for c in token)
    try:
        return raw.decode().replace(" ", "\u2581")
    except UnicodeDecodeError:
        return f"<0x{raw[0]:02X}>" if len(raw) == 1 else raw.decode(errors="replace")


def byte_positions(numpy, text):
    """Byte offset of each character, and the end."""
    points = numpy.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    sizes = 1 + (points >= 0x80).astype(numpy.int64) + (points >= 0x800) + (points >= 0x10000)
    return numpy.concatenate([[0], numpy.cumsum(sizes)]).astype(numpy.int64)


class Worker:
    def __init__(self, path, bos):
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        os.environ.setdefault("RAYON_NUM_THREADS", threads)
        os.environ["TOKENIZERS_PARALLELISM"] = "false" if threads == "1" else "true"
        try:
            import numpy
            from tokenizers import Tokenizer, processors
        except ImportError as error:
            raise Trouble(UNAVAILABLE, f"{sys.executable}, the Python that reads {path}, lacks numpy or tokenizers ({error}); run scripts/setup, or "
                                       "set CONCORD_PYTHON to one that has them") from error
        self.numpy = numpy
        description = read_json(path)
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise Trouble(BAD_DATA, f"{path} is no tokenizer: {error}") from error
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.bos = bos_of(path.parent, self.tokenizer, bos)
        byte_level = any(part.get("type") == "ByteLevel" for part in parts_of(description))
        if byte_level:  # that of Llama 3 would take the space from a token's bytes
            self.tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        table = gpt2_bytes() if byte_level else None
        count = 1 + max(self.tokenizer.get_vocab().values())  # ids may have gaps
        self.pieces = [piece_text(self.tokenizer.id_to_token(i) or "", table).encode(errors="replace") for i in range(count)]

    def opening(self):
        sizes = self.numpy.array([0, len(self.pieces), *map(len, self.pieces)], dtype=self.numpy.int64)
        bos = self.numpy.array([self.bos], dtype=self.numpy.int32)
        return [sizes[:1].tobytes(), bos.tobytes(), sizes[1:].tobytes(), *self.pieces]

    def answer(self, documents):
        numpy = self.numpy
        try:
            encoded = self.tokenizer.encode_batch(documents, add_special_tokens=False)
        except Exception as error:  # the library raises plain Exception
            raise Trouble(BAD_DATA, f"the tokenizer cannot read a text: {error}") from error
        parts = [bytes(8)]
        for text, tokens in zip(documents, encoded, strict=True):
            spans = byte_positions(numpy, text)[numpy.array(tokens.offsets, dtype=numpy.int64).reshape(-1, 2)]
            parts += [numpy.array([len(tokens.ids)], dtype=numpy.int64).tobytes(), numpy.array(tokens.ids, dtype=numpy.int32).tobytes()]
            parts += [numpy.ascontiguousarray(spans[:, 0]).tobytes(), numpy.ascontiguousarray(spans[:, 1]).tobytes()]
        return parts


def read_request(numpy, source):
    """The documents of the next request; nothing at the end of the input."""
    head = source.read(8)
    if len(head) < 8:
        return None
    sizes = numpy.frombuffer(source.read(8 * int(numpy.frombuffer(head, dtype=numpy.int64)[0])), dtype=numpy.int64)
    return [source.read(int(size)).decode() for size in sizes]


def main():
    _, path, bos = sys.argv
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        worker = Worker(pathlib.Path(path), bos)
        out.write(b"".join(worker.opening()))
        out.flush()
        while (documents := read_request(worker.numpy, sys.stdin.buffer)) is not None:
            out.write(b"".join(worker.answer(documents)))
            out.flush()
    except Trouble as trouble:
        message = str(trouble).encode(errors="replace")
        out.write(trouble.code.to_bytes(8, "little") + len(message).to_bytes(8, "little") + message)
        out.flush()
    except BrokenPipeError:  # concord has ended
        os._exit(0)


if __name__ == "__main__":
    main()
