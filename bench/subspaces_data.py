"""A corpus and sparse features in which concepts have features, for bench/subspaces.py: of any size, the same for a seed.

Concepts' phrases are words of one token, words of two tokens and phrases of two words; each word of a concept begins with a syllable of its own, so that
no two are kin. Features are as in bench/correlate.py; besides, each concept has a few that are active on most of its spans.
"""
import json

import h5py
import numpy as np

SYLLABLES = [c + v for c in "bcdfghjklmnprstvwyz" for v in "aeiou"]
UNK, PAD, BOS, FIRST = 0, 1, 2, 3
DOCUMENT = 8  # contexts


class World:
    """Pieces and phrases. Ids from FIRST on: the phrases' tokens, then other words in falling frequency."""

    def __init__(self, concepts, words, vocabulary, seed=7):
        rng = np.random.default_rng(seed)
        self.pieces = ["<unk>", "<pad>", "<s>"]
        taken = set()
        self.phrases = []  # (concept, text, ids)
        for c in range(concepts):
            for w in range(words):
                kind = 0 if w < words * 3 // 4 else 1 if w < words * 7 // 8 else 2
                first = self.new_word(rng, taken, SYLLABLES[w])
                rest = [self.new_word(rng, taken, SYLLABLES[(w + words) % len(SYLLABLES)])] if kind == 2 else []
                parts = [["▁" + first], ["▁" + first[:4], first[4:] + "q"], ["▁" + first, *["▁" + r for r in rest]]][kind]
                ids = []
                for part in parts:
                    self.pieces.append(part)
                    ids.append(len(self.pieces) - 1)
                self.phrases.append((c, "".join(parts).replace("▁", " ").strip(), ids))
        self.first_other = len(self.pieces)
        while len(self.pieces) < vocabulary:
            self.pieces.append("▁" + self.new_word(rng, taken, SYLLABLES[rng.integers(len(SYLLABLES))]))
        self.concept_of = np.array([c for c, _, _ in self.phrases])
        self.first_id = np.array([ids[0] for _, _, ids in self.phrases])
        self.second_id = np.array([ids[1] if len(ids) > 1 else -1 for _, _, ids in self.phrases])

    @staticmethod
    def new_word(rng, taken, start):
        while True:
            word = start + "".join(SYLLABLES[i] for i in rng.integers(0, len(SYLLABLES), 3))
            if word not in taken:
                taken.add(word)
                return word

    def write_lists(self, path):
        lines = [f"g{c // 5}\tconcept{c}\t{text}\t1\n" for c, text, _ in self.phrases]
        path.write_text("group\tconcept\tphrase\tweight\n" + "".join(lines))


def write_tokens(path, world, rows, context, share, seed):
    """Phrases at `share` of the places, other words by Zipf's law; which concept's phrase begins at each row (-1: none) and how long it is."""
    rng = np.random.default_rng(seed)
    contexts = rows // context
    others = np.cumsum(np.arange(1, len(world.pieces) - world.first_other + 1, dtype=np.float64) ** -1.0)
    ids = np.empty((contexts, context), np.int32)
    concept = np.full((contexts, context), -1, np.int16)
    for begin in range(0, contexts, 4096):
        n = min(4096, contexts - begin)
        part = world.first_other + np.searchsorted(others / others[-1], rng.random((n, context))).astype(np.int32).clip(0, len(others) - 1)
        put = rng.random((n, context - 2)) < share
        row, column = np.nonzero(put)
        apart = np.r_[True, (np.diff(row * context + column) > 1)]
        row, column = row[apart], column[apart] + 1
        phrase = (len(world.phrases) * rng.random(len(row))).astype(np.int64)
        part[row, column] = world.first_id[phrase]
        concept[begin + row, column] = world.concept_of[phrase]
        two = world.second_id[phrase] >= 0
        part[row[two], column[two] + 1] = world.second_id[phrase[two]]
        concept[begin + row[two], column[two] + 1] = world.concept_of[phrase[two]]
        part[:, 0] = BOS
        ids[begin:begin + n] = part
    offsets = np.arange(contexts + 1, dtype=np.int64) * context
    with h5py.File(path, "w") as f:
        for name, value in {"concord_stage": "tokenize", "token_hash": f"bench {rows} {seed}", "bos_id": str(BOS), "stage_digest": f"tokens {rows} {seed}"}.items():
            f.attrs[name] = np.bytes_(value)
        f["tokens"] = ids.ravel()
        f["context_offsets"] = offsets
        f["context_document"] = np.arange(contexts, dtype=np.int64) // DOCUMENT
        texts = [p.encode() for p in world.pieces]
        f["pieces/bytes"] = np.frombuffer(b"".join(texts), np.uint8)
        f["pieces/ends"] = np.cumsum([len(t) for t in texts]).astype(np.int64)
    return concept.ravel()


