"""What figures were measured on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from himac import machine

INTEL = """processor\t: 0
model name\t: Some CPU @ 2.50GHz
flags\t\t: fpu sse2 fma avx avx2 avx512f amx_bf16 avx512f

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm crc32\n"


@pytest.mark.parametrize(
    ("text", "processor", "features"),
    [
        (INTEL, "Some CPU @ 2.50GHz", ["amx_bf16", "avx", "avx2", "avx512f", "fma"]),
        (ARM, None, ["asimd", "bf16", "i8mm", "sve"]),
        (None, None, []),
    ],
)
def test_instruction_sets(
    text: str | None, processor: str | None, features: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(machine, "_CPUINFO", file)
    found = machine.machine()
    assert found["features"] == features
    assert found["processor"] == processor or (processor is None and found["processor"])


def test_what_torch_chose_is_told_where_torch_is_loaded() -> None:
    """In processes of their own: the variable is read once, when torch is loaded."""
    script = "import json; {}from himac.machine import in_words, machine as m; print(json.dumps([m(), in_words(m())]))"
    found = {}
    for name, load in (("with", "import torch; torch.set_num_threads(2); "), ("without", "")):
        done = subprocess.run(
            [sys.executable, "-c", script.format(load)],
            env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "ATEN_CPU_CAPABILITY": "default"},
            capture_output=True,
            text=True,
            check=True,
        )
        found[name], words = json.loads(done.stdout)
        assert ("DEFAULT with 2 thread(s)" in words) == (name == "with")
    assert found["with"]["torch"]["capability"] == "DEFAULT"
    assert found["with"]["torch"]["threads"] == 2
    assert "torch" not in found["without"]
    assert found["without"]["settings"] == {"ATEN_CPU_CAPABILITY": "default"}
