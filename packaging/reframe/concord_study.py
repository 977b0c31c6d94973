"""A check for ReFrame: a study from its text to its report on 1 and 2 ranks, each stage's seconds taken from its last line.

    reframe -c packaging/reframe/concord_study.py -S study=/path/to/study.toml -S concord=/path/to/concord -r --performance-report

On a system of its own, references per stage go into `reference` (docs of ReFrame: "reference")."""
import os
import pathlib

import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import parameter, run_after, run_before, sanity_function, variable

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAST_LINE = r"concord {}: OK wall=(\S+)s"


@rfm.simple_test
class ConcordStudy(rfm.RunOnlyRegressionTest):
    """Fails where a stage that is named in `stages` does not come to its last line, as where the nodes have no python3 for the report: `run` asks for it first."""

    study = variable(str, value=str(ROOT / "configs" / "demo.toml"))
    concord = variable(str, value=str(ROOT / "build" / "concord"))
    stages = variable(list, value=["tokenize", "extract a", "recovered a", "encode a", "correlate", "compare"])
    ranks = parameter([1, 2])
    valid_systems = ["*"]
    valid_prog_environs = ["*"]

    @run_after("init")
    def prepare(self):
        self.num_tasks = self.ranks
        self.executable = self.concord
        self.env_vars = {"OMP_NUM_THREADS": "1"}
        self.executable_opts = ["run", os.path.abspath(self.study), "--set", "study.output=$PWD/results"]

    @sanity_function
    def every_stage_ends(self):
        return sn.all([sn.assert_found(LAST_LINE.format(stage), self.stdout) for stage in self.stages])

    @run_before("performance")
    def take_seconds(self):
        for stage in self.stages:
            seconds = sn.extractsingle(LAST_LINE.format(stage), self.stdout, 1, float)
            self.perf_variables[stage.replace(" ", "_")] = sn.make_performance_function(seconds, "s")
