"""Countries by name and code: one member for every spelling, an error where name and code disagree.

The tables are in `wm_envs.resolutions.country_names`. A name is compared by its words without
accents, case, articles and punctuation, abbreviations written out: "Korea, Rep. of" and "Republic
of Korea" are one name. No other word is left out: an unknown name stays unknown.
"""

import re
import unicodedata
from functools import cache, lru_cache

from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.country_names import (
    AMBIGUOUS_NAMES,
    LOOSE_NAMES,
    MEMBERS,
    MISSING,
    NO_MEMBERS,
    OTHER_CODES,
    REUSED_CODES,
    USUAL_NAMES,
)

_LINES = [line.split(maxsplit=2) for line in MEMBERS.strip().splitlines()]
CODES: tuple[str, ...] = tuple(code for code, _, _ in _LINES)
NAMES: dict[str, str] = {code: names.split("|")[0] for code, _, names in _LINES}
_ALPHA_3: dict[str, str] = {alpha_3: code for code, alpha_3, _ in _LINES}

# The words of a name in the order of the alphabet.
Key = tuple[str, ...]

# Records write or leave them as they like.
_FILLERS = {"the", "of", "and"}
_WORDS = {
    "st": "saint",
    "ste": "saint",
    "sta": "saint",
    "n": "north",
    "s": "south",
    "e": "east",
    "w": "west",
    "c": "central",
    "u": "united",
    "utd": "united",
    "gt": "great",
    "rep": "republic",
    "repub": "republic",
    "republ": "republic",
    "dem": "democratic",
    "democr": "democratic",
    "peoples": "people",
    "peop": "people",
    "ppl": "people",
    "fed": "federal",
    "federated": "federal",
    "sts": "states",
    "is": "islands",
    "isl": "islands",
    "isls": "islands",
    "island": "islands",
    "soc": "socialist",
    "isle": "islands",
    "eq": "equatorial",
    "equ": "equatorial",
    "equat": "equatorial",
    "cent": "central",
    "centr": "central",
    "af": "african",
    "afr": "african",
    "dom": "dominican",
    "herz": "herzegovina",
    "herzeg": "herzegovina",
    "barb": "barbuda",
    "tob": "tobago",
    "gren": "grenadines",
    "grens": "grenadines",
    "prin": "principe",
    "prov": "province",
    "terr": "territory",
    "emir": "emirates",
    "em": "emirates",
    "plur": "plurinational",
    "bol": "bolivarian",
    "jamah": "jamahiriya",
}
# "Republic of" and the like change nothing before a plain name, except where a second state has the
# name: there every form is in the tables.
_STYLES = ("republic", "kingdom", "state", "commonwealth", "principality", "sultanate", "emirate")
_TWO_STATES = {"CD", "CG", "CN", "CS", "DD", "DE", "KP", "KR", "TW", "VN", "YD", "YE", "YU"}
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe"})


def normalised(name: str) -> str:
    """A name without accents, case and the ways of writing that differ between records."""
    # Letters that no decomposition takes apart, such as the Danish o with a stroke.
    lowered = _repaired(name).casefold().translate(_LETTERS)
    # NFKD splits an accented letter into the letter and the accent, which ASCII has no place for.
    plain = unicodedata.normalize("NFKD", lowered).encode("ascii", "ignore").decode()
    plain = re.sub(r"\bst\.", "saint ", plain.replace("&", " and ").replace("the former", "former"))
    return " ".join(re.findall(r"[a-z]+", plain.replace("'", "")))


def _repaired(text: str) -> str:
    """Undo the double encoding that some exports of the library suffer from."""
    if not any(mark in text for mark in ("\u00c3", "\u00e2\u0080", "\u00e2\u20ac")):
        return text
    # Both encodings are tried: exports differ in which of them read the bytes wrongly.
    for wrong in ("latin-1", "cp1252"):
        try:
            return text.encode(wrong).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
    return text


