"""Methods against methods in the shape of the paper's Tables 1 to 4, in Markdown. Every function is pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from himac.config import FIELD_REPEATS, FIELD_TEMPERATURE
from himac.errors import DataError
from himac.report.cells import CellResult
from himac.report.statistics import Interval, Spread, first_reaching, paired_bootstrap, paired_differences, spread
from himac.report.tables import markdown_table

Cells = Sequence[CellResult]

NO_TITLES: Mapping[str, str] = {}
TOLERANCE = 0.1
"""Share of the budget by which environment steps may differ before a comparison is called unequal."""

NOTHING = "–"
_SAMPLED, _GREEDY, _AT_BUDGET, _AT_END = f"T={FIELD_TEMPERATURE:g}", "greedy", "at budget", "at end"
_SECONDS = ("generation", "environment", "update", "rest", "evaluation")


def success_table(cells: Cells, titles: Mapping[str, str] = NO_TITLES) -> str:
    """Table 1 for the cells of one task: success at the end both ways, at the budget, in the last evaluation, by type.

    With the score where there is one, over seeds.

    Args:
        titles: Names and order of the task types; others come last, as they are.
    """
    present = {kind for cell in cells for kind in cell.by_kind}
    kinds = [kind for kind in titles if kind in present] + sorted(present - titles.keys())
    scored = any(cell.score is not None for cell in cells)
    names = (titles.get(kind, kind) for kind in kinds)
    header = ["method", _SAMPLED, _GREEDY, _AT_BUDGET, _AT_END, *names, *(["Score"] if scored else []), "seeds"]
    rows = []
    for method in _methods(cells):
        own = _of(cells, method)
        rows.append(
            [
                method,
                *(percent_spread(one) for one in (*_both_ways(own), _at_budget(own), _success(own))),
                *(percent_spread(spread([c.by_kind[kind] for c in own if kind in c.by_kind])) for kind in kinds),
                *([plain_spread(_score(own))] if scored else []),
                str(len(own)),
            ]
        )
    return markdown_table(header, rows)


def score_table(cells: Cells) -> str:
    """Table 2: success and score, one pair of columns a task, for the tasks that have a score; empty without one."""
    tasks = [task for task in _tasks(cells) if any(c.score is not None for c in cells if c.task == task)]
    if not tasks:
        return ""
    return _by_task(cells, [(method, method) for method in _methods(cells)], tasks, "method")


def ablation_table(cells: Cells, ablations: Mapping[str, str]) -> str:
    """Table 3: success (and score) of each variant on every task.

    Args:
        ablations: Label -> method.
    """
    present = {cell.method for cell in cells}
    rows = [(label, method) for label, method in ablations.items() if method in present]
    return _by_task(cells, rows, _tasks(cells), "variant") if rows else ""


def target_table(cells: Cells, targets: Mapping[str, float]) -> str:
    """Table 4: iterations and environment steps to a target success, and the final success.

    The first evaluation at or above the target counts. Means are over the seeds that reached it; (2/3) says how many.
    """
    rows = []
    for task, target in targets.items():
        here = [cell for cell in cells if cell.task == task]
        for method in _methods(here):
            own = _of(here, method)
            reached = [point for cell in own if (point := first_reaching(cell.curve, target)) is not None]
            share = f" ({len(reached)}/{len(own)})" if len(reached) < len(own) else ""
            iterations = spread([float(point.iteration) for point in reached])
            steps = spread([float(point.env_steps) for point in reached])
            final = percent_spread(_success(own))
            label = f"{task} ({100 * target:.0f} %)"
            rows.append([label, method, plain_spread(iterations, 0) + share, plain_spread(steps, 0) + share, final])
    header = ("task (target)", "method", "iterations to target", "environment steps to target", "final success %")
    return markdown_table(header, rows) if rows else ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Success of a method minus that of the reference on one task.

    Attributes:
        sampled: Sampled at the end; `None` where a cell of the two was not evaluated so.
        at_budget: When the budget was spent.
        at_end: Of the last evaluations.
    """

    task: str
    method: str
    sampled: Interval | None
    at_budget: Interval
    at_end: Interval


