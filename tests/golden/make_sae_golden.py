#!/usr/bin/env python3
"""Makes tests/golden/saes: small SAEs as SAELens, sparsify, dictionary_learning and Gemma Scope save them, each with the codes and
reconstructions that its own library gives for the rows of x.npy.

  scripts/setup --bench && .venv-bench/bin/python tests/golden/make_sae_golden.py
"""
import json
import os
import pathlib
import shutil
import sys
import types

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
os.environ["WANDB_MODE"] = "disabled"

import numpy as np
import torch
from safetensors.torch import save_file

stub = types.ModuleType("nnsight")
stub.LanguageModel = object
sys.modules["nnsight"] = stub

from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from sae_lens import (SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, GatedSAE, GatedSAEConfig, JumpReLUSAE, JumpReLUSAEConfig, StandardSAE,
                      StandardSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig)
from sparsify import SparseCoder, SparseCoderConfig

HERE = pathlib.Path(__file__).resolve().parent / "saes"
D, F, K, ROWS = 12, 40, 5, 24


def randomise(module):
    """Random weights of a useful size in every parameter and buffer that is not a count."""
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if p.dtype.is_floating_point and p.ndim > 0:
                p.copy_(torch.randn_like(p) * (0.4 if p.ndim == 2 else 0.2))
            if "threshold" in name and p.dtype.is_floating_point:
                p.copy_(torch.rand_like(p) * 0.5 + 0.2)


def record(name, x, codes, reconstruction):
    codes = codes.to_dense() if codes.is_sparse else codes
    np.savez_compressed(HERE / f"{name}.expected.npz", codes=codes.detach().numpy().astype(np.float32), reconstruction=reconstruction.detach().numpy().astype(np.float32))


def saelens(x):
    common = dict(d_in=D, d_sae=F, device="cpu", dtype="float32")
    saes = {"saelens_standard": StandardSAE(StandardSAEConfig(**common)), "saelens_gated": GatedSAE(GatedSAEConfig(**common)),
            "saelens_jumprelu": JumpReLUSAE(JumpReLUSAEConfig(**common, apply_b_dec_to_input=False)),
            "saelens_topk": TopKTrainingSAE(TopKTrainingSAEConfig(**common, k=K)), "saelens_batchtopk": BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**common, k=K))}
    for name, sae in saes.items():
        randomise(sae)
        folder = HERE / name
        getattr(sae, "save_inference_model", sae.save_model)(folder)
        again = SAE.load_from_disk(folder)
        record(name, x, again.encode(x), again.decode(again.encode(x)))
        (folder / "sparsity.safetensors").unlink(missing_ok=True)
    # Before version 6: TopK as a standard SAE with an activation function, flat cfg.
    old = HERE / "saelens_5_topk"
    shutil.copytree(HERE / "saelens_topk", old)
    (old / "cfg.json").write_text(json.dumps({"architecture": "standard", "d_in": D, "d_sae": F, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K},
                                              "apply_b_dec_to_input": True, "normalize_activations": "none", "dtype": "torch.float32", "hook_name": "blocks.0.hook_resid_post"}))
    shutil.copy(HERE / "saelens_topk.expected.npz", HERE / "saelens_5_topk.expected.npz")


def sparsify(x):
    for name, config in {"sparsify_topk": SparseCoderConfig(num_latents=F, k=K), "sparsify_expansion": SparseCoderConfig(expansion_factor=4, k=K)}.items():
        coder = SparseCoder(D, config, device="cpu", dtype=torch.float32)
        randomise(coder)
        coder.save_to_disk(HERE / name)
        out = coder.encode(x)
        codes = torch.zeros(len(x), coder.num_latents).scatter(1, out.top_indices, out.top_acts)
        record(name, x, codes, coder.decode(out.top_acts, out.top_indices))


def dictionary_learning(x):
    classes = {"AutoEncoder": AutoEncoder(D, F), "GatedAutoEncoder": GatedAutoEncoder(D, F), "JumpReluAutoEncoder": JumpReluAutoEncoder(D, F),
               "AutoEncoderTopK": AutoEncoderTopK(D, F, K), "BatchTopKSAE": BatchTopKSAE(D, F, K), "MatryoshkaBatchTopKSAE": MatryoshkaBatchTopKSAE(D, F, K, [10, 30])}
    for name, ae in classes.items():
        randomise(ae)
        folder = HERE / f"dictionary_learning_{name}"
        folder.mkdir()
        torch.save(ae.state_dict(), folder / "ae.pt")
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, "layer": 3, "lm_name": "demo/small"}}))
        used = AutoEncoder.from_pretrained(folder / "ae.pt") if name == "AutoEncoder" else ae  # it brings decoder rows to norm 1
        codes = used.encode(x)
        record(folder.name, x, codes, used.decode(codes))


