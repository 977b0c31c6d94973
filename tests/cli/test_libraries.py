"""No object is exported by two of the libraries that the program loads: they would share one, of whatever size the first has. An object that
the program itself defines, or that the linker copied into it, is one for all."""
import collections
import subprocess
import unittest

from support import CONCORD


def objects_of(library):
    """Names and kinds of the data that a library or program exports."""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return {fields[2].split("@")[0] for fields in map(str.split, lines) if len(fields) == 3 and fields[1] in "BDGRS"}


class Libraries(unittest.TestCase):
    def test_no_object_is_exported_twice(self):
        loaded = subprocess.run(["ldd", CONCORD], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        libraries = [line.split("=>")[1].split()[0] for line in loaded if "=>" in line and "not found" not in line]
        self.assertTrue(any("libtorch_cpu" in library for library in libraries))
        of_program = objects_of(CONCORD)
        exporting = collections.defaultdict(list)
        for library in libraries:
            for name in objects_of(library) - of_program:
                exporting[name].append(library)
        self.assertEqual({name: where for name, where in exporting.items() if len(where) > 1}, {})


if __name__ == "__main__":
    unittest.main()
