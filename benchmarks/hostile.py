"""What strangers' bundles were tried with, and the sentence each got: ``python -m benchmarks.hostile``.

The tricks are those of the tests' own list. Ends with 1 if one of them was not refused.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from adaptxfer.embedded import encoder_dir
from adaptxfer.encoder import Encoder, load_encoder
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.bundle import Bundle, load_bundle, read_bundle, save_bundle
from tests.hub.test_hostile import TRICKS
from tests.tiny import arrange, fresh, randomise, save_tiny


def good_bundle(root: Path) -> tuple[Path, Encoder]:
    """A bundle that loads, on a tiny random encoder."""
    source = encoder_dir("mini")
    assert source is not None
    encoder = load_encoder(str(save_tiny(root / "tiny", source)))
    model, tree, trained = arrange(encoder, "bottleneck", "none")
    randomise(trained, 3)
    heads = {"goal": model.head("goal").spec}
    save_bundle(model, Bundle(root / "good", encoder.base, "bottleneck", tree, "goal", heads))
    return root / "good", encoder


def answer(name: str, good: Path, encoder: Encoder) -> str | None:
    """The sentence that one trick is refused with; None if it loads."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(good, Path(folder) / "mine"))
        TRICKS[name][0](bundle)
        try:
            load_bundle(read_bundle(bundle), fresh(encoder))
        except AdaptxferError as error:
            return error.message.replace(folder, "...").replace("|", "\\|").replace("\n", " ")
    return None


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        good, encoder = good_bundle(Path(folder))
        load_bundle(read_bundle(good), fresh(encoder))
        answers = {name: answer(name, good, encoder) for name in TRICKS}
    print("| trick | answer |\n| --- | --- |")
    for name, said in answers.items():
        print(f"| {name} | {(said or '**loaded**')[:160].encode('ascii', 'backslashreplace').decode()} |")
    loaded = sum(said is None for said in answers.values())
    print(f"\n{len(answers)} tricks, {loaded} loaded.")
    return int(loaded > 0)


if __name__ == "__main__":
    sys.exit(main())
