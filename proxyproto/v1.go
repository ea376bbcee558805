package proxyproto

import "net/netip"

// line reads a header of version 1 from left to right. err is set by the first byte that cannot
// stand where it stands, and short by the end of the bytes; nothing is read after either.
type line struct {
	b     []byte
	at    int
	short bool
	err   error
}

// parseV1 reads a line such as "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".
func parseV1(b []byte) (Header, int, error) {
	l := line{b: b}
	if len(b) > MaxV1 {
		l.b = b[:MaxV1]
	}
	l.text("PROXY ")
	if l.err != nil {
		return Header{}, 0, ErrNoHeader
	}
	h := Header{Version: 1}
	if first, ok := l.peek(); ok && first == 'U' {
		l.text("UNKNOWN")
		l.rest()
	} else {
		l.text("TCP")
		six := l.oneOf('4', '6') == '6'
		l.text(" ")
		source := l.address(six)
		l.text(" ")
		destination := l.address(six)
		l.text(" ")
		sourcePort := l.number(65535)
		l.text(" ")
		destinationPort := l.number(65535)
		l.text("\r\n")
		h.Source = netip.AddrPortFrom(source, uint16(sourcePort))
		h.Destination = netip.AddrPortFrom(destination, uint16(destinationPort))
	}
	switch {
	case l.err != nil:
		return Header{}, 0, l.err
	case !l.short:
		return h, l.at, nil
	case len(b) >= MaxV1:
		return Header{}, 0, ErrLongLine
	}
	return Header{}, 0, nil
}

// peek returns the next byte. It is false at the end, and after an error.
func (l *line) peek() (byte, bool) {
	if l.err != nil || l.short {
		return 0, false
	}
	if l.at == len(l.b) {
		l.short = true
		return 0, false
	}
	return l.b[l.at], true
}

func (l *line) fail() { l.err = ErrLine }

// text reads s.
func (l *line) text(s string) {
	for i := range len(s) {
		c, ok := l.peek()
		if !ok {
			return
		}
		if c != s[i] {
			l.fail()
			return
		}
		l.at++
	}
}

// oneOf reads one of two bytes.
func (l *line) oneOf(x, y byte) byte {
	c, ok := l.peek()
	if ok && c != x && c != y {
		l.fail()
	} else if ok {
		l.at++
	}
	return c
}

// rest reads what may follow UNKNOWN: nothing, or a space and anything, until the CRLF. "The
// receiver must ignore anything presented before the CRLF is found."
func (l *line) rest() {
	if c, ok := l.peek(); ok && c == ' ' {
		for {
			c, ok := l.peek()
			if !ok {
				return
			}
			if c == '\r' && (l.at+1 == len(l.b) || l.b[l.at+1] == '\n') {
				break
			}
			l.at++
		}
	}
	l.text("\r\n")
}

// number reads a decimal number of at most limit, without leading zeros.
func (l *line) number(limit int) int {
	value := 0
	for digits := 0; ; digits++ {
		c, ok := l.peek()
		if !ok {
			return value
		}
		if c < '0' || c > '9' {
			if digits == 0 {
				l.fail()
			}
			return value
		}
		next := value*10 + int(c-'0')
		if digits > 0 && value == 0 || next > limit {
			l.fail()
			return value
		}
		value = next
		l.at++
	}
}

// address reads an IPv4 or an IPv6 address.
func (l *line) address(six bool) netip.Addr {
	if six {
		return l.address6().Unmap()
	}
	return l.address4()
}

// address4 reads four numbers with dots between them.
func (l *line) address4() netip.Addr {
	var ip [4]byte
	for i := range ip {
		if i > 0 {
			l.text(".")
		}
		ip[i] = byte(l.number(255))
	}
	return netip.AddrFrom4(ip)
}
