"""One word a stage everywhere: each stage has its header, source, test, job and documentation; docs list every key."""
import pathlib
import re
import subprocess
import unittest

from support import CONCORD, SOURCE

# stage word -> (header, source, test)
STAGES = {
    "tokenize": ("corpus/tokenize", "tests/corpus/tokenize_test.cpp"), "extract": ("extract/extract", "tests/cli/test_extract_golden.py"),
    "train-sae": ("sae/train", "tests/sae/train_test.cpp"), "recovered": ("fused/recovered", "tests/cli/test_recovered.py"), "encode": ("features/encode", "tests/cli/test_pipeline.py"),
    "correlate": ("correlate/correlate", "tests/correlate/correlate_test.cpp"), "compare": ("similarity/compare", "tests/similarity/similarity_test.cpp"),
    "subspaces": ("subspaces/subspaces", "tests/cli/test_subspaces_stage.py"),
}
LAYERS = ["core", "comm", "dist", "io", "corpus", "model", "sae", "extract", "features", "fused", "linalg", "agreement", "correlate", "similarity", "concepts", "subspaces", "study", "app"]
MAY_INCLUDE = {
    "core": [], "comm": ["core"], "dist": ["core"], "io": ["core", "comm", "dist"], "corpus": ["core", "comm", "dist", "io"],
    "model": ["core", "comm", "dist", "io"], "sae": ["core", "comm", "dist", "io"], "extract": ["core", "comm", "dist", "io", "corpus", "model"],
    "features": ["core", "comm", "dist", "io", "corpus", "sae"],
    "fused": ["core", "comm", "dist", "io", "corpus", "model", "sae", "extract", "features"], "linalg": ["core", "comm", "dist"],
    "agreement": ["core", "comm", "dist", "linalg"],
    "correlate": ["core", "comm", "dist", "io", "corpus", "sae", "features"],
    "similarity": ["core", "comm", "dist", "io", "corpus", "sae", "features", "linalg", "correlate"], "concepts": ["core", "comm", "dist", "io", "corpus"],
    "subspaces": [layer for layer in LAYERS if layer not in ("study", "app")], "study": ["core"], "app": LAYERS,
}


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
                    self.assertIn(path.parent.name, modules, f"{path} includes {header}")

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