def _key(name: str) -> Key:
    """The words of a name, abbreviations written out, in the order of the alphabet."""
    # "Peoples'", "People's" and "People" are one word here.
    text = re.sub(r"(?<=people)\W?s\b", "", _repaired(name).casefold())
    # "u.s.a." is one word, while the dot of "st." ends an abbreviation.
    letters = r"\b[a-z]\b\.?(?:\s*\b[a-z]\b\.?)+"
    text = re.sub(letters, lambda match: re.sub(r"[.\s]", "", match[0]) + " ", text)
    # Fillers go first: "s" alone is one of them only where it has no dot, else it is "South".
    words = [_WORDS.get(word, word) for word in normalised(text).split() if word not in _FILLERS]
    # Sorted: "Korea, Republic of" and "Republic of Korea" are then equal.
    return tuple(sorted(words))


def _named(table: str) -> list[tuple[str, str]]:
    """Code and name of every entry of a table of usual names."""
    pairs = []
    for line in table.strip().splitlines():
        code, names = line.split(maxsplit=1)
        pairs += [(code, name) for name in names.split("|")]
    return pairs


_RECORDED = [(code, name) for code, _, names in _LINES for name in names.split("|")]
_USUAL = _named(USUAL_NAMES)
_NOT_MEMBERS = NO_MEMBERS.strip().replace("\n", "|").split("|")


@cache
def _keys() -> dict[Key, tuple[str, ...]]:
    """The members that a name may mean, first the one that it means by itself.

    None for no member.
    """
    # Names of no member first, so that a member's own name of the same words replaces them.
    keys: dict[Key, tuple[str, ...]] = {_key(name): () for name in _NOT_MEMBERS}
    for code, name in (*_RECORDED, *_USUAL):
        keys[_key(name)] = (code,)
    for code, name in _RECORDED:
        if code not in _TWO_STATES:
            for style in _STYLES:
                # Only where no table says otherwise.
                keys.setdefault(tuple(sorted((*_key(name), style))), (code,))
    # Last, since what is ambiguous must not be decided by one of its meanings.
    for name, codes in (*AMBIGUOUS_NAMES.items(), *LOOSE_NAMES.items()):
        keys[_key(name)] = codes
    return keys


_AMBIGUOUS: frozenset[Key] = frozenset(map(_key, AMBIGUOUS_NAMES))


def _members_named(name: str) -> tuple[str, ...] | None:
    """The members that a name may mean: none for a name of no member, None for an unknown name."""
    key = _key(name)
    if key in _keys():
        return _keys()[key]
    key = tuple(word for word in key if word not in ("former", "formerly"))  # "USSR (former)"
    if key in _keys():
        return _keys()[key]
    # "Samoa/Western Samoa", "Burma (Myanmar)": parts that are all names of one member.
    # One part alone would be a fragment of a name, whose meaning nobody promised.
    parts = [_keys().get(_key(part)) for part in re.split(r"[/()\[\]]", name) if _key(part)]
    if len(parts) > 1 and parts[0] and len(set(parts)) == 1:
        return parts[0]
    return None


def _members_coded(code: str) -> tuple[str, ...]:
    """The members that a code of ISO 3166-1 may stand for, in capitals or not."""
    upper = code.strip().upper()
    # A code that two states had in turn, decided by the name beside it.
    if upper in REUSED_CODES:
        return REUSED_CODES[upper]
    known = upper if upper in NAMES else _ALPHA_3.get(upper)
    return () if known is None else (known,)


def is_missing(text: str) -> bool:
    """Whether a code or a name is left out: nothing, "NA", "nan" and the like."""
    return text.strip().casefold() in MISSING


@lru_cache(maxsize=10_000)  # names come from files, and there is no end of them
def code_of(text: str) -> str | None:
    """The code of a country by its code, three-letter code or any of its names.

    None where it is not known, or where the name is that of two members, as "Korea" is.
    """
    stripped = text.strip()
    # Codes in capitals before names: "NA" is Namibia and no missing value.
    if stripped in NAMES:
        return stripped
    if stripped in _ALPHA_3:
        return _ALPHA_3[stripped]
    members = _members_named(stripped)
    if members:
        return None if _key(stripped) in _AMBIGUOUS else members[0]
    return OTHER_CODES.get(stripped)


