"""Surroundings that programs seldom meet: a small full disk, a folder that becomes read-only, files that change while they are read, too
little memory, other masks, locales, temporary folders and clocks. Cases that need root say so and are left out.

  surroundings.py [CASE ...]"""
import argparse
import contextlib
import os
import pathlib
import resource
import shutil
import stat
import subprocess
import sys
import time

from campaign import CONCORD, MPIRUN, RANKS, SECONDS_A_RUN, STAGES, WRITES, Study, contents, end, kill_all, last_lines, wrong_words


def finish(process):
    """Exit code and output of a run; None when it hangs."""
    try:
        output = process.communicate(timeout=SECONDS_A_RUN)[0]
        return process.returncode, output
    except subprocess.TimeoutExpired:
        kill_all(process)
        return None, ""


def run_all(study, work, env=None, **options):
    """Every stage into `work`; exit code and output of the first that fails."""
    process = subprocess.Popen(study.command("run", work), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
                               env={**os.environ, **(env or {})}, **options)
    return finish(process)


def wrong_results(study, work):
    found = contents(work)
    return [f"{name} differs" for name, value in study.expected.items() if found.get(name) != value]


def wrong_run(study, work, code, output, wanted):
    """A run that had to end with `wanted`; where it is 0, with the undisturbed results."""
    if code is None:
        return ["it hangs"]
    wrong = wrong_words(code, output)
    if code != wanted:
        wrong.append(f"exit code {code}, not {wanted}: {last_lines(output)}")
    return wrong + (wrong_results(study, work) if wanted == 0 and code == 0 else [])


@contextlib.contextmanager
def small_disk(study, kib):
    """A folder on a file system of its own."""
    folder = study.folder / "disk"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def needs_root():
    return os.getuid() != 0 and "needs root"


def full_disk(study):
    wrong = []
    for kib in (64, 400, 1200, 2500, 5000):
        with small_disk(study, kib) as disk:
            code, output = run_all(study, disk / "out")
            wrong += [f"{kib} KiB: {w}" for w in wrong_run(study, disk / "out", code, output, 74)]
            remount(disk, "size=200m")
            code, output = run_all(study, disk / "out")
            wrong += [f"{kib} KiB, then more: {w}" for w in wrong_run(study, disk / "out", code, output, 0)]
    return wrong


def read_only(study):
    wrong = []
    with small_disk(study, 200000) as disk:
        for stage in STAGES:
            work = study.before(stage)
            remount(disk, "rw")
            shutil.rmtree(disk / "out", ignore_errors=True)
            shutil.copytree(work, disk / "out")
            remount(disk, "ro")
            code, output = finish(study.start(stage, disk / "out"))
            remount(disk, "rw")
            wrong += [f"{stage}: {w}" for w in wrong_run(study, disk / "out", code, output, 74)]
            wrong += [f"{stage}: {w}" for w in study.wrong_after(stage, disk / "out")]
    return wrong