def write_features(path, token_hash, concept, width, active, skew, concepts, context, seed, own=10):
    """`active` draws a row of popularity ~ rank^-skew; on rows of a concept each of its `own` features with a probability of its own."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(np.arange(1, width + 1, dtype=np.float64) ** -skew)
    edges /= edges[-1]
    order = rng.permutation(width).astype(np.int32)
    owned = order[width // 2:width // 2 + concepts * own].reshape(concepts, own)  # rare by themselves
    often = rng.uniform(0.4, 0.85, (concepts, own))
    rows = len(concept)
    count, sums, squares, largest = np.zeros(width, np.int64), np.zeros(width), np.zeros(width), np.zeros(width, np.float32)
    with h5py.File(path, "w") as f:
        f["row_kind"] = (np.arange(rows) % context == 0).astype(np.uint8)
        attributes = {"concord_stage": "encode", "layers": "[0]", "token_hash": token_hash, "stage_digest": f"{path.name} {rows} {seed}",
                      "counted_rows": str(int(rows - rows // context)), "keep_special": "0"}
        for name, value in attributes.items():
            f.attrs[name] = np.bytes_(value)
        layer = f.create_group("layer_000")
        indptr = np.zeros(rows + 1, np.int64)
        places = layer.create_dataset("indices", (rows * (active + own),), np.int32)  # what is not needed is a hole in the file
        values = layer.create_dataset("data", (rows * (active + own),), np.float32)
        done = 0
        for begin in range(0, rows, 1 << 15):
            of = concept[begin:begin + (1 << 15)]
            drawn = order[np.searchsorted(edges, rng.random((len(of), active))).clip(0, width - 1)]
            more = np.where((of[:, None] >= 0) & (rng.random((len(of), own)) < often[np.maximum(of, 0)]), owned[np.maximum(of, 0)], drawn[:, :own])
            drawn = np.sort(np.concatenate([drawn, more], 1), axis=1)
            new = np.ones_like(drawn, bool)
            new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
            new[(begin + np.arange(len(of))) % context == 0] = False
            columns = drawn[new]
            data = rng.lognormal(size=len(columns)).astype(np.float32)
            indptr[begin + 1:begin + 1 + len(of)] = done + np.cumsum(new.sum(1))
            places[done:done + len(columns)] = columns
            values[done:done + len(columns)] = data
            done += len(columns)
            count += np.bincount(columns, minlength=width)
            sums += np.bincount(columns, data, width)
            squares += np.bincount(columns, data.astype(np.float64) ** 2, width)
            np.maximum.at(largest, columns, data)
        layer["indptr"] = indptr
        layer["count"], layer["sum"], layer["sum_squares"], layer["max"] = count, sums, squares, largest
        layer["top_rows"], layer["top_values"] = np.full((width, 1), -1, np.int64), np.zeros((width, 1), np.float32)
    return done


def write_sae(folder, width, d, seed):
    """Random rows of unit length, in the form of SAELens."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    decoder = rng.standard_normal((width, d)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    tensors = {"W_enc": np.ascontiguousarray(decoder.T), "W_dec": decoder, "b_enc": np.zeros(width, np.float32), "b_dec": np.zeros(d, np.float32)}
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "sae_weights.safetensors", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            f.write(value.tobytes())
    config = {"architecture": "topk", "d_in": d, "d_sae": width, "k": 64, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
              "normalize_activations": "none", "reshape_activations": "none", "rescale_acts_by_decoder_norm": False,
              "metadata": {"sae_lens_training_version": "concord"}}
    (folder / "cfg.json").write_text(json.dumps(config))
