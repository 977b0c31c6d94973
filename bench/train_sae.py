#!/usr/bin/env python3
"""Speed, memory and quality of `train-sae` beside SAELens, dictionary_learning and sparsify, in one run on one machine.

  scripts/setup --bench && .venv-bench/bin/python bench/train_sae.py [--aux [--dead-after 8192]] [--width 16384] [--steps 10]

All train a TopK SAE in f32 on the same rows with batches of the same size; each draws its own random order. A step's time is the
loop alone, without the first steps; every peer runs in its best mode (sparsify: fused encoder; SAELens: with and without sparse
activations). FVU is of held-out rows, by one routine, from the weights each peer saved. With --device cuda all train on the GPU, concord on
one rank; rows of the peers lie there, and they multiply in TF32. --kind relu, gated or jumprelu: those begin with thousands of active latents
a row, and here are timed in their first steps alone, each with its own loss and rates; sparsify has none of them.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import sys
import time

import numpy as np

from running import ROOT, own_peak, peak_of, run_concord, run_peer_process

PEERS = ("sparsify", "dictionary_learning", "saelens", "saelens sparse")


def make_rows(path, rows, d, seed=0):
    """Sums of a few of 4 d planted directions and noise, about a mean: what TopK SAEs are made for."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((4 * d, d), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    popularity = rng.permutation(1.0 / np.arange(1, 4 * d + 1) ** 0.6)
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, d))
    mean = rng.standard_normal(d, dtype=np.float32)
    for begin in range(0, rows, 4096):
        n = min(4096, rows - begin)
        active = rng.random((n, 4 * d), dtype=np.float32) < popularity * (24 / popularity.sum())
        x[begin:begin + n] = (active * (1 + rng.random((n, 4 * d), dtype=np.float32))) @ directions + 0.02 * rng.standard_normal((n, d), dtype=np.float32) + mean
    x.flush()


def batches(x, size, steps, seed=0):
    import torch
    generator = torch.Generator().manual_seed(seed)
    order, i = torch.randperm(len(x), generator=generator).to(x.device), 0
    for _ in range(steps):
        if i + size > len(order):
            order, i = torch.randperm(len(x), generator=generator).to(x.device), 0
        yield x[order[i:i + size]]
        i += size


class Clock:
    """Seconds a step behind the first `skip`."""

    def __init__(self, skip=2):
        self.times, self.skip = [], skip
        self.dead = 0  # latents at the end
        self.l0 = 0.0  # likewise

    def __call__(self, source):
        for item in source:
            self.note()
            yield item
        self.note()

    def note(self):
        import torch
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def step(self):
        return (self.times[-1] - self.times[self.skip]) / (len(self.times) - 1 - self.skip)


def train_sparsify(x, o, clock):
    if o.device == "cpu":
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    import torch
    from sparsify import SparseCoder, SparseCoderConfig
    sae = SparseCoder(x.shape[1], SparseCoderConfig(num_latents=o.width, k=o.k), device=o.device, dtype=torch.float32)
    sae.b_dec.data = x[:o.batch].mean(0)
    rate = 2e-4 / (o.width / 2 ** 14) ** 0.5
    optimizer = torch.optim.Adam(sae.parameters(), lr=rate)
    warm = max(1, o.steps // 10)
    since = torch.zeros(o.width, dtype=torch.long, device=o.device)
    for step, rows in enumerate(clock(batches(x, o.batch, o.steps))):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / warm, (o.steps - step) / max(1.0, 0.2 * o.steps))
        sae.set_decoder_norm_to_unit_norm()
        out = sae(rows, dead_mask=(since >= o.dead_after) if o.aux else None)
        (out.fvu + (1 / 32) * out.auxk_loss if o.aux else out.fvu).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        since += len(rows)
        since[out.latent_indices.flatten().unique()] = 0
    sae.set_decoder_norm_to_unit_norm()
    clock.dead = int((since >= o.dead_after).sum())
    return dict(encoder=sae.encoder.weight, b_enc=sae.encoder.bias, decoder=sae.W_dec, b_dec=sae.b_dec)


def without_nnsight():
    """dictionary_learning imports it, and its trainers do without."""
    import types
    stub = types.ModuleType("nnsight")
    stub.LanguageModel = object
    sys.modules["nnsight"] = stub


