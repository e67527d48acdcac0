from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.places import check_request, find_files, languages_of, nowhere, splits_of


def paths(found):
    return [path.name for path in found.paths()] if found else None


def test_packed_files_and_alternatives(task, write, here, plain):
    spec = task(plain.replace('["{split}.{lang}.jsonl"]', '["a/{lang}.jsonl", "b/{lang}.jsonl"]'))
    assert find_files(spec, "train", "en", here) is None
    write("b/en.jsonl.gz", "{}")
    assert paths(find_files(spec, "train", "en", here)) == ["en.jsonl.gz"]
    write("a/en.jsonl", "{}")
    assert paths(find_files(spec, "train", "en", here)) == ["en.jsonl"]
    assert find_files(spec, "train", "en", None) is None


def test_a_star_finds_several_files_in_the_order_of_their_names(task, write, here, plain):
    spec = task(plain.replace("{split}.{lang}.jsonl", "*/{lang}_*.jsonl"))
    for name in ("x/en_b.jsonl", "y/en_a.jsonl.gz", "x/en_c.jsonl", "x/en_c.jsonl.gz", "x/sw_a.jsonl"):
        write(name, "{}")
    assert paths(find_files(spec, "train", "en", here)) == ["en_a.jsonl.gz", "en_b.jsonl", "en_c.jsonl"]


def test_a_missing_companion_makes_a_place_unusable(task, write, here, plain):
    spec = task(plain + 'beside = { labels = "{split}.lst" }\n')
    write("dev.en.jsonl", "{}")
    assert find_files(spec, "dev", "en", here) is None
    write("dev.lst", "yes")
    assert paths(find_files(spec, "dev", "en", here)) == ["dev.en.jsonl", "dev.lst"]


def test_a_companion_that_may_be_absent_may_also_lie_one_folder_up(task, write, here, plain):
    spec = task(plain.replace("{split}.{lang}", "{split}/{lang}") + 'beside = { "more?" = "more_{split}.tsv" }\n')
    write("dev/en.jsonl", "{}")
    assert paths(find_files(spec, "dev", "en", here)) == ["en.jsonl"]
    write("more_dev.tsv", "x")
    found = find_files(spec, "dev", "en", here)
    assert paths(found) == ["en.jsonl", "more_dev.tsv"] and list(found.files[0].beside) == ["more"]
    assert paths(find_files(spec, "dev", "en", here / "dev")) is None
    flat = task(plain + 'beside = { "more?" = "more_{split}.tsv" }\n')
    write("dev/dev.en.jsonl", "{}")
    assert paths(find_files(flat, "dev", "en", here / "dev")) == ["dev.en.jsonl"], "never outside of the data folder"


def test_a_split_of_several_files_needs_all_of_them(task, write, here, plain):
    spec = task(plain + 'splits = { train = ["r1", "r2"] }\n')
    write("r1.en.jsonl", "{}")
    assert find_files(spec, "train", "en", here) is None
    write("r2.en.jsonl", "{}")
    assert paths(find_files(spec, "train", "en", here)) == ["r1.en.jsonl", "r2.en.jsonl"]


def test_splits_and_languages(task, plain):
    spec = task(plain + 'splits = { dev_odd = "x", dev = "y", train = "z" }\nlanguages = ["yo", "sw"]\n')
    assert splits_of(spec) == ["train", "dev", "dev_odd"]
    assert languages_of(spec, "dev") == ("sw", "yo")
    assert languages_of(spec, "test") == ()
    with pytest.raises(AdaptxferError, match=r"has no split 'dve'. Did you mean 'dev'"):
        check_request(spec, "dve", "sw")
    with pytest.raises(AdaptxferError, match="has no dev data in 'en'"):
        check_request(spec, "dev", "en")


def test_the_sentence_for_nothing_names_what_was_looked_for(task, here):
    sentence = str(nowhere(task(), "dev", "sw", here))
    assert "Looked for dev.sw.jsonl (or .gz)" in sentence
    assert "--data-dir" in str(nowhere(task(), "dev", "sw", None))


def test_codes_and_splits_cannot_lead_out_of_the_data_folder(task, write, here, plain):
    write("../secret.jsonl", "{}")
    spec = task(plain.replace("{split}.{lang}.jsonl", "{lang}/{split}.jsonl") + 'codes = { en = "..", sw = "/" }\n')
    for language in ("en", "sw"):
        assert find_files(spec, "secret", language, here) is None
