"""BabyAI is trained on from nothing."""

from __future__ import annotations

import json

from support.cli import Cli

SHORT = (
    "init={vocab_size: 400, hidden_size: 32, layers: 2, heads: 2, kv_heads: 1, max_position: 2048}",
    "env.kwargs={level: GoToLocal, train_tasks: 60, valid_tasks: 4}",
    "train.iterations=1",
    "algo.tasks=2",
)


def test_the_shipped_configuration_trains(cli: Cli) -> None:
    done = cli.run("train", "babyai/tiny", *SHORT)
    assert done.code == 0, done.err
    lines = (cli.folder / "runs" / "tiny" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["phase"] for line in lines] == ["eval", "nested", "eval"]
