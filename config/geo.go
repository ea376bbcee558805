package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"l4proxy/geo"
)

// Geo names the databases that rules ask about the country and the network of a client.
type Geo struct {
	Country, ASN GeoFile
}

// GeoFile is a database.
type GeoFile struct {
	// Name is its path, "" without one.
	Name string
	// Database is its content.
	Database *geo.Database `json:"-"`
}

// Database is the database of a kind; nil without one.
func (g *Geo) Database(k geo.Kind) *geo.Database {
	switch {
	case g == nil:
		return nil
	case k == geo.Country:
		return g.Country.Database
	}
	return g.ASN.Database
}

func (g *Geo) fields() fields {
	return fields{
		{"country", geoFile(&g.Country, geo.Country), "A database of countries in the MaxMind format, such as `GeoLite2-Country.mmdb`. The path is relative to the configuration file."},
		{"asn", geoFile(&g.ASN, geo.ASN), "A database of networks (autonomous systems), such as `GeoLite2-ASN.mmdb`."},
	}
}

// geoFileValue is the name of a database, which is read with the configuration.
type geoFileValue struct {
	fileNameValue
	file *GeoFile
	kind geo.Kind
}

func geoFile(dst *GeoFile, kind geo.Kind) value {
	return geoFileValue{fileName(&dst.Name).(fileNameValue), dst, kind}
}

func (v geoFileValue) reset() { *v.file = GeoFile{} }

func (v geoFileValue) decode(d *decoder, n *node, p *path) {
	*v.file = GeoFile{}
	v.fileNameValue.decode(d, n, p)
	name := v.file.Name
	if name == "" {
		return
	}
	data, err := d.readList(name)
	d.noteFile(name, data, err)
	if err != nil {
		fix := "check the path: it is relative to the configuration file"
		switch {
		case errors.Is(err, fs.ErrPermission):
			fix = "let the user of the proxy read it"
		case errors.Is(err, errTooLarge):
			fix = "name a database of countries or networks only, not of cities"
		}
		d.faultf(n, p, fix, "cannot read the database %s: %s", quote(name), reason(err))
		return
	}
	if v.file.Database, err = geo.Open(data, v.kind); err != nil {
		fix := "download it again"
		if wrong := new(geo.TypeError); errors.As(err, &wrong) {
			fix = "name a database of the other kind, such as GeoLite2-Country.mmdb or GeoLite2-ASN.mmdb"
		}
		d.faultf(n, p, fix, "%s is %s", quote(name), strings.TrimPrefix(err.Error(), "the file is "))
		return
	}
	v.file.Database.Name = name
}

// GeoMatch is what one geo of a rule matches: clients of any of the countries or networks.
type GeoMatch struct {
	Countries []string
	ASNs      []uint32
}

// String is the match as in a file.
func (g *GeoMatch) String() string {
	var parts []string
	if g.Countries != nil {
		parts = append(parts, "country: ["+strings.Join(g.Countries, ", ")+"]")
	}
	if g.ASNs != nil {
		var numbers []string
		for _, n := range g.ASNs {
			numbers = append(numbers, strconv.FormatUint(uint64(n), 10))
		}
		parts = append(parts, "asn: ["+strings.Join(numbers, ", ")+"]")
	}
	return "geo {" + strings.Join(parts, ", ") + "}"
}

func (g *GeoMatch) fields() fields {
	return fields{
		{"country", listOf(&g.Countries, country).orOne(), "Codes of countries."},
		{"asn", listOf(&g.ASNs, asn).orOne(), "Numbers of networks."},
	}
}

func country(dst *string) value {
	return text(dst, "the two-letter code of a country").where(func(code string) *Fault {
		switch upper := strings.ToUpper(code); {
		case geo.IsCode(code):
			return nil
		case geo.IsCode(upper):
			return faultf("write "+upper, "the code of the country %s is not in capital letters", quote(code))
		case upper == "UK":
			return faultf("write GB", "unknown country %s", quote(code))
		}
		return faultf("write a code of ISO 3166-1, such as DE or KP (in YAML, put NO in quotes)", "unknown country %s", quote(code))
	})
}

