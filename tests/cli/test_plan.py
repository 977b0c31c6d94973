"""What `concord plan` counts is what a run did; sizes, machines and studies that lack something; `concord calibrate` feeds it."""
import copy
import importlib
import json
import re
import sys
import unittest

import h5py
import numpy as np

from support import DEMO, RANKS, SOURCE, fresh, run, small_study

NODES = SOURCE / "configs/machines/cpu-64.json"


def plan(study, *words):
    return json.loads(run("plan", study, *words, "--json", ranks=1))


def stages(study, *words):
    return {stage["stage"]: stage for stage in plan(study, *words)["stages"]}


def matrices(model):
    """Numbers of the two-dimensional weights of a model's blocks, by its files."""
    numbers = {}
    for path in model.glob("*.safetensors"):
        data = path.read_bytes()
        header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        for name, tensor in header.items():
            if (layer := re.search(r"layers\.(\d+)\.", name)) and len(tensor["shape"]) == 2:
                numbers[int(layer[1])] = numbers.get(int(layer[1]), 0) + int(np.prod(tensor["shape"]))
    return numbers


class CountedWork(unittest.TestCase):
    """A small study is planned and run; what lies in its files, and what its profile counted, is what the plan said."""
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("plan")
        cls.study = small_study(cls.folder)
        cls.out = cls.folder / "out"
        run("run", cls.study)
        cls.profile = json.loads((cls.out / "profile.json").read_text())["Application"]
        cls.plan = stages(cls.study, "--ranks", RANKS)

    def rows(self, model):
        """Active features of each row, layer by layer."""
        with h5py.File(self.out / model / "features.h5") as file:
            return [np.diff(file[layer]["indptr"][:]) for layer in sorted(file) if layer.startswith("layer_")]

    def close(self, planned, counted, tolerance):
        self.assertLess(abs(planned / counted - 1), tolerance, f"planned {planned}, counted {counted}")

    def test_products_are_those_of_the_rows(self):
        a, b = self.rows("a"), self.rows("b")
        passes = 1 + 4
        work = self.plan["correlate"]["work"]
        self.close(work["products"], passes * sum(int(np.dot(x, y)) for x in a for y in b), 0.1)
        self.close(work["postings"], passes * len(b) * sum(int(x.sum()) for x in a), 0.1)
        self.close(work["entries"], sum(int(x.sum()) for x in a + b), 0.1)
        self.close(self.plan["encode"]["work"]["codes"], sum(int(x.sum()) for x in a + b) + 4 * 256 * 20, 0.1)  # and lists of 20 strongest rows

    def test_features_looked_at_are_those_of_the_files(self):
        with h5py.File(self.out / "matches.h5") as file:
            sizes = [(len(file[pair]["a_to_b/partner"]), len(file[pair]["b_to_a/partner"])) for pair in file if pair.startswith("layer_")]
        work = self.plan["correlate"]["work"]
        self.assertEqual(work["looks"], 5 * sum(a * b for a, b in sizes))
        self.assertEqual(work["matches"], sum(a + b for a, b in sizes))

    def test_operations_of_blocks_are_those_of_the_weights(self):
        with h5py.File(self.out / "tokens.h5") as file:
            tokens = file["tokens"].shape[0]
        for name, model, last in (("a", "small", 3), ("b", "large", 6)):
            products = 2 * tokens * sum(numbers for layer, numbers in matrices(DEMO / "models" / model).items() if layer <= last)
            planned = self.plan[f"extract {name}"]["work"]["product_f32"]
            self.assertTrue(products <= planned <= 1.25 * products, (planned, products))  # attention comes to it

    def test_steps_are_those_of_the_training(self):
        for model, layers in (("a", (2, 3)), ("b", (4, 6))):
            for layer in layers:
                course = (self.out / model / f"saes/layer_{layer:03}/training.jsonl").read_text().splitlines()
                self.assertEqual(json.loads(course[-1])["step"], 120)
        work = self.plan["train-sae"]["work"]
        self.assertEqual(work["weights"], 2 * 120 * 256 * (128 + 192))
        self.assertEqual(work["screen_int8"], 2 * 120 * 512 * 256 * (128 + 192))

    def test_bytes_of_files(self):
        """A run does not count bytes of weights; what a plan takes for files is the most."""
        for stage, tolerance in (("extract", 0.3), ("train-sae", 0.25), ("encode", 0.35), ("correlate", 0.35)):
            planned = sum(one["written"] + (one["read"] if stage != "extract" else 0) for word, one in self.plan.items() if word.split()[0] == stage)
            with self.subTest(stage):
                self.close(planned, self.profile[stage]["fileBytes"], tolerance)

    def test_calls_of_messages(self):
        for stage in ("train-sae", "encode", "correlate"):
            with self.subTest(stage):
                self.close(self.plan[stage]["calls"] * RANKS, self.profile[stage]["numMpiCalls"], 0.5)


