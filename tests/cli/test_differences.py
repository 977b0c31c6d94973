"""Ranks that see different things: refused or agreed, never a hang. And ranks that do not come are named."""
import json
import os
import shutil
import signal
import subprocess
import unittest

import numpy as np

from support import CONCORD, DEMO, MPIRUN, SOURCE, datasets, fresh, run, same, small_study
from test_claims import owner, start, end, wait_for

SHIM = r"""
/* Hides files whose path holds $HIDE from this process; where $HIDE ends with $, files whose path ends with the rest. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
static int hidden(const char* path) {
  const char* part = getenv("HIDE");
  size_t of_part = part ? strlen(part) : 0, of_path = path ? strlen(path) : 0;
  if (of_part == 0 || of_path < of_part || !strstr(path, "/scratch/")) return 0;
  if (part[of_part - 1] == '$') return strncmp(path + of_path - (of_part - 1), part, of_part - 1) == 0;
  return strstr(path, part) != NULL;
}
#define REAL(name, type) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, #name); if (hidden(path)) { errno = ENOENT; return FAIL; }
#define FAIL -1
typedef int (*stat_f)(const char*, struct stat*);
/* what libraries built for older systems call */
typedef int (*xstat_f)(int, const char*, struct stat*);
int __xstat(int version, const char* path, struct stat* s) { REAL(__xstat, xstat_f) return real(version, path, s); }
int __xstat64(int version, const char* path, struct stat64* s) { REAL(__xstat64, xstat_f) return real(version, path, (struct stat*)s); }
int __lxstat(int version, const char* path, struct stat* s) { REAL(__lxstat, xstat_f) return real(version, path, s); }
int __lxstat64(int version, const char* path, struct stat64* s) { REAL(__lxstat64, xstat_f) return real(version, path, (struct stat*)s); }
typedef int (*fstatat_f)(int, const char*, struct stat*, int);
typedef int (*open_f)(const char*, int, ...);
typedef int (*access_f)(const char*, int);
int stat(const char* path, struct stat* s) { REAL(stat, stat_f) return real(path, s); }
int stat64(const char* path, struct stat64* s) { REAL(stat64, stat_f) return real(path, (struct stat*)s); }
int fstatat(int at, const char* path, struct stat* s, int flags) { REAL(fstatat, fstatat_f) return real(at, path, s, flags); }
int lstat(const char* path, struct stat* s) { REAL(lstat, stat_f) return real(path, s); }
int access(const char* path, int mode) { REAL(access, access_f) return real(path, mode); }
static int mode_of(int flags, va_list list) { return flags & O_CREAT ? va_arg(list, int) : 0; }
int open(const char* path, int flags, ...) { va_list l; va_start(l, flags); int m = mode_of(flags, l); va_end(l); REAL(open, open_f) return real(path, flags, m); }
int open64(const char* path, int flags, ...) { va_list l; va_start(l, flags); int m = mode_of(flags, l); va_end(l); REAL(open64, open_f) return real(path, flags, m); }
#undef FAIL
#define FAIL NULL
typedef FILE* (*fopen_f)(const char*, const char*);
FILE* fopen(const char* path, const char* mode) { REAL(fopen, fopen_f) return real(path, mode); }
FILE* fopen64(const char* path, const char* mode) { REAL(fopen64, fopen_f) return real(path, mode); }
"""


