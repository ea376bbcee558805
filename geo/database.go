package geo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Kind is what a database says about addresses.
type Kind uint8

// The kinds.
const (
	Country Kind = iota // two-letter codes of ISO 3166-1
	ASN                 // numbers of autonomous systems
)

// String is the key of the configuration.
func (k Kind) String() string { return [...]string{"country", "asn"}[k] }

// Database answers for one kind. It never changes, and is safe for concurrent use. A nil Database
// knows nothing.
type Database struct {
	kind   Kind
	reader *maxminddb.Reader
	// values are by the offset of a record, which many networks share.
	values map[uintptr]uint32
	// Name is where it came from, Type what it says of itself.
	Name, Type string
	// Networks is how many it has.
	Networks int
	// Sum is the SHA-256 of the file.
	Sum [sha256.Size]byte
}

// String names the database.
func (d *Database) String() string {
	if d == nil {
		return "none"
	}
	return fmt.Sprintf("%s with %d networks", d.Type, d.Networks)
}

// Open reads a database. data must not change afterwards.
func Open(data []byte, kind Kind) (*Database, error) {
	reader, err := maxminddb.OpenBytes(data, maxminddb.DisableStringCache()) // it would help to decode, once
	if err != nil {
		return nil, errors.New("not a MaxMind DB file")
	}
	d := &Database{kind: kind, reader: reader, values: make(map[uintptr]uint32), Type: reader.Metadata.DatabaseType, Sum: sha256.Sum256(data)}
	// A tree has at most one leaf more than nodes. One that is damaged may lead back to its own
	// beginning, and has no end.
	leaves := reader.Metadata.NodeCount + 1
	if leaves > uint(len(data)) {
		return nil, errors.New("the file is damaged: its tree is larger than the file")
	}
	for network := range reader.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if err := network.Err(); err != nil {
			return nil, fmt.Errorf("the file is damaged: %w", err)
		}
		if leaves == 0 {
			return nil, errors.New("the file is damaged: its tree has a loop")
		}
		leaves--
		if !network.Found() {
			continue
		}
		d.Networks++
		at := network.Offset()
		if _, known := d.values[at]; known {
			continue
		}
		value, err := d.decode(network)
		if err != nil {
			return nil, fmt.Errorf("the file is damaged: the record of %s: %w", network.Prefix(), err)
		}
		d.values[at] = value
	}
	for at, value := range d.values {
		if value == 0 {
			delete(d.values, at)
		}
	}
	if len(d.values) == 0 {
		return nil, &TypeError{kind, d.Type}
	}
	return d, nil
}

// TypeError is the error of a database that says nothing of the wanted kind.
type TypeError struct {
	Kind Kind
	Type string
}

func (e *TypeError) Error() string {
	what := "countries"
	if e.Kind == ASN {
		what = "autonomous systems"
	}
	return fmt.Sprintf("a database of the type %q, which has no %s", e.Type, what)
}

// decode returns the value of a record; 0 if it lacks one of the kind. It reads single fields: a
// damaged record may nest without end.
func (d *Database) decode(of maxminddb.Result) (uint32, error) {
	if d.kind == ASN {
		var n uint32
		if err := field(of, &n, "autonomous_system_number"); err != nil || n != 0 {
			return n, err
		}
		var text string // "AS64512", in flat databases
		err := field(of, &text, "asn")
		v, failed := strconv.ParseUint(strings.TrimPrefix(text, "AS"), 10, 32)
		if failed != nil {
			v = 0
		}
		return uint32(v), err
	}
	var code string
	if err := field(of, &code, "country_code"); err != nil {
		return 0, err
	}
	if code == "" {
		if err := field(of, &code, "country", "iso_code"); err != nil {
			return 0, err
		}
	}
	return pack(code), nil
}

// field reads a field of a record. One that is missing, or of another type, stays as it is.
func field(of maxminddb.Result, into any, path ...any) error {
	err := of.DecodePath(into, path...)
	if damaged := new(maxminddb.InvalidDatabaseError); errors.As(err, damaged) {
		return err
	}
	return nil
}

// pack is a code as a number; 0 if it is none.
func pack(code string) uint32 {
	if len(code) != 2 {
		return 0
	}
	return uint32(code[0])<<8 | uint32(code[1])
}

// value is what the database says about an address; 0 for nothing. It takes no memory.
func (d *Database) value(addr netip.Addr) uint32 {
	if d == nil || !addr.IsValid() {
		return 0
	}
	addr = addr.Unmap()
	if addr.Zone() != "" {
		addr = addr.WithZone("")
	}
	result := d.reader.Lookup(addr)
	if !result.Found() { // an IPv6 address in a database of IPv4 is an error, and so not found
		return 0
	}
	return d.values[result.Offset()]
}

// CountryOf is the code of an address in a database of countries; "" if it is unknown.
func (d *Database) CountryOf(addr netip.Addr) string {
	v := d.value(addr)
	if v == 0 || d.kind != Country {
		return ""
	}
	return string([]byte{byte(v >> 8), byte(v)})
}

// ASNOf is the number of an address in a database of autonomous systems; 0 if it is unknown.
func (d *Database) ASNOf(addr netip.Addr) uint32 {
	if d == nil || d.kind != ASN {
		return 0
	}
	return d.value(addr)
}
