"""Pictures and what they show in words: how a small vision-language model learns to see before it learns to act."""

from __future__ import annotations

from himac.agents.base import AgentBase
from himac.agents.recorder import SegmentRecorder
from himac.errors import ConfigError
from himac.scene import Scene, join
from himac.types import Demonstration, Role

REQUEST = "Describe."


class Describer(AgentBase):
    """Taught in a warm start only: the alignment stage of vision-language models (LLaVA, Liu et al., 2023)."""

    def demonstrated(self, demo: Demonstration) -> list[SegmentRecorder]:
        """One context for each different picture with a caption from which the planner or an executor starts.

        Raises:
            ConfigError: There is none.
        """
        starts = dict.fromkeys((demo.observation, *(segment.start for segment in demo.segments)))
        told = [start for start in starts if isinstance(start, Scene) and start.caption]
        if not told:
            raise ConfigError(
                f"the demonstration of {demo.task.id} shows no picture with a caption; remove captions from "
                "warmstart.formats"
            )
        return [self._described(scene) for scene in told]

    def _described(self, scene: Scene) -> SegmentRecorder:
        recorder = SegmentRecorder(Role.FLAT, self.chat.open(join("\n", (REQUEST, scene))))
        recorder.reply(self.chat.encode_reply(scene.caption))
        return recorder
