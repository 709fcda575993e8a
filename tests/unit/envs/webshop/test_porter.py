import pytest

from himac.envs.webshop.porter import stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[("caresses", "caress"), ("ponies", "poni"), ("ties", "ti"), ("caress", "caress"), ("cats", "cat")],
        *[("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster"), ("bled", "bled"), ("motoring", "motor")],
        *[("sing", "sing"), ("conflated", "conflat"), ("troubled", "troubl"), ("sized", "size"), ("hopping", "hop")],
        *[("falling", "fall"), ("hissing", "hiss"), ("fizzed", "fizz"), ("failing", "fail"), ("filing", "file")],
        *[("happy", "happi"), ("sky", "sky"), ("relational", "relat"), ("conditional", "condit")],
        *[("rational", "ration"), ("digitizer", "digit"), ("conformabli", "conform"), ("radicalli", "radic")],
        *[("vietnamization", "vietnam"), ("operator", "oper"), ("feudalism", "feudal"), ("decisiveness", "decis")],
        *[("hopefulness", "hope"), ("formaliti", "formal"), ("sensibiliti", "sensibl"), ("triplicate", "triplic")],
        *[("formative", "form"), ("formalize", "formal"), ("electrical", "electr"), ("goodness", "good")],
        *[("revival", "reviv"), ("allowance", "allow"), ("airliner", "airlin"), ("adjustable", "adjust")],
        *[("replacement", "replac"), ("adjustment", "adjust"), ("dependent", "depend"), ("adoption", "adopt")],
        *[("communism", "commun"), ("activate", "activ"), ("effective", "effect"), ("probate", "probat")],
        *[("rate", "rate"), ("cease", "ceas"), ("controll", "control"), ("roll", "roll")],
        # Porter's extensions, short words, and what is no word.
        *[("possibly", "possibl"), ("archaeology", "archaeolog"), ("is", "is"), ("as", "as"), ("3.5oz", "3.5oz")],
        *[("color:red", "color:r"), ("café", "café"), ("sss", "sss"), ("eed", "eed"), ("ing", "ing"), ("ies", "i")],
    ],
)
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected
