"""Wrong settings, commands, models and environments: each must end in one sentence, at once, with nothing harmed."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from himac.errors import HimacError
from support.cli import Cli, Done

CONFIG: dict[str, Any] = {
    "threads": 1,
    "init": {"vocab_size": 512, "hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1, "max_position": 512},
    "env": {"name": "alfworld", "kwargs": {"data": "builtin:small"}, "step_limit": 4},
    "agent": {"max_context": 512, "planner": {"max_tokens": 96}, "executor": {"step_limit": 2, "max_tokens": 20}},
    "algo": {"name": "himac", "tasks": 1, "num_blueprints": 2, "num_rollouts": 2},
    "warmstart": {"games": 4, "passes": 1},
    "train": {"iterations": 1, "eval_every": 1, "eval_tasks": 1},
}
TRAIN, MODEL = ("train", "c.yaml", "--run-dir", "run"), ("--model", "{model}")
EVAL = ("eval", "c.yaml", "--output", "out", "--limit", "1")
GYM_TRAIN, GYM_EVAL = (("train", "g.yaml", *TRAIN[2:]), ("eval", "g.yaml", *EVAL[2:]))
BROKEN = "env.name=gym:support.broken_envs:Raises-v0"

VALUES = (
    "train.learner.betas=[1.5,2]",
    "train.learner.betas=[0.9,.nan]",
    "train.learner.lr=.inf",
    "train.learner.lr=.nan",
    "train.learner.kl_coef=.inf",
    "train.learner.clip_high=.inf",
    "train.learner.max_grad_norm=.nan",
    "train.learner.weight_decay=.inf",
    "train.learner.value_lr=.inf",
    "warmstart.lr=.inf",
    "warmstart.context_weight=.nan",
    "env.invalid_penalty=-.inf",
    "env.invalid_penalty=-1e308",
    "env.invalid_penalty=.nan",
    "agent.failure_penalty=-.inf",
    "agent.failure_penalty=-1e308",
    "algo={name: hiper, keep_penalty: -.inf}",
    "threads=100000",
    "train.max_live=100000000000",
    "env.timeout_s=.inf",
    "env.timeout_s=1e300",
    "seed=1000000000000000000000000000000",
    "agent.executor.temperature=.inf",
    "eval.temperature=.nan",
    "eval.temperature=1e-40",
    "algo.gamma=.nan",
    "init.layers=1000000000",
    "init.hidden_size=1000000000000",
    "init.vocab_size=100",
    "init.heads=3",
    "agent.max_context=1",
    "agent.max_context=100",
    "warmstart.formats=[hiper]",
    "agent.name=hiper",
)


def _prepared(cli: Cli, change: Callable[[Path], None]) -> None:
    model = cli.folder / "model"
    shutil.copytree(_model(), model)
    change(model)


def _template(text: str) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        for file in (model / "chat_template.jinja", model / "tokenizer_config.json"):
            if file.suffix == ".jinja":
                file.write_text(text, encoding="utf-8")
            else:
                tree = json.loads(file.read_text(encoding="utf-8"))
                tree.pop("chat_template", None)
                file.write_text(json.dumps(tree), encoding="utf-8")

    return change


def _poison(value: float) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(model / "model.safetensors")
        weights["model.norm.weight"][3] = value
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})

    return change


# (command, what the sentence holds, what is prepared before)
Case = tuple[tuple[str, ...], str, Callable[[Path], None] | None]
COMMANDS: tuple[Case, ...] = (
    ((*GYM_TRAIN, "env.name=gym:FrozenLake-v1"), "text", None),
    ((*GYM_TRAIN, "env.name=gym:FrozenLake-v1", *MODEL), "text", None),
    ((*GYM_EVAL, "env.name=gym:FrozenLake-v1", *MODEL), "text", None),
    (("play", "g.yaml", "env.name=gym:FrozenLake-v1", *MODEL), "text", None),
    ((*GYM_EVAL, "env.name=gym:FrozenLak-v1", *MODEL), "FrozenLak", None),
    ((*GYM_EVAL, "env.name=gym:CartPole-v1", *MODEL), "text", None),
    ((*GYM_EVAL, "env.name=gym:nomodule:X", *MODEL), "'nomodule'", None),
    ((*GYM_TRAIN, "env.name=gym:nomodule:X", *MODEL), "'nomodule'", None),
    ((*GYM_EVAL, BROKEN, *MODEL), "stuck at reset", None),
    ((*GYM_TRAIN, BROKEN, *MODEL), "stuck at reset", None),
    (("play", "g.yaml", BROKEN, *MODEL), "stuck at reset", None),
    (("warmstart", "g.yaml", "warm", BROKEN, *MODEL), "stuck at reset", None),
    ((*GYM_EVAL, BROKEN, "env.kwargs={kwargs: {at: make}}", *MODEL), "stuck at make", None),
    ((*GYM_EVAL, BROKEN, "env.kwargs={kwargs: {at: step}}", *MODEL), "stuck at step", None),
    ((*GYM_EVAL, BROKEN, "env.kwargs={kwargs: {at: number}}", *MODEL), "int", None),
    ((*GYM_EVAL, BROKEN, "env.kwargs={kwargs: {hang: true}}", "env.workers=1", "env.timeout_s=1", *MODEL), "1 s", None),
    ((*GYM_EVAL, BROKEN, "env.kwargs={reward_scale: .inf}", *MODEL), "reward_scale", None),
    ((*TRAIN, "agent.max_context=1", *MODEL), "agent.max_context", None),
    ((*EVAL, "agent.max_context=1", *MODEL), "agent.max_context", None),
    (("warmstart", "c.yaml", "warm", "agent.max_context=100", *MODEL), "agent.max_context", None),
    ((*TRAIN, "algo.name=grpo", "algo.num_blueprints=3"), "'algo.num_blueprints'", None),
    ((*TRAIN, "algo.name=grpo", "agent.name=hiper", *MODEL), "agent.name=flat", None),
    ((*EVAL, "--resume", "--overwrite", *MODEL), "", None),
    ((*EVAL, "--split", "trian", *MODEL), "no split 'trian'", None),
    ((*EVAL, "--model", "nowhere"), "nowhere", None),
    (("check-env", "alfwrld"), "did you mean 'alfworld'", None),
    (("check-env", "gym:FrozenLake-v1"), "text", None),
    (("check-env", "g.yaml", BROKEN), "stuck at reset", None),
    ((*EVAL, "--model", "model"), "not finite", _poison(float("nan"))),
    ((*TRAIN, "--model", "model"), "not finite", _poison(float("inf"))),
    (("warmstart", "c.yaml", "warm", "--model", "model"), "not finite", _poison(float("-inf"))),
    ((*EVAL, "--model", "model"), "template", _template("{{ raise_exception('no roles') }}")),
    ((*EVAL, "--model", "model"), "template", _template("{{ nothing.at.all }}")),
    ((*EVAL, "--model", "model"), "template", _template("hello")),
    ((*EVAL, "--model", "model"), "template", _template("{% for m in messages %}{{ m.content }}{% endfor %}")),
    ((*TRAIN, "--model", "model"), "template", _template("{% if %}")),
)
CASES: tuple[Case, ...] = (*(((*TRAIN, value), "", None) for value in VALUES), *COMMANDS)
# Commands that no model is needed to answer.
QUICK = (
    ("train", "nowhere.yaml"),
    (*TRAIN, "train.iteration=3"),
    (*TRAIN, "env.train_split=trian"),
    (*TRAIN, "env.name=alfwrld"),
    (*TRAIN, "env.kwargs.noice=1"),
    (*GYM_TRAIN, "env.name=gym:FrozenLake-v1"),
    (*TRAIN, "agent.name=react"),
    (*TRAIN, "train.learner.credit=dgpo"),
    (*TRAIN, "model.path=nowhere"),
    (*TRAIN, "--resume"),
    (*GYM_EVAL, "env.name=gym:FrozenLak-v1", "model.path=nowhere"),
    (*EVAL, "--split", "trian", "model.path=nowhere"),
    (*EVAL,),
    ("play", "c.yaml", "--task", "nosuch"),
    ("play", "c.yaml"),
    ("warmstart", "c.yaml", "warm"),
    ("warmstart", "c.yaml", "warm", "model.path=nowhere"),
)


@cache
def _model() -> Path:
    """An untrained model, made once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="himac-attack-model-"))
    cli = _cli(folder)
    done = cli.run("init-model", "c.yaml", "made")
    assert done.code == 0, done.err
    return cli.folder / "made"