class Sizes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("plan_sizes")
        cls.study = small_study(cls.folder)

    def machine(self, **changes):
        machine = copy.deepcopy(json.loads(NODES.read_text()))
        for key, value in changes.items():
            *way, last = key.split("__")
            place = machine
            for word in way:
                place = place[word]
            place[last] = value
        path = self.folder / f"machine_{len(list(self.folder.iterdir()))}.json"
        path.write_text(json.dumps(machine))
        return path

    def test_nodes_are_compared(self):
        machine = self.machine(ranks_a_node=2)
        for stage in plan(self.study, "--machine", machine, "--ranks", 2)["stages"]:
            self.assertGreater(stage["time"]["seconds"], 0, stage["stage"])
            self.assertAlmostEqual(sum(stage["time"]["parts"].values()), stage["time"]["seconds"])
        said = plan(self.study, "--machine", machine, "--nodes", "1,3")
        self.assertEqual([(size["nodes"], size["ranks"]) for size in said["sizes"] if size["stage"] == "correlate"], [(1, 2), (3, 6)])
        for size in said["sizes"]:
            self.assertAlmostEqual(size["node_hours"], size["seconds"] * size["nodes"] / 3600)
            if size["nodes"] == 1:
                self.assertEqual(size["efficiency"], 1)
        for nodes in (1, 3):
            times = {size["stage"]: size["seconds"] for size in said["sizes"] if size["nodes"] == nodes}
            self.assertAlmostEqual(times.pop("all stages"), sum(times.values()))

    def test_what_no_sum_holds_is_named(self):
        missing = ["recovered", "report"]
        self.assertEqual(sorted(plan(self.study)["not_counted"]), missing)
        self.assertRegex(run("plan", self.study, ranks=1), r"(?m)^not in the total: .*report")
        on_gpu = ["--machine", self.machine(), "--nodes", "1", "--set", 'sae.device="cuda"']
        self.assertEqual(sorted(plan(self.study, *on_gpu)["not_counted"]), sorted([*missing, "train-sae"]))
        self.assertRegex(run("plan", self.study, *on_gpu, ranks=1), r"(?m)^not in the sum: .*train-sae")

    def test_stages_without_work_are_named(self):
        def idle(*words):
            said = re.findall(r"(?m)^nothing to do in this study: (.*)$", run("plan", self.study, *words, ranks=1))
            self.assertEqual(plan(self.study, *words)["without_work"], said[0].split(", ") if said else [])
            return " ".join(said)
        self.assertEqual(idle(), "graph")
        self.assertEqual(idle("--set", "sae.recovered_contexts=0", "--set", "subspaces.concepts="), "recovered, graph, subspaces")
        self.assertEqual(idle("--set", "extract.fused=true", "--set", "model.a.saes=x", "--set", "model.b.saes=y"), "extract, train-sae, graph")
        self.assertEqual(idle("--set", "model.a.saes=x"), "graph")  # the other model has none
        third = [word for key, value in (("path", DEMO / "models/small"), ("layers", "[1]")) for word in ("--set", f"model.c.{key}={value}")]
        self.assertEqual(idle(*third), "")
        self.assertNotIn("graph", run("plan", self.study, "--nodes", "1,2", ranks=1).split("not in the sum")[1])

    def test_defaults_are_named(self):
        self.assertIn("machine: none given, so the default constants", run("plan", self.study, ranks=1))
        self.assertIn("machine: 64 cores a node", run("plan", self.study, "--machine", NODES, ranks=1))

    def test_stages_that_a_study_lacks_are_not_shown(self):
        saes = self.folder / "given.toml"
        text = self.study.read_text().replace("[model.a]\n", '[model.a]\nsaes = "nowhere"\n').replace("[model.b]\n", '[model.b]\nsaes = "nowhere"\n')
        saes.write_text(re.sub(r"(?s)\[subspaces\].*?(?=\n\[|$)", "", text))
        self.assertFalse({"train-sae", "subspaces"} & stages(saes).keys())
        table = run("plan", saes, "--nodes", "1,2", ranks=1)
        self.assertIn("nothing to do in this study: train-sae, graph, subspaces", table)
        shown = {line.split()[0] for line in table.splitlines() if line}
        self.assertNotIn("train-sae", shown)
        self.assertIn("correlate", shown)

    def test_no_tokens_take_no_time(self):
        bare = self.folder / "bare.toml"
        bare.write_text(re.sub(r"paths = .*\n|max_tokens = .*\n", "", self.study.read_text()))
        for study in (bare, self.folder / "empty.toml"):
            if study != bare:
                (self.folder / "empty.txt").write_text("")
                study.write_text(re.sub(r"paths = .*\n", f'paths = ["{self.folder / "empty.txt"}"]\n', bare.read_text().replace("[corpus]\n", '[corpus]\npaths = []\n')))
            said = run("plan", study, ranks=1)
            self.assertNotIn("nan", said.lower())
            self.assertIn("0 tokens on 1 ranks", said)
            for stage in plan(study)["stages"]:
                self.assertTrue(np.isfinite(stage["time"]["seconds"]), stage["stage"])
            self.assertNotIn("nan", run("plan", study, "--nodes", "1,4", ranks=1).lower())
            self.assertIn("2000000 tokens", run("plan", study, "--tokens", "2e6", ranks=1))

    def test_more_tokens_take_more_products(self):
        few, many = (stages(self.study, "--tokens", tokens)["correlate"]["work"]["products"] for tokens in ("1e6", "1e9"))
        self.assertAlmostEqual(many / few, 1000)

    def test_layer_shards_leave_a_rank_less_of_the_model(self):
        def of_effects(*words):
            stage = stages(self.study, "--ranks", 4, *words)["subspaces"]
            return {array["what"]: array["bytes"] for array in stage["arrays"] if array["phase"] == "effects"}

        whole, shards = of_effects(), of_effects("--set", "extract.layer_shards=2")
        model = "the model, or a rank's shard of it, and a context's way through it"
        self.assertTrue(0.4 * whole[model] < shards[model] < 0.75 * whole[model], (whole, shards))
        self.assertEqual(shards.keys() - whole.keys(), {"rows on their way between shards"})
        on_gpu = ("--set", 'extract.device="cuda"', "--memory")
        said = [run("plan", self.study, "--ranks", 4, *on_gpu, "--set", f"extract.layer_shards={n}", ranks=1) for n in (1, 2)]
        gpu = [float(re.search(r"(?m)^subspaces: each rank takes ([\d.]+) MiB of its GPU", text)[1]) for text in said]
        self.assertLess(gpu[1], gpu[0])

    def test_slow_files_are_named(self):
        slow = run("plan", self.study, "--machine", self.machine(files__write={"rank": 1e4, "node": 1e4, "all": 1e4}), ranks=1)
        self.assertIn("extract a, extract b: the ranks wait for the file system", slow)
        self.assertRegex(slow, r"(?m)^extract a .* files$")

    def test_what_cannot_be_planned_is_refused_with_one_line(self):
        for code, said, words in (
                (65, "/work/rows/alone must be a positive number", ["--machine", self.machine(work__rows={"alone": -1})]),
                (78, "not of 64", ["--machine", self.machine(ranks_a_node=2), "--ranks-a-node", 64, "--ranks", 64]),
                (64, "1048576 nodes of 64 ranks are more than 16777216 ranks", ["--nodes", "1048576"]),
                (64, "--matched above 0", ["--matched", "0"]),
                (66, "nowhere.json", ["--machine", "nowhere.json"])):
            refused = run("plan", self.study, *words, ranks=1, code=code)
            self.assertEqual(refused.count("\n"), 1, refused)
            self.assertIn(said, refused)

    def test_calibrate_feeds_plan(self):
        path = self.folder / "measured.json"
        said = run("calibrate", "--repeat", 1, "--part", 0.05, "--file-mib", 1, "--work", self.folder, "--out", path)
        self.assertIn("memory of a node", said)
        machine = json.loads(path.read_text())
        self.assertEqual(machine["ranks_a_node"], RANKS)
        self.assertIn(machine["name"], run("plan", self.study, "--machine", path, "--nodes", "1,2", ranks=1))
        run("calibrate", "--part", 0, "--work", self.folder, code=64)


