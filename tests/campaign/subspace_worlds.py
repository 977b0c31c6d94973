"""Planted worlds of the whole stage `subspaces`: how often does it call agreement what was planted, and what was not?

  subspace_worlds.py --draws 40            all worlds; --worlds shared none: some

A draw is a made-up vocabulary (concepts of words of one token each, and fillers), a random corpus, and two Llama models whose attention and MLPs add
nothing, so that the row behind a layer is the word's own: s u_c' + sum_c e A[c, c'] u_c + noise, u_c a direction for each concept, e a sign for each
word. Predictions follow the row, so removing u_c at words of c' moves them by an amount that A[c, c'] sets. The SAE of a model has one feature for each u_c. The
program does the rest: extract, encode, subspaces."""
import argparse
import concurrent.futures
import dataclasses
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import h5py
import numpy as np
import xxhash

from campaign import CONCORD, ROOT, SECONDS_A_RUN, end, last_lines
from mutations import ALONE

sys.path.insert(0, str(ROOT / "scripts"))
from report_subspaces import Matrices, Subspaces, correlation  # noqa: E402

WIDTH, CONCEPTS, SIZE, WORDS, FILLERS, EXTRA = 64, 16, 4, 20, 80, 16  # SIZE: concepts of a group; EXTRA: features that stand for nothing
CONTEXTS, CONTEXT, OF_CONCEPTS, PRESENT = 160, 32, 16, 4  # words of a context, those of concepts among them, concepts in a context
OWN, STRENGTH, SPREAD, NOISE = 3.0, 0.4, 0.5, 0.25  # s; A^2 = STRENGTH exp(SPREAD v); noise of each coordinate of a word
BASES = ("sae", "residual", "dealt")
ALPHA = 0.05
DEALT_LEVEL = 0.3  # sets of words as dealt act alike by the words they hold, which covariates take out in part only


@dataclasses.dataclass
class World:
    """What v is made of besides noise of either model alone, whose standard deviation is 1 (as tests/agreement/worlds.hpp has it)."""
    shared: float = 0         # pairs of concepts that both models share: true agreement
    shared_rows: float = 1    # share of the concepts of each group whose rows are shared
    frequency: float = 0      # row and column effects that both share, and half as large ones of their own
    additive: bool = False    # strengths add: A^2 = STRENGTH (1 + SPREAD v), not below a twentieth of it; else they multiply
    co_occurrence: float = 0  # of the words in the corpus, which is one for both models
    groups: float = 0         # means of groups by groups, each model's own
    found: bool = False       # whether agreement is to be found
    level: float = ALPHA      # what the share of wrong findings may be


WORLDS = {
    "shared": World(shared=1, found=True),
    "shared for half the concepts": World(shared=1.4, shared_rows=0.5, found=True),
    "none": World(),
    "frequency, added": World(frequency=1, additive=True),
    "frequency, multiplied": World(frequency=1),
    "co-occurrence": World(co_occurrence=1, level=0.1),
    "groups": World(groups=1),
}


def words():
    """Made-up words no two of which begin with the same three letters, so that none counts as a form of another."""
    return [a + e + b + "o" for a in "bdfgklmnprstvz" for e in "aeiou" for b in "bdfgklmnprstvz"]


def corpus(random):
    """Token ids [contexts, 1 + CONTEXT], BOS first; a word of concept c is 1 + c WORDS + its number, fillers stand behind them."""
    ids = np.zeros((CONTEXTS, 1 + CONTEXT), np.int32)
    for context in ids:
        present = random.choice(CONCEPTS, PRESENT, replace=False)
        of_concepts = 1 + random.choice(present, OF_CONCEPTS) * WORDS + random.integers(WORDS, size=OF_CONCEPTS)
        context[1:] = random.permutation(np.concatenate([of_concepts, 1 + CONCEPTS * WORDS + random.integers(FILLERS, size=CONTEXT - OF_CONCEPTS)]))
    return ids


