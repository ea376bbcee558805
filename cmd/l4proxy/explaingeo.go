package main

import (
	"net/netip"

	"l4proxy/admin"
	"l4proxy/config"
	"l4proxy/geo"
)

// withGeo adds what the databases say about the client.
func withGeo(e *admin.Explain, g *config.Geo, client netip.Addr) *admin.Explain {
	e.ACL.Country = g.Database(geo.Country).CountryOf(client)
	e.ACL.ASN = g.Database(geo.ASN).ASNOf(client)
	return e
}