class Schedules(unittest.TestCase):
    """bench/schedule.py against schedules worked by hand."""

    @classmethod
    def setUpClass(cls):
        sys.dont_write_bytecode = True
        sys.path.append(str(SOURCE / "bench"))
        cls.schedule = importlib.import_module("schedule")

    def test_tasks_wait_for_ranks_and_for_each_other(self):
        simulation = self.schedule.Simulation(3)
        first = simulation.add([0, 1], np.array([2.0, 3.0]))  # until 3
        second = simulation.add([2], 5.0)
        simulation.add([0], 1.0, [second])  # 5 to 6
        simulation.add([1, 2], 4.0, [first])  # rank 2 is free at 5: until 9
        self.assertEqual(simulation.run(), 9)
        self.assertEqual(simulation.busy.tolist(), [3, 7, 9])

    def test_the_largest_are_dealt_first(self):
        loads, features = self.schedule.dealt(np.array([1.0, 7, 3, 5]), 2)
        self.assertEqual(sorted(loads), [8, 8])
        self.assertEqual(features.tolist(), [2, 2])

    def test_groups_are_those_of_compare(self):
        self.assertEqual(self.schedule.groups_of_compare(10, 1), 1)
        self.assertEqual(self.schedule.groups_of_compare(1, 8), 1)
        self.assertEqual(self.schedule.groups_of_compare(8, 8), 8)


class Machines(unittest.TestCase):
    def test_files_that_ship_are_what_the_script_makes(self):
        """Their numbers follow from the measured ones: each core of the larger node as one of the smaller."""
        cpu, gpu = (json.loads((SOURCE / f"configs/machines/{name}.json").read_text()) for name in ("cpu-64", "h100-4"))
        for machine in (cpu, gpu):
            self.assertIn("not measured", machine["source"])
        for kind, rate in cpu["work"].items():
            self.assertAlmostEqual(gpu["work"][kind]["together"] / rate["together"], 16)


if __name__ == "__main__":
    unittest.main()
