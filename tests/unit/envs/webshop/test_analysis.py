import regex
from hypothesis import given
from hypothesis import strategies as st

from himac.envs.webshop import analysis
from himac.envs.webshop.analysis import MAX_WORD, split_words, terms


def test_words_of_a_plain_text() -> None:
    assert split_words("3.5oz don't e-mail 1,000 color:red a.b. _x__ 5'") == [
        *("3.5oz", "don't", "e", "mail", "1,000", "color:red", "a.b", "_x__", "5")
    ]


def test_words_of_other_scripts() -> None:
    assert split_words("café naïve’s 日本 ひら カタカナ ไทย") == [
        *("café", "naïve’s", "日", "本", "ひ", "ら", "カタカナ", "ไทย")
    ]
    assert split_words('צה"ל ab_ツツ') == ['צה"ל', "ab_ツツ"]


def test_pictures_are_words() -> None:
    assert split_words("★ ✔ ✿ ❤️ a™ 👍🏽 👨‍👩‍👧 🇺🇸 #") == ["★", "✔", "❤️", "a", "™", "👍🏽", "👨‍👩‍👧", "🇺🇸"]


def test_lone_joiners_are_no_words() -> None:
    assert split_words("_ __ _a") == ["_a"]


def test_long_words_are_cut() -> None:
    assert [len(word) for word in split_words("a" * (2 * MAX_WORD + 3))] == [MAX_WORD, MAX_WORD, 3]


def test_terms_drop_possessives_and_stop_words() -> None:
    assert terms("The women's Dresses are for DOGS’ dog’s") == ["women", "dress", "dog", "dog"]


@given(st.text(alphabet="abZ09':.,;_ -/\"\n", max_size=30))
def test_the_short_way_for_ascii_is_the_general_one(text: str) -> None:
    pattern: regex.Pattern[str] = analysis._UNICODE_WORD
    assert split_words(text) == pattern.findall(text)


@given(st.text(st.characters() | st.sampled_from(" aé0'’:.ไひ😀\u0301\u200d"), max_size=40))
def test_no_word_holds_a_space(text: str) -> None:
    pattern: regex.Pattern[str] = analysis._UNICODE_WORD
    assert [word for part in text.split(" ") for word in split_words(part)] == split_words(text)
    assert text.isascii() or split_words(text) == pattern.findall(text)


@given(st.text(max_size=60))
def test_any_text_has_terms(text: str) -> None:
    assert all(terms(text))
