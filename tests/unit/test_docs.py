"""The pages agree with the repository: links lead somewhere, every file is on the map, figures stand in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "himac"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Names of the headings as GitHub makes them: lower case, no punctuation, a hyphen for each space."""
    without_code = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_every_source_file_is_on_the_map() -> None:
    parts = re.split(r"^### `(.+)/`$", ARCHITECTURE.split("## Files")[1].split("## Words")[0], flags=re.MULTILINE)[1:]
    named = {
        (folder.removeprefix("himac").strip("/"), name)
        for folder, table in zip(parts[::2], parts[1::2], strict=True)
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+\.py)`", row.split("|")[1])
    }
    there = {
        (path.parent.relative_to(SOURCE).as_posix().removeprefix("."), path.name)
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert named == there


def defined(dotted: str) -> bool:
    """Whether a name such as `types.Task.kind` is a module of himac, or is defined in one."""
    words = dotted.split(".")
    for count in range(len(words), 0, -1):
        module = SOURCE.joinpath(*words[:count]).with_suffix(".py")
        if module.is_file():
            text = module.read_text(encoding="utf-8")
            patterns = [rf"^(class|def) {words[count]}\b|^{words[count]}\b.* = "] if count < len(words) else []
            patterns += [rf"^    (def |self\.|    self\.)?{word}\b" for word in words[count + 1 :]]
            return all(re.search(pattern, text, re.MULTILINE) for pattern in patterns)
    return False


def test_every_word_has_one_meaning_and_a_place_in_the_code() -> None:
    table = [line for line in ARCHITECTURE.split("## Words")[1].splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    words = [word for row in rows for word in row[0].split(", ")]
    assert len(words) == len(set(words)) > 40
    assert [row[2] for row in rows if not all(map(defined, re.findall(r"`([\w.]+)`", row[2])))] == []


def test_every_file_of_results_has_its_line() -> None:
    table = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").split("\n## ")[0]
    named = re.findall(r"`(\w+\.json)`", table)
    assert sorted(named) == sorted(path.name for path in (ROOT / "benchmarks" / "results").glob("*.json"))


def figures(text: str) -> set[str]:
    return set(re.findall(r"[+-]?\d+(?:\.\d+)?", text))


def test_the_readme_tells_no_figure_that_the_results_do_not() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Results")[1].split("## ")[0]
    told = figures("".join(row.rsplit("|", 2)[0] for row in table.splitlines() if row.startswith("|")))
    assert len(told) > 15
    assert told <= figures((ROOT / "docs" / "results.md").read_text(encoding="utf-8"))
