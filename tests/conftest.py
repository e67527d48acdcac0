"""What every room's tests share: the sample data, the embedded encoder, and the real XLM-R tokenizer."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if not Path("/dev/nvidia0").exists():  # kernels run in Triton's interpreter, to be chosen before anything imports it
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real sample data of the tasks, beside the repository or where ADAPTXFER_TEST_DATA says."""
    path = Path(os.environ.get("ADAPTXFER_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip("the sample data is not there (set ADAPTXFER_TEST_DATA to its folder)")
    return path


@pytest.fixture(scope="session")
def mini_dir() -> Path:
    """The embedded encoder, or the folder ADAPTXFER_TEST_MINI names."""
    path = Path(os.environ.get("ADAPTXFER_TEST_MINI") or ROOT / "adaptxfer" / "embedded" / "mini")
    if not (path / "tokenizer.json").is_file():
        pytest.skip("the embedded encoder is not there (set ADAPTXFER_TEST_MINI to its folder)")
    return path


@pytest.fixture(scope="session")
def mini_tokenizer(mini_dir):
    from transformers import XLMRobertaTokenizerFast

    return XLMRobertaTokenizerFast.from_pretrained(mini_dir)


@pytest.fixture(scope="session")
def xlmr_tokenizer(data_dir, pytestconfig, tmp_path_factory):
    """XLM-R's own tokenizer, converted once from the sentencepiece model of the sample data and kept."""
    from transformers import XLMRobertaTokenizerFast

    model = data_dir / "tokenizer" / "xlm-roberta" / "sentencepiece.bpe.model.gz"
    if not model.is_file():
        pytest.skip(f"XLM-R's sentencepiece model is not in the sample data ({model.name})")
    cache = getattr(pytestconfig, "cache", None)
    folder = (cache.mkdir("xlmr-tokenizer") if cache else tmp_path_factory.getbasetemp()) / str(model.stat().st_size)
    if not (folder / "tokenizer.json").is_file():
        fast = fast_tokenizer(gzip.decompress(model.read_bytes()))
        folder.mkdir(exist_ok=True)
        part = folder / f"{os.getpid()}.part"
        fast.save(str(part))
        part.replace(folder / "tokenizer.json")
    return XLMRobertaTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), model_max_length=512)


def fast_tokenizer(proto: bytes):
    """The fast form of XLM-R's sentencepiece model, with the ids of its first four and its last token as in fairseq."""
    import sentencepiece
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    model = sentencepiece.SentencePieceProcessor(model_proto=proto)
    pieces = [(model.id_to_piece(number), model.get_score(number)) for number in range(3, model.get_piece_size())]
    first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    fast = Tokenizer(models.Unigram([*first, *pieces, ("<mask>", 0.0)], unk_id=3))
    rules = proto_field(proto_field(proto, 3), 2)  # normalizer_spec.precompiled_charsmap
    fast.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(rules),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), "▁"),
        ]
    )
    fast.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    fast.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return fast


def proto_field(message: bytes, wanted: int) -> bytes:
    """The first length-delimited field with this number in a protocol-buffers message."""

    def number(place: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = message[place]
            value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                return value, place

    place = 0
    while place < len(message):
        key, place = number(place)
        size, wire = 0, key & 7
        if wire == 0:
            _, place = number(place)
        elif wire == 2:
            size, place = number(place)
        else:
            size = {1: 8, 5: 4}[wire]
        if wire == 2 and key >> 3 == wanted:
            return message[place : place + size]
        place += size
    raise KeyError(wanted)


OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


def pytest_configure() -> None:
    """Tests are off the network; those that talk to a loopback Hub say so."""
    for name in OFFLINE:
        os.environ[name] = "1"
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background: children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def network_switch() -> Iterator[None]:
    """Whatever a test, or a fixture of a wider scope, did with the switch, the next test starts off the network."""
    for name in OFFLINE:
        os.environ[name] = "1"
    yield
