import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.seeding import derive_seed


def test_values_never_change() -> None:
    # recorded once: a changed hash would silently change every published run
    assert derive_seed(0) == 7945131857248828659
    assert derive_seed(7, "rollout", 3, "task-1", 0) == 5739844892868860154


@given(seed=st.integers(-(2**70), 2**70), parts=st.lists(st.one_of(st.text(), st.integers(), st.booleans())))
def test_range_and_repeatability(seed: int, parts: list[str | int]) -> None:
    value = derive_seed(seed, *parts)
    assert 0 <= value < 2**63
    assert value == derive_seed(seed, *parts)


def test_order_type_and_boundaries_matter() -> None:
    seeds = {
        derive_seed(1, "ab", "c"),
        derive_seed(1, "a", "bc"),
        derive_seed(1, "c", "ab"),
        derive_seed(1, "1", 2),
        derive_seed(1, 1, "2"),
        derive_seed(1, True),
        derive_seed(1, 1),
        derive_seed(1),
        derive_seed(2),
    }
    assert len(seeds) == 9


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        derive_seed(0, 0.5)  # type: ignore[arg-type]
