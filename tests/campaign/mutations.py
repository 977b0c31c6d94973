"""Mutated studies through the program: each ends with exit 0 (or 75, out of time) or with one clear line and a right code, within its time.

  mutations.py --studies 10000"""
import argparse
import collections
import os
import pathlib
import random
import re
import subprocess
import sys

from campaign import CONCORD, ROOT, end, small_study, wrong_words

ODD = ["-1", "0", "1", "2", "1e5", "1e308", "-0.0", "nan", "inf", "2147483648", "4294967297", "9223372036854775807", "9223372036854775808", "0x10", "true", '""', '"x"',
       '"\\u0000"', '"../../.."', '"/dev/null"', '"/dev/full"', '"/proc/self/mem"', "[]", '["all"]', "[1, 2]", '["1:2"]', "{}", "1979-05-27", "'''", '"é\U0001F600"', '"a\\nb"', '"$(id)"']
SECONDS = 60


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="scratch/mutations")
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.work).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    text = small_study(folder, corpus__max_tokens=600, sae__steps=4, sae__recovered_contexts=1, sae__latents=64).read_text()
    keys = known_keys()
    chance = random.Random(arguments.seed)
    codes, failures = collections.Counter(), []
    mutant = folder / "mutant.toml"
    for i in range(arguments.studies):
        mutated = mutate(text, keys, chance)
        mutant.write_bytes(mutated.encode("utf-8", "surrogateescape"))
        stage = chance.choice(["run", "run", "plan", "tokenize", "train-sae"])
        command = [CONCORD, stage, str(mutant), *([] if stage == "plan" else ["--max-time", "5"])]
        env = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        try:
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, cwd=folder, env=env, check=False)
            wrong = wrong_words(result.returncode, result.stdout.decode(errors="replace")) if result.returncode != 64 else []
            codes[result.returncode] += 1
        except subprocess.TimeoutExpired:
            wrong = ["it takes over a minute"]
        if wrong:
            kept = folder / f"wrong{arguments.seed}_{i}.toml"
            kept.write_bytes(mutant.read_bytes())
            failures += [f"{stage} {kept.name}: {w}" for w in wrong]
            print(failures[-1], flush=True)
    return end("mutations", arguments.studies, failures, "exit codes: " + ", ".join(f"{c}: {n}" for c, n in sorted(codes.items())))


if __name__ == "__main__":
    sys.exit(main())