def write_tokens(path, ids):
    """tokens.h5 as docs/formats.md has it; two contexts a document."""
    pieces = ["<s>", *("\u2581" + word for word in words()[:CONCEPTS * WORDS + FILLERS])]
    length = np.array([0, *(len(p) for p in pieces[1:])])[ids]  # a blank and the word
    ends = np.cumsum(length.reshape(len(ids) // 2, -1), axis=1).ravel()
    text = [piece.encode() for piece in pieces]
    offsets = np.arange(len(ids) + 1, dtype=np.int64) * ids.shape[1]
    name = xxhash.xxh3_128(ids.tobytes() + offsets.tobytes()).hexdigest()
    with h5py.File(path, "w") as f:
        f["tokens"], f["context_offsets"] = ids.ravel(), offsets
        f["context_document"] = np.arange(len(ids), dtype=np.int64) // 2
        f["byte_begin"], f["byte_end"] = (ends - length.ravel()).astype(np.int64), ends.astype(np.int64)
        f["pieces/bytes"], f["pieces/ends"] = np.frombuffer(b"".join(text), np.uint8), np.cumsum([len(t) for t in text]).astype(np.int64)
        for key, value in {"concord_stage": "tokenize", "concord_schema_version": "1", "token_hash": name, "stage_digest": name, "bos_id": "0",
                           "settings": "{}", "inputs": "{}"}.items():
            f.attrs.create(key, np.bytes_(value.encode()))


def write_concepts(path):
    lines = [f"group{c // SIZE}\tconcept{c}\t{word}" for c in range(CONCEPTS) for word in words()[c * WORDS:(c + 1) * WORDS]]
    path.write_text("\n".join(["group\tconcept\tphrase", *lines]) + "\n")


def log_odds(ids):
    """Of words of two concepts in one context, as the stage counts them."""
    present = np.zeros((len(ids), CONCEPTS))
    for context, row in zip(present, ids):
        context[(row[(row > 0) & (row <= CONCEPTS * WORDS)] - 1) // WORDS] = 1
    both, one = present.T @ present, present.sum(axis=0)
    only, other = one[:, None] - both, one[None, :] - both
    return np.log((both + 0.5) * (len(ids) - both - only - other + 0.5) / ((only + 0.5) * (other + 0.5)))


def strengths(world, ids, common, own):
    """A^2 of one model: row, the concept that is removed; column, the one at whose words. `common` draws what both share."""
    shape = (CONCEPTS, CONCEPTS)
    f, shared, rows, columns = common.normal(size=CONCEPTS), common.normal(size=shape), own.normal(size=CONCEPTS), own.normal(size=CONCEPTS)
    together = log_odds(ids)
    off = ~np.eye(CONCEPTS, dtype=bool)
    together = (together - together[off].mean()) / together[off].std()
    means = np.kron(own.normal(size=(CONCEPTS // SIZE, CONCEPTS // SIZE)), np.ones((SIZE, SIZE)))
    is_shared = (np.arange(CONCEPTS) % SIZE < world.shared_rows * SIZE)[:, None]
    v = (world.shared * shared * is_shared + world.frequency * (f[:, None] + 0.7 * f[None, :] + 0.5 * (rows[:, None] + columns[None, :]))
         + world.co_occurrence * together + world.groups * means + own.normal(size=shape))
    return STRENGTH * (np.maximum(0.05, 1 + SPREAD * v) if world.additive else np.exp(np.minimum(SPREAD * v, 2)))


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + 4 * value.size]}
        offset += 4 * value.size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(np.ascontiguousarray(v, np.float32).tobytes() for v in tensors.values()))


def write_model(folder, squares, random):
    """A model of these strengths and its SAE."""
    directions = np.linalg.qr(random.normal(size=(WIDTH, CONCEPTS)))[0].T
    vocabulary = 1 + CONCEPTS * WORDS + FILLERS
    embedding = random.normal(size=(vocabulary, WIDTH)) * 0.5
    of = np.repeat(np.arange(CONCEPTS), WORDS)
    amounts = np.sqrt(squares.T)[of] * random.choice([-1, 1], size=(len(of), CONCEPTS))
    amounts[np.arange(len(of)), of] = OWN
    embedding[1:1 + len(of)] = amounts @ directions + NOISE * random.normal(size=(len(of), WIDTH))
    nothing, inner = np.zeros((WIDTH, WIDTH)), 8
    tensors = {"model.embed_tokens.weight": embedding, "model.norm.weight": np.ones(WIDTH), "lm_head.weight": 0.125 * random.normal(size=(vocabulary, WIDTH))}
    for layer in range(2):
        at = f"model.layers.{layer}."
        tensors |= {at + f"self_attn.{name}_proj.weight": nothing for name in "qkvo"}
        tensors |= {at + "mlp.gate_proj.weight": np.zeros((inner, WIDTH)), at + "mlp.up_proj.weight": np.zeros((inner, WIDTH)),
                    at + "mlp.down_proj.weight": np.zeros((WIDTH, inner)), at + "input_layernorm.weight": np.ones(WIDTH),
                    at + "post_attention_layernorm.weight": np.ones(WIDTH)}
    (folder / "model").mkdir(parents=True)
    write_safetensors(folder / "model/model.safetensors", tensors)
    (folder / "model/config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": inner, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": vocabulary, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "hidden_act": "silu", "bos_token_id": 0, "torch_dtype": "float32"}))
    extra = random.normal(size=(EXTRA, WIDTH))
    rows = np.concatenate([directions, extra / np.linalg.norm(extra, axis=1, keepdims=True)])
    saes = folder / "saes/layer_000"
    saes.mkdir(parents=True)
    (saes / "cfg.json").write_text(json.dumps({"architecture": "standard", "d_in": WIDTH, "d_sae": len(rows), "dtype": "float32", "apply_b_dec_to_input": True,
                                               "normalize_activations": "none", "reshape_activations": "none", "metadata": {"sae_lens_version": "6.0.0"}}))
    write_safetensors(saes / "sae_weights.safetensors", {"W_enc": rows.T, "W_dec": rows, "b_enc": np.full(len(rows), -0.6 * OWN), "b_dec": np.zeros(WIDTH)})


def concord(stage, *words_of_command):
    """The program by itself on one rank; once more where MPI could not be started at all, as on a machine with too much to do."""
    for _ in range(3):
        done = subprocess.run([CONCORD, stage, *map(str, words_of_command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ALONE,
                              timeout=SECONDS_A_RUN)
        if "before MPI_INIT completed" not in done.stdout:
            break
    if done.returncode != 0:
        raise RuntimeError(f"concord {stage} ends with {done.returncode}: {last_lines(done.stdout)}")


@dataclasses.dataclass
class Found:
    """Of one draw, by basis."""
    p: dict
    free: dict
    r: dict
    reliability: dict
    rows: tuple  # mean r of rows that are shared, and of the others (sae)
    seconds: float  # of the stage


def read(path, world, seconds):
    s = Subspaces(path)
    numbers = {name: {basis: float(s.claim(name, basis=basis)[0]) for basis in BASES} for name in ("p_grouped", "p", "r", "reliability_a", "reliability_b")}
    matrices = Matrices(s, 0, "sae")
    by_row = np.full(CONCEPTS, np.nan)
    by_row[matrices.kept] = np.mean([[correlation(a, b) for a, b in zip(*crossing)] for crossing in matrices.crossings(matrices.kept)], axis=0)
    is_shared = np.arange(CONCEPTS) % SIZE < world.shared_rows * SIZE
    rows = tuple(float(np.nanmean(by_row[which])) if which.any() else float("nan") for which in (is_shared, ~is_shared))
    reliability = {basis: min(numbers["reliability_a"][basis], numbers["reliability_b"][basis]) for basis in BASES}
    return Found(numbers["p_grouped"], numbers["p"], numbers["r"], reliability, rows, seconds)


def draw(work, name, number, seed):
    world = WORLDS[name]
    key = [seed, list(WORLDS).index(name), number]
    folder = work / f"{key[1]}_{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ids = corpus(np.random.default_rng([*key, 0]))
    write_tokens(folder / "tokens.h5", ids)
    write_concepts(folder / "concepts.tsv")
    command = ["--tokens", folder / "tokens.h5", "--concepts", folder / "concepts.tsv", "--out", folder / "subspaces.h5"]
    for i, side in enumerate("ab"):
        own = np.random.default_rng([*key, 2 + i])
        of = folder / side
        write_model(of, strengths(world, ids, np.random.default_rng([*key, 1]), own), own)
        concord("extract", "--model", of / "model", "--tokens", folder / "tokens.h5", "--layers", "0", "--dtype", "f32", "--out", of / "activations.h5")
        concord("encode", "--activations", of / "activations.h5", "--saes", of / "saes", "--out", of / "features.h5")
        command += [f"--{side}", of / "features.h5", f"--saes-{side}", of / "saes", f"--activations-{side}", of / "activations.h5", f"--model-{side}", of / "model"]
    begin = time.monotonic()
    concord("subspaces", *command, "--k", 1, "--max-members", 1, "--max-q", 1, "--label-draws", 1, "--shuffles", 9, "--window", 1 + CONTEXT, "--after", 0,
            "--effect-bases", ",".join(BASES), "--permutations", 199, "--level-draws", 0, "--resamples", 0, "--seed", number)
    found = read(folder / "subspaces.h5", world, time.monotonic() - begin)
    shutil.rmtree(folder)
    return found


def wrong_share(world, basis, share, count):
    """Whether agreement was found too seldom, or too often: three and a half standard deviations from what is promised."""
    expected = 0.95 if world.found else max(world.level, DEALT_LEVEL if basis == "dealt" else 0)
    room = 3.5 * (expected * (1 - expected) / count) ** 0.5
    return share < expected - room if world.found else share > expected + room


def told(name, world, found):
    """A line of figures; what is wrong in them."""
    def share(values):
        return statistics.mean(p <= ALPHA for p in values)

    grouped = {basis: share([f.p[basis] for f in found]) for basis in BASES}
    line = f"{name}: {len(found)} draws; grouped p <= {ALPHA}: " + ", ".join(f"{basis} {100 * grouped[basis]:.0f} %" for basis in BASES)
    line += f"; free, sae {100 * share([f.free['sae'] for f in found]):.0f} %"
    line += "; mean r " + ", ".join(f"{basis} {statistics.mean(f.r[basis] for f in found):.2f}" for basis in BASES)
    line += "; reliability " + ", ".join(f"{basis} {statistics.median(f.reliability[basis] for f in found):.2f}" for basis in BASES)
    if world.shared_rows < 1:
        line += "; r of rows that are shared {:.2f}, of others {:.2f}".format(*(statistics.mean(f.rows[i] for f in found) for i in (0, 1)))
    print(line + f"; {statistics.median(f.seconds for f in found):.1f} s a stage", flush=True)
    looked_at = BASES[:2] if world.found else BASES
    return [f"{name}: {basis} is found in {100 * grouped[basis]:.0f} % of {len(found)} draws" for basis in looked_at
            if wrong_share(world, basis, grouped[basis], len(found))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4, help="of each world")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="draws at a time")
    parser.add_argument("--work", default="scratch/subspace_worlds")
    arguments = parser.parse_args()
    work = pathlib.Path(arguments.work).resolve()
    failures = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for name in arguments.worlds:
            found = list(pool.map(lambda number, of=name: draw(work, of, number, arguments.seed), range(arguments.draws)))
            failures += told(name, WORLDS[name], found)
    return end("subspace_worlds", arguments.draws * len(arguments.worlds), failures)


if __name__ == "__main__":
    sys.exit(main())