def run_any(arguments, environment, timeout=600):
    """Both ranks alike: what they said, and their exit code."""
    command = [*MPIRUN, "-np", "2", "env", *(f"{k}={v}" for k, v in environment.items()), CONCORD, *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    return result.stdout, result.returncode


def run_two(first, second, code, environments=({}, {}), timeout=600):
    """Rank 0 runs the one, rank 1 the other; both with environments of their own."""
    parts = []
    for arguments, environment in zip((first, second), environments):
        parts += [*([":"] if parts else []), "-np", "1", "env", *(f"{k}={v}" for k, v in environment.items()), CONCORD, *map(str, arguments)]
    result = subprocess.run([*MPIRUN, *parts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    assert result.returncode == code, f"exit code {result.returncode}, expected {code}:\n{result.stdout}"
    return result.stdout


def errors(said):
    return [line for line in said.splitlines() if line.startswith("concord: error")]


class Differences(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("differ")
        (cls.folder / "hide.c").write_text(SHIM)
        cls.shim = str(cls.folder / "hide.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", cls.shim, cls.folder / "hide.c", "-ldl"], check=True)
        cls.study = small_study(cls.folder, corpus__max_tokens=1500, sae__steps=20, sae__latents=64)
        run("run", cls.study, ranks=1)

    def hide(self, name):
        """Environments in which rank 1 does not see files of this name."""
        return {}, {"LD_PRELOAD": self.shim, "HIDE": name}

    def test_a_disk_that_is_full_for_one_rank_ends_the_job(self):
        """Also where ranks write one file by MPI-IO: the others are not waited for."""
        library = self.folder / "fault.so"
        subprocess.run(["cc", "-O1", "-fexceptions", "-shared", "-fPIC", "-o", library, SOURCE / "tests/campaign/fault.c", "-ldl"], check=True)
        full = self.folder / "full"
        for stage, wrote in (("encode", ["a/features.h5", "a/features.h5.layers"]), ("correlate", ["matches.h5", "matches.h5.matrix"])):
            met = set()
            for n in (1, 2, 3, 5, 8, 13):
                with self.subTest(stage=stage, n=n):
                    shutil.rmtree(full, ignore_errors=True)
                    shutil.copytree(self.folder / "out", full)
                    for name in wrote:
                        path = full / name
                        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                    command = [stage, self.study, "--set", f"study.output={full}", "--set", "correlate.matrix=true", "--force"]
                    fault = {"LD_PRELOAD": library, "CONCORD_FAULT": f"write:{n}+:ENOSPC", "CONCORD_FAULT_UNDER": full, "CONCORD_FAULT_RANK": 1, "CONCORD_FAULT_LOG": self.folder / "fault.log"}
                    (self.folder / "fault.log").unlink(missing_ok=True)
                    said, code = run_any(command, fault)
                    self.assertEqual(code, 74 if (self.folder / "fault.log").exists() else 0, said)
                    self.assertEqual(len(errors(said)), int(code != 0), said)
                    met.update(["met"] if code != 0 else [], [word for word in ("features.h5.layers", "matches.h5.matrix") if code != 0 and word in said])
            self.assertGreaterEqual(len(met), 2, f"{stage} met no full disk in the file that ranks write together")

    def test_other_arguments_are_refused(self):
        new = ["--set", f"study.output={self.folder / 'refused'}"]
        for more in (["--set", "sae.steps=100"], ["--set", "sae.groups=2"], ["--no-such-flag"]):
            with self.subTest(more=more):
                said = run_two(["run", self.study, *new], ["run", self.study, *new, *more], 78)
                self.assertEqual(len(errors(said)), 1, said)
                self.assertIn("rank 1 on ", said)
                self.assertIn(more[-1], said)
        self.assertFalse((self.folder / "refused").exists())

    def test_a_study_and_a_result_that_one_rank_does_not_see_are_there_all_the_same(self):
        for stage, name in (("tokenize", "study.toml"), ("extract", "activations.h5"), ("train-sae", "training.json"), ("compare", "similarity.h5")):
            with self.subTest(stage=stage):
                self.assertIn("is done", run_two([stage, self.study], [stage, self.study], 0, self.hide(name)))

    def test_other_environments_are_agreed(self):
        other = ["run", self.study, "--set", f"study.output={self.folder / 'other'}"]
        run_two(other, other, 0, ({"OMP_NUM_THREADS": "1"},
                                  {"OMP_NUM_THREADS": "2", "SLURM_JOB_ID": "1234567", "CONCORD_PYTHON": "/none", "HOME": "/none"}))
        for name in ("a/activations.h5", "b/features.h5", "matches.h5"):
            same(self.folder / "out" / name, self.folder / "other" / name)

    def test_an_input_that_one_rank_does_not_see_is_one_error(self):
        other = ["encode", "--activations", self.folder / "out/a/activations.h5", "--saes", self.folder / "out/a/saes", "--out", self.folder / "f.h5"]
        said = run_two(other, other, 66, self.hide("activations.h5"))
        self.assertEqual(len(errors(said)), 1, said)

    def test_a_training_record_that_one_rank_does_not_see_limits_the_same_rows(self):
        out = self.folder / "limited"
        shutil.copytree(self.folder / "out", out)
        for fused in ("false", "true"):
            found = []
            for environments in (({}, {}), self.hide("training.json")):
                for path in (out / "a/features.h5", out / "b/features.h5"):
                    path.unlink(missing_ok=True)
                    shutil.rmtree(f"{path}.layers", ignore_errors=True)
                encode = ["encode", self.study, "--set", f"study.output={out}", "--set", "encode.max_norm=1.1", "--set", f"extract.fused={fused}"]
                said = run_two(encode, encode, 0, environments)
                self.assertIn("they have no codes", said)
                self.assertNotIn("is not known", said)
                found.append(datasets(out / "a/features.h5"))
            for name, values in found[0].items():
                self.assertEqual(values.tobytes(), found[1][name].tobytes(), f"{name} with extract.fused={fused}")

    def test_weights_that_one_rank_does_not_see_are_not_read_from_another_file(self):
        folder = fresh("differ_weights")
        model = folder / "model"
        shutil.copytree(DEMO / "models" / "small", model)
        raw = bytearray((model / "model.safetensors").read_bytes())
        size = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:size])
        begin = size + header["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0]
        raw[begin:begin + 4096] = bytes(4096)
        (model / "other.safetensors").write_bytes(raw)
        names = [name for name in header if name != "__metadata__"]
        (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: "other.safetensors" for name in names}}))
        tokens = self.folder / "out/tokens.h5"
        extract = ["extract", "--model", model, "--tokens", tokens, "--layers", "5", "--dtype", "f32", "--out", folder / "acts.h5"]
        said = run_two(extract, extract, 66, self.hide("model.safetensors$"))
        self.assertEqual(len(errors(said)), 1, said)
        self.assertIn("the first is read, as transformers does", run(*extract))
        extract[2], extract[-1] = DEMO / "models" / "small", folder / "single.h5"
        run(*extract)
        self.assertEqual(datasets(folder / "acts.h5")["/layer_005/x"].tobytes(), datasets(folder / "single.h5")["/layer_005/x"].tobytes())

    def test_a_checkpoint_that_one_rank_does_not_see_is_no_hang(self):
        folder = fresh("differ_checkpoint")
        np.save(folder / "rows.npy", np.random.default_rng(3).standard_normal((3000, 32)).astype(np.float32))
        train = ["train-sae", "--activations", folder / "rows.npy", "--d-sae", "64", "--k", "4", "--batch", "256", "--steps", "64", "--out", folder / "sae"]
        run(*train, "--max-time", "0.0001", code=75, ranks=1)
        said = run_two(train, train, 66, self.hide("checkpoint.safetensors"))
        self.assertEqual(len(errors(said)), 1, said)
        run(*train, ranks=1)

    def test_an_error_that_all_ranks_meet_is_one_line(self):
        folder = fresh("differ_nan")
        model = folder / "model"
        model.mkdir()
        for file in (DEMO / "models" / "small").iterdir():
            (model / file.name).write_bytes(file.read_bytes())
        weights = model / "model.safetensors"
        data = bytearray(weights.read_bytes())
        header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        name = next(n for n in header if n.endswith("layers.0.mlp.down_proj.weight"))
        begin = 8 + int.from_bytes(data[:8], "little") + header[name]["data_offsets"][0]
        data[begin:begin + 64] = b"\xff" * 64  # NaN in every type
        weights.write_bytes(data)
        study = small_study(folder, corpus__max_tokens=1500, **{"model.a__path": str(model)})
        run("tokenize", study, ranks=1)
        said = run("extract", study, ranks=4, code=65)
        self.assertEqual(len(errors(said)), 1, said)


