#!/usr/bin/env python3
"""Loads an SAE folder that concord wrote with sae-lens: its codes must equal features.h5, and its reconstructions those of the codes
in features.h5 by the saved decoder, both to 1e-5 of the largest.

  scripts/setup --bench && .venv-bench/bin/python scripts/check_sae_lens.py SAE_FOLDER ACTIVATIONS.h5 FEATURES.h5 LAYER
"""
import sys

import h5py
import numpy as np
import torch
from sae_lens import SAE

folder, activations, features, layer = sys.argv[1], sys.argv[2], sys.argv[3], f"layer_{int(sys.argv[4]):03d}"
sae = SAE.load_from_disk(folder)
with h5py.File(activations) as f:
    x = torch.from_numpy(f[f"{layer}/x"][:4096].astype(np.float32))
    text = f["row_kind"][:4096] == 0
with torch.no_grad():
    codes = sae.encode(x).to_dense().numpy() if hasattr(sae.encode(x), "to_dense") else sae.encode(x).numpy()
    reconstruction = sae.decode(sae.encode(x)).numpy()
with h5py.File(features) as f:
    indptr, indices, data = f[f"{layer}/indptr"][:4097], f[f"{layer}/indices"], f[f"{layer}/data"]
    ours = np.zeros_like(codes)
    for row in range(4096):
        ours[row, indices[indptr[row]:indptr[row + 1]]] = data[indptr[row]:indptr[row + 1]]
worst = np.abs(codes - ours)[text].max() / np.abs(codes[text]).max()
by_hand = ours.astype(np.float64) @ sae.W_dec.detach().numpy() + sae.b_dec.detach().numpy()
worst_decoded = np.abs(by_hand - reconstruction)[text].max() / np.abs(reconstruction[text]).max()
x = x.numpy()[text]
fvu = ((x - reconstruction[text]) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
print(f"{type(sae).__name__} {sae.cfg.d_in} x {sae.cfg.d_sae}: largest difference of codes {worst:.2e} of the largest code, of reconstructions {worst_decoded:.2e}, FVU {fvu:.4f}")
sys.exit(0 if max(worst, worst_decoded) < 1e-5 else 1)