@lru_cache(maxsize=10_000)
def _resolved(code: str, name: str) -> tuple[str | None, str | None]:
    """The member that code and name stand for, and that of the code where they disagree."""
    coded = () if is_missing(code) else _members_coded(code)
    if is_missing(name):
        # "NA" with no name beside it says that both are missing.
        return (coded[0] if coded else OTHER_CODES.get(code.strip().upper())), None
    named = _members_named(name)
    if named is None:
        by_itself = code_of(name)  # a code in the column of names
        named = None if by_itself is None else (by_itself,)
    if named is None:
        return _kept_code(coded, name)
    # A name that may mean two members decides nothing without a code.
    if not coded:
        is_clear = len(named) > 0 and _key(name) not in _AMBIGUOUS
        return (named[0] if is_clear else None), None
    # The name's first choice among those that the code allows.
    common = [member for member in named if member in coded]
    return (common[0], None) if common else (None, coded[0])


def _kept_code(coded: tuple[str, ...], name: str) -> tuple[str | None, str | None]:
    """The code beside an unknown name: it stands unless the name speaks of another member."""
    if not coded:
        return None, None
    # The name may stand within other words, such as a delegation's title.
    spoken = codes_in(name)[0]
    if spoken and not set(spoken) & set(coded):
        return None, coded[0]
    return coded[0], None


def resolve(code: str, name: str, where: str) -> str | None:
    """The member that a row means by a code and a name; every reader of both decides by this.

    Both known: they agree, or the row is refused. One unknown or missing: the other one decides.
    "NA" is Namibia's code beside Namibia's name, and a missing code beside any other.

    Args:
        code: Of two or three letters, in capitals or not; may be missing.
        name: In any usual spelling; may be missing.
        where: File and line, for the message.

    Returns:
        The code of the member; None where neither is known, or a name alone is that of two members.

    Raises:
        TrajectoryError: Name and code are those of two countries.
    """
    member, other = _resolved(code, name)
    if other is not None:
        raise TrajectoryError(
            f"{where}: the name {name[:60]!r} and the code {code[:20]!r} ({NAMES[other]}) are two "
            "countries: correct one of them, or leave the code empty to be read by the name"
        )
    return member


def same_name(one: str, other: str) -> bool:
    """Whether two names beside one code are those of one member, or one of them is missing."""
    if is_missing(one) or is_missing(other) or _key(one) == _key(other):
        return True
    members = _members_named(one)
    return members is not None and len(members) == 1 and members == _members_named(other)


# Running text


@cache
def _names_in_text() -> dict[str, str | None]:
    """Names as they stand in running text, without short forms that are also words."""
    names: dict[str, str | None] = {normalised(name): None for name in _NOT_MEMBERS}
    long = [(code, name) for code, name in _USUAL if len(name) > 5 and not name.isupper()]
    for code, name in (*long, *_RECORDED):
        names[normalised(name)] = code
        inverted = re.fullmatch(r"(.+ of)(?: the)? (.+)", name)
        if inverted:
            names.setdefault(normalised(f"{inverted[2]} {inverted[1]}"), code)
    names.pop("", None)
    return names


@cache
def _name_pattern() -> re.Pattern[str]:
    # Else "Guinea" would be found within "Equatorial Guinea".
    longest_first = sorted(_names_in_text(), key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b")


# A comma that belongs to an inverted name: "Korea, Republic of", "Bahamas, The".
_INNER_COMMA = re.compile(
    r",(?=\s*(?:[^,;()]{0,60}\sof(?:\s+the)?|the)\s*(?:[,;)]|and\b|$))",
    re.IGNORECASE,
)


def codes_in(text: str) -> tuple[tuple[str, ...], str]:
    """The countries named in running text, in order and once each, and what is left without them.

    The longest name wins: "Bosnia and Herzegovina" is one country, and "Guinea-Bissau" no Guinea.
    No name goes across a comma, except an inverted one.
    """
    codes: dict[str, None] = {}
    left: list[str] = []
    for piece in re.split(r"[,;]", _INNER_COMMA.sub(" ", text)):
        plain = normalised(piece)
        for name in _name_pattern().findall(plain):
            code = _names_in_text()[name]
            if code is None:
                left.append(name)
            else:
                codes[code] = None
        left += _name_pattern().sub(" ", plain).split()
    return tuple(codes), " ".join(left)
