"""Tables of the built-in households: which receptacles stand in a room, and where objects lie in them."""

from __future__ import annotations

from dataclasses import dataclass

PICK, LOOK, CLEAN, HEAT, COOL, TWO = TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)

OPENABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})
LAMP = "DeskLamp"
APPLIANCES = {CLEAN: "SinkBasin", HEAT: "Microwave", COOL: "Fridge"}
ABILITIES = {CLEAN: "cleanable", HEAT: "heatable", COOL: "coolable"}


@dataclass(frozen=True, slots=True)
class Room:
    """What a kind of room holds.

    Attributes:
        tasks: Task types that can be set there.
        always: Receptacle types that stand in every such room.
        maybe: Receptacle types that fill it up, with weights.
        single: Types of which there is at most one.
        things: Object types at home there.
    """

    tasks: frozenset[str]
    always: tuple[str, ...]
    maybe: dict[str, int]
    single: frozenset[str]
    things: tuple[str, ...]


ROOMS: dict[str, Room] = {
    "Kitchen": Room(
        frozenset({PICK, CLEAN, HEAT, COOL, TWO}),
        ("CounterTop", "Fridge", "Microwave", "SinkBasin"),
        {
            "Cabinet": 9, "Drawer": 5, "StoveBurner": 3, "CounterTop": 2, "CoffeeMachine": 2, "Toaster": 1,
            "GarbageCan": 3, "DiningTable": 2, "Shelf": 2, "SideTable": 1,
        },
        frozenset({"Fridge", "Microwave", "SinkBasin", "CoffeeMachine", "Toaster", "GarbageCan"}),
        (
            "Apple", "Bowl", "Bread", "ButterKnife", "Cup", "DishSponge", "Egg", "Fork", "Glassbottle", "Kettle",
            "Knife", "Ladle", "Lettuce", "Mug", "Pan", "PepperShaker", "Plate", "Pot", "Potato", "SaltShaker",
            "SoapBottle", "Spatula", "Spoon", "Tomato", "WineBottle",
        ),
    ),
    "Bathroom": Room(
        frozenset({PICK, CLEAN, TWO}),
        ("CounterTop", "SinkBasin", "Toilet"),
        {
            "Drawer": 5, "Cabinet": 5, "HandTowelHolder": 2, "TowelHolder": 1, "ToiletPaperHanger": 2,
            "GarbageCan": 3, "BathtubBasin": 2, "Shelf": 3, "SideTable": 1, "Cart": 1, "SinkBasin": 1,
        },
        frozenset({"Toilet", "ToiletPaperHanger", "GarbageCan", "BathtubBasin", "Cart"}),
        (
            "Candle", "Cloth", "DishSponge", "HandTowel", "SoapBar", "SoapBottle", "SprayBottle", "TissueBox",
            "ToiletPaper",
        ),
    ),
    "Bedroom": Room(
        frozenset({PICK, LOOK, TWO}),
        ("Bed", "Desk"),
        {
            "Drawer": 8, "Shelf": 5, "SideTable": 3, "Dresser": 2, "GarbageCan": 2, "Cabinet": 2, "ArmChair": 1,
            "Safe": 1, "LaundryHamper": 1,
        },
        frozenset({"Desk", "Dresser", "GarbageCan", "Safe", "LaundryHamper"}),
        (
            "AlarmClock", "BaseballBat", "BasketBall", "Book", "Bowl", "CD", "CellPhone", "CreditCard", "DeskLamp",
            "KeyChain", "Laptop", "Mug", "Pen", "Pencil", "Pillow", "Statue", "TennisRacket", "TissueBox", "Vase",
            "Watch",
        ),
    ),
    "LivingRoom": Room(
        frozenset({PICK, LOOK, TWO}),
        ("Sofa", "CoffeeTable"),
        {
            "Drawer": 6, "Shelf": 5, "SideTable": 4, "ArmChair": 3, "DiningTable": 1, "Dresser": 1, "GarbageCan": 2,
            "Cabinet": 3, "TVStand": 2, "Ottoman": 1, "Desk": 1,
        },
        frozenset({"Dresser", "GarbageCan", "TVStand", "Ottoman", "Desk"}),
        (
            "Book", "Box", "CellPhone", "CreditCard", "DeskLamp", "KeyChain", "Laptop", "Newspaper", "Pen", "Pencil",
            "Pillow", "RemoteControl", "Statue", "TissueBox", "Vase", "Watch", "WateringCan",
        ),
    ),
}  # fmt: skip

