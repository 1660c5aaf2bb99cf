"""API keys as text."""

import re
import string

import pytest

from gateway import keys

EXAMPLE = "lw_test_EXAMPLE0_00000000000000000000000000000000000000000004DhiTd"


def test_the_documented_example_passes_the_checksum():
    assert keys.parse(EXAMPLE) == keys.Parts("test", "EXAMPLE0", EXAMPLE)


@pytest.mark.parametrize("kind", keys.KINDS)
def test_a_minted_key_is_what_secret_scanners_look_for(kind):
    key = keys.mint(kind)

    assert re.fullmatch(r"lw_(live|test|admin)_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", key.whole)
    assert keys.parse(key.whole) == key
    assert (key.kind, key.whole.split("_")[2]) == (kind, key.id8)


def test_no_two_minted_keys_are_alike():
    minted = {keys.mint("live").whole for _ in range(1000)}

    assert len(minted) == 1000
    assert set("".join(key[17:] for key in minted)) == set(keys.ALPHABET)


def test_every_single_typo_is_noticed():
    for place in range(len("lw_live_"), len(EXAMPLE)):
        if EXAMPLE[place] != "_":
            wrong = "x" if EXAMPLE[place] != "x" else "y"
            with pytest.raises(keys.Mistyped):
                keys.parse(EXAMPLE[:place] + wrong + EXAMPLE[place + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-abc",
        EXAMPLE[:-1],
        EXAMPLE + "0",
        EXAMPLE + "\n",
        EXAMPLE.replace("lw", "LW"),
        EXAMPLE.replace("test", "prod"),
        EXAMPLE.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}", 1),
    ],
)
def test_what_has_no_keys_shape_is_no_key(text):
    assert keys.parse(text) is None


def test_the_alphabet_is_base62_in_the_order_of_ascii():
    assert "".join(sorted(string.digits + string.ascii_letters)) == keys.ALPHABET
    assert keys.checksum("") == "000000"


def test_a_digest_depends_on_key_and_pepper():
    digests = {keys.digest(key, pepper) for key in (EXAMPLE, "other") for pepper in (b"a", b"b")}

    assert len(digests) == 4
    assert {len(digest) for digest in digests} == {32}
