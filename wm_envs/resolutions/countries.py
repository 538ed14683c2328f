"""The names by which countries appear in records of the General Assembly, and the two-letter code that stands for each.

Codes are ISO 3166-1 alpha-2. States that no longer exist keep the code of their time (CS, DD, YD, YU); Zanzibar, a
member for four months, never had one and is called EAZ. Namibia's code is NA, which is no missing value.
"""

import re
import unicodedata
from functools import cache, lru_cache

# alpha-2, alpha-3 (of the records where it differs from ISO), then names separated by "|", the plain one first.
_TABLE = """
AD AND Andorra
AE ARE United Arab Emirates
AF AFG Afghanistan
AG ATG Antigua and Barbuda
AL ALB Albania
AM ARM Armenia
AO AGO Angola
AR ARG Argentina
AT AUT Austria
AU AUS Australia
AZ AZE Azerbaijan
BA BIH Bosnia and Herzegovina
BB BRB Barbados
BD BGD Bangladesh
BE BEL Belgium
BF BFA Burkina Faso|Upper Volta
BG BGR Bulgaria
BH BHR Bahrain
BI BDI Burundi
BJ BEN Benin|Dahomey
BN BRN Brunei|Brunei Darussalam
BO BOL Bolivia|Bolivia (Plurinational State of)
BR BRA Brazil
BS BHS Bahamas
BT BTN Bhutan
BW BWA Botswana
BY BLR Belarus|Byelorussian SSR|Byelorussian Soviet Socialist Republic
BZ BLZ Belize
CA CAN Canada
CD COD Congo (Kinshasa)|Democratic Republic of the Congo|Congo - Kinshasa|Zaire|Congo (Democratic Republic of)
CF CAF Central African Republic|Central African Empire
CG COG Congo|Congo - Brazzaville|Republic of the Congo|Congo (Brazzaville)
CH CHE Switzerland
CI CIV Cote d'Ivoire|Ivory Coast
CL CHL Chile
CM CMR Cameroon|United Republic of Cameroon
CN CHN China
CO COL Colombia
CR CRI Costa Rica
CS CSK Czechoslovakia
CU CUB Cuba
CV CPV Cabo Verde|Cape Verde
CY CYP Cyprus
CZ CZE Czechia|Czech Republic
DD DDR German Democratic Republic
DE DEU Germany|Federal Republic of Germany|Germany, Federal Republic of
DJ DJI Djibouti
DK DNK Denmark
DM DMA Dominica
DO DOM Dominican Republic
DZ DZA Algeria
EAZ EAZ Zanzibar
EC ECU Ecuador
EE EST Estonia
EG EGY Egypt|United Arab Republic
ER ERI Eritrea
ES ESP Spain
ET ETH Ethiopia
FI FIN Finland
FJ FJI Fiji
FM FSM Micronesia|Micronesia (Federated States of)
FR FRA France
GA GAB Gabon
GB GBR United Kingdom|United Kingdom of Great Britain and Northern Ireland
GD GRD Grenada
GE GEO Georgia
GH GHA Ghana
GM GMB Gambia|Gambia (Republic of The)|The Gambia
GN GIN Guinea
GQ GNQ Equatorial Guinea
GR GRC Greece
GT GTM Guatemala
GW GNB Guinea-Bissau
GY GUY Guyana
HN HND Honduras
HR HRV Croatia
HT HTI Haiti
HU HUN Hungary
ID IDN Indonesia
IE IRL Ireland
IL ISR Israel
IN IND India
IQ IRQ Iraq
IR IRN Iran|Iran (Islamic Republic of)
IS ISL Iceland
IT ITA Italy
JM JAM Jamaica
JO JOR Jordan
JP JPN Japan
KE KEN Kenya
KG KGZ Kyrgyzstan
KH KHM Cambodia|Kampuchea|Democratic Kampuchea|Khmer Republic
KI KIR Kiribati
KM COM Comoros
KN KNA Saint Kitts and Nevis
KP PRK North Korea|Democratic People's Republic of Korea
KR KOR South Korea|Republic of Korea
KW KWT Kuwait
KZ KAZ Kazakhstan
LA LAO Laos|Lao People's Democratic Republic|Lao
LB LBN Lebanon
LC LCA Saint Lucia
LI LIE Liechtenstein
LK LKA Sri Lanka|Ceylon
LR LBR Liberia
LS LSO Lesotho
LT LTU Lithuania
LU LUX Luxembourg
LV LVA Latvia
LY LBY Libya|Libyan Arab Jamahiriya|Libyan Arab Republic
MA MAR Morocco
MC MCO Monaco
MD MDA Moldova|Republic of Moldova
ME MNE Montenegro
MG MDG Madagascar
MH MHL Marshall Islands
MK MKD North Macedonia|The former Yugoslav Republic of Macedonia|Republic of North Macedonia|Macedonia
ML MLI Mali
MM MMR Myanmar|Burma|Myanmar (Burma)
MN MNG Mongolia
MR MRT Mauritania
MT MLT Malta
MU MUS Mauritius
MV MDV Maldives
MW MWI Malawi
MX MEX Mexico
MY MYS Malaysia|Malaya|Federation of Malaya
MZ MOZ Mozambique
NA NAM Namibia
NE NER Niger
NG NGA Nigeria
NI NIC Nicaragua
NL NLD Netherlands|Netherlands (Kingdom of the)|Kingdom of the Netherlands
NO NOR Norway
NP NPL Nepal
NR NRU Nauru
NZ NZL New Zealand
OM OMN Oman
PA PAN Panama
PE PER Peru
PG PNG Papua New Guinea
PH PHL Philippines
PK PAK Pakistan
PL POL Poland
PS PSE State of Palestine|Palestine
PT PRT Portugal
PW PLW Palau
PY PRY Paraguay
QA QAT Qatar
RO ROU Romania
RS SRB Serbia
RU RUS Russia|Russian Federation|USSR|Union of Soviet Socialist Republics
RW RWA Rwanda
SA SAU Saudi Arabia
SB SLB Solomon Islands
SC SYC Seychelles
SD SDN Sudan
SE SWE Sweden
SG SGP Singapore
SI SVN Slovenia
SK SVK Slovakia
SL SLE Sierra Leone
SM SMR San Marino
SN SEN Senegal
SO SOM Somalia
SR SUR Suriname
SS SSD South Sudan
ST STP Sao Tome and Principe
SV SLV El Salvador
SY SYR Syria|Syrian Arab Republic
SZ SWZ Eswatini|Swaziland
TD TCD Chad
TG TGO Togo
TH THA Thailand
TJ TJK Tajikistan
TL TLS Timor-Leste
TM TKM Turkmenistan
TN TUN Tunisia
TO TON Tonga
TR TUR Turkey|Turkiye
TT TTO Trinidad and Tobago
TV TUV Tuvalu
TW TWN Taiwan
TZ TZA Tanzania|United Republic of Tanzania|Tanganyika
UA UKR Ukraine|Ukrainian SSR|Ukrainian Soviet Socialist Republic
UG UGA Uganda
US USA United States|United States of America
UY URY Uruguay
UZ UZB Uzbekistan
VA VAT Holy See
VC VCT Saint Vincent and the Grenadines|Saint Vincent and Grenadines
VE VEN Venezuela|Venezuela (Bolivarian Republic of)
VN VNM Vietnam|Viet Nam
VU VUT Vanuatu
WS WSM Samoa
YD YMD Yemen People's Republic|Democratic Yemen|Southern Yemen
YE YEM Yemen|Yemen Arab Republic
YU YUG Yugoslavia|Serbia and Montenegro
ZA ZAF South Africa
ZM ZMB Zambia
ZW ZWE Zimbabwe
"""