class Stalls(unittest.TestCase):
    def training(self, name, steps):
        folder = fresh(name)
        np.save(folder / "rows.npy", np.random.default_rng(3).standard_normal((3000, 32)).astype(np.float32))
        return folder, ["train-sae", "--activations", folder / "rows.npy", "--d-sae", "64", "--k", "4", "--batch", "256", "--steps", steps,
                        "--checkpoint-seconds", "0", "--out", folder / "sae"]

    def test_a_stopped_rank_is_named(self):
        folder, train = self.training("stall", "1000000")
        process = start([*train, "--stall-timeout", "3"])
        wait_for((folder / "sae.partial" / "digest").exists, process)
        ranks = [pid for pid, _ in owner(folder / ".sae.claim")["processes"]]
        os.kill(ranks[1], signal.SIGSTOP)
        code, said = end(process)
        self.assertEqual(code, 71, said)
        self.assertIn("rank 1 is missing", said)
        self.assertIn(f"(pid {ranks[1]}) has not run for", said)
        self.assertIn("rank 0: in MPI_", said)
        self.assertEqual(len(errors(said)), 1, said)

    def test_a_job_that_works_is_left_alone(self):
        folder, train = self.training("no_stall", "4000")
        said = run(*train, "--stall-timeout", "1")
        self.assertEqual(errors(said), [])


if __name__ == "__main__":
    unittest.main()
