#!/usr/bin/env python3
"""Adds to tests/golden/saes what SAELens before version 6 saves: a finetuned SAE, whose scaling_factor its decoder alone applies.

  .venv-bench/bin/python -m pip install --no-deps --target FOLDER sae-lens==5.11.0
  PYTHONPATH=FOLDER .venv-bench/bin/python tests/golden/make_sae_lens_5_golden.py
"""
import pathlib

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sae_lens import SAE, SAEConfig

HERE = pathlib.Path(__file__).resolve().parent / "saes"
D, F, K = 12, 40, 5


def main():
    x = torch.from_numpy(np.load(HERE / "x.npy"))
    for name, architecture, function, arguments in (("standard", "standard", "relu", {}), ("topk", "standard", "topk", {"k": K}), ("gated", "gated", "relu", {}),
                                                    ("jumprelu", "jumprelu", "relu", {})):
        torch.manual_seed(3)
        cfg = SAEConfig(architecture=architecture, d_in=D, d_sae=F, activation_fn_str=function, activation_fn_kwargs=arguments, apply_b_dec_to_input=True,
                        finetuning_scaling_factor=True, context_size=128, model_name="demo/small", hook_name="blocks.3.hook_resid_post", hook_layer=3,
                        hook_head_index=None, prepend_bos=True, dataset_path="", dataset_trust_remote_code=True, normalize_activations="none",
                        dtype="float32", device="cpu", sae_lens_training_version="5.11.0")
        sae = SAE(cfg)
        with torch.no_grad():
            for key, p in sae.named_parameters():
                p.copy_(torch.rand_like(p) + 0.5 if "scaling" in key else torch.randn_like(p) * (0.4 if p.ndim == 2 else 0.2))
        folder = HERE / f"saelens_5_finetuned_{name}"
        sae.save_model(folder)
        tensors = load_file(folder / "sae_weights.safetensors")
        if "finetuning_scaling_factor" in tensors:  # the name that the library's own loader looks for
            tensors["scaling_factor"] = tensors.pop("finetuning_scaling_factor")
            save_file(tensors, folder / "sae_weights.safetensors")
        again = SAE.load_from_pretrained(str(folder))
        codes = again.encode(x)
        np.savez_compressed(HERE / f"{folder.name}.expected.npz", codes=codes.detach().numpy(), reconstruction=again.decode(codes).detach().numpy())


if __name__ == "__main__":
    main()
