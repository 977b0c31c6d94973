"""Several runs on one output: one works, the others wait or end with 75, a dead one's place is taken, and the results are those of one run."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

import numpy as np

from support import CONCORD, asked_at_start, command, fresh, run, small_study

STAGE = ["--log-level", "warn"]


def start(arguments, ranks=None, prefix=()):
    return subprocess.Popen([*prefix, *command(*arguments, ranks=ranks)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def end(process, timeout=300):
    said = process.communicate(timeout=timeout)[0]
    return process.returncode, said


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode} before: {process.communicate()[0]}"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def owner(claim):
    """What the claim file says; None where there is none."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads(claim.read_text())
    return None


class Training:
    """An SAE that trains for as long as it is let: what runs compete for."""

    def __init__(self, name, steps):
        self.folder = fresh(name)
        rows = np.random.default_rng(3).standard_normal((3000, 32)).astype(np.float32)
        np.save(self.folder / "rows.npy", rows)
        self.out = self.folder / "sae"
        self.claim = self.folder / ".sae.claim"
        self.steps = steps

    def arguments(self, *more, out=None):
        return ["train-sae", "--activations", self.folder / "rows.npy", "--d-sae", "64", "--k", "4", "--batch", "256", "--steps", self.steps,
                "--checkpoint-seconds", "0", *STAGE, "--out", out or self.out, *more]

    def check(self, test):
        """The result of an undisturbed run has the same bits, and nothing else is left."""
        run(*self.arguments(out=self.folder / "undisturbed"))
        for name in ("sae_weights.safetensors", "cfg.json"):
            test.assertEqual((self.out / name).read_bytes(), (self.folder / "undisturbed" / name).read_bytes())
        test.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["rows.npy", "sae", "undisturbed"])


class Claims(unittest.TestCase):
    def test_one_works_and_the_others_say_who(self):
        training = Training("claims_two", 300)
        first = start(training.arguments())
        wait_for(lambda: owner(training.claim), first)
        holder = owner(training.claim)["processes"][0][0]
        os.kill(holder, signal.SIGSTOP)
        said = run(*training.arguments(), code=75)
        self.assertIn(f"is held by pid {holder} on ", said)
        self.assertEqual(said.count("concord:"), 1, said)
        os.kill(holder, signal.SIGCONT)
        self.assertEqual(end(first)[0], 0)
        training.check(self)

    def test_five_wait_for_each_other(self):
        training = Training("claims_five", 120)
        runs = [start(training.arguments("--wait", "--force"), ranks=1) for _ in range(5)]
        for process in runs:
            code, said = end(process)
            self.assertEqual(code, 0, said)
        training.check(self)

    def test_a_killed_owner_is_succeeded(self):
        training = Training("claims_killed", 300)
        first = start(training.arguments())
        wait_for(lambda: (training.folder / "sae.partial" / "digest").exists(), first)
        os.kill(owner(training.claim)["processes"][0][0], signal.SIGSTOP)
        second = start(training.arguments("--wait"))
        for pid, _ in owner(training.claim)["processes"]:
            os.kill(pid, signal.SIGKILL)
        end(first)
        code, said = end(second)
        self.assertEqual(code, 0, said)
        training.check(self)

    def test_another_hosts_run_is_not_thought_dead(self):
        separate = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--uts"]
        if subprocess.run([*separate, "true"], capture_output=True).returncode != 0:
            self.skipTest("no namespaces here")
        training = Training("claims_hosts", 300)
        first = start(training.arguments(), ranks=1, prefix=[*separate, "sh", "-c", "hostname other-host; exec \"$@\"", "sh"])
        wait_for(lambda: (training.folder / "sae.partial" / "digest").exists(), first)
        os.killpg(first.pid, signal.SIGKILL)  # its namespace's first process dies, and all others in it
        end(first)
        said = run(*training.arguments(), code=75)
        self.assertIn("on other-host", said)
        run(*training.arguments("--steal"))
        training.check(self)

    def test_a_robbed_run_ends_itself(self):
        training = Training("claims_stolen", 1000000)
        first = start(training.arguments())
        wait_for(lambda: owner(training.claim), first)
        second = start(training.arguments("--steal"))
        code, said = end(first, timeout=120)
        self.assertNotEqual(code, 0)
        self.assertIn("was taken over by pid", said)
        for child in subprocess.run(["pgrep", "-P", str(second.pid)], stdout=subprocess.PIPE, text=True).stdout.split():
            os.kill(int(child), signal.SIGUSR1)
        code, said = end(second)
        self.assertEqual(code, 75, said)
        self.assertFalse(training.claim.exists())


class ResolvedStudy(unittest.TestCase):
    def test_a_finished_stage_bears_twenty_runs_at_once(self):
        study = small_study(fresh("claims_twenty"), corpus__max_tokens=1500)
        run("tokenize", study)
        environment = {**os.environ, "OMPI_MCA_btl": "self"}
        runs = [subprocess.Popen([CONCORD, "tokenize", str(study)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
                for _ in range(20)]
        for process in runs:
            code, said = end(process)
            self.assertEqual(code, 0, said)
        self.assertEqual([p.name for p in (study.parent / "out").iterdir() if p.name.startswith("study")], ["study.resolved.toml"])

    def test_a_refused_run_leaves_it_and_it_plans_as_the_study(self):
        folder = fresh("claims_resolved")
        study = small_study(folder, corpus__max_tokens=1500)
        text = study.read_text()
        text = text.replace(str(folder) + "/", "")  # paths that count from the study's folder
        text = text.replace('name = "small"', 'name = "back\\\\slash \\"quoted\\" \\u00e9"')
        study.write_text(text)
        run("tokenize", study)
        resolved = folder / "out" / "study.resolved.toml"
        before = resolved.read_bytes()
        run("tokenize", study, "--set", "corpus.context=32", code=78)
        self.assertEqual(resolved.read_bytes(), before)
        self.assertEqual(run("plan", resolved, ranks=1), run("plan", study, ranks=1))
        run("tokenize", resolved)
        self.assertEqual(resolved.read_bytes(), before)


class Signals(unittest.TestCase):
    def test_a_signal_before_mpi_starts_stops_the_run(self):
        early = asked_at_start(fresh("claims_early"))
        training = Training("claims_early_run", 300)
        result = subprocess.run([CONCORD, *map(str, training.arguments())], env=early, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                timeout=300)
        self.assertEqual(result.returncode, 75, result.stdout)
        run(*training.arguments(), ranks=1)
        training.check(self)

    def test_sigint_stops_as_sigterm_and_a_second_one_at_once(self):
        training = Training("claims_interrupted", 1000000)
        for interrupts, expected in ((1, 75), (2, -signal.SIGINT)):
            process = subprocess.Popen([CONCORD, *map(str, training.arguments())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            wait_for((training.folder / "sae.partial" / "digest").exists if interrupts == 1 else training.claim.exists, process)
            if interrupts == 2:  # both before the run looks
                os.kill(process.pid, signal.SIGSTOP)
                process.send_signal(signal.SIGINT)
                os.kill(process.pid, signal.SIGCONT)
                wait_for(lambda: not caught(process.pid, signal.SIGINT), process)
            process.send_signal(signal.SIGINT)
            code, said = end(process)
            self.assertIn(code, (expected, 75) if interrupts == 2 else (expected, ), said)

    def test_a_wrong_time_is_named(self):
        for text in (".", "1..5", "5:", "-3", "nan"):
            self.assertIn("--max-time", run("train-sae", "--activations", "x.npy", "--out", "x", f"--max-time={text}", code=64))


def caught(pid, number):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


if __name__ == "__main__":
    unittest.main()
