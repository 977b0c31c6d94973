"""compare by itself equals numpy and scipy (tests/golden/make_golden.py), and answers bad matrices clearly."""
import json
import unittest

import numpy as np

from support import GOLDEN, fresh, run

RECORD = json.loads((GOLDEN / "golden.json").read_text())["similarity"]


class CompareGolden(unittest.TestCase):
    def compare(self, x, y, *flags):
        folder = fresh("compare")
        run("compare", "--x", x, "--y", y, "--permutations", 39, "--json", folder / "out.json", *flags)
        return json.loads((folder / "out.json").read_text())

    def test_equals_numpy_and_scipy(self):
        x, y, low = (GOLDEN / f"similarity_{name}.npy" for name in ("x", "y", "low_rank"))
        cases = {"variance_0.99": (x, ["--svcca-variance", 0.99]), "variance_0.7": (x, ["--svcca-variance", 0.7]), "k_5": (x, ["--svcca-k", 5]),
                 "low_rank": (low, ["--svcca-variance", 0.9999999])}
        for name, (first, flags) in cases.items():
            with self.subTest(case=name):
                got = self.compare(first, y, *flags)
                self.assertAlmostEqual(got["svcca"]["score"], RECORD[name]["score"], delta=1e-10)
                self.assertEqual((got["svcca"]["x"]["k"], got["svcca"]["y"]["k"]), (RECORD[name]["k_x"], RECORD[name]["k_y"]))
                self.assertAlmostEqual(got["rsa"]["score"], RECORD["rsa_low_rank" if name == "low_rank" else "rsa"], delta=1e-10)
                self.assertEqual(got["svcca"]["p"], (1 + sum(v >= got["svcca"]["score"] for v in got["svcca"]["null"])) / 40)
                self.assertEqual(got["rsa"]["p"], 1 / 40)

    def test_refuses_bad_matrices(self):
        folder = fresh("bad")
        x = np.load(GOLDEN / "similarity_x.npy")
        np.save(folder / "short.npy", x[:50])
        x[3, 4] = np.inf
        np.save(folder / "inf.npy", x)
        np.save(folder / "cube.npy", np.zeros((3, 3, 3)))
        good = GOLDEN / "similarity_y.npy"
        for name, message in (("short", "rows must match"), ("inf", "row 3 holds"), ("cube", "dimensions")):
            output = run("compare", "--x", folder / f"{name}.npy", "--y", good, "--json", folder / "out.json", code=65)
            self.assertIn(message, output)
        self.assertFalse((folder / "out.json").exists())


if __name__ == "__main__":
    unittest.main()
