import re
import unicodedata

import pytest

from wm_envs.errors import TrajectoryError
from wm_envs.resolutions import countries
from wm_envs.resolutions.countries import CODES, NAMES, code_of, codes_in, resolve

NO_MEMBERS_OF_TODAY = {"CS", "DD", "EAZ", "PS", "TW", "VA", "YD", "YU"}
MEMBERS = sorted(set(CODES) - NO_MEMBERS_OF_TODAY)
EVERY_NAME = [(code, name) for code, name in (*countries._RECORDED, *countries._USUAL)]


def test_there_are_193_members():
    assert len(MEMBERS) == 193


def test_no_two_countries_have_one_name():
    codes = {}
    for code, name in EVERY_NAME:
        assert codes.setdefault(countries._key(name), code) == code, name
    assert not {countries._key(name) for name in countries._NOT_MEMBERS} & set(codes)


def without_accents(name):
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def inverted(name):
    first, of, last = name.partition(" of ")
    return f"{last}, {first} of" if of and "(" not in name and " and " not in name else name


@pytest.mark.parametrize(
    "spelling",
    [
        str.upper,
        str.lower,
        without_accents,
        inverted,
        lambda name: f"  {name} ",
        lambda name: f"{name}, The",
        lambda name: name.replace(" and ", " & "),
        lambda name: name.replace("Saint", "St."),
        lambda name: name.replace("Saint", "St"),
        lambda name: re.sub(r"Republic\b", "Rep.", name),
        lambda name: name.replace("Democratic", "Dem."),
        lambda name: name.replace("People's", "People\u2019s"),
        lambda name: name.replace("-", " "),
        lambda name: name.replace(" (", ", ").replace(")", ""),
    ],
)
def test_every_name_is_known_in_other_spellings(spelling):
    assert [(name, code_of(spelling(name))) for _, name in EVERY_NAME] == [
        (name, code) for code, name in EVERY_NAME
    ]


def test_a_plain_name_is_known_with_its_style():
    for code in ("NO", "FJ", "LY", "CY", "AU", "MC", "OM"):
        for style in ("Republic", "Kingdom", "State", "Commonwealth", "Principality", "Sultanate"):
            assert (
                code_of(f"{style} of {NAMES[code]}")
                == code_of(f"{NAMES[code]}, {style} of")
                == code
            )


WORLD_BANK = """
BS Bahamas, The|CD Congo, Dem. Rep.|CG Congo, Rep.|CI Cote d'Ivoire|EG Egypt, Arab Rep.|GM Gambia, The
IR Iran, Islamic Rep.|KP Korea, Dem. People's Rep.|KP Korea, Dem. People\u2019s Rep.|KR Korea, Rep.
KG Kyrgyz Republic|LA Lao PDR|FM Micronesia, Fed. Sts.|SK Slovak Republic|KN St. Kitts and Nevis
LC St. Lucia|VC St. Vincent and the Grenadines|SO Somalia, Fed. Rep.|TR Turkiye|VE Venezuela, RB
VN Viet Nam|YE Yemen, Rep.|PS West Bank and Gaza|MK Macedonia, FYR|BN Brunei Darussalam
"""
UNITED_NATIONS = """
BO Bolivia (Plurinational State of)|CD Democratic Republic of the Congo|CG Congo|CI C\u00f4te d\u2019Ivoire
KP Democratic People's Republic of Korea|IR Iran (Islamic Republic of)|FM Micronesia (Federated States of)
NL Netherlands (Kingdom of the)|MD Moldova, Republic of|TZ Tanzania, United Republic of|TR T\u00fcrkiye
GB United Kingdom of Great Britain and Northern Ireland|VE Venezuela (Bolivarian Republic of)
MK Macedonia (the former Yugoslav Republic of)|PS Palestine, State of|VA Holy See (Vatican City State)
CG CONGO (BRAZZAVILLE)|CD CONGO (LEOPOLDVILLE)|BY BYELORUSSIAN SSR|LY LIBYAN ARAB JAMAHIRIYA|TL East Timor
"""
HISTORICAL = """
EAZ Zanzibar|YU Yugoslavia|YU Serbia & Montenegro|CS Czechoslovakia|DD German Democratic Republic
DD Germany, East|DD German Dem. Rep.|DE Germany, Federal Republic of|DE German Federal Republic|RU USSR
RU Soviet Union|RU U.S.S.R.|YD Yemen People's Republic|YD Yemen, South|YD Democratic Yemen
YD Yemen, People's Democratic Republic of|YE Yemen Arab Republic|CD Zaire|MM Burma|LK Ceylon|SZ Swaziland
BJ Dahomey|BF Upper Volta|KH Kampuchea|EG United Arab Republic|TZ Tanganyika|TH Siam
"""
COMMON = """
US U.S.A.|GB U.K.|GB UK|AE UAE|KP DPRK|KP North Korea|KR S. Korea|CD Congo-Kinshasa|CG Congo-Brazzaville
CD D.R. Congo|CZ Czech Rep.|BA Bosnia-Herzegovina|BA Bosnia & Herz.|DO Dominican Rep.|DM Dominica
CF Central African Rep.|GQ Eq. Guinea|GQ Guinea, Equatorial|GN Guinea|GW Guinea Bissau|PG Papua New Guinea
SB Solomon Is.|MH Marshall Is.|MM Burma/Myanmar|MM Myanmar (Burma)|CN P. R. China|CN China, People's Republic of
NE Niger|NG Nigeria|IE Republic of Ireland|WS W. Samoa|SS Sudan, South|ST Sao Tome & Principe
CI Cote d\u00e2\u20ac\u2122Ivoire|CI C\u00c3\u00b4te d'Ivoire|CV Cabo Verde|CV Cape Verde|CI Ivory Coast
KN St.Kitts and Nevis|RU USSR (former)|CS Former Czechoslovakia|LA Lao P D R|IR Iran, I.R. of|KR Korea, R.
TW Taiwan, Republic of China|SZ Eswatini (formerly Swaziland)|VE Venezuela (Bol. Rep. of)|CD Zaire, Republic of
"""


