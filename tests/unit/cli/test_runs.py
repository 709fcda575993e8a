"""What a run directory stands for."""

from pathlib import Path

import pytest

from himac.cli.runs import choose
from himac.errors import ModelError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in ("step-000010-0", "step-000020-0", "step-000020-1"):
        (tmp_path / "run" / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "latest").write_text("step-000020-0", encoding="utf-8")
    (tmp_path / "run" / "config.yaml").write_text("seed: 0", encoding="utf-8")
    return tmp_path / "run"


def test_a_run_is_its_latest_checkpoint_or_the_one_asked_for(run: Path) -> None:
    for asked, name in ((run, "step-000020-0"), (Path(f"{run}@10"), "step-000010-0")):
        chosen = choose(asked, None)
        assert (chosen.config, chosen.model) == (run / "config.yaml", run / "checkpoints" / name)
        assert chosen.output == run / "eval" / name


def test_a_checkpoint_that_is_not_kept(run: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint of iteration 15, only of: 10, 20; choose one"):
        choose(Path(f"{run}@15"), None)
