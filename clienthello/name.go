package clienthello

import "net/netip"

// Lengths of a DNS name in text form and of its labels, RFC 1035 section 2.3.4.
const (
	maxName  = 253
	maxLabel = 63
)

const typeHostName = 0

// parseNames reads the server_name extension, RFC 6066 section 3: a list with at most one name of
// each type. There is only one type, and names of others are skipped.
func parseNames(data []byte) (string, error) {
	f := fields{b: data}
	list := fields{b: f.vector(2, 1, 0xffff)}
	if f.bad || len(f.b) > 0 {
		return "", ErrLength
	}
	name, found := "", false
	for list.more() {
		kind := list.number(1)
		host := list.vector(2, 1, 0xffff)
		if list.bad {
			return "", ErrLength
		}
		if kind != typeHostName {
			continue
		}
		if found {
			return "", ErrRepeated
		}
		found = true
		var ok bool
		if name, ok = hostName(host); !ok {
			return "", ErrName
		}
	}
	return name, nil
}

// ServerName returns the form that a server name has in a Hello: in lower case and without a dot at
// its end. It is false for what is no server name, which is an error in a ClientHello.
func ServerName(name string) (string, bool) { return hostName([]byte(name)) }

// hostName returns a host name in lower case and without a dot at its end. It is false for what is
// no name in DNS: "Literal IPv4 and IPv6 addresses are not permitted", and international names are
// sent as A-labels. Underscores are no part of host names either, but are in use.
//
// RFC 6066 wants the name without a dot at its end. Clients that send one mean the same host.
func hostName(b []byte) (string, bool) {
	if len(b) > 1 && b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	if len(b) == 0 || len(b) > maxName {
		return "", false
	}
	var lower [maxName]byte
	label := 0
	for i, c := range b {
		switch {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = -1
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", false
		}
		if label++; label > maxLabel {
			return "", false
		}
		lower[i] = c
	}
	if label == 0 { // two dots at the end
		return "", false
	}
	name := string(lower[:len(b)])
	if last := name[len(name)-1]; '0' <= last && last <= '9' {
		if _, err := netip.ParseAddr(name); err == nil {
			return "", false
		}
	}
	return name, true
}