# object type: where it lies, with weights | where else it can be put | flags
# (c)leanable, (h)eatable, c(o)olable, (s)liceable, (v)essel, (l)amp; everything but a lamp can be picked up.
_HABITS_TEXT = """
AlarmClock: SideTable 6, Desk 3, Dresser 2, Shelf 1 | DiningTable
Apple: Fridge 6, CounterTop 3, GarbageCan 2, DiningTable 1 | Microwave SinkBasin SideTable | chos
BaseballBat: Bed 4, SideTable 1 | DiningTable
BasketBall: Bed 2, Dresser 3, Desk 1 | DiningTable SideTable
Book: Bed 5, Shelf 4, Desk 2, Drawer 1, CoffeeTable 2 | Sofa ArmChair SideTable Dresser DiningTable Cabinet Ottoman
Bowl: Cabinet 6, Shelf 3, CounterTop 2, Fridge 1, CoffeeTable 1 | DiningTable Microwave SideTable SinkBasin Desk | cov
Box: Sofa 4, CoffeeTable 3, DiningTable 2, ArmChair 1 | Shelf SideTable Desk Dresser Cabinet Ottoman | v
Bread: CounterTop 6, Fridge 2, DiningTable 2 | Microwave GarbageCan SideTable | hos
ButterKnife: Drawer 5, CounterTop 4, DiningTable 2 | SinkBasin SideTable | c
CD: Drawer 5, Shelf 3, Desk 2, GarbageCan 1 | Dresser SideTable Safe Cabinet
Candle: Toilet 5, Drawer 3, Shelf 3, CounterTop 1, CoffeeTable 1 | Cabinet SideTable Cart Dresser DiningTable
CellPhone: Bed 5, Desk 3, Sofa 3, SideTable 2, Drawer 1 | ArmChair Dresser CoffeeTable Shelf DiningTable Safe Ottoman
Cloth: BathtubBasin 5, Drawer 3, Cabinet 3, CounterTop 1 | SinkBasin Shelf Toilet Cart GarbageCan LaundryHamper | c
CreditCard: Drawer 5, SideTable 3, Desk 2, Sofa 2, Dresser 1 | ArmChair CoffeeTable Shelf Safe DiningTable Ottoman
Cup: Cabinet 5, SinkBasin 3, CounterTop 2, Fridge 1 | Microwave DiningTable Shelf SideTable | chov
DeskLamp: Desk 5, SideTable 4, Dresser 2, Shelf 1 | | l
DishSponge: SinkBasin 5, Drawer 3, Cabinet 2, GarbageCan 1 | CounterTop DiningTable Shelf Cart BathtubBasin Toilet | c
Egg: Fridge 7, CounterTop 2, GarbageCan 1, SinkBasin 1 | Microwave DiningTable SideTable | chos
Fork: Drawer 6, SinkBasin 3, CounterTop 2, DiningTable 1 | SideTable | c
Glassbottle: Cabinet 4, GarbageCan 3, Fridge 2, CounterTop 2 | DiningTable Microwave Shelf SinkBasin
HandTowel: HandTowelHolder 7, CounterTop 1, Cabinet 1 | GarbageCan Shelf SinkBasin BathtubBasin Drawer Toilet Cart
Kettle: StoveBurner 5, Cabinet 3, CounterTop 2 | DiningTable Shelf SinkBasin SideTable | c
KeyChain: SideTable 5, CoffeeTable 3, Drawer 3, Desk 1, Sofa 1 | ArmChair Dresser Shelf Safe DiningTable Ottoman
Knife: CounterTop 5, Drawer 4, SinkBasin 1 | DiningTable SideTable | c
Ladle: Drawer 4, Cabinet 4, CounterTop 3 | DiningTable SinkBasin | c
Laptop: Desk 5, Bed 5, Sofa 3, CoffeeTable 2 | ArmChair DiningTable Dresser SideTable Ottoman
Lettuce: Fridge 6, CounterTop 4, SinkBasin 1 | DiningTable GarbageCan SideTable | cos
Mug: CoffeeMachine 4, Cabinet 4, SinkBasin 2, Desk 3, CounterTop 1 | Fridge Microwave Shelf DiningTable SideTable | chov
Newspaper: CoffeeTable 5, Sofa 4, ArmChair 2, GarbageCan 1 | DiningTable Drawer Shelf SideTable Ottoman Dresser
Pan: StoveBurner 6, Cabinet 3, CounterTop 2 | Fridge DiningTable SinkBasin SideTable | cov
Pen: Desk 5, Drawer 4, SideTable 2, Shelf 1 | Dresser GarbageCan CoffeeTable DiningTable
Pencil: Drawer 5, Desk 4, Shelf 3, GarbageCan 1 | Dresser SideTable CoffeeTable DiningTable
PepperShaker: Cabinet 5, CounterTop 3, Drawer 2, Shelf 1 | DiningTable SideTable
Pillow: Bed 6, Sofa 6, ArmChair 2 | Ottoman
Plate: Cabinet 6, CounterTop 2, DiningTable 2, SinkBasin 1 | Fridge Microwave Shelf SideTable CoffeeTable | chov
Pot: StoveBurner 6, SinkBasin 2, Cabinet 2, Fridge 1 | CounterTop DiningTable Shelf | cov
Potato: CounterTop 4, Fridge 4, SinkBasin 2, GarbageCan 1 | Microwave DiningTable SideTable | chos
RemoteControl: Sofa 5, TVStand 3, CoffeeTable 3, ArmChair 2, Drawer 1 | SideTable Shelf Dresser Desk Ottoman
SaltShaker: Cabinet 4, Drawer 3, CounterTop 3, Shelf 1 | DiningTable SideTable
SoapBar: SinkBasin 4, BathtubBasin 3, Drawer 2, Toilet 1 | CounterTop Cabinet GarbageCan Shelf Cart | c
SoapBottle: Cabinet 4, CounterTop 3, Toilet 2, GarbageCan 1 | Drawer Shelf SideTable Cart DiningTable
Spatula: Drawer 5, CounterTop 3, SinkBasin 2 | DiningTable SideTable | c
Spoon: Drawer 6, SinkBasin 3, DiningTable 1, CounterTop 1 | SideTable | c
SprayBottle: Cabinet 4, Toilet 4, Shelf 2, GarbageCan 1 | CounterTop Drawer Cart SideTable DiningTable
Statue: Shelf 5, CoffeeTable 3, TVStand 2, Dresser 2 | Desk SideTable DiningTable Safe
TennisRacket: Bed 2, Desk 1, Dresser 2 | DiningTable SideTable
TissueBox: SideTable 4, Toilet 2, Desk 2, CoffeeTable 2, TVStand 1 | Drawer Cabinet Shelf Dresser Cart CounterTop
ToiletPaper: Cabinet 4, Toilet 3, ToiletPaperHanger 3, GarbageCan 1 | CounterTop Drawer Shelf Cart SideTable
Tomato: Fridge 5, CounterTop 4, GarbageCan 1 | Microwave SinkBasin DiningTable SideTable | chos
Vase: Shelf 6, CoffeeTable 3, Dresser 1, Cabinet 1 | Desk SideTable DiningTable Safe
Watch: Dresser 4, Drawer 3, SideTable 3, CoffeeTable 2, TVStand 1 | Desk Shelf DiningTable
WateringCan: Shelf 4, CoffeeTable 2, Drawer 1 | Cabinet Desk SideTable Dresser
WineBottle: Cabinet 5, Fridge 3, GarbageCan 2, CounterTop 1 | Shelf DiningTable | o
"""

