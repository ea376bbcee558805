package admin

import (
	"fmt"
	"net/netip"
	"strings"
)

// Prefix is a prefix of client addresses. It is written as "10.0.0.0/8", or as a single address.
type Prefix struct{ netip.Prefix }

// ParsePrefix reads a prefix or a single address.
func ParsePrefix(text string) (Prefix, error) {
	if strings.Contains(text, "/") {
		if p, err := netip.ParsePrefix(text); err == nil {
			return Prefix{p.Masked()}, nil
		}
	} else if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
	}
	return Prefix{}, fmt.Errorf("%q is not an address or a prefix such as 10.1.2.3 or 10.1.0.0/16", shorten(text))
}

// IsZero reports whether it selects no address, for omitzero.
func (p Prefix) IsZero() bool { return !p.IsValid() }

// String is a single address without the length of its prefix; "" for the zero value.
func (p Prefix) String() string {
	switch {
	case !p.IsValid():
		return ""
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.Prefix.String()
}

// MarshalText writes what String returns.
func (p Prefix) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a prefix or a single address.
func (p *Prefix) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePrefix(string(text))
	return err
}

// Set, with String and Type, makes it a flag of a command.
func (p *Prefix) Set(text string) error { return p.UnmarshalText([]byte(text)) }

// Type is the name of the value in the help of a command.
func (*Prefix) Type() string { return "prefix" }
