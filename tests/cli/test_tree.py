"""One word a stage everywhere: each stage has its header, source, test, job and documentation; docs list every key."""
import collections
import pathlib
import re
import subprocess
import unittest

from support import CONCORD, SOURCE

# stage word -> (header, source, test)
STAGES = {
    "tokenize": ("corpus/tokenize", "tests/corpus/tokenize_test.cpp"), "extract": ("extract/extract", "tests/cli/test_extract_golden.py"),
    "train-sae": ("sae/training/train", "tests/sae/training/train_test.cpp"), "recovered": ("fused/recovered", "tests/cli/test_recovered.py"),
    "encode": ("features/encode", "tests/cli/test_pipeline.py"), "correlate": ("correlate/correlate", "tests/correlate/correlate_test.cpp"),
    "graph": ("graph/graph", "tests/cli/test_graph.py"), "compare": ("similarity/compare", "tests/similarity/similarity_test.cpp"),
    "subspaces": ("subspaces/subspaces", "tests/cli/test_subspaces_stage.py"),
}
LAYERS = ["core", "comm", "dist", "io", "corpus", "model", "sae", "extract", "features", "fused", "linalg", "agreement", "correlate", "graph", "similarity", "concepts", "subspaces", "cost", "study", "app"]
MAY_INCLUDE = {
    "core": [], "comm": ["core"], "dist": ["core"], "io": ["core", "comm", "dist"], "corpus": ["core", "comm", "dist", "io"],
    "model": ["core", "comm", "dist", "io"], "sae": ["core", "comm", "dist", "io"], "extract": ["core", "comm", "dist", "io", "corpus", "model"],
    "features": ["core", "comm", "dist", "io", "corpus", "sae"],
    "fused": ["core", "comm", "dist", "io", "corpus", "model", "sae", "extract", "features"], "linalg": ["core", "comm", "dist"],
    "agreement": ["core", "comm", "dist", "linalg"],
    "correlate": ["core", "comm", "dist", "io", "corpus", "sae", "features"],
    "graph": ["core", "comm", "dist", "io", "corpus", "sae", "features", "correlate"],
    "similarity": ["core", "comm", "dist", "io", "corpus", "sae", "features", "linalg", "correlate"], "concepts": ["core", "comm", "dist", "io", "corpus"],
    "subspaces": [layer for layer in LAYERS if layer not in ("study", "app", "graph", "cost")],
    "cost": ["core", "comm", "dist", "io", "model", "sae", "features", "linalg", "correlate", "similarity"], "study": ["core"], "app": LAYERS,
}

MOST_FILES = 12  # of one folder of src or include: more are two ideas
MOST_LINES = 400  # of a file
MOST_LINES_OF_FUNCTION = 60
# Folders and files that are larger, and why.
LARGER = {"src/app/stages": "one source a stage"}
LONGER = {}


def functions_of(text):
    """(head, lines) of each function of clang-formatted code, where what closes stands at the indent of what it closes."""
    lines = text.split("\n")
    scopes = [("", 0)]  # what ends it, and the indent of what it holds
    number = begin = 0
    while number < len(lines):
        line = lines[number]
        closing, indent = scopes[-1]
        before = lines[number - 1].strip() if number else ""
        if not before or before.endswith((";", "}", "{", "public:", "private:", "protected:")) or before.startswith(("//", "#")):
            begin = number
        if len(scopes) > 1 and line.startswith(closing):
            scopes.pop()
        elif line.endswith("{"):
            head = " ".join(part.strip() for part in lines[begin:number + 1])
            is_type = re.match(r"(template <.*> )?(class|struct|union) ", head) and not re.search(r"\) (const |override |noexcept )*{$", head)
            if is_type or re.match(r"(namespace|extern)\b", head):
                scopes.append((" " * indent + "}", indent + 2 if is_type else indent))
            else:
                end = next(n for n in range(number + 1, len(lines)) if lines[n].startswith(" " * indent + "}"))
                if "(" in head:
                    yield lines[begin].strip(), end - begin + 1
                number = end
        number += 1


