"""`himac bench` end to end: the shipped smoke matrix in real processes, with its warm start and from a given model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from himac.bench.matrix import load_matrix
from support.cli import Cli

SMOKE = Path(__file__).resolve().parents[2] / "src" / "himac" / "configs" / "bench" / "smoke.yaml"


@pytest.mark.slow
def test_the_smoke_matrix(cli: Cli) -> None:
    out = run_twice(cli, SMOKE)
    config = yaml.safe_load((out / "models" / "small" / "config.yaml").read_text(encoding="utf-8"))
    assert config["warmstart"]["formats"] == ["hierarchical", "flat"]


def test_the_smoke_matrix_from_a_given_model(cli: Cli, tiny_model: Path) -> None:
    tree = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    tree["base"] = str((SMOKE.parent / tree["base"]).resolve())
    tree["overrides"] |= {"model.path": str(tiny_model)}
    tree["env_steps"] = 60
    path = cli.folder / "matrix.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    assert not (run_twice(cli, path) / "models").exists()


def run_twice(cli: Cli, path: Path) -> Path:
    """Run a matrix of HiMAC and GRPO, check what it leaves, and that a second run changes nothing."""
    done = cli.start("bench", path, "--output", "out").wait(600)
    assert done.code == 0, (done.out, done.err)
    out = cli.folder / "out"
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    cells = {cell["method"]: cell for cell in results["cells"]}
    matrix = load_matrix(path)
    assert set(cells) == {"himac", "grpo"}
    assert results["failed"] == {}
    for cell in cells.values():
        assert cell["iterations"] == matrix.iterations or cell["env_steps"] >= matrix.env_steps
        assert len(cell["curve"]) >= 2
        assert cell["greedy"] == cell["success_after"], "training ends with the same greedy episodes"
        assert 0 <= cell["sampled"] <= 1
        assert cell["sampled_std"] >= 0
        assert min(cell["tokens"], cell["tasks"], cell["seconds"]["generation"], cell["seconds"]["evaluation"]) > 0
    assert len({cell["split_hash"] for cell in cells.values()}) == 1
    page = (out / "tables.md").read_text(encoding="utf-8")
    assert "| small | grpo |" in page
    assert load_matrix(out / "matrix.yaml") == matrix.model_copy(update={"base": "base.yaml"})

    # Finished cells are not touched again, and the folder's own matrix is as good as the first.
    stamps = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}
    done = cli.run("bench", "out/matrix.yaml", "--output", "out")
    assert done.code == 0, done.err
    assert "2 runs, 2 of them finished" in done.out
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}
    (out / "tables.md").unlink()
    assert cli.run("bench", "--tables", "out").code == 0
    assert (out / "tables.md").read_text(encoding="utf-8") == page
    return out