def train_dictionary_learning(x, o, clock):
    without_nnsight()
    from dictionary_learning.trainers.top_k import AutoEncoderTopK, TopKTrainer
    trainer = TopKTrainer(steps=o.steps, activation_dim=x.shape[1], dict_size=o.width, k=o.k, layer=0, lm_name="x", warmup_steps=max(1, o.steps // 10),
                          decay_start=int(0.8 * o.steps), auxk_alpha=1 / 32 if o.aux else 0.0, device=o.device, seed=0, dict_class=AutoEncoderTopK)
    trainer.dead_feature_threshold = o.dead_after
    for step, rows in enumerate(clock(batches(x, o.batch, o.steps))):
        trainer.update(step, rows)
    ae = trainer.ae
    clock.dead = int((trainer.num_tokens_since_fired >= o.dead_after).sum())
    return dict(encoder=ae.encoder.weight, b_enc=ae.encoder.bias, decoder=ae.decoder.weight.T, b_dec=ae.b_dec)


def train_saelens(x, o, clock, sparse=False):
    os.environ["WANDB_MODE"] = "disabled"
    import torch
    from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    config = TopKTrainingSAEConfig(d_in=x.shape[1], d_sae=o.width, k=o.k, device=o.device, dtype="float32", use_sparse_activations=sparse,
                                   **({} if o.aux else {"aux_loss_coefficient": 0.0}))
    sae = TopKTrainingSAE(config)
    with torch.no_grad():
        sae.b_dec.copy_(x[:o.batch].mean(0))
    settings = SAETrainerConfig(total_training_samples=o.steps * o.batch, train_batch_size_samples=o.batch, lr=2e-4 / (o.width / 2 ** 14) ** 0.5, lr_end=2e-5,
                                dead_feature_window=max(1, o.dead_after // o.batch), device=o.device, n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False, logger=LoggingConfig(log_to_wandb=False))
    trainer = SAETrainer(cfg=settings, sae=sae, data_provider=clock(batches(x, o.batch, o.steps + 5)))
    trainer.fit()
    clock.dead = int((trainer.n_forward_passes_since_fired > settings.dead_feature_window).sum())
    clock.times = clock.times[:o.steps + 1]
    norms = sae.W_dec.norm(dim=1)
    return dict(encoder=(sae.W_enc * norms).T, b_enc=sae.b_enc * norms, decoder=sae.W_dec / norms[:, None], b_dec=sae.b_dec)


def train_dictionary_learning_kind(x, o, clock):
    without_nnsight()
    from dictionary_learning.trainers import gdm, jumprelu, standard
    trainer_class = {"relu": standard.StandardTrainer, "gated": gdm.GatedSAETrainer, "jumprelu": jumprelu.JumpReluTrainer}[o.kind]
    trainer = trainer_class(steps=o.steps, activation_dim=x.shape[1], dict_size=o.width, layer=0, lm_name="x", warmup_steps=max(1, o.steps // 10),
                            sparsity_warmup_steps=max(1, o.steps // 20), device=o.device, seed=0)
    for step, rows in enumerate(clock(batches(x, o.batch, o.steps))):
        trainer.update(step, rows)
    clock.l0 = l0_of(trainer.ae, x[:o.batch])
    return {}


def train_saelens_kind(x, o, clock):
    os.environ["WANDB_MODE"] = "disabled"
    import sae_lens
    from sae_lens import SAETrainer
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    prefix = {"relu": "Standard", "gated": "Gated", "jumprelu": "JumpReLU"}[o.kind]
    config = getattr(sae_lens, prefix + "TrainingSAEConfig")(d_in=x.shape[1], d_sae=o.width, device=o.device, dtype="float32")
    sae = getattr(sae_lens, prefix + "TrainingSAE")(config)
    settings = SAETrainerConfig(total_training_samples=o.steps * o.batch, train_batch_size_samples=o.batch, lr=2e-4, lr_end=2e-5, device=o.device, n_checkpoints=0, checkpoint_path=None,
                                save_final_checkpoint=False, logger=LoggingConfig(log_to_wandb=False))
    SAETrainer(cfg=settings, sae=sae, data_provider=clock(batches(x, o.batch, o.steps + 5))).fit()
    clock.times = clock.times[:o.steps + 1]
    clock.l0 = l0_of(sae, x[:o.batch])
    return {}


def l0_of(sae, rows):
    """Active latents a row."""
    import torch
    with torch.no_grad():
        return float((sae.encode(rows) != 0).sum(1).float().mean())


def run_peer(name, o):
    """In this process; prints a JSON line."""
    import torch
    torch.set_num_threads(o.threads)
    torch.set_float32_matmul_precision("high" if o.device == "cuda" else "highest")  # TF32 where there is
    x = torch.from_numpy(np.load(o.work / "train.npy")).to(o.device)
    clock = Clock()
    trainers = {"sparsify": train_sparsify, "dictionary_learning": train_dictionary_learning, "saelens": train_saelens,
                "saelens sparse": lambda *a: train_saelens(*a, sparse=True)}
    if o.kind != "topk":
        trainers = {"dictionary_learning": train_dictionary_learning_kind, "saelens": train_saelens_kind}
    weights = {k: v.detach().cpu().numpy().astype(np.float32) for k, v in trainers[name](x, o, clock).items()}
    peak = own_peak()
    np.savez(o.work / "peer.npz", **weights)
    print("RESULT", json.dumps({"step": clock.step(), "peak": peak, "dead": clock.dead, "l0": clock.l0}))


def fvu(weights, x, k):
    """Global FVU of TopK codes, and the share of latents that fire on no row."""
    encoder, decoder = weights["encoder"], weights["decoder"]
    fired = np.zeros(len(encoder), bool)
    error = 0.0
    for begin in range(0, len(x), 1024):
        rows = x[begin:begin + 1024]
        h = np.maximum((rows - weights["b_dec"]) @ encoder.T + weights["b_enc"], 0)
        top = np.argpartition(-h, k - 1, axis=1)[:, :k]
        codes = np.zeros_like(h)
        np.put_along_axis(codes, top, np.take_along_axis(h, top, 1), 1)
        fired |= (codes > 0).any(0)
        error += float(((rows - codes @ decoder - weights["b_dec"]) ** 2).sum(dtype=np.float64))
    return error / float(((x - x.mean(0, dtype=np.float64)) ** 2).sum()), 1 - fired.mean()


def peer(name, o):
    measured, message = run_peer_process(__file__, name, o.threads)
    return (None, message) if measured is None else (measured, dict(np.load(o.work / "peer.npz")))


def concord(o, ranks, threads):
    from safetensors.numpy import load_file
    out = o.work / "concord"
    shutil.rmtree(out, ignore_errors=True)
    output = run_concord(["train-sae", "--activations", o.work / "train.npy", "--kind", o.kind, "--d-sae", o.width, *(["--k", o.k] if o.kind == "topk" else []), "--steps", o.steps, "--batch", o.batch, "--held-out", 0.0,
                          "--aux-weight", 1 / 32 if o.aux else 0.0, "--dead-after", o.dead_after, *(["--device", o.device, "--reduction", "fast"] if o.device != "cpu" else []), "--out", out], ranks, threads)
    step = o.batch / float(re.findall(r"rows/s=(\d+)", output)[-1])
    if o.kind != "topk":
        lines = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
        return {"step": step, "peak": peak_of(output), "l0": lines[-1]["l0"]}, {}
    weights = load_file(out / "sae_weights.safetensors")
    dead = int(re.findall(r"dead=(\d+)", output)[-1])
    return {"step": step, "peak": peak_of(output), "dead": dead}, {"encoder": np.ascontiguousarray(weights["W_enc"].T), "b_enc": weights["b_enc"], "decoder": weights["W_dec"], "b_dec": weights["b_dec"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--width", type=int, default=16384)
    parser.add_argument("--kind", default="topk", choices=("topk", "relu", "gated", "jumprelu"))
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=49152)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "torch"), help="torch: concord's GPU code on the CPU, without peers")
    parser.add_argument("--aux", action="store_true", help="with AuxK")
    parser.add_argument("--dead-after", type=int, default=10_000_000, help="rows without firing that make a latent dead; a few batches: AuxK has much to do")
    parser.add_argument("--only", default="", help="peers to run, separated by commas; none: concord alone")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "bench" / "train_sae")
    parser.add_argument("--peer", default="", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.peer:
        run_peer(o.peer, o)
        return
    o.work.mkdir(parents=True, exist_ok=True)
    if not (o.work / f"rows-{o.d}-{o.rows}").exists():
        make_rows(o.work / "all.npy", o.rows + 8192, o.d)
        rows = np.load(o.work / "all.npy")
        np.save(o.work / "train.npy", rows[:o.rows])
        np.save(o.work / "held_out.npy", rows[o.rows:])
        (o.work / f"rows-{o.d}-{o.rows}").touch()
    held_out = np.load(o.work / "held_out.npy")
    print(f"d = {o.d}, F = {o.width}, k = {o.k}, batch {o.batch}, {o.steps} steps, AuxK {f'on, dead after {o.dead_after} rows' if o.aux else 'off'}, {o.threads} threads\n")
    if o.kind == "topk":
        print("| trainer | s a step | rows/s | of concord's time | peak MiB | FVU held out | dead at the end | never fire on held-out rows |\n|---|---|---|---|---|---|---|---|", flush=True)
    else:
        print(f"| trainer of {o.kind} | s a step | rows/s | of concord's time | peak MiB | L0 at the end |\n|---|---|---|---|---|---|", flush=True)
    base = None
    peers = PEERS if o.kind == "topk" else ("dictionary_learning", "saelens")
    names = ["concord, 1 rank", *[f"concord, {o.threads} ranks"] * (o.threads > 1), *([n for n in o.only.split(",") if n in peers] if o.only else peers)]
    for name in names:
        ranks = o.threads if name.endswith("ranks") else 1
        measured, weights = concord(o, ranks, o.threads // ranks) if name.startswith("concord") else peer(name, o)
        if measured is None:
            print(f"| {name} | does not run here: {weights} | | | | | | |", flush=True)
            continue
        base = base or measured["step"]
        if o.kind != "topk":
            print(f"| {name} | {measured['step']:.3f} | {o.batch / measured['step']:.0f} | {measured['step'] / base:.2f} | {measured['peak']:.0f} | {measured['l0']:.0f} |", flush=True)
            continue
        error, silent = fvu(weights, held_out, o.k)
        print(f"| {name} | {measured['step']:.3f} | {o.batch / measured['step']:.0f} | {measured['step'] / base:.2f} | {measured['peak']:.0f} | {error:.4f} | {100 * measured['dead'] / o.width:.1f}% | {100 * silent:.1f}% |", flush=True)


if __name__ == "__main__":
    main()
