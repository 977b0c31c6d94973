"""Machines that are not at hand, for `concord plan --machine`: from the constants of a core that `concord calibrate` measured, and from data sheets.

    machines.py machine.json [--out configs/machines]

cpu-64.json: nodes of 64 cores, each as the one that was measured while the others of its node work; memory 400 GB/s (8 channels of DDR5-4800
give 307, 12 give 461), a link of 200 Gbit/s, 2 us, files at 5 GB/s a node and 200 GB/s in all.
h100-4.json: nodes of 4 GPUs of 80 GB and 64 such cores, a rank a GPU with 16 threads. Nothing of it was measured: peaks of NVIDIA's data sheet
(H100 SXM: bf16 989 Tflop/s, TF32 494, f32 67, 3.35 TB/s) times what kernels usually reach of them: 0.45 of products, 0.5 of memory."""
import argparse
import copy
import json
import pathlib
import sys

PRODUCTS, MEMORY = 0.45, 0.5  # of the peaks
BF16, F32, BANDWIDTH = 989e12, 67e12, 3.35e12


def cores(measured, ranks, threads, name, source):
    machine = copy.deepcopy(measured)
    machine.update({"name": name, "source": source, "ranks_a_node": ranks, "threads_a_rank": threads, "memory": 4e11})
    for rate in machine["work"].values():
        for key in ("alone", "together"):
            rate[key] *= threads
    machine["messages"] = {"within": {"latency": 1e-6, "bandwidth": 5e9}, "between": {"latency": 2e-6, "bandwidth": 2.5e10}}
    machine["files"] = {"read": {"rank": 2e9, "node": 5e9, "all": 2e11}, "write": {"rank": 2e9, "node": 5e9, "all": 2e11}}
    return machine


def gpu_rates():
    """Kinds that a GPU does for extract, train-sae and correlate; the rest stays with the cores. Multiply-adds are two operations."""
    streamed = MEMORY * BANDWIDTH
    rates = {
        "product_bf16": {"alone": PRODUCTS * BF16, "half": 500}, "product_f32": {"alone": PRODUCTS * F32, "half": 500},
        "screen_int8": {"alone": PRODUCTS * F32 / 2, "half": 500},  # by f32 products
        "rows": {"alone": streamed / 12}, "codes_of_step": {"alone": streamed / 100}, "batch_rows": {"alone": streamed / 8},
        "weights": {"alone": streamed / 70},  # bytes of both matrices, their moments and gradients
        "postings": {"alone": streamed / 64}, "products": {"alone": streamed / 24}, "looks": {"alone": streamed / 32},
    }
    for rate in rates.values():
        rate["together"] = rate["alone"]
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machine", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "configs" / "machines")
    arguments = parser.parse_args()
    measured = json.loads(arguments.machine.read_text(encoding="utf-8"))
    cpu = cores(measured, 64, 1, "64 cores a node", f"bench/machines.py: 64 times one core ({measured['source']}); memory, links and files assumed")
    gpu = cores(measured, 4, 16, "4 H100 a node", f"bench/machines.py: GPUs from the data sheet, nothing measured; cores as one ({measured['source']})")
    gpu["gpus_a_node"] = 4
    gpu["gpu"] = {"work": gpu_rates(), "memory": BANDWIDTH}
    for name, machine in (("cpu-64", cpu), ("h100-4", gpu)):
        (arguments.out / f"{name}.json").write_text(json.dumps(machine, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
