package geo

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Matcher matches the addresses of some countries and autonomous systems. It is an acl.Matcher.
type Matcher struct {
	country, asn *Database
	countries    map[uint32]bool
	numbers      map[uint32]bool
}

// NewMatcher returns a Matcher. An address matches if it is in one of the countries or one of the
// autonomous systems. A database may be nil if nothing asks it.
func NewMatcher(country, asn *Database, countries []string, numbers []uint32) *Matcher {
	m := &Matcher{country: country, asn: asn}
	if len(countries) > 0 {
		m.countries = make(map[uint32]bool, len(countries))
	}
	for _, code := range countries {
		m.countries[pack(code)] = true
	}
	if len(numbers) > 0 {
		m.numbers = make(map[uint32]bool, len(numbers))
	}
	for _, n := range numbers {
		m.numbers[n] = true
	}
	return m
}

// Match reports whether an address is in one of the countries or networks. One that the databases
// do not know is in none.
func (m *Matcher) Match(addr netip.Addr) bool {
	if m.countries != nil {
		if v := m.country.value(addr); v != 0 && m.countries[v] {
			return true
		}
	}
	if m.numbers != nil {
		if v := m.asn.value(addr); v != 0 && m.numbers[v] {
			return true
		}
	}
	return false
}

// Describe says what the databases know about an address: "country KP, AS64512".
func (m *Matcher) Describe(addr netip.Addr) string { return Describe(m.country, m.asn, addr) }

// Describe is what databases know about an address; either may be nil.
func Describe(country, asn *Database, addr netip.Addr) string {
	var parts []string
	if code := country.CountryOf(addr); code != "" {
		parts = append(parts, "country "+code)
	}
	if n := asn.ASNOf(addr); n != 0 {
		parts = append(parts, fmt.Sprintf("AS%d", n))
	}
	return strings.Join(parts, ", ")
}

// codes are those of ISO 3166-1, and XK, which databases use for Kosovo.
const codes = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"

var allCodes = strings.Fields(codes)

// Codes are the codes of all countries, in order.
func Codes() []string { return slices.Clone(allCodes) }

// IsCode reports whether a code is one of a country.
func IsCode(code string) bool {
	_, found := slices.BinarySearch(allCodes, code)
	return found
}
