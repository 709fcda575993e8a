from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from himac.engines.vllm.mirror import Mirror, checksum, read
from himac.errors import ModelError

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="memory without a name is Linux's, and so is vLLM")

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool)


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = {str(dtype): torch.randn(3, 5, generator=generator).to(dtype) for dtype in DTYPES}
    tied = torch.randn(7, generator=generator)
    return drawn | {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4), "tied": tied, "tied too": tied}


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror(weights())
    yield made
    made.close()
    made.close()  # does nothing


def test_what_is_read_is_what_was_given(mirror: Mirror) -> None:
    found = dict(read(mirror.path, mirror.places()))
    assert found.keys() == weights().keys()
    for name, tensor in weights().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_another_process_reads_it(mirror: Mirror) -> None:
    script = (
        "import sys, json; from himac.engines.vllm.mirror import read\n"
        "print(float(dict(read(sys.argv[1], json.loads(sys.argv[2])))['scalar']))"
    )
    places = [place for place in mirror.places() if place[0] == "scalar"]
    command = [sys.executable, "-c", script, mirror.path, str(places).replace("'", '"')]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2.5\n"


def test_what_an_update_leaves_out_stays(mirror: Mirror) -> None:
    assert mirror.update({"scalar": np.array(-1.0, np.float32)}) == 1
    assert mirror.update([("torch.bfloat16", torch.ones(3, 5))]) == 1  # of another type than it is kept in
    assert mirror.update(()) == 0
    expected = weights() | {"scalar": torch.tensor(-1.0), "torch.bfloat16": torch.ones(3, 5, dtype=torch.bfloat16)}
    found = dict(read(mirror.path, mirror.places()))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_tensors_of_another_model_are_refused(mirror: Mirror) -> None:
    with pytest.raises(ModelError, match="'other' is none of the model's"):
        mirror.update({"other": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"'tied' has another shape than \(7,\)"):
        mirror.update({"tied": torch.zeros(8)})


def test_a_changed_word_is_noticed(mirror: Mirror) -> None:
    places = mirror.places()
    mirror._bytes[places[-1][3]] ^= 1  # the lowest bit of the last tensor
    with pytest.raises(ValueError, match="checksum of tied too differs"):
        dict(read(mirror.path, places))


def test_without_room_nothing_is_taken_and_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("himac.engines.vllm.mirror._free_memory", lambda: 10**3)
    monkeypatch.setattr("os.memfd_create", None)  # not reached
    with pytest.raises(ModelError, match=r"takes 0\.0 GB of memory.*set engine\.name=local"):
        Mirror({"large": torch.zeros(251)})


@given(
    numbers=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9),
    bit=st.integers(0, 31),
    place=st.integers(0, 8),
)
def test_a_checksum_changes_with_every_single_bit(numbers: list[int], bit: int, place: int) -> None:
    tensor = torch.tensor(numbers, dtype=torch.int32)
    before = checksum(tensor.view(torch.float32))
    assert before == sum(numbers)  # of the words
    flipped = 1 << bit if bit < 31 else -(2**31)
    tensor[place % len(numbers)] ^= flipped
    assert checksum(tensor.view(torch.float32)) != before
