"""compare by itself equals numpy, scipy, rsatoolbox, cca-zoo and repsim (tests/golden/make_similarity_golden.py), and answers bad matrices clearly."""
import json
import unittest

import h5py
import numpy as np

from support import GOLDEN, RANKS, fresh, run

RECORD = json.loads((GOLDEN / "similarity.json").read_text())
X, Y, LOW = (GOLDEN / f"similarity_{name}.npy" for name in ("x", "y", "low_rank"))
NO_NULL = ["--permutations", 0, "--stratified-permutations", 0]


def compare(x, y, *flags):
    folder = fresh("compare")
    run("compare", "--x", *np.atleast_1d(x), "--y", *np.atleast_1d(y), "--json", folder / "out.json", *flags)
    return json.loads((folder / "out.json").read_text())


def write_safetensors(path, name, array):
    header = json.dumps({name: {"dtype": "F64", "shape": array.shape, "data_offsets": [0, array.nbytes]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + array.astype("<f8").tobytes())


class CompareGolden(unittest.TestCase):
    def test_svcca_equals_numpy_by_every_route(self):
        cases = {"variance_0.99": (X, ["--svcca-variance", 0.99]), "variance_0.7": (X, ["--svcca-variance", 0.7]), "k_5": (X, ["--svcca-k", 5]),
                 "low_rank": (LOW, ["--svcca-variance", 0.9999999])}
        for route in ("auto", "qr", "whole"):
            for name, (first, flags) in cases.items():
                with self.subTest(case=name, route=route):
                    got = compare(first, Y, "--measures", "svcca,svcca_squared,svcca_rank1", "--permutations", 39, "--route", route, *flags)
                    expected = RECORD["svcca"][name]
                    self.assertAlmostEqual(got["svcca"]["score"], expected["score"], delta=1e-10)
                    self.assertAlmostEqual(got["svcca_squared"]["score"], expected["squared"], delta=1e-10)
                    self.assertAlmostEqual(got["svcca_rank1"]["score"], expected["rank1"], delta=1e-10)
                    self.assertEqual((got["factors"]["x"]["k"], got["factors"]["y"]["k"]), (expected["k_x"], expected["k_y"]))
                    self.assertEqual(got["svcca"]["p"], (1 + sum(v >= got["svcca"]["score"] for v in got["svcca"]["null"])) / 40)

    def test_all_components_equal_cca_zoo_and_repsim(self):
        got = compare(X, Y, "--svcca-variance", 1, *NO_NULL)
        self.assertAlmostEqual(got["svcca"]["score"], RECORD["cca_zoo"], delta=1e-10)
        self.assertAlmostEqual(got["svcca_squared"]["score"], RECORD["repsim"]["svcca_squared"], delta=1e-10)
        self.assertAlmostEqual(got["cka"]["score"], RECORD["repsim"]["cka"], delta=1e-10)
        self.assertAlmostEqual(got["cka"]["score"], RECORD["rsatoolbox"]["euclidean"]["cosine_cov"], delta=1e-10)  # the same by another way
        self.assertAlmostEqual(got["mutual_knn"]["score"], RECORD["mutual_knn"], delta=1e-12)

    def test_rsa_equals_scipy_and_rsatoolbox(self):
        for rdm, records in (("correlation", ("correlation", "low_rank")), ("cosine", ("cosine",)), ("euclidean", ("euclidean",))):
            both = compare([X, LOW][:len(records)], Y, "--rdm", rdm, "--measures", "rsa,rsa_pearson,rsa_rho_a,rsa_kendall", "--permutations", 19)
            for got, record in zip(both["pairs"] if len(records) > 1 else [both], records):
                with self.subTest(rdm=rdm, record=record):
                    expected = RECORD["scipy"][record]
                    for name in ("rsa", "rsa_pearson"):  # of dissimilarities rounded to 20 bits
                        self.assertAlmostEqual(got[name]["score"], expected[name], delta=1e-6)
                        self.assertEqual(got[name]["p"], 1 / 20)
                    self.assertAlmostEqual(got["rsa_kendall"]["score"], expected["rsa_kendall"], delta=4.5 * got["rsa_kendall"]["error"])
                    self.assertLess(got["rsa_kendall"]["error"], 0.003)
                    for name in ("rsa", "rsa_rho_a", "rsa_pearson") if record == "correlation" else ():
                        self.assertAlmostEqual(got[name]["score"], RECORD["rsatoolbox"]["correlation"][name], delta=1e-6)

    def test_procrustes_equals_scipy_from_any_format(self):
        folder = fresh("formats")
        y = np.load(Y)[:, :40]
        np.save(folder / "y.npy", y)
        write_safetensors(folder / "y.safetensors", "W_dec", y)
        with h5py.File(folder / "y.h5", "w") as f:
            f["layer/x"] = y
        locations = (folder / "y.npy", f"{folder}/y.safetensors:W_dec", f"{folder}/y.h5:/layer/x")
        pairs = compare(X, locations, "--measures", "procrustes", *NO_NULL)["pairs"]
        self.assertEqual([pair["y"] for pair in pairs], list(map(str, locations)))
        for got in (pair["procrustes"] for pair in pairs):
            self.assertAlmostEqual(got["score"], RECORD["procrustes"], delta=1e-12)
            self.assertAlmostEqual(got["angle"], np.arccos(RECORD["procrustes"]), delta=1e-10)
            self.assertAlmostEqual(got["distance"], np.sqrt(2 - 2 * RECORD["procrustes"]), delta=1e-10)

    def test_several_matrices_share_rows_and_permutations(self):
        got = compare([X, LOW], [Y, X], "--measures", "rsa,cka", "--permutations", 49)["pairs"]
        self.assertEqual([(pair["x"], pair["y"]) for pair in got], [(str(a), str(b)) for a in (X, LOW) for b in (Y, X)])
        alone = compare(LOW, Y, "--measures", "rsa,cka", "--permutations", 49)
        for name in ("rsa", "cka"):
            self.assertEqual(got[2][name]["null"], alone[name]["null"])
            null = np.array([pair[name]["null"] for pair in got])
            z = (null - null.mean(1, keepdims=True)) / null.std(1, ddof=1, keepdims=True)
            for pair in got:
                self.assertEqual(pair[name]["max_p"], (1 + np.sum(z.max(0) >= pair[name]["z"])) / 50)
                self.assertEqual(pair[name]["q"], 1 / 50)  # all four are as significant as 49 permutations can show

    @unittest.skipIf(RANKS > 1, "on one rank; bad_input refuses on several")
    def test_refuses_bad_matrices(self):
        folder = fresh("bad")
        x = np.load(X)
        np.save(folder / "short.npy", x[:50])
        np.save(folder / "empty.npy", x[:0])
        np.save(folder / "whole.npy", np.arange(520).reshape(260, 2))
        x[3, 4] = np.inf
        np.save(folder / "inf.npy", x)
        np.save(folder / "cube.npy", np.zeros((3, 3, 3)))
        for name, message in (("short", "rows must match"), ("inf", "row 3 holds"), ("cube", "dimensions"), ("empty", "is empty"), ("whole", "floating point")):
            output = run("compare", "--x", folder / f"{name}.npy", "--y", Y, "--json", folder / "out.json", code=65)
            self.assertIn(message, output)
        for flags, message in ((["--measures", "svca"], 'did you mean "svcca"?'), (["--rdm", "cosin"], "--rdm"), (["--route", "fast"], "--route"),
                               (["--svcca-variance", 1.5], "a number above 0 to 1"), (["--neighbours", 0], "--neighbours")):
            self.assertIn(message, run("compare", "--x", X, "--y", Y, "--json", folder / "out.json", *flags, code=64))
        self.assertFalse((folder / "out.json").exists())

    def test_says_what_is_not_defined(self):
        folder = fresh("undefined")
        x = np.load(X)[:12]
        x[5] = 0.25
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", np.load(Y)[:12])
        got = compare(folder / "x.npy", folder / "y.npy", "--permutations", 9, "--svcca-variance", 1)
        self.assertIn("every score would be 1", got["svcca"]["reason"])
        self.assertIn("row 5 of X is constant", got["rsa"]["reason"])
        self.assertIsNone(got["rsa"]["p"])
        self.assertGreater(got["cka"]["score"], 0)


if __name__ == "__main__":
    unittest.main()