func asn(dst *uint32) value {
	return scalar[uint32]{
		dst: dst, as: asNumber | asString, what: "the number of a network",
		typ: func() schema {
			return anyOf(schema{"type": "integer", "minimum": 1, "maximum": 1<<32 - 1}, schema{"type": "string"})
		},
		parse: func(text string) (uint32, *Fault) {
			n, err := strconv.ParseUint(strings.TrimPrefix(text, "AS"), 10, 32)
			if err != nil || n == 0 {
				return 0, unreadable("write a number from 1 to 4294967295, such as 64512")
			}
			return uint32(n), nil
		},
	}
}

// isGeo reports whether an entry of a rule is {geo: ...}.
func isGeo(n *node) bool {
	return n.kind == kindMap && len(n.members) == 1 && n.members[0].key == "geo"
}

// decodeGeo reads an entry {geo: {...}} of a rule.
func (d *decoder) decodeGeo(n *node, p *path) {
	var g GeoMatch
	of := n.members[0].value
	section(&g).decode(d, of, p.child("geo"))
	if of.kind == kindMap && len(of.members) == 0 {
		d.faultf(of, p.child("geo"), "write {geo: {country: [KP]}} or {geo: {asn: [64512]}}", "geo names neither a country nor a network")
	}
	d.geo = append(d.geo, g)
}

func geoSchema() schema {
	return schema{
		"type": "object", "required": []string{"geo"}, "additionalProperties": false,
		"properties": schema{"geo": (&GeoMatch{}).fields().schema().with("minProperties", 1).with("description", "Clients in any of these countries or networks, by the databases of geo.")},
	}
}

// checkGeo reports what is wrong with the countries and networks of a rule.
func (v clients) checkGeo(c *checker, p *path) {
	for i := range v.rule.Geo {
		g := &v.rule.Geo[i]
		for _, code := range g.Countries {
			if !geo.IsCode(code) {
				c.faultf(p, "write a code of ISO 3166-1, such as DE", "unknown country %s", quote(code))
			}
		}
		c.needsDatabase(p, g.Countries != nil, "country", func(of *Geo) string { return of.Country.Name })
		c.needsDatabase(p, g.ASNs != nil, "asn", func(of *Geo) string { return of.ASN.Name })
		if g.Countries == nil && g.ASNs == nil {
			c.faultf(p, "write {geo: {country: [KP]}} or {geo: {asn: [64512]}}", "geo names neither a country nor a network")
		}
	}
}

// needsDatabase reports a rule that asks a database which is not configured.
func (c *checker) needsDatabase(p *path, asks bool, key string, name func(*Geo) string) {
	at := (*path)(nil).child("geo")
	if !asks || c.c.Geo != nil && name(c.c.Geo) != "" || c.unread.has(at) || c.unread.has(at.child(key)) {
		return
	}
	c.faultf(p, "write geo: {"+key+": FILE.mmdb} at the top level", "a rule asks for %s, and geo.%s is missing", key, key)
}

// geo compares the databases of two configurations that have the same names.
func (d *differ) geo(old, next *Geo) {
	if old == nil || next == nil {
		return
	}
	d.at = Difference{Part: "process"}
	for _, f := range []struct {
		key       string
		old, next *GeoFile
	}{{"geo.country", &old.Country, &next.Country}, {"geo.asn", &old.ASN, &next.ASN}} {
		if f.old.Name == f.next.Name && f.old.Database != nil && f.next.Database != nil && f.old.Database.Sum != f.next.Database.Sum {
			d.add(f.key, fmt.Sprintf("%d networks", f.old.Database.Networks), fmt.Sprintf("%d networks, from the changed file", f.next.Database.Networks))
		}
	}
}

// clients writes the clients of a rule.
func (r renderer) clients(of *Rule) error {
	prefixes := *of
	prefixes.Geo = nil
	all := []any{}
	for _, text := range prefixes.entries() {
		all = append(all, strings.ReplaceAll(text, "${", "$${"))
	}
	for i := range of.Geo {
		g := &of.Geo[i]
		match := make(map[string]any)
		if g.Countries != nil {
			match["country"] = slices.Clone(g.Countries)
		}
		if g.ASNs != nil {
			match["asn"] = slices.Clone(g.ASNs)
		}
		all = append(all, map[string]any{"geo": match})
	}
	return r.text(all)
}