def differences(cells: Cells, reference: str) -> list[Difference]:
    """Of every other method on every task; those without a seed in common with the reference are left out.

    Raises:
        DataError: the two were evaluated on different splits or tasks.
    """
    found = []
    for task, method, own in _groups(cells):
        other = [cell for cell in cells if (cell.task, cell.method) == (task, reference)]
        if method == reference:
            continue
        hashes = {cell.split_hash for cell in (*own, *other)}
        if len(hashes) > 1:
            raise DataError(
                f"runs of task '{task}' were evaluated on different splits ({', '.join(sorted(hashes))}); "
                "evaluate all of them on the same one."
            )
        sampled, at_budget, at_end = (
            paired_bootstrap(paired_differences(*({c.seed: outcomes(c) for c in some} for some in (own, other))))
            if all(outcomes(cell) is not None for cell in (*own, *other))
            else None
            for outcomes in map(attrgetter, ("outcomes_sampled", "outcomes_at_budget", "outcomes"))
        )
        if at_budget is not None and at_end is not None:
            found.append(Difference(task, method, sampled, at_budget, at_end))
    return found


def difference_table(cells: Cells, reference: str) -> str:
    """`differences` in points, each with its interval."""
    rows = [
        [
            one.task,
            one.method,
            *(cell for interval in (one.sampled, one.at_budget, one.at_end) for cell in _points(interval)),
            str(one.at_end.pairs),
        ]
        for one in differences(cells, reference)
    ]
    minus, interval = f"minus {reference}, points", "95 % interval"
    columns = (f"{minus}, {_SAMPLED}", interval, _AT_BUDGET, interval, _AT_END, interval)
    header = ("task", "method", *columns, "pairs")
    return markdown_table(header, rows) if rows else ""


def _points(interval: Interval | None) -> tuple[str, str]:
    if interval is None:
        return NOTHING, NOTHING
    mean, low, high = (f"{100 * value:+.1f}" for value in (interval.mean, interval.low, interval.high))
    return mean, f"[{low}, {high}]"


def change_table(cells: Cells) -> str:
    """Success of the first and the last evaluation in training, and the valid share of the blueprints after it."""
    rows = []
    for task, method, own in _groups(cells):
        before = spread([c.success_before for c in own if c.success_before is not None])
        gain = spread([c.success_after - c.success_before for c in own if c.success_before is not None])
        valid = spread([c.plan_validity for c in own if c.plan_validity is not None])
        spreads = (percent_spread(one) for one in (before, _success(own), gain, valid))
        rows.append([task, method, *spreads])
    return markdown_table(("task", "method", "before %", "after %", "gain", "plan validity %"), rows)


def cost_table(cells: Cells) -> str:
    """What training took, or an evaluation where nothing was trained; means over seeds, `over budget` the worst's."""
    rows = []
    for task, method, own in _groups(cells):
        over = [cell.overshoot for cell in own if cell.overshoot is not None]
        steps, *spent = (
            plain_mean(values)
            for values in zip(
                *((c.env_steps, c.tokens, c.iterations, c.optimizer_steps, *_seconds(c)) for c in own), strict=True
            )
        )
        rows.append([task, method, steps, f"{100 * max(over, key=abs):+.1f} %" if over else NOTHING, *spent])
    header = ("task", "method", "environment steps", "over budget", "tokens", "iterations", "optimiser steps")
    return markdown_table((*header, *(f"{name} s" for name in _SECONDS)), rows)


def unequal_budgets(cells: Cells) -> list[str]:
    """A sentence for each task with several budgets, and for each cell more than `TOLERANCE` off its own."""
    lines = []
    for task in _tasks(cells):
        budgets = sorted({cell.budget for cell in cells if cell.task == task and cell.budget is not None})
        if len(budgets) > 1:
            several = " and ".join(f"{budget:,}" for budget in budgets)
            lines.append(f"The runs of {task} have budgets of {several} environment steps.")
    return lines + [
        f"{cell.task}/{cell.method}/seed-{cell.seed} took {cell.env_steps:,} environment steps of {cell.budget:,} "
        f"({100 * cell.overshoot:+.1f} %)."
        for cell in cells
        if cell.overshoot is not None and abs(cell.overshoot) > TOLERANCE
    ]


