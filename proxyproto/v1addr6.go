package proxyproto

import "net/netip"

// address6 reads an IPv6 address up to the byte that cannot be part of it. The forms are those of
// RFC 4291, section 2.2: eight groups, one "::" for groups of zeros, and an IPv4 address in place
// of the last two groups, as inet_ntop(3) writes ::ffff:192.0.2.1. Zones are not
// part of the format.
func (l *line) address6() netip.Addr {
	var ip [16]byte
	filled, gap := 0, -1 // bytes of ip that are set; where "::" stands among them
	size := 16           // of what is written: "::" stands for at least one group
	if c, ok := l.peek(); ok && c == ':' {
		l.text("::")
		gap, size = 0, 14
	}
	for filled < size {
		c, ok := l.peek()
		if !ok {
			return netip.Addr{}
		}
		if !isHex(c) {
			if gap == filled { // an address may end with "::"
				break
			}
			l.fail() // after a single colon, or at the start
			return netip.Addr{}
		}
		start := l.at
		value := l.group()
		c, ok = l.peek()
		if !ok {
			return netip.Addr{}
		}
		if c == '.' && filled+4 <= size && (gap >= 0 || filled == 12) {
			l.at = start
			tail := l.address4().As4()
			filled += copy(ip[filled:], tail[:])
			break
		}
		ip[filled], ip[filled+1] = byte(value>>8), byte(value)
		filled += 2
		if c != ':' || filled == size {
			break
		}
		l.at++
		if c, ok := l.peek(); ok && c == ':' && gap < 0 {
			l.at++
			gap, size = filled, 14
		}
	}
	if l.err != nil || l.short {
		return netip.Addr{}
	}
	if gap < 0 && filled < 16 {
		l.fail()
		return netip.Addr{}
	}
	if gap >= 0 { // the groups after "::" belong at the end
		moved := copy(ip[16-(filled-gap):], ip[gap:filled])
		clear(ip[gap : 16-moved])
	}
	return netip.AddrFrom16(ip)
}

// group reads one to four hexadecimal digits.
func (l *line) group() int {
	value := 0
	for range 4 {
		c, ok := l.peek()
		if !ok || !isHex(c) {
			break
		}
		value = value<<4 | hexValue(c)
		l.at++
	}
	return value
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hexValue(c byte) int {
	if c <= '9' {
		return int(c - '0')
	}
	return int(c|0x20-'a') + 10
}
