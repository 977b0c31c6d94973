"""What the benchmarks share: starting concord, and peers each in a process of its own, and what they took."""
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONCORD = pathlib.Path(os.environ.get("CONCORD", ROOT / "build" / "concord"))


def run_concord(arguments, ranks, threads):
    """Its output; ends the benchmark when it fails."""
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    command = ["mpirun", *root, "--oversubscribe", "--bind-to", "none" if threads > 1 else "core", "-np", ranks, CONCORD, *arguments]
    result = subprocess.run([str(c) for c in command], env=dict(os.environ, OMP_NUM_THREADS=str(threads)), capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(result.stdout + result.stderr)
    return result.stdout


def peak_of(output):
    """MiB that concord's last line says."""
    value, unit = re.findall(r"peak=([\d.]+) (\w+)", output)[-1]
    return float(value) * {"MiB": 1.0, "GiB": 1024.0}[unit]


def own_peak():
    """MiB of this process; getrusage's figure would be that of the process which started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)) / 1024


def run_peer_process(script, name, threads):
    """Calls the benchmark again with --peer; what it printed behind RESULT, or None and a message."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1")
    result = subprocess.run([sys.executable, script, "--peer", name, *sys.argv[1:]], env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        return None, next((line for line in reversed(result.stderr.splitlines()) if "Error" in line), "no message")[:160]
    return json.loads(re.search(r"RESULT (.*)", result.stdout).group(1)), None
