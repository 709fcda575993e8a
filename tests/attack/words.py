"""Words that speak to the terminal, and keys that want to be written down."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import re
import sys
from pathlib import Path
from typing import Any

from attack.hostile import files
from himac.cli.app import main
from himac.cli.console import console
from himac.cli.play import Screen
from himac.config_file import load_config
from himac.errors import HimacError
from himac.evaluation.plan import Plan
from himac.evaluation.resumable import evaluate_resumable
from himac.rollout.runtime import build_runtime
from himac.types import Blueprint, Task, Turn
from support.chat_server import ChatServer, Raw, chat, refusal
from support.toy import ColourBenchmark

_SEQUENCES = ("\x1b[2J", "\x1b]0;title\x07", "\x1b]52;c;cm0=\x07", "\x9b31m", "\x1bP+q\x1b\\", "\x08\x08", "\r", "\x7f",
              "\u202e", "\u2066", "\x1b[6n", "\ud800", "\x00", "\x0e", "\x85")  # fmt: skip
_LIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escapes(number: int, folder: Path) -> str | None:
    """Task ids, plans, actions, observations, errors: whatever reaches the terminal."""
    rng = random.Random(number)
    evil = "".join(rng.choice([*_SEQUENCES, "word ", "[red]", "a"]) for _ in range(rng.randint(1, 8)))
    evil = evil if _LIVE.search(evil) else evil + rng.choice(_SEQUENCES)
    shown, failed = io.StringIO(), io.StringIO()
    before, console.file = console.file, shown
    arguments, sys.argv = sys.argv, ["himac", "train", f"no{_typed(evil)}"]
    try:
        screen = Screen(console)
        screen.task(Task(evil, evil))
        screen.planned(Blueprint((evil,), None))
        screen.planned(Blueprint((), evil))
        screen.subgoal(evil)
        screen.turn(Turn(evil, evil, 0.0, False, True, 0, 0))
        console.print(f"failed {evil}")
        with contextlib.redirect_stderr(failed), contextlib.suppress(SystemExit):
            main()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        console.file, sys.argv = before, arguments
    for text, place in ((shown.getvalue(), "the screen"), (failed.getvalue(), "an error")):
        found = _LIVE.search(text)
        if found:
            return f"{found[0]!r} reached {place}"
    if "error: " not in failed.getvalue() or not shown.getvalue().strip():
        return "nothing was shown"
    return None


def _typed(text: str) -> str:
    """What can be an argument of a process."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def keys(number: int, folder: Path) -> str | None:
    """The key in a reply, in a refusal, in an address: it is in no file and in no message."""
    rng = random.Random(number)
    key = "sk-" + "".join(rng.choice("abcdefghijklmnop0123456789") for _ in range(30))
    os.environ["OPENAI_API_KEY"] = key
    os.environ["SAFE"] = key
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    logging.getLogger("himac").addHandler(handler)
    message = ""
    try:
        kind = number % 6
        with ChatServer(lambda body, n: _echo(kind, key, n)) as server:
            more = {4: [f"engine.base_url={server.url}?api_key={key}"], 5: [f"engine.key_variable={key}"]}.get(kind, [])
            if number % 12 == 3:
                more = [f"engine.extra={{user: '{key}'}}"]
            if number % 12 == 4:
                more = [f"engine.base_url={server.url}#{key}"]
            message = _evaluate(server.url, more, folder / "out")
    finally:
        logging.getLogger("himac").removeHandler(handler)
    for text, place in ((message, "a message"), (told.getvalue(), "the log")):
        if key in text:
            return f"the key reached {place} ({number % 12})"
    for name, content in files(folder).items():
        if key.encode() in content:
            return f"the key is in {name} ({number % 12})"
    return None


def _echo(kind: int, key: str, number: int) -> Raw | str:
    if kind == 0:
        return f"Thought: your key is {key}\nAction: {key}"
    if kind == 1:
        tokens = [{"token": part, "logprob": -0.1} for part in ("Action: ", key, " red")]
        return chat("".join(token["token"] for token in tokens), logprobs=tokens)
    if kind == 2:
        return refusal(500 if number % 2 else 400, f"the key {key} is tired", f"code-{key}")
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    body = json.loads(chat("x").content) | {"note": key}
    return Raw(content=json.dumps(body).encode().replace(b'"x"', f'"Action: {escaped}"'.encode(), 1))


def _evaluate(url: str, more: list[str], output: Path) -> str:
    try:
        config = load_config(
            None,
            [*("engine.name=openai", "engine.model=m", f"engine.base_url={url}", "engine.max_tries=1"),
             *("agent.name=react", "env.step_limit=2", "engine.logprobs=true", *more)],
        )  # fmt: skip
        benchmark = ColourBenchmark()
        plan: Any = Plan("valid", "toy", benchmark.tasks("valid")[:2], 1, 0.0, 0)
        with build_runtime(config, None, 2, benchmark) as runtime:
            evaluate_resumable(runtime, plan, output)
    except HimacError as error:
        return str(error)
    return ""
