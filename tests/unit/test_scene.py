"""Texts, pictures and both together."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.errors import EnvironmentFailureError
from himac.scene import Image, Placed, Prompt, Scene, in_words, join, observed, pictures_in, plain, retold


def pixels(seed: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


A, B = Image(pixels(1)), Image(pixels(2))


def test_equal_pictures_are_one_object() -> None:
    assert Image(pixels(1).copy()) is A is not B
    assert pickle.loads(pickle.dumps(A)) is A is copy.deepcopy(A)
    assert A.key != B.key
    assert Image(pixels(1).reshape(6, 4, 3)).key != A.key  # the same bytes in another shape
    np.testing.assert_array_equal(A.pixels, pixels(1))
    assert A.size == (4, 6)


def test_a_picture_is_frozen_and_keeps_its_own_copy() -> None:
    array = pixels(3)
    one = Image(array)
    array[:] = 0
    np.testing.assert_array_equal(one.pixels, pixels(3))
    with pytest.raises(ValueError, match="read-only"):
        one.pixels[0, 0, 0] = 1
    with pytest.raises(AttributeError, match="frozen"):
        one.key = "x"


def test_pictures_nobody_holds_are_forgotten() -> None:
    key = Image(pixels(77)).key
    gc.collect()
    assert key not in Image._known


def test_a_picture_from_elsewhere_is_the_same() -> None:
    data = pickle.dumps((A, [A, B]))
    known = dict(Image._known)
    Image._known.clear()
    try:
        one, (two, three) = pickle.loads(data)
        assert one is two
        assert one is not A
        assert (one.key, three.key) == (A.key, B.key)
        np.testing.assert_array_equal(one.pixels, A.pixels)
    finally:
        Image._known.update(known)


def test_a_drawn_board_is_small() -> None:
    board = np.zeros((256, 256, 3), np.uint8)
    board[::16] = 200
    assert len(pickle.dumps(Image(board))) < board.size / 100


@pytest.mark.parametrize("value", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)])
def test_what_is_no_picture(value: Any) -> None:
    with pytest.raises(EnvironmentFailureError, match="return uint8"):
        observed(value)


@given(st.lists(st.text(max_size=3), max_size=5), st.sampled_from(["", "\n", "\n\n"]))
def test_texts_are_joined_as_ever(parts: list[str], separator: str) -> None:
    assert join(separator, parts) == separator.join(part for part in parts if part)


def test_scenes_are_joined_in_reading_order() -> None:
    both = Scene(("above", A))
    assert join("\n", ["rules", "", both, "goal"]) == Scene(("rules\nabove", A, "\ngoal"))
    assert join("\n", [Scene((A,)), Scene((B,))]) == Scene((A, "\n", B))
    assert both + "\nbelow" == Scene(("above", A, "\nbelow"))
    assert "so " + both == Scene(("so above", A))
    assert both + both == Scene(("above", A, "above", A))
    assert Scene((A,)) + "" == Scene((A,))


def test_observations() -> None:
    assert observed("text") == "text"
    assert observed(pixels(1)) == Scene((A,))
    assert observed({"image": pixels(1), "text": "a room", "more": 1}) == Scene(("a room", A))
    assert observed((pixels(2), "below")) == Scene((B, "below"))
    assert observed({"text": "a room"}) == "a room"
    assert observed(Scene((A,))) == Scene((A,), caption="never compared")


@pytest.mark.parametrize("value", [7, None, b"text", {}, [], {"text": 1}, ["a", 1], {"more": "a"}, np.int64(3)])
def test_what_nobody_can_read(value: Any) -> None:
    with pytest.raises(EnvironmentFailureError, match=f"observes {type(value).__name__}"):
        observed(value)


def test_words_for_people_and_files() -> None:
    scene = observed(pixels(1), caption="#@#")
    assert in_words(scene) == "#@#"
    assert in_words("text") == "text"
    assert str(scene) == f"[picture {A.key}]" == in_words(Scene((A,)))
    assert plain(Scene(("one", A, "two"))) == "one\ntwo"
    assert plain("one") == "one"


def test_a_scene_told_anew_keeps_its_pictures() -> None:
    assert retold("old", "new") == "new"
    assert retold(Scene(("old", A, B)), "new") == Scene(("new\n", A, B))
    assert retold(Scene(("old", A)), "") == Scene((A,))


def test_pictures_among_tokens() -> None:
    placed = Placed(1, 3, A)
    assert pictures_in(Prompt([5, 9, 9, 6], [placed])) == (placed,)
    assert pictures_in([5, 9, 9, 6]) == ()
    assert placed.moved(4) == Placed(5, 7, A)
    assert Prompt([1, 2]) == [1, 2]
