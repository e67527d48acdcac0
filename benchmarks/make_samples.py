"""Writes the embedded sample tasks from the hand-written material in benchmarks/samples/; the same files every time.

    python benchmarks/make_samples.py [--to FOLDER]

sample_nli and sample_claims: a scene (who, what, where, when) is put into words by the frames of frames.toml, in every
language by that language's own lexicon, so the test sets are parallel. sample_stories: contexts and endings of
stories.txt, combined.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tomllib
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

MATERIAL = Path(__file__).with_name("samples")
TARGET = Path(__file__).parents[1] / "adaptxfer" / "embedded" / "samples"
SEED = 20210607
SIZES = {"nli": {"test": 120, "dev": 120, "train": 1800}, "claims": {"test": 120, "dev": 60, "train": 40}}
PEOPLE = (  # name, He, he, his, him
    *((name, "He", "he", "his", "him") for name in ("Tom", "Ahmed", "Paul", "Ivan")),
    *((name, "She", "she", "her", "her") for name in ("Lena", "Mei", "Sara", "Rosa")),
)
COLUMNS = {"nli": ("premise", "hypothesis"), "claims": ("text", "claim")}
SLOTS = ("S", "A", "P", "T", "S2", "A2", "P2")  # the order in which frames name them


def read_toml(name: str) -> dict:
    """One file of the material."""
    return tomllib.loads((MATERIAL / name).read_text("utf-8"))


def read_lexicon(language: str) -> dict:
    """The words, genders and sentence patterns of one language."""
    lexicon = {"language": language, "join": " ", **read_toml(f"lexicon.{language}.toml")}
    return {**lexicon, "patterns": {name: [pattern] for name, pattern in lexicon["patterns"].items()}}


def widened(core: dict, extra: dict) -> dict:
    """A lexicon with the words and patterns of both: English training data says more than the parallel test sets."""
    words = {key: core[key] + extra[key] for key in ("genders", *"SAPT")}
    patterns = {name: ways + extra["variants"].get(name, []) for name, ways in core["patterns"].items()}
    return {**core, **words, "patterns": patterns}


def capital(text: str, language: str) -> str:
    """The first letter in upper case (Turkish: the capital of i has a dot)."""
    return ("İ" if language == "tr" and text[0] == "i" else text[0].upper()) + text[1:]


def agree(text: str, subject: str, scene: dict[str, int], lexicon: dict) -> str:
    """``(masculine|feminine)`` in a text to the form that agrees with the subject (masculine where there is none)."""
    feminine = bool(subject) and lexicon["genders"][scene[subject]] == "f"
    return re.sub(r"\(([^|()]*)\|([^|()]*)\)", r"\2" if feminine else r"\1", text)


def sentence(clause: str, scene: dict[str, int], lexicon: dict, way: int) -> str:
    """One clause of a frame, such as ``does_at S A P``, in words, in one of the ways that the lexicon knows."""
    name, *chosen = clause.split()
    ways = lexicon["patterns"][name]
    pattern = ways[way % len(ways)]
    subject = next((word for word in chosen if word[0] == "S"), "")
    slots = [slot for slot in SLOTS if "{" + slot + "}" in agree(pattern, subject, scene, lexicon)]
    words, doer = {}, subject
    for slot, word in zip(slots, chosen, strict=True):
        doer = word if word[0] == "S" else doer
        words[slot] = agree(lexicon[word[0]][scene[word]], doer, scene, lexicon)
    return capital(agree(pattern, subject, scene, lexicon).format(**words), lexicon["language"])


def in_words(frame: str, scene: dict[str, int], lexicon: dict) -> tuple[str, str]:
    """The text and the statement of a frame."""
    text, statement = frame.split(" > ")
    sentences = (sentence(clause, scene, lexicon, scene["way"]) for clause in text.split(", "))
    return lexicon["join"].join(sentences), sentence(statement, scene, lexicon, scene["way2"])


def draw_scene(draw: random.Random, lexicon: dict) -> dict[str, int]:
    """Three different words for every slot, as positions in the lexicon, and ways to say the two parts."""
    scene = {"way": draw.randrange(60), "way2": draw.randrange(60)}
    for slot in "SAPT":
        for number, word in zip(("", "2", "3"), draw.sample(range(len(lexicon[slot])), 3), strict=True):
            scene[slot + number] = word
    return scene


def draw_items(count: int, frames: dict, lexicon: dict, seen: set, draw: random.Random) -> Iterator[tuple]:
    """``count`` triples of label, frame and scene: labels and frames in turn, no pair of sentences twice."""
    turns = {label: cycle(lines.strip().split("\n")) for label, lines in frames.items()}
    for label in (list(frames)[i % len(frames)] for i in range(count)):
        pair = None
        while pair is None or pair in seen:  # a frame of few words runs out of new pairs: then the next one
            frame, scene = next(turns[label]), draw_scene(draw, lexicon)
            pair = in_words(frame, scene, lexicon)
        seen.add(pair)
        yield label, frame, scene


def write_pairs(task: str, folder: Path, languages: list[str]) -> None:
    """train, dev (English) and test (parallel) of one of the two pair tasks."""
    draw, seen, frames = random.Random(SEED), set(), read_toml("frames.toml")[task]
    english = read_lexicon("en")
    for split, count in SIZES[task].items():
        lexicon = english if split == "test" else widened(english, read_toml("lexicon.extra.toml"))
        items = list(draw_items(count, frames, lexicon, seen, draw))
        if split != "test":
            write_rows(folder / task / f"{split}.jsonl", pair_rows(task, split, items, lexicon))
            continue
        for language in languages:
            rows = pair_rows(task, split, items, read_lexicon(language))
            write_rows(folder / task / f"test.{language}.jsonl", rows)


def pair_rows(task: str, split: str, items: list[tuple], lexicon: dict) -> list[dict]:
    """The items in one language."""
    rows = []
    for number, (label, frame, scene) in enumerate(items):
        pair = zip(COLUMNS[task], in_words(frame, scene, lexicon), strict=True)
        rows.append({"id": f"{task}-{split}-{number:03}", **dict(pair), "label": label})
    return rows


def read_stories() -> list[dict[str, list[str]]]:
    """The situations of stories.txt: contexts (>), endings that fit (+) and endings that do not (-)."""
    blocks = (MATERIAL / "stories.txt").read_text("utf-8").strip().split("\n\n")
    return [{mark: [line[2:] for line in block.split("\n") if line[0] == mark] for mark in ">+-"} for block in blocks]


def story_row(number: int, topics: list[dict], split: str, draw: random.Random) -> dict:
    """One story: the right ending, two that cannot follow, and the right ending of another situation."""
    topic = topics[number % len(topics)]
    other = draw.choice([other for other in topics if other is not topic])
    person = dict(zip(("N", "He", "he", "his", "him"), draw.choice(PEOPLE), strict=True))
    right = draw.choice(topic["+"])
    choices = [right, *topic["-"], draw.choice(other["+"])]
    draw.shuffle(choices)
    words = [text.format(**person) for text in (draw.choice(topic[">"]), *choices)]
    return {
        "id": f"stories-{split}-{number:03}",
        "context": words[0],
        "choices": words[1:],
        "label": choices.index(right),
    }


def write_stories(folder: Path) -> None:
    """train and dev (English) of sample_stories; the last context of every situation is kept for dev."""
    draw, topics = random.Random(SEED), read_stories()
    for split, count, part in (("train", 400, slice(0, -1)), ("dev", 100, slice(-1, None))):
        there = [{**topic, ">": topic[">"][part]} for topic in topics]
        rows: dict[tuple, dict] = {}
        while len(rows) < count:
            row = story_row(len(rows), there, split, draw)
            rows.setdefault((row["context"], *sorted(row["choices"])), row)
        write_rows(folder / "stories" / f"{split}.jsonl", list(rows.values()))


def write_rows(path: Path, rows: list[dict]) -> None:
    """One JSON object a line, in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the embedded sample tasks.")
    parser.add_argument("--to", type=Path, default=TARGET)
    folder = parser.parse_args().to
    languages = sorted(path.suffixes[0][1:] for path in MATERIAL.glob("lexicon.??.toml"))
    for task in SIZES:
        write_pairs(task, folder, languages)
    write_stories(folder)


if __name__ == "__main__":
    main()
