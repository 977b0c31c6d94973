"""`concord info --ranks`: a line a rank, and a warning where ranks get into each other's way. What needs no MPI starts none."""
import os
import re
import shutil
import socket
import subprocess
import unittest

from support import CONCORD, RANKS, command

LINE = re.compile(r"^ *(?P<rank>\d+) (?P<host>\S+) +(?P<node>\d+)  (?P<cores>\S+) \((?P<count>\d+)\) +(?P<numa>\S+) +(?P<threads>\d+)  (?P<gpu>.*)$", re.M)


def ranges(numbers):
    text = ""
    for number in sorted(numbers):
        if text and number - 1 in numbers:
            text = text[:text.rindex("-")] if text.rsplit(",", 1)[-1].count("-") else text
            text += f"-{number}"
        else:
            text += f",{number}" if text else str(number)
    return text


class Info(unittest.TestCase):
    def info(self, *in_front, words=None, threads=1):
        done = subprocess.run([*in_front, *(words or command("info", "--ranks"))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=True,
                              env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        self.lines = [match.groupdict() for match in LINE.finditer(done.stdout)]
        self.warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
        self.assertEqual("no rank is in another's way" in done.stdout, not self.warnings, done.stdout)
        return done.stdout

    def test_a_line_a_rank_in_order(self):
        cores = os.sched_getaffinity(0)
        said = self.info()
        self.assertEqual([int(line["rank"]) for line in self.lines], list(range(RANKS)), said)
        for line in self.lines:
            self.assertEqual((line["host"], line["node"], line["threads"]), (socket.gethostname(), line["rank"], "1"))
            self.assertEqual((line["cores"], int(line["count"])), (ranges(cores), len(cores)))
        crowded = [w for w in self.warnings if "take turns" in w]
        self.assertEqual(len(crowded), RANKS > len(cores), said)
        if crowded:
            self.assertIn(f"{RANKS} threads of {RANKS} ranks take turns on {len(cores)} core", crowded[0])

    def test_ranks_on_one_core_are_told(self):
        core = min(os.sched_getaffinity(0))
        said = self.info("taskset", "-c", str(core))
        self.assertEqual({line["cores"] for line in self.lines}, {str(core)})
        expected = [f"{socket.gethostname()}: {RANKS} threads of {RANKS} ranks take turns on 1 core ({core})"] if RANKS > 1 else []
        self.assertEqual([w.split("warning: ")[1].split(";")[0] for w in self.warnings], expected, said)

    def test_too_many_threads_of_one_rank_are_told(self):
        cores = len(os.sched_getaffinity(0))
        self.info(threads=cores + 3)
        self.assertIn(f"{RANKS * (cores + 3)} threads of {RANKS} rank", self.warnings[0])

    def test_ranks_with_cores_of_their_own_are_fine(self):
        cores = sorted(os.sched_getaffinity(0))
        if RANKS > len(cores):
            self.skipTest(f"{RANKS} ranks on {len(cores)} cores")
        words = command("info", "--ranks")
        program = words.index(CONCORD)
        script = f'exec taskset -c "$(echo {" ".join(map(str, cores))} | cut -d" " -f$((${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}} + 1)))" "$@"'
        said = self.info(words=[*words[:program], "sh", "-c", script, "sh", *words[program:]])
        self.assertEqual([line["cores"] for line in self.lines], [str(core) for core in cores[:RANKS]], said)
        self.assertEqual(self.warnings, [])

    def test_short_form(self):
        done = subprocess.run(command("info"), stdout=subprocess.PIPE, text=True, timeout=120, check=True)
        self.assertEqual(re.findall(r"^rank (\d+) on", done.stdout, re.M), [str(rank) for rank in range(RANKS)])


class WithoutMpi(unittest.TestCase):
    PAGES = (["--version"], ["--help"], ["correlate", "--help"], ["keys"], ["keys", "--json-schema"], ["stages"], ["completion"], ["man"])

    def answer(self, words):
        """With a component of MPI that does not exist, so that MPI cannot start."""
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, env={**os.environ, "OMPI_MCA_pml": "none"})

    def test_pages_are_there_where_mpi_cannot_start(self):
        self.assertNotEqual(self.answer([CONCORD, "info"]).returncode, 0, "MPI starts all the same")
        for page in self.PAGES:
            with self.subTest(page=page):
                done = self.answer([CONCORD, *page])
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertGreater(len(done.stdout), 10)

    def test_a_full_disk_behind_the_output_is_told(self):
        for words in (["keys"], ["--help"], ["man"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([CONCORD, *words], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, done.stderr), (74, "concord: error: cannot write to standard output\n"))

    def test_one_rank_speaks(self):
        for page in self.PAGES:
            with self.subTest(page=page):
                done = self.answer(command(*page))
                self.assertEqual((done.returncode, done.stdout), (0, self.answer([CONCORD, *page]).stdout), done.stderr)

    def test_wrong_words_are_refused(self):
        for words, code in (["keys", "--nonsense"], 64), (["keys", "--log-level", "loud"], 64), ([], 64):
            with self.subTest(words=words):
                done = subprocess.run(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
                self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)


if __name__ == "__main__":
    if shutil.which("taskset") is None:
        raise SystemExit("taskset (util-linux) is not installed")
    unittest.main()
