"""Episodes as logs of Inspect AI, so that `inspect view` opens them: a span a sub-goal, a tool call an action."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from himac.errors import MissingDependencyError
from himac.inert import inert
from himac.report.episodes import Line, story
from himac.report.results import Record
from himac.report.runs import Run
from himac.report.trajectories import Source, sources


def export_run(run: Run, output: Path) -> list[Path]:
    """Write a log for each evaluation and each recorded phase of training; returns the files.

    Raises:
        DataError: a file of the run is damaged.
        MissingDependencyError: Inspect AI is not installed.
    """
    if find_spec("inspect_ai") is None:
        raise MissingDependencyError("this needs Inspect AI; run: pip install 'himac[inspect]'")
    from inspect_ai.log import write_eval_log

    output.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sources(0, run):
        name = f"{run.name}-{source.label}-{source.iteration if source.iteration is not None else 'all'}"
        path = output / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.eval"
        write_eval_log(_log(run, source), str(path))
        written.append(path)
    return written


def _log(run: Run, source: Source) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalMetric, EvalResults, EvalScore, EvalSpec

    samples = [_sample(record, number) for number, record in enumerate(source.episodes)]
    share = sum(bool(record["success"]) for record in source.episodes) / max(1, len(samples))
    metrics = {"accuracy": EvalMetric(name="accuracy", value=share)}
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            task=inert(f"{run.name} {source.label}"),
            dataset=EvalDataset(name=source.split or None, samples=len(samples)),
            model=f"himac/{run.config.get('algo.name', 'agent')}",
            config=EvalConfig(),
            metadata={"iteration": source.iteration, "config": dict(run.config)},
        ),
        results=EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[EvalScore(name="success", scorer="success", metrics=metrics)],
        ),
        samples=samples,
    )


def _sample(record: Record, number: int) -> Any:
    from inspect_ai.event import SpanBeginEvent, SpanEndEvent
    from inspect_ai.log import EvalSample
    from inspect_ai.scorer import Score

    told = story(record)
    place = record.get("group")
    key = told.task_id if place is None else f"{told.task_id} {place}/{record['member']}"
    lines = [(n, line) for n, (_, lines) in enumerate(told.parts) for line in lines]
    messages = [message for _, line in lines for message in _messages(line)]
    events = []
    for n, (goal, own) in enumerate(told.parts):
        span = f"{number}-{n}"
        events.append(SpanBeginEvent(id=span, span_id=span, name=inert(goal or "episode"), type="subgoal"))
        events += [event for at, line in enumerate(own) for event in _events(line, span, at)]
        events.append(SpanEndEvent(id=span, span_id=span))
    return EvalSample(
        id=inert(key),
        epoch=1 + int(record.get("repeat", 0)),
        input=inert("\n".join(told.blueprint) or told.task_id),
        target="success",
        messages=messages,
        events=events,
        scores={
            "success": Score(value="C" if told.success else "I", explanation=told.outcome),
            "return": Score(value=told.ret),
        },
        metadata={
            "type": inert(told.kind),
            "stop": told.stop,
            "steps": told.env_steps,
            "group": inert(str(place or "")),
        },
    )


def _messages(line: Line) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    said = line.reply or " ".join([*([line.action] if line.action else []), *(["<sub_done>"] if line.sub_done else [])])
    answer = [ChatMessageUser(content=inert(line.observation))] if line.observation else []
    return [ChatMessageAssistant(content=inert(said)), *answer]


def _events(line: Line, span: str, at: int) -> list[Any]:
    from inspect_ai.event import InfoEvent, ToolEvent

    events = list[Any]()
    if line.action is not None:
        arguments = {"action": inert(line.action)}
        call = {"id": f"{span}-{at}", "function": "act", "arguments": arguments, "result": inert(line.observation)}
        told = {"reward": line.reward, "rejected": line.invalid}
        events.append(ToolEvent(**call, span_id=span, metadata=told))
    if line.sub_done:
        events.append(InfoEvent(source="himac", data="<sub_done>", span_id=span))
    return events
