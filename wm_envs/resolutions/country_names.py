"""Tables of countries: codes, their names in records of the General Assembly, other usual names.

Codes are ISO 3166-1 alpha-2. States that no longer exist keep the code of their time (CS, DD, YD,
YU); Zanzibar, a member for four months, never had one and is called EAZ. A member that went on
under another name in the same seat (Zaire, the USSR, the Byelorussian SSR) has one code for all its
votes. Namibia's code is NA, which is no missing value.
"""

# Alpha-2, alpha-3 (of the records where it differs from ISO), then names separated by "|", the
# plain one first.
MEMBERS = """
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
CD COD Congo (Kinshasa)|Democratic Republic of the Congo|Congo - Kinshasa|Zaire
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
MK MKD North Macedonia|The former Yugoslav Republic of Macedonia|Macedonia
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

# Other usual names by code, separated by "|": those of the World Bank, Voeten, V-Dem, the
# Correlates of War, Gleditsch and Ward, ISO and common English. The order of the parts, articles,
# accents, case and abbreviations need no names of their own here, nor does "Republic of" before a
# plain name.
USUAL_NAMES = """
AE UAE|Emirates
AF Islamic Emirate of Afghanistan|Islamic Republic of Afghanistan|Islamic State of Afghanistan
AG Antigua
AL People's Republic of Albania|People's Socialist Republic of Albania
AO People's Republic of Angola
AR Argentine Republic|Argentine
BA Bosnia|Bosnia Herzegowina|BiH|Bosnia and Hercegovina
BD People's Republic of Bangladesh
BF Burkina|Burkina Faso (Upper Volta)
BG People's Republic of Bulgaria
BJ People's Republic of Benin|Benin (Dahomey)
BN Negara Brunei Darussalam
BO Plurinational State of Bolivia
BR Federative Republic of Brazil|United States of Brazil
BY Belorussia|Byelorussia|Bielorussia|Belorussian SSR|Belarus (Byelorussia)
BY Byelarus
CD Congo (Democratic Republic of)
CD DRC|DR Congo|Congo DR|Congo DRC|DROC|Congo Democratic Republic|Congo Kinshasa
CD Congo Leopoldville|Congo (Zaire)|Zaire (Democratic Republic of the Congo)
CD Democratic Republic of Congo (Zaire)
CD Republic of Zaire
CF CAR
CF Central African R
CG Congo Brazzaville|Congo Republic|People's Republic of the Congo
CH Swiss Confederation
CI Cote d Ivoire|Cte d'Ivoire|Cote Ivoire|Cote d'Ivoire (Ivory Coast)
CN PRC|PR China|China PR|People's Republic of China|Mainland China
CS Czecho-Slovakia|Czech and Slovak Federal Republic|Czechoslovak Socialist Republic
CS Czechoslovak Republic|CSSR|Czech and Slovak Federative Republic
CV Cape Verde Islands|Cabo Verde (Cape Verde)
CZ Czech Rep|Czechia (Czech Republic)
DD GDR|DDR|East Germany|Germany East|Germany Democratic Republic|Germany (GDR)
DE FRG|West Germany|Germany West|German Federal Republic|Federal Republic Germany|Germany FR
DE Germany (FRG)|Germany (Federal Republic)
DM Dominica Island
DO Dominican Rep
DO Dominican R
DZ People's Democratic Republic of Algeria
EG UAR|Arab Republic of Egypt|Egypt Arab Rep|Egypt (United Arab Republic)|Egypt AR
ER State of Eritrea
ET Abyssinia|Federal Democratic Republic of Ethiopia|Socialist Ethiopia|Ethiopian Empire
FJ Fiji Islands|Republic of the Fiji Islands
FM Federated States of Micronesia|FSM
FM FS Micronesia
FR French Republic
GA Gabonese Republic
GB UK|Great Britain|Britain|United Kingdom of Great Britain|United Kingdom (Great Britain)
GB UK of Great Britain and Northern Ireland|UK of Great Britain and N. Ireland|UK of GB and NI
GM Republic of the Gambia|Islamic Republic of the Gambia
GN People's Revolutionary Republic of Guinea|Guinea Conakry
GR Hellenic Republic|Hellas
GY Co-operative Republic of Guyana|Cooperative Republic of Guyana
HU Hungarian People's Republic|People's Republic of Hungary
IE Eire|Irish Republic
IR Isl Rep Iran|Islamic Republic of Iran|Iran Islamic Rep|Persia|Iran (Persia)
IR Iran IR
IT Italian Republic
JO Hashemite Kingdom of Jordan
KG Kyrgyz Republic|Kirghizia|Kirgizstan|Kirghizstan|Kyrgizstan|Kirgizia
KH Cambodia (Kampuchea)|Khmer|Cambodia (Khmer Republic)|People's Republic of Kampuchea
KM Union of the Comoros|Federal Islamic Republic of the Comoros|Comoro Islands
KN Saint Kitts Nevis|Saint Christopher and Nevis|Saint Kitts|Federation of Saint Kitts and Nevis
KN Saint Christopher Nevis|Saint Kitts and Nevis Federation
KP DPRK|DPR Korea|Korea DPR|Korea Democratic Republic|Korea North|Democratic Republic of Korea
KP Korea (North) Democratic People's Republic|People's Republic of Korea|Korea Dem People's Rep
KR ROK|Korea South|Korea ROK
KR Korea R
KZ Kazakstan
LA Lao PDR|Lao People's Dem Rep|PDR Lao|Lao Democratic People's Republic|Laos PDR
LA Laos People's Democratic Republic
LB Lebanese Republic
LK Democratic Socialist Republic of Sri Lanka|Sri Lanka (Ceylon)
LU Grand Duchy of Luxembourg|Luxemburg
LY Socialist People's Libyan Arab Jamahiriya|Great Socialist People's Libyan Arab Jamahiriya
LY Libya Arab Jamahiriya
LY Libyan AJ
MD Moldavia|Moldova (Moldavia)
MG Malagasy Republic|Malagasy|Democratic Republic of Madagascar|Madagascar (Malagasy)
MH Marshalls
MK Republic of North Macedonia
MK FYROM|Macedonia FYR|FYR Macedonia|Former Yugoslav Republic of Macedonia|TFYR Macedonia
MK TFYR of Macedonia|Macedonia (FYROM)|Macedonia TFYR|FYR of Macedonia|North Macedonia (Macedonia)
MK Macedonia (North)
MM Union of Myanmar|Union of Burma|Republic of the Union of Myanmar
MM Socialist Republic of the Union of Burma
MN Mongolian People's Republic|Mongolia People's Republic|Outer Mongolia
MR Islamic Republic of Mauritania
MV Maldive Islands|Maldives Islands
MX United Mexican States
MZ People's Republic of Mozambique
NA Namibia (South West Africa)
NG Federal Republic of Nigeria
NL Holland|Nederland|The Netherlands
NP Federal Democratic Republic of Nepal
NZ N Zealand
PG PNG|Papua N. Guinea|Independent State of Papua New Guinea
PH Philippine Republic|Phillipines|Philipines
PK Islamic Republic of Pakistan
PL Polish People's Republic|People's Republic of Poland
PS Palestine State|Palestinian Territory|Palestinian Territories|Occupied Palestinian Territory
PS West Bank and Gaza|Palestinian Territory Occupied|Palestine West Bank|Palestine Gaza
PS Palestinian Authority
PS Occupied Palestinian Territory including East Jerusalem|Palestine State of
PT Portuguese Republic
RO Rumania|Roumania|Socialist Republic of Romania
RU Soviet Union|Russia (Soviet Union)|Russia USSR|Russian Federation (USSR)|Soviet Russia
RU Russian Fed|Soviet Union (USSR)|Union of Soviet Socialist Republics (USSR)
RW Rwandese Republic|Rwandan Republic
SA Saudi|KSA
SB Solomons
SD Democratic Republic of the Sudan
SK Slovak Republic|Slovak Rep
SM Most Serene Republic of San Marino
SO Federal Republic of Somalia|Somali Democratic Republic|Somali Republic|Somalia Fed Rep
SR Surinam
ST Democratic Republic of Sao Tome and Principe|Sao Tome
ST S Tome and Principe
SV Salvador
SY Syrian Republic|Syria Arab Republic
SY Syrian AR
SZ Eswatini (Swaziland)|Swaziland (Eswatini)|eSwatini
TG Togolese Republic
TH Siam|Thailand (Siam)
TJ Tadjikistan|Tadzhikistan|Tajikstan
TL East Timor|Democratic Republic of Timor-Leste|Timor-Leste (East Timor)
TM Turkmenia
TR Turkey (Turkiye)|Turkish Republic
TT Trinidad|Trinidad Tobago
TW Taiwan Province of China|Chinese Taipei|Taiwan China|Formosa|Taiwan (Province of China)
TW Republic of China Taiwan
TZ Tanzania (Tanganyika)|United Republic of Tanganyika and Zanzibar|Tanganyika and Zanzibar
UA Ukraine SSR
US USA|US|United States America
UY Eastern Republic of Uruguay|Oriental Republic of Uruguay
VA Vatican|Vatican City|Vatican City State|Holy See (Vatican City State)|State of the Vatican City
VC Saint Vincent|Saint Vincent Grenadines
VE Venezuela RB|Bolivarian Republic of Venezuela|United States of Venezuela
VN Socialist Republic of Viet Nam|Socialist Republic of Vietnam|Democratic Republic of Vietnam
VN Vietnam (North)|Democratic Republic of Viet Nam
WS Western Samoa|West Samoa|Independent State of Samoa|Independent State of Western Samoa
YD South Yemen|Yemen PDR|PDR Yemen|Yemen People's Democratic Republic
YD People's Democratic Republic of Yemen|PDRY|Democratic People's Republic of Yemen
YD People's Republic of Southern Yemen|Yemen Democratic|Yemen South|People's Republic of Yemen
YD Yemen (Aden)|Southern Yemen People's Republic|YPR
YE North Yemen|Yemen North|YAR|Republic of Yemen|Yemen Rep|Arab Republic of Yemen
YE Yemen (Arab Republic of Yemen)|Yemen (Sanaa)|Yemen AR|Kingdom of Yemen
YU SFR Yugoslavia|SFRY|FR Yugoslavia|FRY|Federal Republic of Yugoslavia|Yugoslav Federation
YU Jugoslavia|Socialist Federal Republic of Yugoslavia|Yugoslavia FR (Serbia and Montenegro)
YU Serbia Montenegro|State Union of Serbia and Montenegro|Yugoslavia (Serbia and Montenegro)
YU Yugoslavia SFR|Yugoslavia SFRY|Yugoslavia (former)|Former Yugoslavia
YU Federal People's Republic of Yugoslavia
ZA Union of South Africa|RSA
ZW Zimbabwe (Rhodesia)
"""

# Names that do not say which of two members is meant, nor does any one of them by itself.
AMBIGUOUS_NAMES = {"Korea": ("KP", "KR")}
# Names of one member in the records that others use for a second one: a code beside them decides.
LOOSE_NAMES = {"Congo": ("CG", "CD")}
# Codes that ISO gave to two states at different times: the name beside them decides.
REUSED_CODES = {"CS": ("CS", "YU")}

# Codes that are not, or no longer, of ISO 3166-1; they count only where there is no name.
OTHER_CODES = {
    "UK": "GB",
    "EL": "GR",
    "SU": "RU",
    "SUN": "RU",
    "BU": "MM",
    "BUR": "MM",
    "ZR": "CD",
    "ZAR": "CD",
    "TP": "TL",
    "TMP": "TL",
    "ROM": "RO",
    "SCG": "YU",
    "DY": "BJ",
    "DHY": "BJ",
    "HV": "BF",
    "HVO": "BF",
    "BYS": "BY",
}

# What stands where a code or a name is missing, in lower case. Namibia's code is among them.
MISSING = {"", "na", "nan", "n/a", "none", "null", "nil", "-", "--", ".", "..", "?", "<na>", "#n/a"}

# Names that lists of countries have and the Assembly has not: no member's code belongs to them.
NO_MEMBERS = """
Hong Kong|Hong Kong SAR|Hong Kong SAR China|Hong Kong China|China Hong Kong SAR
Hong Kong Special Administrative Region|Macao|Macau|Macao SAR|Macao SAR China|Macao China
China Macao SAR|Kosovo|Kosovo (under UNSCR 1244)|Puerto Rico|Puerto Rico (US)|Greenland|Aruba
Curacao|Bermuda|Cayman Islands|Faroe Islands|Faeroe Islands|Gibraltar|Guam|American Samoa
Virgin Islands|Virgin Islands (US)|British Virgin Islands|French Guiana|French Polynesia
Guadeloupe|Martinique|Reunion|New Caledonia|Isle of Man|Jersey|Guernsey|Channel Islands
Northern Mariana Islands|Cook Islands|Niue|Western Sahara|Somaliland|Northern Cyprus
Turkish Republic of Northern Cyprus|South Ossetia|Abkhazia|Transnistria|Northern Ireland|Scotland
Wales|South Vietnam|Republic of Vietnam|Republic of Viet Nam|European Union|European Community
Saint Martin|Sint Maarten|Turks and Caicos Islands|Anguilla|Montserrat|Netherlands Antilles
South Georgia|South Georgia and the South Sandwich Islands|Saint Helena|Saint Pierre and Miquelon
Tokelau|Svalbard and Jan Mayen|Wallis and Futuna|Mayotte|Western New Guinea|West New Guinea
Southern Rhodesia|Rhodesia
"""
