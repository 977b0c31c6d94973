#!/usr/bin/env python3
"""Speed of `extract` beside Hugging Face transformers, in one run on one machine; prints a table of ratios.

  scripts/setup --bench && .venv-bench/bin/python bench/extract.py [--quick]

Both run the same tokens through the same weights and hand out every layer's residual stream; concord also writes them to
activations.h5, its time includes the last flush to disk. Loading the weights is in neither. Each figure is the best of
--repeats runs, taken in turn.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONCORD = ROOT / "build" / "concord"


def random_model(folder):
    """d = 768, 12 layers, Gemma-2 architecture."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=4096, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=6,
                          head_dim=64, query_pre_attn_scalar=64, sliding_window=64, pad_token_id=0, eos_token_id=1, bos_token_id=2)
    Gemma2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def transformers_rate(folder, ids, dtype, threads, batch):
    import torch
    from transformers import Gemma2Model
    torch.set_num_threads(threads)
    model = Gemma2Model.from_pretrained(folder, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype], attn_implementation="eager").eval()
    ids = torch.from_numpy(ids.astype(np.int64))
    with torch.inference_mode():
        model(input_ids=ids[:batch], use_cache=False, output_hidden_states=True)
        begin = time.perf_counter()
        for first in range(0, len(ids), batch):
            model(input_ids=ids[first:first + batch], use_cache=False, output_hidden_states=True)
        return ids.numel() / (time.perf_counter() - begin)


def peer(folder, ids, dtype, threads, batch):
    """In a process of its own, as the program is."""
    code = f"import numpy, extract; print('RATE', extract.transformers_rate({str(folder)!r}, numpy.load({str(ids)!r}), {dtype!r}, {threads}, {batch}))"
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONPATH=str(pathlib.Path(__file__).parent), HF_HUB_OFFLINE="1")
    output = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"RATE ([\d.]+)", output).group(1))


def concord(folder, tokens, out, dtype, ranks, threads, batch, *flags):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    binding = ["--bind-to", "none"] if threads > 1 else ["--bind-to", "core"]
    command = ["mpirun", *root, "--oversubscribe", *binding, "-np", str(ranks), str(CONCORD), "extract", "--model", folder, "--tokens", tokens, "--compute", dtype,
               "--dtype", "bf16", "--batch", batch, "--out", out, "--force", *flags]
    result = subprocess.run([str(x) for x in command], env=env, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(result.stdout + result.stderr)
    pathlib.Path(out).unlink()
    return float(re.search(r"tokens/s=(\d+)", result.stdout).group(1))


def memory_table(work, folder):
    """Planned and measured memory of one rank."""
    print("\n| model | run | planned | peak RSS | peak / planned |")
    print("|---|---|---|---|---|", flush=True)
    rng = np.random.default_rng(1)
    unit = {"MiB": 1.0, "GiB": 1024.0}
    for name, model, context, contexts, flags in (
            ("demo large", ROOT / "data/demo/models/large", 128, 256, ["--batch", 32]),
            ("random, d=768", folder, 128, 96, ["--batch", 16]), ("random, d=768", folder, 128, 96, ["--batch", 16, "--compute", "bf16"]),
            ("random, d=768", folder, 128, 192, ["--batch", 64]), ("random, d=768", folder, 2048, 2, ["--batch", 1]),
            ("random, d=768", folder, 8192, 2, ["--batch", 1])):
        np.save(work / "ids.npy", rng.integers(3, 4096, (contexts, context)).astype(np.int32))
        (work / "tokens.h5").unlink(missing_ok=True)
        subprocess.run([CONCORD, "tokenize", "--tokens", work / "ids.npy", "--out", work / "tokens.h5"], check=True, capture_output=True)
        output = subprocess.run([CONCORD, "extract", "--model", model, "--tokens", work / "tokens.h5", "--out", work / "memory.h5", *map(str, flags)], check=True,
                                capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1")).stdout
        (work / "memory.h5").unlink()
        planned, peak = (float(v) * unit[u] for v, u in re.findall(r"(?:planned|peak)=([\d.]+) (\w+)", output))
        print(f"| {name} | context {context} {' '.join(map(str, flags))} | {planned:.0f} MiB | {peak:.0f} MiB | {peak / planned:.2f} |", flush=True)


def write_cost(work, folder):
    """All layers written against the last layer alone: what writing takes from the forward pass."""
    rng = np.random.default_rng(2)
    print("\n| model | last layer written, tok/s | all layers written, tok/s | ratio |")
    print("|---|---|---|---|", flush=True)
    for name, model, contexts, last in (("demo large", ROOT / "data/demo/models/large", 1024, 9), ("random, d=768", folder, 96, 11)):
        np.save(work / "ids.npy", rng.integers(3, 4096, (contexts, 128)).astype(np.int32))
        (work / "tokens.h5").unlink(missing_ok=True)
        subprocess.run([CONCORD, "tokenize", "--tokens", work / "ids.npy", "--out", work / "tokens.h5"], check=True, capture_output=True)
        best = {}
        for _ in range(3):
            for key, flags in (("one", ["--layers", last]), ("all", [])):
                best[key] = max(best.get(key, 0), concord(model, work / "tokens.h5", work / "cost.h5", "f32", 2, 1, 16, *flags))
        print(f"| {name} | {best['one']:.0f} | {best['all']:.0f} | {best['all'] / best['one']:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the tokens, one repeat")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "bench" / "extract")
    parser.add_argument("--only", default="", help="one part: memory, write, demo or random")
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else arguments.repeats
    work = arguments.work
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    random_model(work / "random")
    rng = np.random.default_rng(0)
    if arguments.only in ("", "memory"):
        memory_table(work, work / "random")
    if arguments.only in ("", "write"):
        write_cost(work, work / "random")
    print("\n| model | compute | transformers tok/s | extract tok/s, 1 rank x 2 threads | ratio | 2 ranks x 1 thread | of 1 x 2 | 2 layer shards | of 2 replicas |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, folder, contexts in (("demo large, d=192, 10 layers", ROOT / "data/demo/models/large", 1024), ("random, d=768, 12 layers", work / "random", 192)):
        if arguments.only and not name.startswith(arguments.only):
            continue
        contexts = contexts // 4 if arguments.quick else contexts
        ids = rng.integers(3, 4096, (contexts, 128)).astype(np.int32)
        ids[:, 0] = 2
        np.save(work / "ids.npy", ids)
        tokens, out = work / "tokens.h5", work / "acts.h5"
        tokens.unlink(missing_ok=True)
        subprocess.run([CONCORD, "tokenize", "--tokens", work / "ids.npy", "--out", tokens], check=True, capture_output=True)
        for dtype in ("f32", "bf16"):
            best = {}
            for _ in range(repeats):  # in turn, so that a slow minute of the machine meets all of them
                runs = {"peer": max(peer(folder, work / "ids.npy", dtype, 2, batch) for batch in (8, 32)),
                        "threads": concord(folder, tokens, out, dtype, 1, 2, 16), "ranks": concord(folder, tokens, out, dtype, 2, 1, 16),
                        "shards": concord(folder, tokens, out, dtype, 2, 1, 16, "--layer-shards", 2)}
                best = {key: max(best.get(key, 0), value) for key, value in runs.items()}
            print(f"| {name} | {dtype} | {best['peer']:.0f} | {best['threads']:.0f} | {best['threads'] / best['peer']:.2f} | {best['ranks']:.0f} | "
                  f"{best['ranks'] / best['threads']:.2f} | {best['shards']:.0f} | {best['shards'] / best['ranks']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
