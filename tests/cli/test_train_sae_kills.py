"""train-sae killed at random moments, each time continued on another number of ranks, ends in the bits of an undisturbed run on one
rank. CONCORD_KILLS sets how many kills; the default keeps the suite short."""
import os
import random
import time
import unittest

import numpy as np

from support import RANKS, fresh, run, run_and_kill


# TopK, and a kind with more to remember than weights and moments.
KIND = "topk" if RANKS == 2 else "batch-topk"


class TrainSaeKills(unittest.TestCase):
    @staticmethod
    def later(path, seconds):
        """Whether `path` has been there for so long."""
        seen = []

        def holds():
            if not seen and path.exists():
                seen.append(time.monotonic())
            return bool(seen) and time.monotonic() - seen[0] > seconds

        return holds

    def test_killed_at_random_moments_on_any_ranks(self):
        folder = fresh("train_sae_kills")
        rng = np.random.default_rng(0)
        directions = rng.standard_normal((256, 64))
        active = rng.random((8000, 256)) < 0.03
        np.save(folder / "x.npy", (active @ directions + 0.1 * rng.standard_normal((8000, 64))).astype(np.float32))

        def arguments(out):
            return ["train-sae", "--activations", folder / "x.npy", "--kind", KIND, "--d-sae", 1500, "--k", 8, "--steps", 400, "--batch", 512, "--dead-after", 20000,
                    "--checkpoint-seconds", 0, "--out", out]

        run(*arguments(folder / "undisturbed"), ranks=1)
        undisturbed = (folder / "undisturbed" / "sae_weights.safetensors").read_bytes()
        chance = random.Random(RANKS)
        wanted = int(os.environ.get("CONCORD_KILLS", "4"))
        out, kills, rounds, furthest = folder / "killed", 0, 0, 0
        checkpoint = folder / "killed.partial" / "checkpoint.safetensors"
        while kills < wanted:
            ranks = chance.randint(1, 4)
            # Any moment, and every other time one behind a checkpoint: a slow machine may not have got there.
            delay = chance.uniform(0.2, 2.5)
            begin = time.monotonic()
            moment = (lambda: time.monotonic() - begin > delay) if kills % 2 == 0 else self.later(checkpoint, delay / 5)
            if run_and_kill(arguments(out), moment, ranks=ranks):
                kills += 1
                furthest += checkpoint.exists()
            if out.exists():  # it ended before the kill, or was killed behind its end
                self.assertEqual((out / "sae_weights.safetensors").read_bytes(), undisturbed)
                run(*arguments(out), ranks=ranks)
                out.rename(folder / f"done{rounds}")
                rounds += 1
        self.assertGreater(furthest, 0, "no kill came behind a checkpoint")
        run(*arguments(out), ranks=RANKS)
        self.assertEqual((out / "sae_weights.safetensors").read_bytes(), undisturbed)


if __name__ == "__main__":
    unittest.main()
