"""Which codes mean one language: ``de`` and ``deu_Latn`` do, ``sw`` and ``swh_Latn`` nearly; none is matched silently.

Benchmarks and feature tables name languages by ISO 639-1 (``de``), ISO 639-3 (``deu``) or ISO 639-3 with a script
(``deu_Latn``, as FLORES-200). The pairs below are those of the code tables of ISO 639-3 (SIL is its registration
authority), for the languages of the bundled tasks and others that FLORES-200 has; of the members of a macrolanguage the
one comes first that benchmarks mean by the wider code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_PAIRS = """
af:afr am:amh ar:ara az:aze be:bel bg:bul bn:ben bs:bos ca:cat cs:ces cy:cym da:dan de:deu el:ell en:eng
eo:epo es:spa et:est eu:eus fa:fas fi:fin fo:fao fr:fra ga:gle gd:gla gl:glg gn:grn gu:guj ha:hau he:heb
hi:hin hr:hrv ht:hat hu:hun hy:hye id:ind ig:ibo is:isl it:ita ja:jpn jv:jav ka:kat kk:kaz km:khm kn:kan
ko:kor ku:kur ky:kir lb:ltz lg:lug lo:lao lt:lit lv:lav mg:mlg mi:mri mk:mkd ml:mal mn:mon mr:mar ms:msa
mt:mlt my:mya nb:nob ne:nep nl:nld nn:nno no:nor oc:oci om:orm or:ori pa:pan pl:pol ps:pus pt:por qu:que
ro:ron ru:rus rw:kin sa:san sd:snd si:sin sk:slk sl:slv sm:smo sn:sna so:som sq:sqi sr:srp st:sot su:sun
sv:swe sw:swa ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn tr:tur ts:tso tt:tat ug:uig uk:ukr
ur:urd uz:uzb vi:vie wo:wol xh:xho yi:yid yo:yor zh:zho zu:zul
"""
SHORT: dict[str, str] = {pair[:2]: pair[3:] for pair in _PAIRS.split()}
"""ISO 639-1 to ISO 639-3."""

_WIDER = """
ara:arb.arz.ary.apc.ajp.acm.acq.aeb.ars aze:azj.azb est:ekk fas:pes.prs kur:kmr.ckb lav:lvs mlg:plt mon:khk
msa:zsm nep:npi nor:nob.nno ori:ory orm:gaz pus:pbt que:quy.quz sqi:als swa:swh.swc uzb:uzn yid:ydd
zho:cmn.yue
"""
MEMBERS: dict[str, tuple[str, ...]] = {item[:3]: tuple(item[4:].split(".")) for item in _WIDER.split()}
"""Macrolanguages of ISO 639-3 and those of their members that benchmarks have."""

SAME, PARTIAL = "same", "partial"


def parts(code: str) -> tuple[str, str]:
    """The ISO 639-3 code behind a code, and its script where one is named."""
    language, _, script = code.replace("-", "_").partition("_")
    return SHORT.get(language.lower(), language.lower()), script


def related(one: str, other: str) -> str:
    """How two codes belong together.

    Returns:
        ``same`` for one language; ``partial`` for a macrolanguage and its member, or two scripts; else nothing.
    """
    (a, script), (b, second) = parts(one), parts(other)
    if a == b:
        return PARTIAL if script and second and script != second else SAME
    return PARTIAL if b in MEMBERS.get(a, ()) or a in MEMBERS.get(b, ()) else ""


def match(code: str, known: Iterable[str]) -> tuple[str, str]:
    """The code among ``known`` that means the language of ``code``, and how it does: itself, same, partial or not.

    Where several do, it is partial, and the usual member or the first by name is taken.
    """
    names = sorted(known)
    if code in names:
        return code, SAME
    same = [name for name in names if related(code, name) == SAME]
    if same:
        return same[0], SAME if len(same) == 1 else PARTIAL
    near = [name for name in names if related(code, name) == PARTIAL]
    order = MEMBERS.get(parts(code)[0], ())
    near.sort(key=lambda name: order.index(parts(name)[0]) if parts(name)[0] in order else len(order))
    return (near[0], PARTIAL) if near else ("", "")


def one_name_each(codes: Sequence[str]) -> dict[str, str]:
    """By code the first code of the same language (or of its macrolanguage, or in another script)."""
    found: dict[str, str] = {}
    for code in codes:
        found[code] = next((name for name in dict.fromkeys(found.values()) if related(code, name)), code)
    return found


def told(matches: Iterable[tuple[str, str, str]], what: str) -> list[str]:
    """Sentences that name what was matched, from code, its counterpart and how."""
    pairs = [(f"{code} = {name}" if how == SAME else f"{code} ~ {name}", how) for code, name, how in matches]
    same = [text for text, how in dict.fromkeys(pairs) if how == SAME]
    near = [text for text, how in dict.fromkeys(pairs) if how == PARTIAL]
    said = [f"{what} matched by ISO 639: {', '.join(same)}."] if same else []
    wider = "a macrolanguage and a member, or one of several scripts"
    return said + ([f"{what} matched in part ({wider}): {', '.join(near)}."] if near else [])
