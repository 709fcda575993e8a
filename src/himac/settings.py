"""What settings are made of: their base, what a value may be, and settings that name the class they are for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from himac.plugins import resolve

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Discount = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Penalty = Annotated[float, Field(ge=-1e6, le=0)]
Seconds = Annotated[float, Field(gt=0, le=1e6)]
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]
"""What is divided by less overflows."""
Processes = Annotated[int, Field(ge=0, le=256)]
AtOnce = Annotated[int, Field(gt=0, le=65536)]
Width = Annotated[int, Field(gt=0, le=10**6)]
Context = Annotated[int, Field(ge=2)]
"""In tokens: one is told and one is said."""
StdKind = Literal["population", "sample", "none"]
StatisticsKind = Literal["trajectories", "rows"]


class Settings(BaseModel):
    """A section of the configuration: no unknown keys, no changes, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Registered(Settings):
    """Settings that name what they are for.

    Attributes:
        kind: What it is, for messages.
        factory: `<module>:<class>`, imported when one is made.
    """

    kind: ClassVar[str]
    factory: ClassVar[str]
    name: str

    def load_factory(self) -> Any:
        """The class that `factory` names; raises what `himac.plugins.resolve` raises."""
        return resolve(self.kind, self.name, self.factory)
