"""The documents say what is so: links and paths exist, every page is reached from the index, commands are the program's, messages stand in the
sources, and the examples that read files run on the files of a small study."""
import json
import os
import pathlib
import re
import shutil
import shlex
import unittest

import h5py
import scipy.sparse

from support import SOURCE, fresh, run, small_study

PAGES = [SOURCE / "README.md", SOURCE / "CONTRIBUTING.md", SOURCE / "CHANGELOG.md", *sorted((SOURCE / "docs").glob("*.md"))]
# What a command line may begin with beside concord, our scripts and campaigns.
TOOLS = {"cmake", "export", "tar", "cd"}
# Commands that need no files: they are run.
CHEAP = {"info", "keys", "completion", "man"}
# Messages of others.
FOREIGN = {"mpirun has detected an attempt to run as root", "There are not enough slots available"}


def linked(page):
    """Files of the tree that a page links to."""
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    return [(page.parent / target).resolve() for target in targets]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def command_lines(page):
    """Lines of its sh blocks as words, comments and continuations taken out."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def without_launcher(words):
    """A command without the variables and the mpirun in front of it."""
    words = list(words)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if words and pathlib.Path(words[0]).name == "mpirun":
        programs = [i for i, word in enumerate(words) if pathlib.Path(word).name == "concord"]
        assert programs, f"what does {words} start?"
        words = words[programs[0]:]
    return words


def flags_of(help_text):
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", help_text))


class Docs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.helps = {}
        cls.commands = set(re.findall(r"^  ([a-z][\w-]+)\s{2,}", run("--help").split("Subcommands:")[1], re.M))

    def known_keys(self):
        table, keys = "", set()
        for name, key in re.findall(r"^## \[([\w.]+)\]$|^\| `(\w+)` \|", run("keys"), re.M):
            table = name or table
            if key:
                keys.add(f"{table}.{key}")
        return keys

    def flags(self, command):
        if command not in self.helps:
            self.helps[command] = flags_of(run(command, "--help"))
        return self.helps[command]

    def test_links_lead_to_files(self):
        for page in PAGES:
            for target in linked(page):
                self.assertTrue(target.exists(), f"{page.name}: {target}")

    def test_headings_that_links_name_are_there(self):
        for page in PAGES:
            for target, heading in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text()):
                text = ((page.parent / target) if target else page).read_text()
                anchors = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}
                self.assertIn(heading, anchors, f"{page.name}: {target}")

    def test_every_page_is_reached_from_the_index(self):
        reached, new = set(), [SOURCE / "docs/index.md"]
        while new:
            page = new.pop()
            if page not in reached and page.suffix == ".md" and page.exists():
                reached.add(page)
                new += linked(page)
        self.assertEqual([page.name for page in PAGES if page.resolve() not in reached], [])
        self.assertIn((SOURCE / "docs/index.md").resolve(), linked(SOURCE / "README.md"))

    def test_paths_exist(self):
        for page in PAGES:
            for path in re.findall(r"`((?:src|include|tests|scripts|configs|jobs|data|bench|cmake|docs)/[\w./*-]+)`", page.read_text()):
                if "NAME" in path or "mysite" in path:
                    continue
                self.assertTrue(list(SOURCE.glob(path.rstrip("/"))), f"{page.name}: there is no {path}")

    def test_pictures_are_small_and_shown(self):
        shown = {target for page in PAGES for target in linked(page)}
        for picture in (SOURCE / "docs/pictures").iterdir():
            self.assertLess(picture.stat().st_size, 200_000, picture)
            self.assertIn(picture.resolve(), shown)

    def test_commands_are_the_programs(self):
        keys = self.known_keys()
        seen = 0
        for page in PAGES:
            for words in map(without_launcher, command_lines(page)):
                with self.subTest(f"{page.name}: {' '.join(words)}"):
                    self.check_command(words, keys)
                    seen += 1
        self.assertGreater(seen, 40)

    def check_command(self, words, keys):
        first = words[0]
        if pathlib.Path(first).name == "concord":
            self.assertIn(words[1], self.commands)
            for word in words[2:]:
                if word.startswith("--"):
                    self.assertIn(word.split("=")[0], self.flags(words[1]))
            self.check_settings(words, keys)
            if words[1] in CHEAP:
                run(*words[1:])
            if words[1] == "plan" and "study.toml" not in words:
                run(*[SOURCE / word if word.endswith((".toml", ".json")) else word for word in words[1:]])
            return
        if first in TOOLS:
            return
        script = words[1] if first.endswith("python") else first
        path = SOURCE / script
        self.assertTrue(path.is_file(), f"there is no {script}")
        self.assertTrue(first.endswith("python") or os.access(path, os.X_OK), f"{script} is not executable")
        for word in words[1:]:
            if word.startswith("--"):
                self.assertIn(word.split("=")[0], path.read_text(), f"{script} does not know {word}")
        self.check_settings(words, keys)

    def check_settings(self, words, keys):
        for flag, setting in zip(words, words[1:]):
            if flag == "--set":
                self.assertIn(re.sub(r"^model\.\w+\.", "model.NAME.", setting.split("=")[0]), keys)

    def test_keys_that_are_named_exist(self):
        keys = self.known_keys()
        tables = {key.rsplit(".", 1)[0] for key in keys}
        for page in PAGES:
            for table, name in re.findall(r"`([a-z]+(?:\.[ab])?)\.(\w+)(?: = [^`]*)?`", page.read_text()):
                if table in tables and name not in ("h5", "hpp", "py", "md", "cpp", "html", "safetensors"):  # else a file
                    with self.subTest(f"{page.name}: {table}.{name}"):
                        self.assertIn(f"{table}.{name}", keys)

    def test_messages_stand_in_the_sources(self):
        """Each part of a message that troubleshooting.md quotes, between its dots."""
        files = [*(SOURCE / "src").rglob("*.cpp"), *(SOURCE / "src").rglob("*.hpp"), *(SOURCE / "include").rglob("*.hpp"), *(SOURCE / "scripts").glob("*.py")]
        sources = re.sub(r'"\s*\n\s*"', "", "\n".join(file.read_text() for file in files)).replace('\\"', '"').replace("`", "")
        for row in re.findall(r"^\| (`[^|]*?) \|", (SOURCE / "docs/troubleshooting.md").read_text(), re.M):
            for message in re.findall(r"`([^`]*)`", row):
                if message in FOREIGN:
                    continue
                for part in re.split(r'\.\.\.|"|\[model\.a\]|\bmodel\.a\b', message):
                    part = part.strip(" ;:,()")
                    with self.subTest(message, part=part):
                        self.assertTrue(len(part) <= 3 or part in sources)

    def test_examples_read_a_study(self):
        folder = fresh("docs")
        study = small_study(folder, correlate__matrix=True)
        run("run", study)
        three = small_study(fresh("docs_three"), model__a__layers=[2], model__b__layers=[4], corpus__max_tokens=2600, sae__steps=20, subspaces__concepts="")
        three.write_text(three.read_text() + '[model.again]\nsame_as = "a"\n')
        for stage in ("tokenize", "extract", "train-sae", "encode", "correlate", "graph"):
            run(stage, three)
        shutil.copy(three.parent / "out/graph.h5", folder.parent / "graph.h5")
        texts = blocks(SOURCE / "docs/formats.md", "python")
        self.assertGreaterEqual(len(texts), 8)
        here = os.getcwd()
        os.chdir(folder / "out")
        try:
            for text in texts:
                with self.subTest(text):
                    self.assertLessEqual(len(text.splitlines()), 3)
                    shown = []
                    exec(text, {"h5py": h5py, "json": json, "pathlib": pathlib, "scipy": scipy, "print": lambda *values: shown.append(values)})
                    self.assertTrue(shown)
        finally:
            os.chdir(here)


if __name__ == "__main__":
    unittest.main()
