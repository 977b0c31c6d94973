"""The whole study on real models: files fit each other, a rerun does nothing, the report is whole."""
import csv
import html.parser
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import h5py
import numpy as np

from support import CONCORD, MPIRUN, RANKS, SOURCE, command, datasets, fresh, run, small_study


class Pipeline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("pipeline")
        cls.study = small_study(cls.folder, drawn=True, sae__recovered_contexts=16, sae__crosscoders=["2:4"], sae__variants=["k=4"], sae__groups=2)
        cls.first = run("run", cls.study)
        cls.out = cls.folder / "out"

    def test_every_stage_says_ok(self):
        for stage in ("tokenize", "extract a", "extract b", "train-sae a layer_002", "train-sae 2:4", "recovered b", "encode b", "correlate", "compare", "subspaces", "report"):
            self.assertIn(f"concord {stage}: OK", self.first)

    def test_rerun_does_nothing_and_keeps_every_byte(self):
        out = self.folder / "again"
        shutil.copytree(self.out, out)
        before = {p: p.read_bytes() for p in out.rglob("*.h5")}
        undrawn = small_study(fresh("undrawn")).parent / "undrawn"
        second = run("run", self.study, "--set", f"study.output={out}", "--set", f"report.python={undrawn}")
        for stage in ("tokenize", "extract", "train-sae", "recovered", "encode", "correlate", "compare", "subspaces"):
            self.assertNotIn(f"concord {stage}: OK", second)
        self.assertEqual(before, {p: p.read_bytes() for p in out.rglob("*.h5")})

    def test_status_follows_what_results_were_made_from(self):
        out = self.folder / "status"
        shutil.copytree(self.out, out)

        def states():
            lines = run("status", self.study, "--set", f"study.output={out}", ranks=1).splitlines()[1:]
            return {re.split("  +", line)[0]: re.split("  +", line)[1] for line in lines}

        units = ["tokenize", "extract a", "extract b", "encode a", "encode b", "correlate", "compare", "subspaces"]
        self.assertEqual(states(), dict.fromkeys(units, "done"))
        (out / "similarity.h5").rename(out / "similarity.h5.partial")
        (out / "a/features.h5").unlink()
        changed = {"encode a": "missing", "compare": "unfinished"}
        self.assertEqual(states(), dict.fromkeys(units, "done") | changed)
        shutil.copy(out / "b/features.h5", out / "a/features.h5")
        stale = {"compare": "unfinished", "encode a": "stale", "correlate": "stale", "subspaces": "stale"}
        self.assertEqual(states(), dict.fromkeys(units, "done") | stale)

    def test_verify_knows_every_file(self):
        files = [self.out / name for name in ("tokens.h5", "a/activations.h5", "b/features.h5", "matches.h5", "similarity.h5", "subspaces.h5", "a/saes/layer_002", "crosscoders/layer_002_layer_004")]
        self.assertEqual(run("verify", *files).count(": OK, "), len(files))

    def test_training_says_how_good_each_sae_is(self):
        record = json.loads((self.out / "a/saes/layer_002/training.json").read_text())
        self.assertEqual(sum(record["density"]["latents"]) + record["silent"], 256)
        self.assertGreater(record["explained_variance"], 1 - record["fvu"] - 1e-9)
        self.assertTrue(0.5 < record["cosine"] <= 1 and 0.5 < record["relative_norm"] < 1.1)
        course = [json.loads(line) for line in (self.out / "a/saes/layer_002/training.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in course], list(range(1, 121)))
        self.assertLess(course[-1]["fvu"], course[0]["fvu"])
        recovered = json.loads((self.out / "b/recovered.json").read_text())
        self.assertEqual([layer["layer"] for layer in recovered["layers"]], [4, 6])
        for layer in recovered["layers"]:
            self.assertTrue(recovered["clean"] < layer["sae"] < layer["zero"], layer)
        variant = json.loads((self.out / "a/saes@k=4/layer_003/cfg.json").read_text())
        self.assertEqual(variant["k"], 4)
        crosscoder = json.loads((self.out / "crosscoders/layer_002_layer_004/training.json").read_text())
        self.assertEqual(len(crosscoder["relative_decoder_norms"]), 256)
        self.assertEqual(len(crosscoder["part_fvu"]), 2)

    def test_features_are_the_top_k_of_the_activations(self):
        with h5py.File(self.out / "a/activations.h5") as f:
            x, kinds = f["layer_003/x"][:].astype(np.float64), f["row_kind"][:]
        weights = read_safetensors(self.out / "a/saes/layer_003/sae_weights.safetensors")
        hidden = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
        with h5py.File(self.out / "a/features.h5") as f:
            layer = f["layer_003"]
            indptr, indices, data = layer["indptr"][:], layer["indices"][:], layer["data"][:]
            count = layer["count"][:]
        self.assertEqual(len(indptr), len(x) + 1)
        for row in range(0, len(x), 97):
            got = indices[indptr[row]:indptr[row + 1]]
            if kinds[row]:
                self.assertEqual(len(got), 0)
                continue
            expected = [j for j in np.sort(np.argsort(-hidden[row])[:8]) if hidden[row, j] > 0]
            np.testing.assert_array_equal(got, expected)
            np.testing.assert_allclose(data[indptr[row]:indptr[row + 1]], hidden[row, got], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(count, np.bincount(indices, minlength=256))

    def test_before_top_k_every_positive_latent_is_active(self):
        features = self.folder / "before_top_k.h5"
        run("encode", "--activations", self.out / "a/activations.h5", "--saes", self.out / "a/saes", "--layers", 3, "--before-top-k", "--out", features)
        with h5py.File(self.out / "a/activations.h5") as f:
            x, kinds = f["layer_003/x"][:].astype(np.float64), f["row_kind"][:]
        weights = read_safetensors(self.out / "a/saes/layer_003/sae_weights.safetensors")
        hidden = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
        with h5py.File(features) as f:
            layer = f["layer_003"]
            indptr, indices, data = layer["indptr"][:], layer["indices"][:], layer["data"][:]
        for row in np.flatnonzero(kinds == 0)[::97]:
            got = indices[indptr[row]:indptr[row + 1]]
            clear = np.flatnonzero(np.abs(hidden[row]) > 1e-3)  # signs that rounding cannot turn
            np.testing.assert_array_equal(np.intersect1d(got, clear), clear[hidden[row, clear] > 0])
            np.testing.assert_allclose(data[indptr[row]:indptr[row + 1]], hidden[row, got], rtol=1e-3, atol=1e-3)
        with h5py.File(features) as f, h5py.File(self.out / "a/features.h5") as plain:  # how well the SAE fits does not depend on it
            for name in ("reference_fvu", "reference_l0"):
                self.assertEqual(f["layer_003"].attrs[name], plain["layer_003"].attrs[name])

    def test_a_moved_program_takes_the_report_beside_it(self):
        moved = fresh("moved")
        scripts = moved / "share/concord/scripts"
        scripts.mkdir(parents=True)
        (moved / "bin").mkdir()
        shutil.copy(CONCORD, moved / "bin/concord")
        (scripts / "report.py").write_text("import os, pathlib, sys\nfolder = pathlib.Path(sys.argv[-1], 'report')\nfolder.mkdir(exist_ok=True)\n"
                                           "(folder / 'index.html').write_text('of the moved tree')\n(folder / 'seen').write_text(' '.join(os.environ))\n")
        out = moved / "out"
        shutil.copytree(self.out, out)
        shutil.rmtree(out / "report")
        subprocess.run([*MPIRUN, "-np", "1", "env", "PMI_NOTHING=1", "HYDI_NOTHING=1", moved / "bin/concord", "report", self.study, "--set", f"study.output={out}"],
                       check=True)
        self.assertEqual((out / "report/index.html").read_text(), "of the moved tree")
        seen = (out / "report/seen").read_text().split()
        self.assertIn("PATH", seen)
        self.assertEqual([name for name in seen if name.startswith(("OMPI_", "PMIX_", "PMI_", "HYDI_"))], [], "would make it a rank of this job")

    def test_every_measure_has_its_chance_in_every_pair(self):
        with h5py.File(self.out / "similarity.h5") as f:
            measures = json.loads(f.attrs["measures"])
            self.assertEqual(measures[:2], ["svcca", "svcca_squared"])
            k, matched = f["factors/k_a"][:], f["matched"][:]
            for name in measures:
                group = f[name]
                self.assertEqual((group["null"].shape, group["null_stratified"].shape, group["null_subset"].shape), ((4, 19), (4, 99), (4, 20)))
                score, null, p = group["score"][:], group["null"][:], group["p"][:]
                np.testing.assert_array_equal(p, (1 + (null >= score[:, None]).sum(1)) / 20)
                np.testing.assert_allclose(group["z"][:], (score - null.mean(1)) / null.std(1, ddof=1))
                order = np.argsort(p)
                np.testing.assert_allclose(group["q"][:][order], np.minimum.accumulate((p[order] * 4 / np.arange(1, 5))[::-1])[::-1])
                self.assertTrue(np.isnan(group["max_p"][:]).all())  # pairs have other matches each
            np.testing.assert_allclose(f["svcca_squared/formula_mean"][:], k / (matched - 1))
            np.testing.assert_allclose(f["mutual_knn/formula_mean"][:], 10 / (matched - 1))

    def test_paper_setting_takes_the_published_choices(self):
        out = self.folder / "paper"
        for part in ("a", "b"):
            shutil.copytree(self.out / part, out / part)
        shutil.copy(self.out / "tokens.h5", out / "tokens.h5")
        flags = ["--set", "study.paper=true", "--set", f"study.output={out}", "--set", "compare.svcca_k=1", "--force"]
        for stage in ("encode", "correlate", "compare"):
            run(stage, self.study, *flags)
        with h5py.File(out / "similarity.h5") as f, h5py.File(out / "matches.h5") as m:
            np.testing.assert_allclose(f["svcca/score"][:], f["svcca_rank1/score"][:])
            self.assertEqual(json.loads(f.attrs["measures"]), ["svcca", "svcca_rank1", "rsa"])
            self.assertEqual(f["rsa/null_subset"].shape, (4, 100))
            r = m["layer_002_layer_004/match/r"][:]
            self.assertGreater(np.nanmin(r), 0.1)

    def test_saelens_folder_holds_what_sae_lens_reads(self):
        cfg = json.loads((self.out / "b/saes/layer_006/cfg.json").read_text())
        self.assertEqual((cfg["architecture"], cfg["k"], cfg["d_in"], cfg["d_sae"], cfg["normalize_activations"]), ("topk", 8, 192, 256, "none"))
        weights = read_safetensors(self.out / "b/saes/layer_006/sae_weights.safetensors")
        self.assertEqual({k: v.shape for k, v in weights.items()}, {"W_enc": (192, 256), "W_dec": (256, 192), "b_enc": (256,), "b_dec": (192,)})
        np.testing.assert_allclose(np.linalg.norm(weights["W_dec"], axis=1), 1, atol=1e-5)

    def test_report_is_whole(self):
        report = self.out / "report"
        page = (report / "index.html").read_text()
        self.assertNotIn("http://", page)
        self.assertGreaterEqual(page.count("data:image/png;base64"), 3)
        self.assertIn("<mark>", page)
        summary = json.loads((report / "summary.json").read_text())
        self.assertEqual(len(summary["pairs"]), 4)
        for name in ("pairs.csv", "matches.csv", "saes.csv", "maps.png", "maps.pdf", "correlations.pdf", "training.pdf", "crosscoders.pdf"):
            self.assertGreater((report / name).stat().st_size, 50, name)

    def test_report_tells_the_numbers_of_the_files(self):
        rows = list(csv.DictReader((self.out / "report/pairs.csv").open(encoding="utf-8")))
        summary = json.loads((self.out / "report/summary.json").read_text())
        with h5py.File(self.out / "similarity.h5") as f, h5py.File(self.out / "matches.h5") as m:
            pairs = [(a, b) for a in json.loads(f.attrs["layers_a"]) for b in json.loads(f.attrs["layers_b"])]
            self.assertEqual([(int(row["layer_a"]), int(row["layer_b"])) for row in rows], pairs)
            names = json.loads(m.attrs["summary_columns"])
            for n, (row, (a, b)) in enumerate(zip(rows, pairs)):
                group = m[f"layer_{a:03d}_layer_{b:03d}"]
                partner, r = group["b_to_a/partner"][:, 0], group["b_to_a/r"][:, 0]
                self.assertAlmostEqual(float(row["best_r"]), r[partner >= 0].mean(), places=6)
                self.assertAlmostEqual(float(row["null_r"]), group["b_to_a/null_r"][:][:, partner >= 0].mean(), places=6)
                matched = group["match/r"][:]
                self.assertEqual(float(row["matched"]), np.isfinite(matched).sum())
                self.assertAlmostEqual(float(row["mean_r"]), np.nanmean(matched), places=6)
                for name in ("mppc_a", "wmppc_b", "significant_b", "tested_a"):
                    np.testing.assert_equal(float(row[name]), float(group["summary"][names.index(name)]))
                for measure in json.loads(f.attrs["measures"]):
                    for column in ("score", "null_mean", "z", "p", "q", "adjusted"):
                        np.testing.assert_equal(float(row[f"{measure}_{column}"]), float(f[f"{measure}/{column}"][n]))
            best = pairs[int(np.nanargmax(f["svcca/adjusted"][:]))]
        self.assertEqual((summary["best_pair"]["layer_a"], summary["best_pair"]["layer_b"]), best)
        self.check_matches(*best)

    def check_matches(self, a, b):
        """matches.csv and the contexts in the page are those of the best pair, both sides."""
        with h5py.File(self.out / "matches.h5") as m:
            match = {name: m[f"layer_{a:03d}_layer_{b:03d}/match/{name}"][:] for name in ("a", "r", "margin", "q", "cofire")}
        kept = np.flatnonzero((match["a"] >= 0) & (match["cofire"] >= 30))
        order = kept[np.argsort(-match["r"][kept], kind="stable")][:10]
        rows = list(csv.DictReader((self.out / "report/matches.csv").open(encoding="utf-8")))
        self.assertEqual([int(row["b"]) for row in rows], list(order))
        for row, feature in zip(rows, order):
            for name in ("a", "r", "margin", "q", "cofire"):
                np.testing.assert_equal(float(row[name]), float(match[name][feature]))
        page = Page((self.out / "report/index.html").read_text(encoding="utf-8"))
        expected = []
        for feature in order:
            expected += self.marked("a", a, match["a"][feature]) + self.marked("b", b, feature)
        self.assertEqual(page.marks, expected)

    def marked(self, side, layer, feature, count=4):
        """The tokens that the strongest contexts of a feature mark."""
        data = datasets(self.out / "tokens.h5")
        raw, ends = data["/pieces/bytes"].tobytes(), data["/pieces/ends"]
        with h5py.File(self.out / side / "features.h5") as f:
            rows = f[f"layer_{layer:03d}/top_rows"][feature]
        contexts, tokens = [], []
        for row in rows[rows >= 0]:
            context = np.searchsorted(data["/context_offsets"], row, side="right")
            if context in contexts or len(tokens) == count:
                continue
            contexts.append(context)
            i = data["/tokens"][row]
            piece = raw[ends[i - 1] if i else 0:ends[i]].decode()
            byte = re.fullmatch("<0x(..)>", piece)
            tokens.append((bytes([int(byte[1], 16)]).decode(errors="replace") if byte else piece.replace("\u2581", " ")).replace("\n", "\u21b5"))
        return tokens

    def test_a_moved_tree_reports_by_its_own_script(self):
        tree = fresh("moved tree")
        (tree / "bin").mkdir()
        shutil.copy(CONCORD, tree / "bin/concord")
        shutil.copytree(SOURCE / "scripts", tree / "share/concord/scripts", ignore=shutil.ignore_patterns("__pycache__"))
        own = tree / "share/concord/scripts/report.py"
        own.write_text(own.read_text().replace("def main():", "def main():\n    print('of the moved tree')", 1))
        command = [*MPIRUN, "-np", str(RANKS), str(tree / "bin/concord"), "report", str(self.study), "--force"]
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300)
        self.assertEqual(said.returncode, 0, said.stdout)
        self.assertIn("of the moved tree", said.stdout)

    def test_report_takes_nothing_from_texts_but_texts(self):
        out = self.folder / "hostile"
        shutil.copytree(self.out, out)
        with h5py.File(out / "tokens.h5", "a") as f:
            ends = f["pieces/ends"][:]
            hostile = [["<0xZZ>", "\x1b<b>", "\u202e<script>alert(1)</script>", "\0"][i % 4].encode() for i in range(len(ends))]
            del f["pieces"]
            f["pieces/bytes"], f["pieces/ends"] = np.frombuffer(b"".join(hostile), np.uint8), np.cumsum([len(h) for h in hostile]).astype(np.int64)
        for name, change in {"layer_002": {"kind": "<script>alert(2)</script>"}, "layer_003": None}.items():
            path = out / "a/saes" / name / "training.json"
            path.write_text(json.dumps({"trainer": "another"} if change is None else json.loads(path.read_text()) | change))
        shutil.copytree(out / "b/saes/layer_004", out / "b/saes/layer_004.old")
        name = "-x <script>alert(3)</script>\u202e"
        fake = fresh("fake_packages")
        (fake / "numpy.py").write_text("raise ImportError('another numpy')")
        run("report", self.study, "--set", f"study.output={out}", "--set", f"study.name={name}", env={**os.environ, "PYTHONPATH": str(fake)})
        text = (out / "report/index.html").read_text(encoding="utf-8")
        page = Page(text)
        self.assertNotIn("script", page.tags)
        self.assertFalse([c for c in text if ord(c) < 32 and c != "\n" or c == "\u202e"])
        self.assertIn("-x <script>alert(3)</script>[U+202E]", page.text)
        self.assertIn("<script>alert(2)</script>", page.text)
        self.assertEqual([(row["model"], row["layer"]) for row in csv.DictReader((out / "report/saes.csv").open())], [("a", "2"), ("b", "4"), ("b", "6")])

    def test_report_refuses_results_that_do_not_belong_together(self):
        out = self.folder / "mixed"
        shutil.copytree(self.out, out)
        flags = (self.study, "--set", f"study.output={out}")
        for name, stage in (("a/activations.h5", "encode"), ("b/features.h5", "correlate"), ("matches.h5", "compare")):
            with h5py.File(out / name, "a") as f:
                before = f.attrs["stage_digest"]
                f.attrs["stage_digest"] = np.bytes_("0" * 32)
            said = run("report", *flags, code=78)
            self.assertIn(f"concord {stage}` with --force", said)
            with h5py.File(out / name, "a") as f:
                f.attrs["stage_digest"] = before
        cfg = out / "a/saes/layer_003/cfg.json"
        cfg.write_text(cfg.read_text() + " ")
        self.assertIn("another SAE", run("report", *flags, code=78))
        (out / "similarity.h5").unlink()
        self.assertIn("similarity.h5; run `concord compare` first", run("report", *flags, code=66))

    def test_a_program_that_makes_no_report_is_no_python(self):
        for program, reason in (("/bin/true", "made no"), ("/nowhere/python", "cannot start")):
            self.assertIn(reason, run("report", self.study, "--set", f"report.python={program}", code=69))
        other = self.folder / "never"
        self.assertIn("cannot start", run("run", self.study, "--set", "report.python=/nowhere/python", "--set", f"study.output={other}", code=69))
        self.assertFalse((other / "tokens.h5").exists())

    def test_a_stop_during_the_report_is_no_failure(self):
        python = self.folder / "slow_python"
        python.write_text('#!/bin/sh\ntouch "$0.started"\nexec sleep 60\n')
        python.chmod(0o755)
        started = self.folder / "slow_python.started"
        process = subprocess.Popen(command("report", self.study, "--set", f"report.python={python}"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while process.poll() is None and not started.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        said = process.communicate(timeout=60)[0].decode()
        self.assertEqual(process.returncode, 75, said)

    def test_provenance_is_in_every_file(self):
        for name in ("tokens.h5", "a/activations.h5", "a/features.h5", "matches.h5", "similarity.h5"):
            with h5py.File(self.out / name) as f:
                for attribute in ("concord_stage", "stage_digest", "settings", "inputs", "software", "git", "command", "ranks", "hosts", "libraries", "date"):
                    self.assertIn(attribute, f.attrs, name)

    def test_memory_doc_has_every_array_of_a_plan(self):
        doc = (SOURCE / "docs/memory.md").read_text()
        missing = set()
        for settings in (["--ranks", "1"], ["--ranks", "64", "--ranks-a-node", "8"], ["--ranks", "8", "--set", "sae.reduction=fast"],
                         ["--ranks", "8", "--set", "extract.fused=true"], ["--ranks", "8", "--set", "extract.layer_shards=2"]):
            stages = json.loads(run("plan", self.study, "--json", *settings, ranks=1))["stages"]
            self.assertEqual([stage["stage"] for stage in stages],
                             ["tokenize", "extract a", "extract b", "train-sae", "encode", "correlate", "compare", "subspaces"])
            missing |= {line for stage in stages for array in stage["arrays"]
                        if (line := f"| {array['what']} | {array['formula']} |") not in doc}
        self.assertEqual(missing, set())
        table = run("plan", self.study, "--memory", ranks=1)
        self.assertIn("a node in all", table)
        self.assertIn("stops in", table)
        self.assertNotIn("wait for the file system", table)

    def test_plan_info_keys_and_help(self):
        self.assertIn("train-sae", run("plan", self.study, ranks=1))
        self.assertIn("of its GPU", run("plan", self.study, "--set", "sae.device=cuda", ranks=1))
        self.assertIn("BLAS from libtorch_cpu.so", run("info"))
        self.assertIn("`latents`", run("keys", ranks=1))
        for word in ("run", "tokenize", "extract", "train-sae", "encode", "correlate", "compare", "subspaces", "report", "verify", "plan", "calibrate", "recovered", "status", "stages"):
            self.assertIn("--help", run(word, "--help", ranks=1))


class Page(html.parser.HTMLParser):
    """A page as a browser reads it: its tags, its text, and the text of each <mark>."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.marks, self.text, self.inside = set(), [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "mark":
            self.inside = True
            self.marks.append("")

    def handle_endtag(self, tag):
        if tag == "mark":
            self.inside = False

    def handle_data(self, data):
        self.text += data
        if self.inside:
            self.marks[-1] += data


def read_safetensors(path):
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    out = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        out[name] = np.frombuffer(raw[8 + size + begin:8 + size + end], dtype=np.float32).reshape(entry["shape"]).astype(np.float64)
    return out


if __name__ == "__main__":
    unittest.main()