class Rooms(unittest.TestCase):
    def files(self, *folders):
        return [path for folder in folders for path in sorted((SOURCE / folder).rglob("*")) if path.suffix in (".cpp", ".hpp", ".cu")]

    def test_a_folder_is_one_idea(self):
        count = collections.Counter(str(path.parent.relative_to(SOURCE)) for path in self.files("src", "include"))
        self.assertEqual({folder: n for folder, n in count.items() if n > MOST_FILES and folder not in LARGER}, {})

    def test_headers_and_tests_stand_under_the_path_of_their_sources(self):
        folders = {path.parent.relative_to(SOURCE / "src") for path in self.files("src")}
        for path in self.files("include/concord"):
            self.assertIn(path.parent.relative_to(SOURCE / "include/concord"), folders, path)
            private = SOURCE / "src" / path.relative_to(SOURCE / "include/concord")
            self.assertFalse(private.exists(), f"{path} stands twice")
        sources = {path.relative_to(SOURCE / "src").with_suffix("") for path in self.files("src") if path.suffix == ".cpp"}
        elsewhere = {}
        for path in self.files("include/concord"):
            stem = path.relative_to(SOURCE / "include/concord").with_suffix("")
            for source in sources:
                if source.name == stem.name and source.parts[0] == stem.parts[0] and source != stem and stem not in sources:
                    elsewhere[str(stem)] = str(source)
        self.assertEqual(elsewhere, {}, "headers apart from their sources")
        for path in self.files("tests"):
            room = path.parent.relative_to(SOURCE / "tests")
            if path.name.endswith("_test.cpp") and room.parts[0] not in ("campaign", "memory"):
                self.assertIn(room, folders, f"{path}: no such folder in src")

    def test_files_fit_a_reader(self):
        lengths = {str(path.relative_to(SOURCE)): path.read_text().count("\n") for path in self.files("src", "include")}
        self.assertEqual({path: n for path, n in lengths.items() if n > MOST_LINES and path not in LARGER}, {})

    def test_functions_fit_a_screen(self):
        long = {}
        for path in self.files("src", "include"):
            for head, length in functions_of(path.read_text()):
                if length > MOST_LINES_OF_FUNCTION:
                    long[f"{path.relative_to(SOURCE)}: {head}"] = length
        self.assertEqual({place: n for place, n in long.items() if place not in LONGER}, {})

    def test_the_check_of_functions_sees_a_long_one(self):
        body = "  work();\n" * 70
        self.assertEqual(list(functions_of("void f(int x) {\n" + body + "}\n")), [("void f(int x) {", 72)])
        self.assertEqual([n for _, n in functions_of("class A {\npublic:\n  int f() const {\n" + body + "  }\n};\n")], [72])
        self.assertEqual([n for _, n in functions_of("int f(int x,\n      int y) {\n" + body + "}\n")], [73])

    def test_every_exception_is_needed(self):
        for place in LARGER:
            path = SOURCE / place
            large = path.read_text().count("\n") > MOST_LINES if path.is_file() else len(list(path.glob("*.[ch]pp"))) > MOST_FILES
            self.assertTrue(large, f"{place} is small now: take it off the list")

    def test_the_modules_link_what_they_include(self):
        """LINKS of src/CMakeLists.txt, followed to their ends, hold every module that is included; and MAY_INCLUDE says nothing else."""
        links = {module: set(re.findall(r"concord_(\w+)", rest)) & set(LAYERS)
                 for module, rest in re.findall(r"concord_module\((\w+) ([^)]*)\)", (SOURCE / "src/CMakeLists.txt").read_text())}
        self.assertEqual(set(links), set(LAYERS))

        def reached(module, seen=()):
            return {module}.union(*(reached(used, (*seen, module)) for used in links[module] if self.assertNotIn(used, seen) is None))
        for module, used in MAY_INCLUDE.items():
            self.assertLessEqual(set(used) - {"study"}, reached(module), module)


class Tree(unittest.TestCase):
    def test_every_stage_is_found_by_its_word(self):
        jobs = {p.name for p in (SOURCE / "jobs").glob("*.sbatch")}
        formats = (SOURCE / "docs/formats.md").read_text()
        for word, (module, test) in STAGES.items():
            for path in (f"include/concord/{module}.hpp", f"src/{module}.cpp", test):
                self.assertTrue((SOURCE / path).exists(), path)
            self.assertTrue(any(word.replace("-", "_") in name for name in jobs), word)
            self.assertIn(f"`{word}`", formats)

    def test_modules_include_along_the_graph(self):
        for folder in ("include/concord", "src"):
            for path in (SOURCE / folder).rglob("*.[ch]pp"):
                relative = path.relative_to(SOURCE / folder)
                if len(relative.parts) < 2:
                    continue
                module = relative.parts[0]
                for used, header in re.findall(r'#include "concord/(\w+)/(\w+)', path.read_text()):
                    if module == "study" and header == "settings":
                        continue  # a study is made of the stages' settings
                    self.assertIn(used, [module, *MAY_INCLUDE[module]], f"{path} includes {used}")

    def test_third_party_headers_stay_in_their_module(self):
        homes = {"ATen": ("model",), "torch/": ("model",), "hdf5.h": ("io",), "mpi.h": ("comm",), "sentencepiece": ()}
        for path in (SOURCE / "include/concord").rglob("*.hpp"):
            for header, modules in homes.items():
                if re.search(rf"#include <{re.escape(header)}", path.read_text()):
                    self.assertIn(path.relative_to(SOURCE / "include/concord").parts[0], modules, f"{path} includes {header}")

    def test_configuration_reference_is_the_programs_own(self):
        table = subprocess.run([CONCORD, "keys"], capture_output=True, text=True, check=True).stdout
        self.assertTrue(table.strip() in (SOURCE / "docs/configuration.md").read_text(), "docs/configuration.md is not what `concord keys` prints")

    def test_jobs_are_the_stages_in_their_order(self):
        words = []
        for path in sorted((SOURCE / "jobs").glob("*.sbatch")):
            words += re.findall(r"^run_stage ([\w-]+)$", path.read_text(), re.M)
            subprocess.run(["bash", "-n", path], check=True)
        stages = subprocess.run([CONCORD, "stages"], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(words, stages)
        self.assertEqual([*STAGES, "report"], stages)

    def test_documents_link_to_files_that_exist(self):
        for path in [SOURCE / "README.md", *(SOURCE / "docs").glob("*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
                self.assertTrue((path.parent / target).exists(), f"{path}: {target}")


if __name__ == "__main__":
    unittest.main()
