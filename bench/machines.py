"""Machines that are not at hand, for `concord plan --machine`: cores as `concord calibrate` measured them, the rest from vendors' data sheets.

    machines.py machine.json... [--out configs/machines]

Several files of one machine: the median of each number.
Each file says in `source` what was measured and what was not. Nothing of these machines has been measured as a whole.

cpu-64.json: nodes of 64 cores, each as the one that was measured while the others of its node worked. From data sheets: memory 461 GB/s (AMD
EPYC 9004, 12 channels of DDR5-4800) of which a copy usually gets 0.8; a link of 200 Gbit/s (NVIDIA ConnectX-6). Assumed: 1 us a message
within a node and 2 us between nodes, files at 5 GB/s a node and 200 GB/s in all.
h100-4.json: nodes of 4 GPUs (NVIDIA H100 SXM) and 64 such cores, a rank a GPU with 16 threads. From the data sheet, without sparsity: bf16 989
Tflop/s, f32 67, 3.35 TB/s. Assumed: matrix products get 0.45 of the peak at all sizes, all else passes through memory at 0.5 of its peak."""
import argparse
import copy
import json
import pathlib
import statistics
import sys

PRODUCTS, MEMORY = 0.45, 0.5  # of the peaks
BF16, F32, BANDWIDTH = 989e12, 67e12, 3.35e12


def median(machines):
    """One machine whose numbers are the medians of those given."""
    first = machines[0]
    if isinstance(first, dict):
        return {key: median([machine[key] for machine in machines if key in machine]) for key in first}
    return statistics.median(machines) if isinstance(first, float) else first


def cores(measured, ranks, threads, name, source):
    machine = copy.deepcopy(measured)
    machine.update({"name": name, "source": source, "ranks_a_node": ranks, "threads_a_rank": threads, "memory": 0.8 * 461e9})
    for rate in machine["work"].values():
        for key in ("alone", "together"):
            rate[key] *= threads
    copies = min(1e10, machine["memory"] / 3 / ranks)  # a message within a node passes its memory three times
    machine["messages"] = {"within": {"latency": 1e-6, "bandwidth": copies}, "between": {"latency": 2e-6, "bandwidth": 2.5e10}}
    machine["files"] = {"read": {"rank": 2e9, "node": 5e9, "all": 2e11}, "write": {"rank": 2e9, "node": 5e9, "all": 2e11}}
    return machine


def gpu_rates():
    """Kinds that a GPU does for extract, train-sae and correlate; the rest stays with the cores. Multiply-adds are two operations."""
    streamed = MEMORY * BANDWIDTH
    rates = {
        "product_bf16": PRODUCTS * BF16, "product_f32": PRODUCTS * F32, "screen_int8": PRODUCTS * F32 / 2,  # by f32 products
        "rows": streamed / 12, "codes_of_step": streamed / 100, "batch_rows": streamed / 8,
        "weights": streamed / 70,  # bytes of both matrices, their moments and gradients
        "postings": streamed / 64, "products": streamed / 24, "looks": streamed / 32,
    }
    return {kind: {"alone": rate, "together": rate} for kind, rate in rates.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machine", nargs="+", type=pathlib.Path, help="of concord calibrate, one thread a rank")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "configs" / "machines")
    arguments = parser.parse_args()
    machines = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.machine]
    if any(machine["threads_a_rank"] != 1 for machine in machines):
        sys.exit(f"{arguments.machine[0]}: calibrate with one thread a rank")
    measured = median(machines)
    by = measured["source"] + (f"; median of {len(machines)} such runs" if len(machines) > 1 else "")
    cpu = cores(measured, 64, 1, "64 cores a node",
                f"not measured as a whole: each core as one of {measured['name']} ({by}); memory and link from data sheets; latencies and files assumed")
    gpu = cores(measured, 4, 16, "4 H100 a node",
                f"not measured: GPUs by NVIDIA's data sheet and an assumed share of its peaks; 64 cores as one of {measured['name']} ({by}); memory and "
                "link from data sheets; latencies and files assumed")
    gpu["gpus_a_node"] = 4
    gpu["gpu"] = {"work": gpu_rates(), "memory": BANDWIDTH}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, machine in (("cpu-64", cpu), ("h100-4", gpu)):
        (arguments.out / f"{name}.json").write_text(json.dumps(machine, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
