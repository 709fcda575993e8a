"""A tiny ALFWorld kitchen, written for the tests, and what is needed to vary it."""

from himac.envs.alfworld.games import Game

DECLARED = """
agent1 - agent
Apple_bar_1 - object
Apple_bar_2 - object
Knife_bar_1 - object
Mug_bar_1 - object
Spoon_bar_1 - object
DeskLamp_bar_1 - object
Window_bar_1 - object
Ladle_bar_unused - object
AppleType - otype
KnifeType - otype
MugType - otype
SpoonType - otype
DeskLampType - otype
FridgeType - rtype
MicrowaveType - rtype
SinkBasinType - rtype
CounterTopType - rtype
Sink_bar_1_bar_SinkBasin - receptacle
Fridge_bar_1 - receptacle
Microwave_bar_1 - receptacle
CounterTop_bar_1 - receptacle
CounterTop_bar_2 - receptacle
loc_bar_0 - location
loc_bar_1 - location
loc_bar_2 - location
loc_bar_3 - location
"""

FACTS = """
(receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType) (receptacleType Fridge_bar_1 FridgeType)
(receptacleType Microwave_bar_1 MicrowaveType) (receptacleType CounterTop_bar_1 CounterTopType)
(receptacleType CounterTop_bar_2 CounterTopType)
(objectType Apple_bar_1 AppleType) (objectType Apple_bar_2 AppleType) (objectType Knife_bar_1 KnifeType)
(objectType Mug_bar_1 MugType) (objectType Spoon_bar_1 SpoonType) (objectType DeskLamp_bar_1 DeskLampType)
(canContain CounterTopType AppleType) (canContain CounterTopType KnifeType) (canContain CounterTopType MugType)
(canContain FridgeType AppleType) (canContain SinkBasinType AppleType) (canContain MicrowaveType AppleType)
(pickupable Apple_bar_1) (pickupable Apple_bar_2) (pickupable Knife_bar_1) (pickupable Mug_bar_1)
(isReceptacleObject Mug_bar_1) (openable Fridge_bar_1) (openable Microwave_bar_1)
(atLocation agent1 loc_bar_0)
(cleanable Apple_bar_1) (cleanable Apple_bar_2) (heatable Apple_bar_1) (heatable Apple_bar_2)
(coolable Apple_bar_1) (coolable Apple_bar_2) (toggleable DeskLamp_bar_1) (sliceable Apple_bar_1)
(sliceable Apple_bar_2)
(inReceptacle Apple_bar_1 CounterTop_bar_1) (inReceptacle Apple_bar_2 Fridge_bar_1)
(inReceptacle Knife_bar_1 CounterTop_bar_1) (inReceptacle Mug_bar_1 CounterTop_bar_1)
(inReceptacle DeskLamp_bar_1 CounterTop_bar_1) (inReceptacleObject Spoon_bar_1 Mug_bar_1)
(receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_1) (receptacleAtLocation CounterTop_bar_1 loc_bar_1)
(receptacleAtLocation Fridge_bar_1 loc_bar_2) (receptacleAtLocation Microwave_bar_1 loc_bar_3)
(receptacleAtLocation CounterTop_bar_2 loc_bar_3)
(objectAtLocation Apple_bar_1 loc_bar_1) (objectAtLocation Apple_bar_2 loc_bar_2)
(objectAtLocation Knife_bar_1 loc_bar_1) (objectAtLocation Mug_bar_1 loc_bar_1)
(objectAtLocation DeskLamp_bar_1 loc_bar_1) (objectAtLocation Window_bar_1 loc_bar_0)
"""

_TREAT = """(:goal (and (exists (?r - receptacle) (exists (?o - object) (and
({able} ?o) (objectType ?o AppleType) (receptacleType ?r CounterTopType) ({done} ?o) (inReceptacle ?o ?r))))))"""
GOALS = {
    "pick_and_place_simple": """(:goal (and (exists (?r - receptacle) (exists (?o - object) (and
        (inReceptacle ?o ?r) (objectType ?o AppleType) (receptacleType ?r MicrowaveType))))))""",
    "pick_clean_then_place_in_recep": _TREAT.format(able="cleanable", done="isClean"),
    "pick_heat_then_place_in_recep": _TREAT.format(able="heatable", done="isHot"),
    "pick_cool_then_place_in_recep": _TREAT.format(able="coolable", done="isCool"),
    "pick_two_obj_and_place": """(:goal (and (exists (?r - receptacle) (exists (?o1 - object) (and
        (objectType ?o1 AppleType) (receptacleType ?r CounterTopType) (inReceptacle ?o1 ?r)
        (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 AppleType) (receptacleType ?r CounterTopType)
        (inReceptacle ?o2 ?r))))))))""",
    "look_at_obj_in_light": """(:goal (and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and
        (objectType ?ot DeskLampType) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l)
        (atLocation ?a ?l) (inReceptacle ?ot ?r))) (exists (?o - object ?a - agent) (and
        (objectType ?o AppleType) (holds ?a ?o)))))""",
}


def problem(kind: str = "pick_and_place_simple", more: str = "", less: str = "") -> str:
    """The kitchen's PDDL with the goal of a task type; `more` facts are added, the one fact `less` is left out."""
    assert less in FACTS
    facts = FACTS.replace(less, "") if less else FACTS
    return f"(define (problem kitchen) (:domain alfred) (:objects {DECLARED}) (:init {facts} {more}) {GOALS[kind]})"


def game(kind: str = "pick_and_place_simple", number: int = 1, more: str = "") -> Game:
    """A game in the kitchen."""
    return Game(f"{kind}-Apple-None-X-1/trial_{number}", kind, "do it", problem(kind, more))
