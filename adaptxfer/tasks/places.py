"""Finding a task's files on disk, without reading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error
from adaptxfer.tasks.build import expand
from adaptxfer.tasks.readers import Upstream
from adaptxfer.tasks.spec import SPLITS, FileSource, HubSource, Rows, TaskSpec


@dataclass(frozen=True)
class Found:
    """Files of one split and language, in reading order, and the entry of the task file that describes them."""

    source: FileSource
    files: tuple[Upstream, ...]

    def paths(self) -> list[Path]:
        """Every file that is read, companions included."""
        return [path for up in self.files for path in (up.path, *up.beside.values())]


def languages_of(spec: TaskSpec, split: str) -> tuple[str, ...]:
    """Languages that the task file offers for a split: its ``languages``, then those that only some place has."""
    places = [source for source in (*spec.files, *spec.hub) if offers(source, split)]
    known = {code: None for source in places for code in source.languages or spec.languages}
    return (
        *(code for code in spec.languages if code in known),
        *(code for code in known if code not in spec.languages),
    )


def splits_of(spec: TaskSpec) -> list[str]:
    """Every split that some place of the task has: train, dev, test, then others by name."""
    named = {split for source in (*spec.files, *spec.hub) for split in source.splits or SPLITS}
    return sorted(named, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split))


def offers(source: Rows, split: str, language: str | None = None) -> bool:
    """True if the place has this split, and (if asked) this language."""
    return (not source.splits or split in source.splits) and (
        language is None or not source.languages or language in source.languages
    )


def check_request(spec: TaskSpec, split: str, language: str) -> None:
    """Refuse a split or language that the task does not have.

    Raises:
        AdaptxferError: with the nearest name that it has.
    """
    if split not in (splits := splits_of(spec)):
        raise use_error(f"The task {spec.name} has no split {split!r}.", nearest(split, splits))
    if language not in (languages := languages_of(spec, split)):
        raise use_error(f"The task {spec.name} has no {split} data in {language!r}.", nearest(language, languages))


def find_files(spec: TaskSpec, split: str, language: str, data_dir: Path | None) -> Found | None:
    """The first place in the task file whose files exist; embedded ones and those beside it need no ``data_dir``."""
    for source in spec.files:
        root = _root(spec, source, data_dir)
        if root is not None and offers(source, split, language):
            parts = [_files(source, root, name, language) for name in source.splits.get(split, (split,))]
            if all(parts):
                return Found(source, tuple(up for part in parts for up in part))
    return None


def nowhere(spec: TaskSpec, split: str, language: str, data_dir: Path | None) -> AdaptxferError:
    """The sentence for a split that has no place: what was looked for, or that files are needed."""
    what = f"{spec.name}: no {split} data in {language!r}"
    if data_dir is None:
        return data_error(f"{what} on the Hub that could be used.", "Give the files with --data-dir.")
    wanted = [
        expand(path, source, language, name)
        for source in spec.files
        if offers(source, split, language) and not source.embedded
        for name in source.splits.get(split, (split,))
        for path in source.paths
    ]
    looked = f"Looked for {', '.join(wanted[:6])} (or .gz)." if wanted else "Its task file describes no such files."
    return data_error(f"{what} under {data_dir}. {looked}", f"`adaptxfer tasks check {spec.name}` shows what is there.")


def hub_for(spec: TaskSpec, split: str, language: str) -> HubSource | None:
    """The Hub data set that has this split and language."""
    return next((source for source in spec.hub if offers(source, split, language) and source.splits), None)


def _root(spec: TaskSpec, source: FileSource, data_dir: Path | None) -> Path | None:
    if source.here:
        return Path(spec.origin).parent
    if not source.embedded:
        return data_dir
    from adaptxfer.embedded import embedded_dir  # the data files come with the package

    return embedded_dir()


def _files(source: FileSource, root: Path, name: str, language: str) -> list[Upstream]:
    """Files of the first pattern that matches; ``*`` may match several, read in the order of their names."""
    for pattern in source.paths:
        found = _existing(root, expand(pattern, source, language, name))
        ups = [_with_companions(source, root, path, language, name) for path in found]
        if ups and all(ups):
            return [up for up in ups if up]
    return []


def _with_companions(source: FileSource, root: Path, path: Path, language: str, name: str) -> Upstream | None:
    """The file with its companions, or None if one that is needed is missing.

    One that may be absent (``key?``) can also lie one folder up.
    """
    beside = {}
    for key, pattern in source.beside.items():
        optional = key.endswith("?")
        folders = [path.parent, *([path.parent.parent] if optional and path.parent != root else [])]
        found = [place for folder in folders for place in _existing(folder, expand(pattern, source, language, name))]
        if found:
            beside[key.removesuffix("?")] = found[0]
        elif not optional:
            return None
    return Upstream(path, source, language, beside)


def _existing(root: Path, pattern: str) -> list[Path]:
    """Files that a filled-in pattern names, packed or not; never one outside of ``root``."""
    if ".." in Path(pattern).parts or Path(pattern).is_absolute():
        return []
    if "*" not in pattern:
        return [path for path in (root / pattern, root / f"{pattern}.gz") if path.is_file()][:1]
    plain = {path for path in root.glob(pattern) if path.is_file()}
    packed = {path for path in root.glob(f"{pattern}.gz") if path.is_file() and path.with_suffix("") not in plain}
    return sorted(plain | packed, key=lambda path: path.name)
