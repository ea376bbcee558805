package control

import (
	"l4proxy/acl"
	"l4proxy/config"
	"l4proxy/geo"
)

// geoMatchers are the Matchers of a rule.
func geoMatchers(g *config.Geo, of []config.GeoMatch) (all []acl.Matcher) {
	for _, m := range of {
		all = append(all, geo.NewMatcher(g.Database(geo.Country), g.Database(geo.ASN), m.Countries, m.ASNs))
	}
	return all
}
