"""The rules of the house, read off the source: who may import whom, how long things may be, what must be said."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "adaptxfer"

ROOMS = (
    {"errors"},
    {"files"},
    {"ranks"},
    {"_tables", "_progress"},
    {"console"},
    {"embedded"},
    {"tasks"},
    {"metrics"},
    {"kernels"},
    {"data"},
    {"encoder"},
    {"modules"},
    {"training"},
    {"evaluation"},
    {"runs"},
    {"studies"},
    {"hub", "report"},
    {"api"},
    {"quickstart"},
    {"cli"},
)
"""From the ground up: a room imports only from rooms above it in this list."""

MUST_NOT_KNOW = {
    "kernels": {"tasks", "metrics"},
    "encoder": {"tasks", "metrics", "data"},
    "modules": {"tasks", "metrics", "data"},
    "evaluation": {"training"},
    "studies": {"training"},
    "hub": {"training"},
    "report": {"training"},
}
"""What a room must not import although it comes later in the list."""

HEAVY = {"torch", "transformers", "datasets", "adapters", "peft", "evaluate", "accelerate", "triton"}
NEVER_HEAVY = {"errors", "files", "console", "_tables", "_progress", "embedded"}
"""Rooms that import no heavy library anywhere."""

LIGHT_AT_THE_TOP = NEVER_HEAVY | {"ranks", "tasks", "metrics", "runs", "cli", "api", "__init__"}
"""Rooms that must be importable quickly: heavy libraries only inside functions."""

ALONE = {"adapters": "modules/bottleneck.py", "peft": "modules/lora.py"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]
each_file = pytest.mark.parametrize("path", FILES, ids=IDS)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, top_only: bool = False) -> Iterator[str]:
    """Every imported module as a dotted name; ``from a import b`` gives ``a.b``."""
    nodes = top_level(parsed(path).body) if top_only else ast.walk(parsed(path))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import, but not those for type checkers."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for name in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from top_level(getattr(node, name, []))


def room(path: Path) -> str:
    """The folder of the package that a file lies in, or the file's own name."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def height(name: str) -> int:
    return next(index for index, rooms in enumerate(ROOMS) if name in rooms)


def test_the_source_is_found() -> None:
    assert len(FILES) > 20


@each_file
def test_imports_go_one_way(path: Path) -> None:
    own = room(path)
    if (
        own in ("__init__", "__main__") or path == PACKAGE / "kernels" / "__init__.py"
    ):  # faces look at everything, lazily
        return
    for module in imports(path):
        if not module.startswith("adaptxfer."):
            continue
        other = module.split(".")[1]
        if other in ("__version__", own):
            continue
        assert height(other) < height(own), f"{own} must not import {module}"
        assert other not in MUST_NOT_KNOW.get(own, ()), f"{own} knows nothing of {other}, but imports {module}"


@each_file
def test_light_rooms_stay_light(path: Path) -> None:
    if room(path) in NEVER_HEAVY:
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY
    if room(path) in LIGHT_AT_THE_TOP and path != PACKAGE / "metrics" / "retrieval.py":
        assert not {name.split(".")[0] for name in imports(path, top_only=True)} & HEAVY


@each_file
def test_task_files_are_read_without_torch(path: Path) -> None:
    if room(path) == "tasks":  # the Hub's tables are read with datasets, inside a function
        assert not {name.split(".")[0] for name in imports(path)} & (HEAVY - {"datasets"})


@each_file
def test_one_file_per_adapter_library(path: Path) -> None:
    for library, home in ALONE.items():
        if path.relative_to(PACKAGE).as_posix() != home:
            assert library not in {name.split(".")[0] for name in imports(path)}, f"only {home} imports {library}"


@each_file
def test_nothing_of_click_or_pickle(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {"click", "pickle", "dill", "lang2vec"}


@each_file
def test_only_the_console_prints(path: Path) -> None:
    calls = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"]


@each_file
def test_sizes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            assert node.end_lineno is not None
            assert node.end_lineno - first + 1 <= LONGEST_FUNCTION, f"{node.name} is too long"


def public_functions(body: list[ast.stmt], within: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods; an overriding or abstract-protocol method counts as well."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield within + node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")


def is_autograd(node: ast.FunctionDef) -> bool:
    """forward and backward of an autograd function have no types of their own."""
    return node.name in ("forward", "backward", "setup_context")


def is_device_code(node: ast.FunctionDef) -> bool:
    """Triton functions are compiled, their arguments have no Python types."""
    return any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)


@each_file
def test_public_functions_say_what_they_do(path: Path) -> None:
    assert ast.get_docstring(parsed(path)) or not parsed(path).body, "a file says what it holds"
    for name, node in public_functions(parsed(path).body):
        assert ast.get_docstring(node) or is_autograd(node) or is_device_code(node), f"{name} has no docstring"


@each_file
def test_public_functions_are_typed(path: Path) -> None:
    for name, node in public_functions(parsed(path).body):
        if is_autograd(node) or is_device_code(node):
            continue
        assert node.returns is not None, f"{name} does not say what it returns"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls", "ctx")]
        assert not bare, f"{name} does not say what {', '.join(bare)} is"


def tracked_files() -> list[Path]:
    """Text files of the repository, tracked or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [
        path for path in paths if path.suffix in (".py", ".toml", ".md", ".txt", ".yml", ".cfg", "") and path.is_file()
    ]


MACHINE = re.compile(r"(?<![\w.])/(?:" + "|".join(("tmp", "work", "root", "home")) + r")/[\w.]")


def test_no_machine_paths() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in MACHINE.finditer(text)]
    assert not found


@pytest.mark.parametrize("words", [["--help"], ["tasks", "list"], ["runs", "list"], ["version"]])
def test_light_commands_load_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    loaded = f"set({sorted(HEAVY)!r}) & set(sys.modules)"
    code = f"import sys; from adaptxfer.cli import main; main({words!r}); print(*{loaded})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ""


def test_importing_the_package_loads_nothing_heavy() -> None:
    unwanted = f"set({sorted(HEAVY | {'rich', 'typer'})!r})"
    code = f"import sys, adaptxfer, adaptxfer.console; assert not {unwanted} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=_environment(), check=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
