"""`concord correlate` on a corpus as long as it takes: a block of rows over and over, whose correlations are those of one block.

  bench/correlate_long.py --rows 1000000000    # 48 GB on disk; more than 2^31 entries

The partners must be those of the block by itself, r the same to 1e-12. Needs scripts/setup alone: .venv/bin/python.
"""
import argparse
import pathlib
import re
import time

import h5py
import numpy as np

from running import ROOT, peak_of, run_concord


def block_of(seed, rows, width, active):
    """Rows of `active` different features each, as indices [rows, active] in ascending order, and small whole values, whose sums are exact."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, width, rows)
    steps = 1 + (rng.random((rows, active)) ** 3 * (width // active - 1)).astype(np.int64)
    indices = np.sort((first[:, None] + steps.cumsum(1)) % width, axis=1)
    return indices.astype(np.int32), rng.integers(1, 9, (rows, active)).astype(np.float32)


def shared(seed, a, width):
    """Rows of B: one feature each, that of A's first for half of the rows."""
    rng = np.random.default_rng(seed)
    indices = np.where(rng.random(len(a)) < 0.5, a[:, 0] * 7 % width, rng.integers(0, width, len(a)))
    return indices[:, None].astype(np.int32), rng.integers(1, 9, (len(a), 1)).astype(np.float32)


def write(path, indices, values, width, times):
    rows, active = indices.shape
    with h5py.File(path, "w") as f:
        attributes = {"concord_stage": "encode", "layers": "[0]", "token_hash": "long", "stage_digest": f"{path.name} {rows} {times}", "counted_rows": str(rows * times), "keep_special": "1"}
        for name, value in attributes.items():
            f.attrs[name] = np.bytes_(value)
        f.create_dataset("row_kind", (rows * times,), np.uint8)
        layer = f.create_group("layer_000")
        indptr = layer.create_dataset("indptr", (rows * times + 1,), np.int64)
        all_indices = layer.create_dataset("indices", (indices.size * times,), np.int32)
        data = layer.create_dataset("data", (indices.size * times,), np.float32)
        offsets = np.arange(rows, dtype=np.int64) * active
        for i in range(times):
            indptr[i * rows:(i + 1) * rows] = offsets + i * indices.size
            all_indices[i * indices.size:(i + 1) * indices.size] = indices.ravel()
            data[i * indices.size:(i + 1) * indices.size] = values.ravel()
        indptr[-1] = indices.size * times
        flat = values.ravel().astype(np.float64)
        layer["count"] = np.bincount(indices.ravel(), minlength=width).astype(np.int64) * times
        layer["sum"] = np.bincount(indices.ravel(), flat, width) * times
        layer["sum_squares"] = np.bincount(indices.ravel(), flat ** 2, width) * times
        layer["max"] = np.full(width, 8, np.float32)
        layer["top_rows"] = np.full((width, 1), -1, np.int64)
        layer["top_values"] = np.zeros((width, 1), np.float32)


def best(path):
    with h5py.File(path) as f:
        pair = f["layer_000_layer_000"]
        return [pair[f"{side}/{name}"][:] for side in ("a_to_b", "b_to_a") for name in ("partner", "r", "cofire")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000_000)
    parser.add_argument("--block", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--active", type=int, default=3, help="of A's features on each row; one of B's")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--memory-gib", type=float, default=4)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "bench" / "correlate_long")
    o = parser.parse_args()
    o.work.mkdir(parents=True, exist_ok=True)
    block_a = block_of(1, o.block, o.width, o.active)
    block_b = shared(2, block_a[0], o.width)
    found, times = {}, o.rows // o.block
    for name, repeats in (("block", 1), ("long", times)):
        begin = time.perf_counter()
        for side, block in (("a", block_a), ("b", block_b)):
            write(o.work / f"{name}_{side}.h5", *block, o.width, repeats)
        print(f"{name}: {o.block * repeats:.3g} rows, {block_a[0].size * repeats:.3g} and {block_b[0].size * repeats:.3g} entries, written in {time.perf_counter() - begin:.0f} s", flush=True)
        out = o.work / f"{name}.h5"
        out.unlink(missing_ok=True)
        output = run_concord(["correlate", "--a", o.work / f"{name}_a.h5", "--b", o.work / f"{name}_b.h5", "--null-shifts", 0, "--memory-gib", o.memory_gib, "--out", out], o.ranks, 1)
        print(f"{name}: correlating {re.findall(r'correlating=([0-9.]+)', output)[-1]} s on {o.ranks} ranks, peak {peak_of(output):.0f} MiB a rank", flush=True)
        found[name] = best(out)
    for (i, of_block), of_long in zip(enumerate(found["block"]), found["long"]):
        if i % 3 == 1:
            np.testing.assert_allclose(of_long, of_block, rtol=0, atol=1e-12)
        else:
            np.testing.assert_array_equal(of_long, of_block if i % 3 == 0 else of_block * times)
    print("OK: partners, counts of common rows and r are those of a block")


if __name__ == "__main__":
    main()