_FLAGS = {"c": "cleanable", "h": "heatable", "o": "coolable", "s": "sliceable", "v": "isReceptacleObject"}

_FLAGS = {"c": "cleanable", "h": "heatable", "o": "coolable", "s": "sliceable", "v": "isReceptacleObject"}


@dataclass(frozen=True, slots=True)
class Habit:
    """How an object type behaves.

    Attributes:
        lies: Receptacle types where it is found, with weights: what a game never tells and a planner can learn.
        fits: Receptacle types that can contain it.
        flags: PDDL predicates that hold for it (`cleanable`, ...).
        lamp: It cannot be picked up but be turned on.
    """

    lies: dict[str, int]
    fits: frozenset[str]
    flags: tuple[str, ...]
    lamp: bool


def _parse(text: str) -> dict[str, Habit]:
    habits = {}
    for line in text.strip().splitlines():
        name, rest = line.split(": ", 1)
        lies_text, others, letters, *_ = (*(part.strip() for part in rest.split("|")), "", "")
        lies = {kind: int(weight) for kind, weight in (item.split() for item in lies_text.split(", "))}
        flags = tuple(_FLAGS[letter] for letter in letters if letter in _FLAGS)
        habits[name] = Habit(lies, frozenset((*lies, *others.split())), flags, "l" in letters)
    return habits


HABITS = _parse(_HABITS_TEXT)
