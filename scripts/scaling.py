"""A scaling study: stages of a study at several numbers of ranks, as often as wanted, and a page of what came of it.

    scaling.py STUDY.toml --ranks 1,2,4 [--stages extract,train-sae,correlate,compare] [--mode strong|weak|both] [--repeat 3] [--out FOLDER]

What stands before the first measured stage is made once, at the largest number of ranks. Each run of a stage then begins from hard links to the
results of the stages before it, and leaves its profile (profile.json) in FOLDER/runs. Strong: the same study at each size. Weak: tokens, or for
train-sae rows a step, grow with the ranks. The time of a stage is that between its first and its last line: starting the program is left out. One
run of each stage at the first size warms files and caches up and is not counted.

FOLDER gets scaling.csv, index.html with its figures, and talp/, which TALP-Pages reads. `--steps` does a part alone, for jobs: base, runs, page."""
import argparse
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

sys.dont_write_bytecode = True  # a program leaves nothing beside itself
sys.path.append(str(pathlib.Path(__file__).resolve().parent))  # python -I leaves it out

WEAK_BY_BATCH = {"train-sae"}
NOT_WEAK = {"compare", "graph", "subspaces", "report"}  # their sizes do not follow the tokens


def refuse(code, text):
    print(f"scaling: {text}", file=sys.stderr)
    sys.exit(code)


