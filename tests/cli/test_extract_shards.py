"""extract gives the same file at any mixture of layer shards and replicas, goes on where another mixture stopped or was killed, refuses
what cannot fit, and verify finds a flipped byte."""
import pathlib
import random
import unittest

import h5py
import numpy as np

from support import DEMO, fresh, run, run_and_kill, same

MODEL = DEMO / "models" / "large"
MIXTURES = [(1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3)]  # ranks and layer shards


class ExtractShards(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = fresh("shards")
        (cls.folder / "text.txt").write_text((DEMO / "corpus" / "analysis.txt").read_text()[:60000])
        cls.tokens = cls.folder / "tokens.h5"
        run("tokenize", "--text", cls.folder / "text.txt", "--tokenizer", DEMO / "tokenizer.model", "--context", 96, "--max-tokens", 6000, "--out", cls.tokens, ranks=1)
        cls.one = cls.folder / "one.h5"
        cls.extract(cls.one, 1)

    @classmethod
    def extract(cls, out, ranks, *flags, **options):
        return run(*cls.arguments(out, *flags), ranks=ranks, **options)

    @classmethod
    def arguments(cls, out, *flags):
        return ["extract", "--model", MODEL, "--tokens", cls.tokens, "--layers", "-1,0,4,9", "--batch", 4, "--loss", "--commit-seconds", 0, "--out", out, *flags]

    def test_any_mixture_gives_the_same_file(self):
        for ranks, shards in MIXTURES:
            out = self.folder / f"mixture{ranks}_{shards}.h5"
            output = self.extract(out, ranks, "--layer-shards", shards)
            with self.subTest(shards=shards, ranks=ranks):
                same(self.one, out)
                self.assertIn("OK", output)
                effective = min(shards, ranks)
                self.assertEqual("idle" in output, ranks % effective != 0)

    def test_shards_without_wanted_layers_and_without_blocks(self):
        out = self.folder / "few"
        flags = ["extract", "--model", MODEL, "--tokens", self.tokens, "--layers", 8, "--batch", 1000, "--dtype", "f32"]
        run(*flags, "--out", f"{out}1.h5", ranks=1)
        for ranks in (2, 4):  # one block: other replicas have none, the first shard writes nothing
            run(*flags, "--out", f"{out}{ranks}.h5", "--layer-shards", 2, ranks=ranks)
            same(f"{out}1.h5", f"{out}{ranks}.h5")

    def test_bf16_compute_is_the_same_at_any_mixture(self):
        flags = ["extract", "--model", MODEL, "--tokens", self.tokens, "--layers", "3,9", "--batch", 8, "--compute", "bf16"]
        run(*flags, "--out", self.folder / "bf1.h5", ranks=1)
        for ranks in (3, 4):
            run(*flags, "--out", self.folder / f"bf{ranks}.h5", "--layer-shards", 2, ranks=ranks)
            same(self.folder / "bf1.h5", self.folder / f"bf{ranks}.h5")

    def test_stopped_and_continued_by_another_mixture(self):
        out = self.folder / "continued.h5"
        for ranks in (1, 2, 3, 4):
            output = self.extract(out, ranks, "--layer-shards", 2, "--max-time", "0.0001", code=75)
            self.assertEqual("are there already" in output, ranks > 1, output)
        self.assertIn("are there already", self.extract(out, 1, "--layer-shards", 1))
        same(self.one, out)

    def test_killed_at_random_moments(self):
        """Twelve kills; each restart has another number of ranks and shards."""
        chance = random.Random(4)
        out = self.folder / "killed.h5"
        partial = pathlib.Path(f"{out}.partial")
        kills = 0
        for attempt in range(160):
            if kills == 12:
                break
            wanted = chance.randrange(1, 6)  # commit marks that are new when the kill comes
            before = self.marks(partial)
            ranks, shards = chance.randint(1, 4), chance.randint(1, 3)
            if run_and_kill(self.arguments(out, "--layer-shards", shards), lambda: self.marks(partial) >= before + wanted, ranks=ranks):
                kills += 1
            if out.exists():  # it ended before the kill: from the beginning
                same(self.one, out)
                out.unlink()
        self.assertEqual(kills, 12)
        self.extract(out, 4, "--layer-shards", 2)
        same(self.one, out)
        run("verify", out, ranks=1)

    def test_compressed_rows_are_the_same_rows(self):
        out = self.folder / "packed.h5"
        segments = pathlib.Path(f"{out}.segments")
        arguments = self.arguments(out, "--compress", 1, "--layer-shards", 2)
        killed = run_and_kill(arguments, lambda: len(list(segments.glob("*.h5"))) >= 3, ranks=4)
        self.assertTrue(killed)
        run("extract", *arguments[1:], "--max-time", "0.0001", ranks=3, code=75)
        self.assertIn("are there already", self.extract(out, 2, "--compress", 1))
        same(self.one, out)
        run("verify", out, ranks=1)
        packed = sum(p.stat().st_size for p in segments.iterdir())
        self.assertLess(packed, 0.9 * self.one.stat().st_size)
        with h5py.File(next(segments.glob("*.h5"))) as f:
            layer = next(name for name in f if name != "datasets")
            self.assertEqual((f[layer]["x"].compression, f[layer]["x"].shuffle), ("gzip", True))
        segments.rename(self.folder / "elsewhere")
        self.assertIn("packed.h5.segments", run("verify", out, ranks=1, code=66))

    @staticmethod
    def marks(partial):
        """How many blocks are committed, read while others write."""
        try:
            with h5py.File(partial, "r", locking=False) as f:
                return sum(int(np.count_nonzero(f[f"layer_{layer:03d}/checksums"][:])) for layer in (0, 4, 9))
        except (OSError, KeyError):
            return 0

    def test_verify_finds_a_flipped_byte(self):
        out = self.folder / "flipped.h5"
        out.write_bytes(self.one.read_bytes())
        run("verify", out, ranks=1)
        with h5py.File(out) as f:
            dataset = f["layer_004/x"]
            position = dataset.id.get_offset() + 2 * (1000 * dataset.shape[1] + 17)
        with open(out, "r+b") as f:
            f.seek(position)
            byte = f.read(1)[0]
            f.seek(position)
            f.write(bytes([byte ^ 1]))
        output = run("verify", out, ranks=1, code=65)
        self.assertIn("layer_004: rows", output)

    def test_what_cannot_fit_is_refused_with_advice(self):
        output = self.extract(self.folder / "big.h5", 4, "--memory-gib", "0.01", code=69)
        for word in ("does not fit", "extract.layer_shards", "extract.batch", "extract.compute"):
            self.assertIn(word, output)
        self.assertFalse((self.folder / "big.h5.partial").exists())


if __name__ == "__main__":
    unittest.main()