_LINES = [line.split(maxsplit=2) for line in _TABLE.strip().splitlines()]
CODES: tuple[str, ...] = tuple(code for code, _, _ in _LINES)
NAMES: dict[str, str] = {code: names.split("|")[0] for code, _, names in _LINES}
_ALPHA_3: dict[str, str] = {alpha_3: code for code, alpha_3, _ in _LINES}


def normalised(name: str) -> str:
    """A name without accents, case and the ways of writing that differ between records."""
    plain = unicodedata.normalize("NFKD", _repaired(name)).encode("ascii", "ignore").decode()
    plain = re.sub(r"\bst\.", "saint", plain.lower().replace("&", " and ").replace("the former", "former"))
    return " ".join(re.findall(r"[a-z]+", plain.replace("'", "")))


def _repaired(text: str) -> str:
    """Undo the double encoding that some exports of the library suffer from."""
    if "\u00c3" not in text and "\u00e2\u0080" not in text:
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


_BY_NAME: dict[str, str] = {normalised(name): code for code, _, names in _LINES for name in names.split("|")}


@lru_cache(maxsize=10_000)  # names come from files, and there is no end of them
def code_of(text: str) -> str | None:
    """The code of a country by its code, three-letter code or any of its names; None where it is not known."""
    stripped = text.strip()
    if stripped in NAMES:
        return stripped
    return _ALPHA_3.get(stripped) or _BY_NAME.get(normalised(stripped))


@cache
def _name_pattern() -> re.Pattern[str]:
    longest_first = sorted(_BY_NAME, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b")


def codes_in(text: str) -> tuple[tuple[str, ...], str]:
    """The countries named in running text, in order and once each, and what is left of the text without them.

    The longest name wins, so that "Bosnia and Herzegovina" is one country and "Guinea-Bissau" no Guinea.
    """
    plain = normalised(text)
    codes = tuple(dict.fromkeys(_BY_NAME[name] for name in _name_pattern().findall(plain)))
    return codes, " ".join(_name_pattern().sub(" ", plain).split())