class Scaling:
    def __init__(self, arguments):
        self.arguments = arguments
        self.study = arguments.study.resolve()
        self.out = arguments.out.resolve()
        self.program = arguments.program
        self.words = self.concord(["stages"]).split()
        unknown = [stage for stage in arguments.stages if stage not in self.words]
        if unknown:
            refuse(64, f"there is no stage {unknown[0]}; the stages are {', '.join(self.words)}")

    def concord(self, words, ranks=None):
        """The program's output; ends where it fails."""
        launcher = shlex.split(self.arguments.launcher.format(ranks=ranks)) if ranks else []
        result = subprocess.run([*launcher, self.program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if result.returncode != 0:
            print(result.stdout, file=sys.stderr)
            refuse(result.returncode, f"concord {' '.join(map(str, words))} ended with {result.returncode}")
        return result.stdout

    def sets(self, mode, ranks, stage=None):
        """Overrides of a size: none of the strong one."""
        words = list(self.arguments.set)
        if mode == "weak":
            grown = ranks // self.arguments.ranks[0]
            tokens = self.arguments.weak_tokens * (1 if stage in WEAK_BY_BATCH else grown)
            words.append(f"corpus.max_tokens={tokens}")
            if stage in WEAK_BY_BATCH:  # as many steps, of more rows
                resolved = self.base(mode, self.arguments.ranks[0]) / "results/study.resolved.toml"
                sae = tomllib.loads(resolved.read_text(encoding="utf-8"))["sae"]
                words.append(f"sae.batch={sae['batch'] * grown}")
                if sae["steps"] == 0:
                    words.append(f"sae.rows={sae['rows'] * grown}")
        return [word for text in words for word in ("--set", text)]

    def base(self, mode, ranks):
        """The folder with all results of a size, and which files each stage made."""
        by_tokens = mode == "weak"
        return self.out / "base" / (f"weak_{ranks}" if by_tokens else "strong")

    def make_base(self, mode, ranks):
        """Runs the stages before the last that is measured; goes on behind those that an earlier run made."""
        folder = self.base(mode, ranks)
        record = folder / "files.json"
        made = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        last = max(self.words.index(stage) for stage in self.arguments.stages)
        for stage in self.words[:last]:
            if stage in made:
                continue
            said = self.concord([stage, self.study, "--set", f"study.output={folder / 'results'}", *self.sets(mode, ranks)], max(self.arguments.ranks))
            if stage == "tokenize" and mode == "weak":
                self.check_tokens(said, ranks)
            there = {str(path.relative_to(folder / "results")) for path in files_below(folder / "results")}
            made[stage] = sorted(there - {name for names in made.values() for name in names})
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(record, made)

    def check_tokens(self, said, ranks):
        """A corpus that is too small does not grow with the ranks."""
        wanted = self.arguments.weak_tokens * ranks // self.arguments.ranks[0]
        found = re.search(r"tokens=(\d+)", said)
        if found and int(found[1]) < 0.9 * wanted:
            refuse(65, f"the corpus has {found[1]} tokens, {ranks} ranks of a weak study need {wanted}; lower --weak-tokens")

    def check_words(self):
        """One folder is of one study: runs of another would stand beside them without a word."""
        words = {"study": hashlib.sha256(self.study.read_bytes()).hexdigest(), "set": self.arguments.set, "first": self.arguments.ranks[0],
                 "weak_tokens": self.arguments.weak_tokens if self.arguments.mode != "strong" else 0}
        record = self.out / "words.json"
        if record.exists():
            before = json.loads(record.read_text(encoding="utf-8"))
            changed = [key for key in words if words[key] != before.get(key) and not (key == "weak_tokens" and 0 in (words[key], before.get(key)))]
            if changed:
                refuse(78, f"{self.out} holds runs of another {', '.join(changed)}; give another --out, or remove it")
        self.out.mkdir(parents=True, exist_ok=True)
        if not record.exists() or words["weak_tokens"]:
            write_whole(record, words)

    def run(self, mode, stage, ranks, name):
        """One run; its profile lies in runs/MODE/STAGE/NAME.json."""
        target = self.out / "runs" / mode / stage / f"{name}.json"
        if target.exists():
            return
        base = self.base(mode, self.arguments.ranks[0] if stage in WEAK_BY_BATCH else ranks)
        if not (base / "files.json").exists():
            refuse(66, f"there are no results below {base} to begin from; run --steps base first")
        made = json.loads((base / "files.json").read_text(encoding="utf-8"))
        work = self.out / f"work_{ranks}"  # jobs of other sizes may run beside this one
        shutil.rmtree(work, ignore_errors=True)
        for earlier in self.words[:self.words.index(stage)]:
            for file in made[earlier]:
                if pathlib.PurePath(file).name != "profile.json":
                    link(base / "results" / file, work / file)
        said = self.concord([stage, self.study, "--set", f"study.output={work}", *self.sets(mode, ranks, stage)], ranks)
        if not (work / "profile.json").exists():
            refuse(65, f"{stage} has nothing to do in this study, so there is nothing to measure")
        profile = json.loads((work / "profile.json").read_text(encoding="utf-8"))
        profile["said"] = [line for line in said.splitlines() if line.startswith("concord ")]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(profile, indent=1), encoding="utf-8")
        shutil.rmtree(work)
        print(f"scaling {mode} {stage} {name}: {profile['Application'][stage]['seconds']['elapsed']:.2f} s", flush=True)

    def modes(self, stage):
        wanted = ["strong", "weak"] if self.arguments.mode == "both" else [self.arguments.mode]
        return [mode for mode in wanted if mode == "strong" or stage not in NOT_WEAK]

    def bases(self):
        for stage in self.arguments.stages:
            for mode in self.modes(stage):
                for ranks in self.arguments.ranks if mode == "weak" and stage not in WEAK_BY_BATCH else self.arguments.ranks[:1]:
                    self.make_base(mode, ranks)

    def runs(self):
        sizes = self.arguments.only or self.arguments.ranks
        for stage in self.arguments.stages:
            for mode in self.modes(stage):
                if self.arguments.ranks[0] in sizes:
                    self.run(mode, stage, self.arguments.ranks[0], "warm_up")
                for repeat in range(self.arguments.repeat):  # sizes in turn, so that a slow minute of the machine meets all of them
                    for ranks in sizes:
                        self.run(mode, stage, ranks, f"ranks_{ranks}_run_{repeat}")


def write_whole(path, value):
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        os.symlink(os.readlink(source), target)
    else:
        os.link(source, target)


def numbers(text):
    try:
        values = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is no list such as 1,2,4') from None
    if not values or values[0] < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is no list such as 1,2,4')
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=pathlib.Path)
    parser.add_argument("--ranks", type=numbers, default=[1, 2], help="sizes, such as 1,2,4; the first is the base case")
    parser.add_argument("--stages", type=lambda text: text.split(","), default=["extract", "train-sae", "correlate", "compare"])
    parser.add_argument("--mode", choices=["strong", "weak", "both"], default="strong")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--weak-tokens", type=int, default=0, help="tokens at the first size; default: those of the study over the largest size")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("scaling"))
    parser.add_argument("--launcher", default=os.environ.get("CONCORD_LAUNCHER", "mpirun -np {ranks}"), help="what starts so many ranks")
    parser.add_argument("--program", default=os.environ.get("CONCORD", "concord"))
    parser.add_argument("--only", type=numbers, help="of these sizes the runs alone, for jobs of one size each")
    parser.add_argument("--steps", type=lambda text: text.split(","), default=["base", "runs", "page"], help="base, runs and page, or some of them")
    arguments = parser.parse_args()
    if not arguments.study.exists():
        refuse(66, f"there is no study {arguments.study}")
    if arguments.mode != "strong" and arguments.weak_tokens == 0:
        tokens = tomllib.loads(arguments.study.read_text(encoding="utf-8")).get("corpus", {}).get("max_tokens", 0)
        if tokens == 0:
            refuse(64, "give --weak-tokens, the tokens at the first size; the study has no corpus.max_tokens")
        arguments.weak_tokens = tokens * arguments.ranks[0] // arguments.ranks[-1]
    if any(text.startswith("study.output=") for text in arguments.set):
        refuse(64, "--set study.output: results of a scaling study lie below --out")
    scaling = Scaling(arguments)
    scaling.check_words()
    if "base" in arguments.steps:
        scaling.bases()
    if "runs" in arguments.steps:
        scaling.runs()
    if "page" in arguments.steps:
        import scaling_page
        scaling_page.write(scaling.out, arguments.study.stem)


if __name__ == "__main__":
    main()