def inputs_that_change(study):
    """Each file that a stage reads is cut in half a moment after the stage began: it ends with 0 (read before) or one line, and never with
    results that look finished and are not."""
    wrong = []
    for stage in STAGES[1:]:
        before = STAGES[STAGES.index(stage) - 1]
        for name in WRITES[before]:
            work = study.before(stage)
            victims = [work / name] if (work / name).is_file() else sorted((work / name).rglob("*.safetensors"))[:1] + sorted((work / name).rglob("*.h5"))[:1]
            for victim in victims:
                process = study.start(stage, work)
                time.sleep(study.seconds[stage] * 0.7)
                os.truncate(victim, victim.stat().st_size // 2)
                code, output = finish(process)
                wrong += [f"{stage}, {victim.name}: {w}" for w in (wrong_words(code, output) if code is not None else ["it hangs"])]
    return wrong


def weights_that_change(study):
    """The weights of a model are cut while extract reads them."""
    folder = study.folder / "model"
    wrong = []
    for share in (0.2, 0.5, 0.9):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pathlib.Path(os.environ["CONCORD_SOURCE"]) / "data/demo/models/small", folder)
        work = study.before("extract")
        process = study.start("extract", work, "--set", f"model.a.path={folder}")
        time.sleep(study.seconds["extract"] * share)
        weights = folder / "model.safetensors"
        os.chmod(weights, 0o644)
        os.truncate(weights, weights.stat().st_size // 2)
        code, output = finish(process)
        wrong += [f"at {share}: {w}" for w in (wrong_words(code, output) if code is not None else ["it hangs"])]
    return wrong


def little_memory(study):
    wrong = []
    for mib in (1500, 2500, 4000):
        for stage in ("extract", "train-sae", "encode", "correlate", "compare"):
            work = study.before(stage)
            command = ["bash", "-c", f"ulimit -v {mib * 1024}; exec \"$@\"", "bash", CONCORD]
            process = subprocess.Popen([*MPIRUN, "-np", str(RANKS), *command, stage, str(study.file), "--set", f"study.output={work}"], stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
            code, output = finish(process)
            wrong += [f"{stage}, {mib} MiB: {w}" for w in (wrong_words(code, output) if code is not None else ["it hangs"])]
            wrong += [f"{stage}, {mib} MiB: {w}" for w in study.wrong_after(stage, work)]
    return wrong


def mask(study):
    work = study.folder / "umask"
    shutil.rmtree(work, ignore_errors=True)
    code, output = run_all(study, work, preexec_fn=lambda: os.umask(0o077))
    open_files = [p for p in work.rglob("*") if p.is_file() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    return wrong_run(study, work, code, output, 0) + [f"{p.relative_to(work)} is open to others" for p in open_files]


def decimal_comma(study):
    """A locale in which 0.5 is written 0,5."""
    places = study.folder / "locales"
    places.mkdir(exist_ok=True)
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", places / "de_DE.UTF-8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    work = study.folder / "comma"
    shutil.rmtree(work, ignore_errors=True)
    code, output = run_all(study, work, env={"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "LOCPATH": str(places) if made.returncode <= 1 else ""})
    return wrong_run(study, work, code, output, 0)


def no_temporary_folder(study):
    work = study.folder / "tmpdir"
    shutil.rmtree(work, ignore_errors=True)
    code, output = finish(subprocess.Popen(study.command("run", work, prefix=["env", "-u", "HOME", "TMPDIR=/nowhere"]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    return wrong_run(study, work, code, output, 0)


def clocks_apart(study):
    library = study.folder / "libclock.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, pathlib.Path(__file__).with_name("clock.c"), "-ldl"], check=True)
    wrong = []
    for rank, seconds in ((1, 86400), (1, -86400), (0, -86400 * 365)):
        work = study.folder / "clock"
        shutil.rmtree(work, ignore_errors=True)
        prefix = ["env", f"LD_PRELOAD={library}", f"CONCORD_CLOCK_RANK={rank}", f"CONCORD_CLOCK_SECONDS={seconds}"]
        code, output = finish(subprocess.Popen(study.command("run", work, prefix=prefix), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        wrong += [f"rank {rank}, {seconds} s: {w}" for w in wrong_run(study, work, code, output, 0)]
    return wrong


CASES = {"full_disk": (full_disk, needs_root), "read_only": (read_only, needs_root), "inputs_that_change": (inputs_that_change, None), "weights_that_change": (weights_that_change, None),
         "little_memory": (little_memory, None), "mask": (mask, None), "decimal_comma": (decimal_comma, None), "no_temporary_folder": (no_temporary_folder, None),
         "clocks_apart": (clocks_apart, None)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[], choices=[*CASES, []])
    parser.add_argument("--work", default="scratch/surroundings")
    arguments = parser.parse_args()
    study = Study(arguments.work)
    tried, failures = 0, []
    for name in arguments.cases or CASES:
        case, reason = CASES[name]
        if reason and reason():
            print(f"{name}: left out, {reason()}")
            continue
        wrong = case(study)
        tried += 1
        print(f"{name}: {'; '.join(wrong) or 'ok'}", flush=True)
        failures += [f"{name}: {w}" for w in wrong]
    return end("surroundings", tried, failures)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