def test_names_of_the_usual_sources_are_known():
    listed = (
        " | ".join((WORLD_BANK, UNITED_NATIONS, HISTORICAL, COMMON)).replace("\n", "|").split("|")
    )
    pairs = [entry.split(maxsplit=1) for entry in listed if entry.strip()]
    assert len(pairs) > 100
    assert [(name, code_of(name)) for _, name in pairs] == [(name, code) for code, name in pairs]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Korea",
            "Republic of China",
            "Hong Kong",
            "Hong Kong SAR, China",
            "American Samoa",
            "Northern Ireland",
        ),
        *(
            "Kosovo",
            "New Guinea",
            "South Vietnam",
            "Republic of Viet Nam",
            "Virgin Islands",
            "Republic",
            "Guinea Land",
        ),
        *(
            "",
            "nan",
            "fr",
            "Turkish Republic of Northern Cyprus",
            "Puerto Rico (US)",
            "Germany and France",
        ),
    ],
)
def test_a_name_of_none_or_of_two_members_is_no_country(name):
    assert code_of(name) is None


@pytest.mark.parametrize(
    ("code", "name", "member"),
    [
        ("FR", "France", "FR"),
        ("FRA", "FRANCE", "FR"),
        ("fr", "France", "FR"),
        ("NA", "Namibia", "NA"),
        ("NAM", "Namibia", "NA"),
        ("", "Namibia", "NA"),
        ("NA", "Zanzibar", "EAZ"),
        ("na", "Czechoslovakia", "CS"),
        ("nan", "Zanzibar", "EAZ"),
        ("UK", "United Kingdom", "GB"),
        ("EL", "Greece", "GR"),
        ("250", "France", "FR"),
        ("XX", "Korea, Republic of", "KR"),
        ("KR", "Korea", "KR"),
        ("CD", "Congo", "CD"),
        ("CG", "Congo", "CG"),
        ("", "Congo", "CG"),
        ("CS", "Serbia and Montenegro", "YU"),
        ("CS", "Czechoslovakia", "CS"),
        ("FR", "", "FR"),
        ("FR", "nan", "FR"),
        ("UK", "", "GB"),
        ("SUN", "", "RU"),
        ("FR", "Gallia", "FR"),
        ("FR", "FR", "FR"),
        ("NA", "", None),
        ("NA", "nan", None),
        ("NA", "Gallia", None),
        ("NA", "Korea", None),
        ("XX", "Gallia", None),
        ("HK", "Hong Kong", None),
    ],
)
def test_code_and_name_are_read_together(code, name, member):
    assert resolve(code, name, "here") == member


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("DE", "France"),
        ("NE", "Nigeria"),
        ("NG", "Niger"),
        ("GN", "Guinea-Bissau"),
        ("KP", "Korea, Republic of"),
        ("CD", "Republic of the Congo"),
        ("DE", "German Democratic Republic"),
        ("YE", "Yemen People's Republic"),
        ("TZ", "Zanzibar"),
        ("NO", "Namibia"),
        ("US", "Puerto Rico"),
        ("CN", "Hong Kong SAR, China"),
        ("FR", "New Germany"),
    ],
)
def test_two_countries_in_one_row_are_refused(code, name):
    with pytest.raises(TrajectoryError, match="are two countries: correct one of them") as caught:
        resolve(code, name, "votes.csv: line 7")
    assert str(caught.value).startswith("votes.csv: line 7: ")
    assert repr(name) in str(caught.value)
    assert repr(code) in str(caught.value)


def test_names_in_running_text_end_at_commas_but_for_inverted_ones():
    text = "Japan, Republic of Korea, Republic of Moldova, Korea, Republic of, Bahamas, The and Guinea-Bissau"
    assert codes_in(text)[0] == ("JP", "KR", "MD", "BS", "GW")
    assert codes_in("Comoros, Congo, Democratic Republic of the Congo")[0] == ("KM", "CG", "CD")
    assert codes_in("American Samoa, Northern Ireland") == ((), "american samoa northern ireland")