def _cli(folder: Path) -> Cli:
    here = folder / "cwd"
    here.mkdir()
    plain = CONFIG | {"env": {"name": "alfworld"}}
    for name, tree in (("c.yaml", CONFIG), ("g.yaml", plain)):
        (here / name).write_text(yaml.safe_dump(tree), encoding="utf-8")
    return Cli(here)


def refused(number: int, folder: Path) -> str | None:
    """A wrong value or command ends with an exit code and one sentence."""
    args, says, prepare = CASES[number % len(CASES)]
    cli = _cli(folder)
    if prepare is not None:
        _prepared(cli, prepare)
    given = [str(_model()) if arg == "{model}" else arg for arg in args]
    fault = _one_sentence(cli.run(*given), says)
    return fault and f"{' '.join(args)}: {fault}"


def quick(number: int, folder: Path) -> str | None:
    """A simple mistake is answered before torch is imported, which takes seconds."""
    args = QUICK[number % len(QUICK)]
    cli = _cli(folder)
    code = "import sys; from himac.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=cli.folder, capture_output=True, text=True, check=False
    )
    fault = _one_sentence(Done(done.returncode, done.stdout, done.stderr), "")
    if fault is None and done.stdout.strip().endswith("True"):
        fault = "torch was imported to say so"
    return fault and f"{' '.join(args)}: {fault}"