def dictionary_learning_more(x):
    """The class of the April update, and BatchTopK whose threshold training never set (-1)."""
    torch.manual_seed(1)
    for name, ae in {"AutoEncoderNew": AutoEncoderNew(D, F), "BatchTopKSAE_untrained": BatchTopKSAE(D, F, K)}.items():
        randomise(ae)
        if "untrained" in name:
            ae.threshold.fill_(-1.0)
        folder = HERE / f"dictionary_learning_{name}"
        folder.mkdir(exist_ok=True)
        torch.save(ae.state_dict(), folder / "ae.pt")
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name.split("_")[0], "layer": 3, "lm_name": "demo/small"}}))
        codes = ae.encode(x)
        record(folder.name, x, codes, ae.decode(codes))


def saelens_6_unfolded(x):
    """expected_average_only_in in cfg.json: what version 6 loads from a folder is not scaled."""
    torch.manual_seed(2)
    sae = StandardSAE(StandardSAEConfig(d_in=D, d_sae=F, device="cpu", dtype="float32", normalize_activations="expected_average_only_in"))
    randomise(sae)
    sae.save_model(HERE / "saelens_expected_average")
    again = SAE.load_from_disk(HERE / "saelens_expected_average")
    record("saelens_expected_average", x, again.encode(x), again.decode(again.encode(x)))


def gemma_scope(x):
    """As the released files hold them: no b_dec at the encoder, JumpReLU."""
    w_enc, w_dec = 0.4 * torch.randn(D, F), 0.4 * torch.randn(F, D)
    b_enc, b_dec, threshold = 0.2 * torch.randn(F), 0.2 * torch.randn(D), 0.2 + 0.5 * torch.rand(F)
    h = x @ w_enc + b_enc
    codes = torch.relu(h) * (h > threshold)
    arrays = {"W_enc": w_enc, "W_dec": w_dec, "b_enc": b_enc, "b_dec": b_dec, "threshold": threshold}
    (HERE / "gemma_scope").mkdir()
    np.savez(HERE / "gemma_scope" / "stored.npz", **{k: v.numpy() for k, v in arrays.items()})
    np.savez_compressed(HERE / "gemma_scope" / "deflated.npz", **{k: np.asfortranarray(v.numpy()) for k, v in arrays.items()})
    (HERE / "gemma_scope_2").mkdir()
    save_file({k.lower() if k[0] == "W" else k: v.contiguous() for k, v in arrays.items()}, HERE / "gemma_scope_2" / "params.safetensors")
    for name in ("gemma_scope", "gemma_scope_2"):
        record(name, x, codes, codes @ w_dec + b_dec)


def spliced(x_unused):
    """Cross-entropies of tiny_old_style with a random TopK SAE, or zeros, in the place of a layer's output; BOS rows stay."""
    from transformers import AutoModelForCausalLM
    tiny = HERE.parent / "tiny_old_style"
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.from_numpy(np.load(HERE.parent / "tiny_old_style_ids.npy").astype(np.int64))
    d = model.config.hidden_size
    layers = {}
    for layer in (0, 2):
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=3 * d, k=24, device="cpu", dtype="float32"))
        randomise(sae)
        with torch.no_grad():
            sae.W_dec.copy_(sae.W_enc.T)
        sae.save_inference_model(HERE / "spliced" / f"layer_{layer:03d}")
        layers[layer] = SAE.load_from_disk(HERE / "spliced" / f"layer_{layer:03d}")

    def cross_entropy(layer=None, replace=None):
        def hook(_module, _inputs, output):
            rows = output[0] if isinstance(output, tuple) else output
            new = rows.clone()
            new[:, 1:] = replace(rows[:, 1:])
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handle = model.model.layers[layer].register_forward_hook(hook) if layer is not None else None
        with torch.no_grad():
            logits = model(ids).logits
        if handle:
            handle.remove()
        return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1)).item()

    record_of = {"clean": cross_entropy(), "layers": {}}
    for layer, sae in layers.items():
        with torch.no_grad():
            record_of["layers"][layer] = {"sae": cross_entropy(layer, lambda rows: sae.decode(sae.encode(rows))), "zero": cross_entropy(layer, torch.zeros_like)}
    (HERE / "spliced" / "expected.json").write_text(json.dumps(record_of, indent=1) + "\n")


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    torch.manual_seed(0)
    x = torch.randn(ROWS, D)
    np.save(HERE / "x.npy", x.numpy())
    for make in (saelens, sparsify, dictionary_learning, gemma_scope, spliced, dictionary_learning_more, saelens_6_unfolded):
        make(x)
    versions = {name: __import__("importlib.metadata").metadata.version(name) for name in ("sae-lens", "eai-sparsify", "dictionary-learning", "torch", "numpy")}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
