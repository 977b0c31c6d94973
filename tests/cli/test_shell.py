"""Every shell script of the tree under shellcheck. Skipped where it is not installed."""
import shutil
import subprocess
import sys
import unittest

from support import SOURCE

if not shutil.which("shellcheck"):
    print("skipped: shellcheck is not installed")
    sys.exit(77)


class Shell(unittest.TestCase):
    def test_scripts_are_clean(self):
        files = [*SOURCE.glob("jobs/*"), *SOURCE.glob("jobs/sites/*"), *SOURCE.glob("jobs/schedulers/*"), *SOURCE.glob("packaging/**/*.sh"), *SOURCE.glob("scripts/*"), SOURCE / ".ci/run",
                 SOURCE / "tests/cluster/agent"]
        scripts = [f for f in files if f.is_file() and f.suffix != ".py" and not f.read_text().startswith("#!/usr/bin/env python3")]
        self.assertGreater(len(scripts), 15)
        done = subprocess.run(["shellcheck", "-x", "-P", SOURCE, *scripts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
