"""Where the variable CI is set, a skipped test is an error unless it is listed here with its reason.

A skip hides that a promise is not checked: nobody reads skips in a run that ends well. These are hooks of pytest.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

NOT_OURS = (
    "official data and transcripts are not ours to ship; digests and made-up data check the same code in every clone"
)
MARKED_MAY_SKIP = {"vllm": "vLLM lives in an environment of its own, where make test-vllm runs these tests"}
"""Mark of tests -> why they may be skipped."""
ENVS = "tests/unit/envs"
MAY_SKIP = {
    f"{ENVS}/alfworld/test_alfworld_engine.py::test_every_recorded_step_of_the_original_is_reproduced": NOT_OURS,
    f"{ENVS}/alfworld/test_alfworld_games.py::test_every_walkthrough_wins": NOT_OURS,
    f"{ENVS}/alfworld/test_alfworld_games.py::test_packed_walkthroughs_win": NOT_OURS,
    f"{ENVS}/alfworld/test_alfworld_games.py::test_the_official_tree": NOT_OURS,
    f"{ENVS}/alfworld/test_alfworld_games.py::test_another_domain_or_grammar_is_refused": NOT_OURS,
    f"{ENVS}/alfworld/test_expert.py::test_official_games": NOT_OURS,
    f"{ENVS}/sokoban/test_benchmark.py::test_boxoban_is_found_by_its_splits": NOT_OURS,
    f"{ENVS}/sokoban/test_levels.py::test_official_boxoban_file": NOT_OURS,
    f"{ENVS}/sokoban/test_solver.py::test_boxoban_levels_are_solved": NOT_OURS,
    f"{ENVS}/sokoban/test_state.py::test_every_recorded_step": NOT_OURS,
    f"{ENVS}/test_official.py::test_the_first_files_are_the_official_ones": NOT_OURS,
    f"{ENVS}/test_official.py::test_the_official_games": NOT_OURS,
    f"{ENVS}/test_official.py::test_the_official_products": NOT_OURS,
    f"{ENVS}/webshop/test_env.py::test_episodes_are_those_of_the_reference": NOT_OURS,
    f"{ENVS}/webshop/test_env.py::test_random_actions": NOT_OURS,
    f"{ENVS}/webshop/test_goals.py::test_goals_are_those_of_the_reference": NOT_OURS,
    f"{ENVS}/webshop/test_goals.py::test_human_goals": NOT_OURS,
    f"{ENVS}/webshop/test_goals.py::test_human_goals_are_those_of_the_reference": NOT_OURS,
    f"{ENVS}/webshop/test_goals.py::test_prices_are_those_of_the_reference": NOT_OURS,
    f"{ENVS}/webshop/test_index.py::test_rankings_are_those_of_the_reference": NOT_OURS,
    f"{ENVS}/webshop/test_reward.py::test_scores_are_those_of_the_reference": NOT_OURS,
    f"{ENVS}/webshop/test_reward.py::test_the_defect_of_the_options": NOT_OURS,
    f"{ENVS}/webshop/test_reward.py::test_the_tagger_of_the_reference": NOT_OURS,
    f"{ENVS}/webshop/test_shopper.py::test_the_score_on_the_official_goals": NOT_OURS,
    f"{ENVS}/webshop/test_webshop_benchmark.py::test_official_splits": NOT_OURS,
    "tests/browser/test_page.py": "needs a browser and playwright; 'make test-browser' brings both",
    "tests/integration/test_alfworld_textworld.py::test_random_play_is_identical": (
        f"needs the extra himac[textworld], which is compiled for minutes; {NOT_OURS}"
    ),
    "tests/integration/test_vllm.py": MARKED_MAY_SKIP["vllm"],
    "tests/integration/test_served.py": "needs transformers[serving], a web server that himac itself does not use",
    "tests/unit/report/test_inspect_log.py": "needs the extra himac[inspect], forty packages that nothing else uses",
    "tests/unit/engines/vllm/test_mirror.py": "memory without a name is Linux's, and so is vLLM",
    "tests/unit/models/test_loading.py::test_malloc_setting_is_accepted": "a setting of glibc, Linux only",
}
"""Test, or file for all of its tests -> why it may be skipped."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return report if any(map(item.get_closest_marker, MARKED_MAY_SKIP)) else _strict(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _strict(report)


def _strict(report: Any) -> Any:
    """An unlisted skip becomes a failure; expected failures, which pytest calls skipped too, are none."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return report
    test = report.nodeid.split("[")[0]
    if test not in MAY_SKIP and test.split("::")[0] not in MAY_SKIP:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped ({reason}); in CI, list it with its reason in {__file__}."
    return report