def comparison_page(
    cells: Cells,
    title: str,
    reference: str | None,
    ablations: Mapping[str, str],
    targets: Mapping[str, float],
    titles: Mapping[str, str] = NO_TITLES,
) -> str:
    """All tables as one page; those without anything to show are left out."""
    seeds = sorted({cell.seed for cell in cells})
    notes = f"Seeds: {', '.join(map(str, seeds))}. Mean ± sample standard deviation over seeds; success in percent."
    budget = (
        f"*{_SAMPLED}*: the last checkpoint, every task {FIELD_REPEATS} times, sampled at that temperature; this is "
        f"the column to compare. *{_GREEDY}*: the same once, without sampling. *{_AT_BUDGET}*: success in the "
        "evaluations of training when the budget of environment steps was spent, on the line between the two around "
        f"it, since each method ends with another part of an iteration beyond its budget. *{_AT_END}*: the last of "
        f"them. Success by type and score are those of *{_SAMPLED}*, where that was evaluated, else of *{_AT_END}*."
    )
    interval = (
        "Pairs are equal seeds and equal tasks; at budget, both evaluations around it have their share in a task. The "
        "intervals are percentile bootstraps that draw seeds and, once for all of them, tasks. With few seeds they say "
        "little about other seeds."
    )
    warnings = unequal_budgets(cells)
    sections = [
        ("Success", ""),
        *(
            (f"### {task}", _note(success_table([c for c in cells if c.task == task], titles), budget))
            for task in _tasks(cells)
        ),
        ("Success and score", score_table(cells)),
        ("Before and after training", change_table(cells)),
        *([("Differences", _note(difference_table(cells, reference), interval))] if reference else []),
        ("Ablations", ablation_table(cells, ablations)),
        ("Steps to a target", target_table(cells, targets)),
        ("Cost", cost_table(cells)),
        ("Unequal budgets", "\n".join(f"- {line}" for line in warnings)),
    ]
    body = [
        f"{heading if heading.startswith('#') else f'## {heading}'}{chr(10) * 2 if text else ''}{text}"
        for heading, text in sections
        if text or heading == "Success"
    ]
    return "\n\n".join([f"# {title}", notes, *body]) + "\n"


def percent_spread(value: Spread | None) -> str:
    """Mean ± deviation of fractions, in percent."""
    if value is None:
        return NOTHING
    return plain_spread(Spread(100 * value.mean, None if value.std is None else 100 * value.std, value.count), 1)


def plain_spread(value: Spread | None, digits: int = 2) -> str:
    """Mean ± deviation."""
    if value is None:
        return NOTHING
    deviation = "" if value.std is None else f" ± {value.std:,.{digits}f}"
    return f"{value.mean:,.{digits}f}{deviation}"


def plain_mean(values: Sequence[float | None]) -> str:
    """Rounded to a whole number; a dash when one is not known."""
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):,.0f}" if len(known) == len(values) else NOTHING


def _by_task(cells: Cells, rows: Iterable[tuple[str, str]], tasks: Sequence[str], corner: str) -> str:
    """One row a (label, method); for each task success both ways, at the budget and at the end, and score if any."""
    scored = {task for task in tasks if any(c.score is not None for c in cells if c.task == task)}
    header, lines = [corner], []
    for task in tasks:
        names = (_SAMPLED, _GREEDY, _AT_BUDGET, _AT_END, *(["Score"] if task in scored else []))
        header += [f"{task} {name}" for name in names]
    for label, method in rows:
        line = [label]
        for task in tasks:
            own = [cell for cell in cells if (cell.task, cell.method) == (task, method)]
            successes = (percent_spread(one) for one in (*_both_ways(own), _at_budget(own), _success(own)))
            line += [*successes, *([plain_spread(_score(own))] if task in scored else [])]
        lines.append(line)
    return markdown_table(header, lines)


def _note(table: str, text: str) -> str:
    return f"{table}\n\n{text}" if table else ""


def _both_ways(cells: Cells) -> tuple[Spread | None, Spread | None]:
    """Sampled and greedy, over the cells that were evaluated so."""
    kinds = ([cell.sampled for cell in cells], [cell.greedy for cell in cells])
    sampled, greedy = (spread([value for value in values if value is not None]) for values in kinds)
    return sampled, greedy


def _success(cells: Cells) -> Spread | None:
    return spread([cell.success_after for cell in cells])


def _at_budget(cells: Cells) -> Spread | None:
    return spread([cell.success_at_budget for cell in cells])


def _score(cells: Cells) -> Spread | None:
    return spread([cell.score for cell in cells if cell.score is not None])


def _seconds(cell: CellResult) -> list[float]:
    return [cell.seconds.get(name, 0.0) for name in _SECONDS]


def _of(cells: Cells, method: str) -> list[CellResult]:
    return [cell for cell in cells if cell.method == method]


def _groups(cells: Cells) -> list[tuple[str, str, list[CellResult]]]:
    return [
        (task, method, _of(here, method))
        for task in _tasks(cells)
        for here in ([cell for cell in cells if cell.task == task],)
        for method in _methods(here)
    ]


def _methods(cells: Cells) -> list[str]:
    """In the order of the cells."""
    return list(dict.fromkeys(cell.method for cell in cells))


def _tasks(cells: Cells) -> list[str]:
    return list(dict.fromkeys(cell.task for cell in cells))