def _one_sentence(done: Done, says: str) -> str | None:
    if done.code <= 0:
        return f"exit code {done.code}"
    if "Traceback" in done.out + done.err:
        return f"a traceback that ends with {(done.err.strip() or '?').splitlines()[-1][:200]}"
    if len(done.errors) != 1 or done.err.strip().splitlines()[-1:] != done.errors:
        return f"not one sentence: {done.err[-300:]!r}"
    return None if says in done.errors[0] else f"does not say {says!r}: {done.errors[0][:300]}"


METHODS = ("himac", "himac-plus", "grpo", "ppo", "rloo", "gigpo", "hiper")
KINDS = {"himac": "hierarchical", "himac-plus": "hierarchical", "hiper": "hiper"}


def other_method(number: int, folder: Path) -> str | None:
    """`algo.name=...` over the file of another method gives that method, its agent and its demonstrations."""
    from himac.config_file import load_config

    pairs = list(itertools.permutations(METHODS, 2))
    before, after = pairs[number % len(pairs)]
    path = folder / "saved.yaml"
    try:
        former = load_config(None, [f"algo={{name: {before}}}"])
        path.write_text(yaml.safe_dump({"algo": former.algo.model_dump(mode="json")}), encoding="utf-8")
        config = load_config(path, [f"algo.name={after}"])
    except HimacError as error:
        return f"{before} -> {after}: {error}"
    kind = KINDS.get(after, "flat")
    found = (config.algo.name, config.agent.name, config.warmstart.formats)
    return None if found == (after, kind, (kind,)) else f"{before} -> {after}: {found}"


def diverged(number: int, folder: Path) -> str | None:
    """No tensor with a number that is not finite becomes a checkpoint, and none is loaded without a word."""
    from himac.models.loading import load_model
    from himac.training.checkpoint import load_latest, save_checkpoint, save_model

    model, tokenizer = load_model(_model())
    names = [name for name, _ in model.named_parameters()]
    name = names[number % len(names)]
    value = (float("nan"), float("inf"), float("-inf"))[number % 3]
    tensor = dict(model.named_parameters())[name].data.view(-1)
    tensor[number % len(tensor)] = value
    try:
        save_checkpoint(folder, "step-1", model, tokenizer, {})
    except HimacError as error:
        if "diverged" not in str(error) or load_latest(folder) is not None:
            return f"{name}: {error}"
    else:
        return f"{name}: {value} was saved and is the latest checkpoint"
    save_model(folder / "model", model, tokenizer)
    try:
        load_model(folder / "model")
    except HimacError as error:
        return None if "diverged" in str(error) and name in str(error) else f"{name}: {error}"
    return f"{name}: {value} was loaded"


def second_evaluation(number: int, folder: Path) -> str | None:
    """An evaluation into a directory with results harms none of them."""
    cli = _cli(folder)
    start = ("eval", "c.yaml", "--output", "out", "--limit", "1", "--model", str(_model()))
    first = cli.run(*start)
    if first.code:
        return f"the first failed: {first.err[-200:]}"
    before = {path.name: path.read_bytes() for path in (cli.folder / "out").iterdir() if path.is_file()}
    fault = _one_sentence(cli.run(*start, f"seed={number + 1}"), "--overwrite")
    after = {path.name: path.read_bytes() for path in (cli.folder / "out").iterdir() if path.is_file()}
    if fault is None and before != after:
        fault = "the files have changed"
    return fault


def full_disk(number: int, folder: Path) -> str | None:
    """Files that cannot grow beyond some size stand for a full disk; the former checkpoint stays the latest."""
    from himac.training.checkpoint import load_latest

    cli = _cli(folder)
    start = (*TRAIN, "--model", str(_model()), "train.eval_every=0", "train.checkpoint_every=1")
    first = cli.run(*start)
    if first.code:
        return f"the first failed: {first.err[-200:]}"
    latest = load_latest(cli.folder / "run")
    assert latest is not None
    sizes = sorted({path.stat().st_size for path in latest.model_dir.iterdir() if path.stat().st_size > 1000})
    limit = int(sizes[number % len(sizes)] * (0.1 + 0.8 * (number % 7) / 6))
    done = cli.run(*start, "--resume", "train.iterations=2", file_bytes=limit)
    fault = _one_sentence(done, "cannot write")
    again = load_latest(cli.folder / "run")
    if fault is None and (again is None or again.name != latest.name):
        fault = "the former checkpoint is not the latest any more"
    return fault and f"{limit} bytes of {sizes}: {fault}"


def raising_demonstrator(number: int, folder: Path) -> str | None:
    """A demonstrator that raises is named, not the model that was to be made from it."""
    from himac.cli.stages import make_model
    from himac.config_file import load_config
    from support.broken_benchmarks import Sound

    errors = (RuntimeError("lost"), ValueError("lost"), OSError("lost"), KeyError("lost"))

    def demonstrate(task: Any, rng: Any) -> Any:
        raise errors[number % len(errors)]

    try:
        make_model(load_config(None, ["init.vocab_size=512"]), Sound(demonstrate=demonstrate), folder / "made")
    except HimacError as error:
        return None if "demonstrat" in str(error) and "cannot write" not in str(error) else str(error)
    return "a model was made"
