"""Codes of one language, matched by ISO 639 and never silently."""

from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.studies.codes import MEMBERS, SHORT, match, one_name_each, related, told
from adaptxfer.studies.languages import LanguageFeatures, low_resource, resource_bins
from adaptxfer.tasks.find import list_tasks


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("de", "deu_Latn", "same"), ("de", "deu", "same"), ("zh", "zho_Hans", "same"), ("en", "eng_Latn", "same"),
        ("zho_Hans", "zho_Hant", "partial"), ("zh", "cmn", "partial"), ("fa", "pes_Arab", "partial"),
        ("ar", "arb_Arab", "partial"), ("swa", "swh_Latn", "partial"), ("sw", "swa", "same"), ("de", "nld_Latn", ""),
        ("arb_Arab", "arz_Arab", ""), ("ms", "ind_Latn", ""), ("l01", "l02", ""),
    ],
)  # fmt: skip
def test_how_codes_belong_together(one: str, other: str, how: str) -> None:
    assert related(one, other) == how == related(other, one)


def test_the_usual_member_is_taken_and_named() -> None:
    assert match("ar", ["arz_Arab", "arb_Arab", "deu_Latn"]) == ("arb_Arab", "partial")
    assert match("zh", ["zho_Hans", "zho_Hant"]) == ("zho_Hans", "partial"), "two scripts: not sure"
    assert match("zh", ["zho_Hant"]) == ("zho_Hant", "same") and match("xx", ["de"]) == ("", "")
    said = told([("de", "deu_Latn", "same"), ("ar", "arb_Arab", "partial")], "Features")
    assert "de = deu_Latn" in said[0] and "ar ~ arb_Arab" in said[1] and "in part" in said[1]


def test_every_language_of_xtreme_meets_its_code_in_flores() -> None:
    spoken = {task.name: task.languages for task in list_tasks(())}
    flores = spoken["flores200"]
    names = ("xnli", "xquad", "mlqa", "tydiqa", "panx", "tatoeba", "udpos", "pawsx", "xcopa", "masakhaner")
    codes = {part for name in names for pair in spoken[name] for part in pair.split("-")}
    assert [code for code in sorted(codes) if not match(code, [*flores, "eng_Latn"])[0]] == ["pcm"], "it has no Pidgin"


def test_the_tables_are_of_three_letters_and_name_nothing_twice() -> None:
    assert all(len(short) == 2 and len(long) == 3 for short, long in SHORT.items())
    assert len(set(SHORT.values())) == len(SHORT)
    members = [code for codes in MEMBERS.values() for code in codes]
    assert len(set(members)) == len(members) and not set(members) & MEMBERS.keys()


def test_one_language_has_one_name() -> None:
    found = one_name_each(["de", "sw", "deu_Latn", "swh_Latn", "fra_Latn"])
    assert found == {"de": "de", "sw": "sw", "deu_Latn": "de", "swh_Latn": "sw", "fra_Latn": "fra_Latn"}


def test_features_of_other_codes_are_found_and_named() -> None:
    known = LanguageFeatures(("size",), {"deu": np.array([3.0]), "swh": np.array([1.0])}, families={"deu": "Germanic"})
    found = known.aligned(["de", "sw", "xx"])
    assert (
        found.of_languages(["de", "sw", "xx"])[:, 0].tolist()[:2] == [3.0, 1.0] and found.families["de"] == "Germanic"
    )
    assert any("de = deu" in note for note in found.notices) and any("sw ~ swh" in note for note in found.notices)
    pairs = LanguageFeatures((), {}, ("overlap",), {("mnli", "deu_Latn"): np.array([0.5])}).aligned(["de"])
    assert pairs.of_pairs(["mnli"], ["de"]).tolist() == [[[0.5]]]


def test_resources_in_thirds() -> None:
    known = LanguageFeatures(("size",), {code: np.array([float(k)]) for k, code in enumerate(["deu", "fra", "spa"])})
    assert low_resource("size:bottom-third", ["de", "fr", "es"], known) == ("de",)
    assert resource_bins("size:bottom-third", ["de", "fr", "es", "xx"], known) == {
        "de": "bottom third", "fr": "middle third", "es": "top third", "xx": "unknown",
    }  # fmt: skip
    assert resource_bins("fr", ["de", "fr"], known) == {"de": "others", "fr": "low-resource"}
    assert low_resource("fra_Latn", ["de", "fr"], known) == ("fr",)
