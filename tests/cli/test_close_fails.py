"""Where a rank cannot write what HDF5 writes as it closes a file, the job ends at once, with one line."""
import os
import pathlib
import subprocess
import unittest

from support import CONCORD, MPIRUN, RANKS, fresh

TEST = pathlib.Path(CONCORD).parent / "io_test"


class CloseFails(unittest.TestCase):
    def closed(self, where):
        """Code and words of ranks that close a file, where `where` has no room."""
        done = subprocess.run([*MPIRUN, "-np", str(RANKS), TEST, "--gtest_also_run_disabled_tests", "--gtest_filter=*DISABLED_AParallelFileIsClosed*"],
                              env={**os.environ, "CLOSE_FAILS_ON": where}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=120, cwd=fresh("close_fails"), check=False)
        return done.returncode, done.stdout

    def test_a_close_with_room_ends_with_0(self):
        code, words = self.closed("none")
        self.assertEqual(code, 0, words)

    def test_one_line_and_74(self):
        for where in ("all", *map(str, range(RANKS))):
            with self.subTest(where=where):
                code, words = self.closed(where)
                if where not in ("all", "0"):  # HDF5 gives the other ranks nothing to write
                    self.assertEqual(code, 0, words)
                    continue
                self.assertEqual(code, 74, words)
                self.assertEqual(words.count("concord: error"), 1, words)
                self.assertIn("x.h5 (is the disk full?)", words)


if __name__ == "__main__":
    unittest.main()
