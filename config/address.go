package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// parseBinds reads what a bind key or LISTENER_PORT may hold: one address, or
// several when it ends in a range of ports.
func parseBinds(s string) ([]Bind, *fault) {
	if strings.HasPrefix(s, "unix:") {
		path, f := parseUnix(s)
		if f != nil {
			return nil, f
		}
		return []Bind{{Network: "unix", Path: path}}, nil
	}
	host, ports, f := splitHostPort(s, ":")
	if f != nil {
		return nil, f
	}
	low, high, isRange := strings.Cut(ports, "-")
	first, ok1 := parsePort(low)
	last, ok2 := first, true
	if isRange {
		last, ok2 = parsePort(high)
	}
	switch {
	case !ok1 || !ok2:
		return nil, badPort(ports)
	case isRange && first == 0:
		return nil, faultf("begin the range at 1 or above, as in 8000-8010", "the range %s contains port 0, with which the system chooses a port", quote(ports))
	case isRange && last < first:
		return nil, faultf("write the lower port first, as in 8000-8010", "%s is not a range of ports", quote(ports))
	}
	binds := make([]Bind, 0, int(last)-int(first)+1)
	for p := int(first); p <= int(last); p++ {
		binds = append(binds, Bind{Network: "tcp", Host: host, Port: uint16(p)})
	}
	return binds, nil
}

// parseBackend reads the address of a backend.
func parseBackend(s string) (Backend, *fault) {
	if strings.HasPrefix(s, "unix:") {
		path, f := parseUnix(s)
		if f != nil {
			return Backend{}, f
		}
		return Backend{Address: formatAddress("unix", "", 0, path), Network: "unix", Path: path}, nil
	}
	host, portText, f := splitHostPort(s, "127.0.0.1:")
	if f != nil {
		return Backend{}, f
	}
	if host == "" {
		return Backend{}, faultf(fmt.Sprintf("write %q for this machine", "127.0.0.1:"+shorten(portText)), "the backend %s has no host", quote(s))
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return Backend{}, faultf("write the address of the server", "%s is no address to connect to", host)
	}
	port, ok := parsePort(portText)
	if !ok {
		if strings.Contains(portText, "-") {
			return Backend{}, faultf("write one backend for each port", "a backend has one port, got %s", quote(portText))
		}
		return Backend{}, badPort(portText)
	}
	if port == 0 {
		return Backend{}, faultf("write the port of the server", "port 0 is no port to connect to")
	}
	return Backend{Address: formatAddress("tcp", host, port, ""), Network: "tcp", Host: host, Port: port}, nil
}

// splitHostPort splits s and returns the host in canonical form. bare is what
// to put before a lone port in the proposal.
func splitHostPort(s, bare string) (host, port string, f *fault) {
	if s == "" {
		return "", "", faultf("write host:port or unix:/path", "the address is empty")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }) {
		return "", "", faultf("write host:port", "the address %s holds a space or a control character", quote(s))
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return "", "", faultf("write "+quote(strings.TrimRight(rest, "/")), "the address %s begins with %s", quote(s), quote(scheme+"://"))
	}
	if strings.Trim(s, "0123456789-") == "" {
		return "", "", faultf("write "+quote(bare+s), "%s is a port without a host", quote(s))
	}
	bareIP := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bareIP = s[1 : len(s)-1]
	}
	colon := strings.LastIndexByte(s, ':')
	switch ip, err := netip.ParseAddr(bareIP); {
	case err == nil && ip.Is6():
		return "", "", faultf("write "+quote("["+bareIP+"]:PORT"), "the address %s has no port", quote(s))
	case colon < 0:
		return "", "", faultf("write "+quote(s+":PORT"), "the address %s has no port", quote(s))
	}
	host, port = s[:colon], s[colon+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !ok || err != nil || !ip.Is6() {
			return "", "", faultf(`write as in "[::1]:80"`, "%s is not an IPv6 address in brackets", quote(host))
		}
		if ip.IsLinkLocalUnicast() && ip.Zone() == "" {
			return "", "", faultf("write as in "+quote("["+inner+"%eth0]:"+port), "the link-local address %s needs a network interface", quote(inner))
		}
		return ip.Unmap().String(), port, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Is6() {
			return "", "", faultf("write "+quote("["+host+"]:"+port), "an IPv6 address with a port needs brackets")
		}
		return ip.String(), port, nil
	}
	if host, f = parseHost(host, port); f != nil {
		return "", "", f
	}
	return host, port, nil
}

// parseHost checks a host name, which may be empty.
func parseHost(host, port string) (string, *fault) {
	if host == "*" {
		return "", faultf("write "+quote(":"+port)+" for every address", "* is not a host")
	}
	if len(host) > maxHostLen {
		return "", faultf("write a shorter one", "the host name %s is longer than %d characters", quote(host), maxHostLen)
	}
	if host == "" {
		return "", nil
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, l := range labels {
		valid := l != "" && len(l) <= 63 && l[0] != '-' && l[len(l)-1] != '-'
		for i := 0; valid && i < len(l); i++ {
			c := l[i]
			valid = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
		}
		if !valid {
			return "", faultf("write an IP address or a host name", "%s is not a host", quote(host))
		}
	}
	// A name that ends in a number is a mistyped IPv4 address: no top-level
	// domain is a number (RFC 3696 section 2).
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", faultf("write four numbers from 0 to 255 with dots, without leading zeros", "%s is not an IP address", quote(host))
	}
	return strings.ToLower(host), nil
}

func parsePort(s string) (uint16, bool) {
	if len(s) > 5 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}

func badPort(port string) *fault {
	return faultf("write a number from 0 to 65535", "%s is not a port", quote(port))
}

func parseUnix(s string) (path string, f *fault) {
	path = strings.TrimPrefix(s, "unix:")
	if rest := strings.TrimLeft(path, "/"); len(path)-len(rest) > 1 {
		return "", faultf("write "+quote("unix:/"+rest), "the path of %s begins with more than one slash", quote(s))
	}
	switch {
	case !strings.HasPrefix(path, "/") || path == "/":
		return "", faultf("write unix:/path/to/socket", "%s has no absolute path", quote(s))
	case strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", faultf("write a path without it", "the path of %s holds a character that cannot be printed", quote(s))
	case len(path) > maxUnixPath:
		return "", faultf("write a shorter path", "the path of %s has more than %d bytes, the kernel's limit", quote(s), maxUnixPath)
	}
	return path, nil
}
