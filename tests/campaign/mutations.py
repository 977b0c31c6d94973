"""Mutated studies through the program: each ends with exit 0 (or 75, out of time) or with one clear line and a right code, within its time.

  mutations.py --studies 10000"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import queue
import random
import re
import shutil
import subprocess
import sys

from campaign import CONCORD, ROOT, STAGES, WRITES, Study, end, small_study, wrong_words

ODD = ["-1", "0", "1", "2", "1e5", "1e308", "-0.0", "nan", "inf", "2147483648", "4294967297", "9223372036854775807", "9223372036854775808", "0x10", "true", '""', '"x"',
       '"\\u0000"', '"../../.."', '"/dev/null"', '"/dev/full"', '"/proc/self/mem"', "[]", '["all"]', "[1, 2]", '["1:2"]', "{}", "1979-05-27", "'''", '"é\U0001F600"', '"a\\nb"', '"$(id)"']
SECONDS = 120
SMALL = {"corpus__max_tokens": 600, "sae__steps": 4, "sae__recovered_contexts": 1, "sae__latents": 64}
# One process that asks no launcher for help.
ALONE = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_ess_singleton_isolated": "1"}


def lines_of(text):
    return text.splitlines(keepends=True)


def mutate(text, keys, chance):
    """One to three changes of a study's text."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        lines = lines_of(text)
        place = chance.randrange(max(1, len(lines)))
        kind = chance.choice(["value", "value", "value", "key", "drop", "twice", "swap", "byte", "cut", "new", "table"])
        if kind == "value" and lines:
            lines[place] = re.sub(r"=.*", lambda _: "= " + chance.choice(ODD), lines[place], count=1)
        elif kind == "key" and lines:
            lines[place] = re.sub(r"^\w+", lambda _: chance.choice(keys).rsplit(".", 1)[1], lines[place], count=1)
        elif kind == "drop" and lines:
            del lines[place]
        elif kind == "twice" and lines:
            lines.insert(place, lines[place])
        elif kind == "swap" and lines:
            other = chance.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == "new":
            table, name = chance.choice(keys).rsplit(".", 1)
            lines.append(f"[{table}]\n{name} = {chance.choice(ODD)}\n" if chance.random() < 0.5 else f"{table}.{name} = {chance.choice(ODD)}\n")
        elif kind == "table" and lines:
            lines[place] = re.sub(r"^\[.*\]", lambda _: chance.choice(["[", "[[sae]]", "[model]", "[sae.k]", "[]", "[\"\"]"]), lines[place], count=1)
        text = "".join(lines)
        if kind == "byte" and text:
            p = chance.randrange(len(text))
            text = text[:p] + chance.choice(["\x00", "\xff", "\"", "\\", "]", "=", "#", "\r", "\u202e"]) + text[p + chance.randrange(2):]
        elif kind == "cut" and text:
            text = text[:chance.randrange(len(text))]
    return text


def known_keys():
    """table.name of every key that the documentation lists."""
    page = (ROOT / "docs/configuration.md").read_text()
    return [f"{table}.{key}" for table, rows in re.findall(r"^## \[([\w.]+)\]\n(.*?)(?=^## |\Z)", page, re.M | re.S)
            for key in re.findall(r"^\| `(\w+)` \|", rows, re.M)]


class Worker:
    """A folder in which one mutant at a time runs, alone on one rank. Its output begins as a copy of what an undisturbed study has before some
    stage, so that changes of late keys reach the stages that read them."""

    def __init__(self, folder, base, library):
        self.base = base
        self.place = folder / "a" / "b" / "c"  # a mutant may write some folders above
        self.place.mkdir(parents=True)
        self.text = small_study(self.place, drawn=True, **SMALL).read_text()
        self.program = subprocess.Popen([CONCORD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**ALONE, "LD_PRELOAD": str(library)})

    def run(self, seed, keys):
        """The stage it ran, its exit code (None: too long) and what was wrong."""
        chance = random.Random(seed)
        out = self.place / "out"
        shutil.rmtree(out, ignore_errors=True)
        first = chance.choice(STAGES)
        for done in STAGES[:STAGES.index(first)]:
            for name in WRITES[done]:
                source, copy = self.base / name, out / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, copy)
                elif source.exists():
                    shutil.copy(source, copy)
        (self.place / "mutant.toml").write_bytes(mutate(self.text, keys, chance).encode("utf-8", "surrogateescape"))
        stage = chance.choice(["run", "run", "plan", first, first])
        said = self.place / "said.txt"
        words = [SECONDS, self.place, said, stage, "mutant.toml", *([] if stage == "plan" else ["--max-time", "3"])]
        self.program.stdin.write("\t".join(map(str, words)) + "\n")
        self.program.stdin.flush()
        code = int(self.program.stdout.readline())
        if code < 0:
            return stage, code, ["it takes over two minutes"]
        return stage, code, wrong_words(code, said.read_text(errors="replace")) if code != 64 else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant, to go on behind an earlier run or to repeat one")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--work", default="scratch/mutations")
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.work).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = Study(folder / "base", drawn=False, **SMALL).reference
    workers = queue.SimpleQueue()
    library = folder / "libmany.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, pathlib.Path(__file__).with_name("many.c"), "-ldl"], check=True)
    for i in range(arguments.jobs):
        workers.put(Worker(folder / f"worker{i}", base, library))
    keys = known_keys()
    codes, failures = collections.Counter(), []

    def trial(i):
        worker = workers.get()
        try:
            stage, code, wrong = worker.run(f"{arguments.seed}.{i}", keys)
            codes[code] += 1
            if wrong:
                kept = folder / f"wrong{arguments.seed}_{i}.toml"
                shutil.copy(worker.place / "mutant.toml", kept)
                failures.extend(f"{stage} {kept.name}: {w}" for w in wrong)
                print(failures[-1], flush=True)
        finally:
            workers.put(worker)
        if (i + 1) % 500 == 0:
            print(f"{i + 1} done", flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(trial, range(arguments.first, arguments.first + arguments.studies)))
    return end("mutations", arguments.studies, failures, "exit codes: " + ", ".join(f"{c}: {n}" for c, n in sorted(codes.items(), key=str)))


if __name__ == "__main__":
    sys.exit(main())
