package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// Address is where to listen or to connect: a TCP address or a unix socket. It is parsed once, when
// it is read.
type Address struct {
	// IP is the address when one was written; without it and without a Host, a listener takes every
	// address of the machine, IPv4 and IPv6.
	IP netip.Addr
	// Host is the host name when one was written.
	Host string
	// SRV says that Host is the name of SRV records, which name the hosts and the ports of the
	// servers (RFC 2782). Port is 0.
	SRV  bool
	Port uint16
	// Path is the absolute path of a unix socket, or @ and its name in the abstract name space
	// (unix(7)); the other fields are empty.
	Path string
}

// IsUnix reports whether the address is that of a unix socket.
func (a Address) IsUnix() bool { return a.Path != "" }

// IsAbstract reports whether the address is that of a unix socket without a file.
func (a Address) IsAbstract() bool { return strings.HasPrefix(a.Path, "@") }

// String returns the address as it is written in a file: "host:port", with brackets around IPv6, or
// "unix:/path", or "srv:NAME".
func (a Address) String() string {
	switch {
	case a.IsUnix():
		return "unix:" + a.Path
	case a.SRV:
		return srvPrefix + a.Host
	}
	host := a.Host
	if a.IP.IsValid() {
		host = a.IP.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
}

// Name is the name that has to be resolved, "" if there is none: a host name, or "srv:NAME".
func (a Address) Name() string {
	if a.SRV {
		return srvPrefix + a.Host
	}
	return a.Host
}

const (
	maxUnixPath = 107 // sun_path is 108 bytes with its NUL, unix(7)
	maxHostLen  = 253 // RFC 1035 section 2.3.4, as text

	whatAddress = "host:port or unix:/path"

	srvPrefix = "srv:"
)

func backendAddress(dst *Address) scalar[Address] {
	return scalar[Address]{dst: dst, as: asString, what: whatAddress, typ: anyText, parse: parseBackend,
		bounds: func(a Address) *Fault {
			switch {
			case a.IsUnix():
			case a.SRV:
				return checkService(a)
			case a.IP.IsUnspecified():
				return faultf("write the address of the server", "%s is not an address to connect to", a.IP)
			case a.Host == "" && !a.IP.IsValid():
				return faultf(fmt.Sprintf("write \"127.0.0.1:%d\" for this machine", a.Port), "the backend %s has no host", quote(a.String()))
			case a.Port == 0:
				return faultf("write the port of the server", "port 0 is not a port to connect to")
			}
			return checkAddress(a)
		}}
}

func parseBackend(s string) (Address, *Fault) {
	if name, ok := strings.CutPrefix(s, srvPrefix); ok {
		return parseService(name)
	}
	a, port, f := splitAddress(s, "127.0.0.1:")
	if f != nil || a.IsUnix() {
		return a, f
	}
	if strings.Contains(port, "-") {
		return Address{}, faultf("write one backend for each port", "a backend has one port, got %s", quote(port))
	}
	a.Port, f = parsePort(port, port)
	return a, f
}

// splitAddress parses an address up to its port. bare is what to put before a lone port in the
// proposal.
func splitAddress(s, bare string) (a Address, port string, f *Fault) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case path == "@":
			return a, "", faultf("write unix:@name", "%s has no name", quote(s))
		case !strings.HasPrefix(path, "@") && !strings.HasPrefix(path, "/") || path == "/":
			return a, "", faultf("write unix:/path/to/socket", "%s has no absolute path", quote(s))
		}
		return Address{Path: path}, "", nil
	}
	switch scheme, rest, isURL := strings.Cut(s, "://"); {
	case s == "":
		return a, "", faultf("write "+whatAddress, "the address is empty")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }):
		return a, "", faultf("write host:port", "the address %s contains a space or a control character", quote(s))
	case isURL:
		return a, "", faultf("write "+quote(strings.TrimRight(rest, "/")), "the address %s begins with %s", quote(s), quote(scheme+"://"))
	case strings.Trim(s, "0123456789-") == "":
		return a, "", faultf("write "+quote(bare+s), "%s is a port without a host", quote(s))
	}
	colon := strings.LastIndexByte(s, ':')
	bareIP := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bareIP = s[1 : len(s)-1]
	}
	switch ip, err := netip.ParseAddr(bareIP); {
	case err == nil && ip.Is6():
		return a, "", faultf("write "+quote("["+bareIP+"]:PORT"), "the address %s has no port", quote(s))
	case colon < 0:
		return a, "", faultf("write "+quote(s+":PORT"), "the address %s has no port", quote(s))
	}
	host, port := s[:colon], s[colon+1:]
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		inner = strings.TrimSuffix(inner, "]")
	}
	ip, err := netip.ParseAddr(inner)
	switch {
	case bracketed && (err != nil || !ip.Is6() || len(inner) != len(host)-2):
		return a, "", faultf(`write as in "[::1]:80"`, "%s is not an IPv6 address in brackets", quote(host))
	case err == nil && ip.Is6() && !bracketed:
		return a, "", faultf("write "+quote("["+host+"]:"+port), "an IPv6 address with a port needs brackets")
	case err == nil:
		a.IP = ip.Unmap()
	case host == "*":
		return a, "", faultf("write "+quote(":"+port)+" for every address", "* is not a host")
	default:
		a.Host = strings.ToLower(host)
	}
	return a, port, nil
}

func parsePort(s, all string) (uint16, *Fault) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || len(s) > 5 || s[0] == '+' {
		return 0, faultf("write a number from 0 to 65535", "%s is not a port", quote(all))
	}
	return uint16(n), nil
}

// checkAddress rejects addresses that no socket can have.
func checkAddress(a Address) *Fault {
	switch path := a.Path; {
	case a.IP.IsLinkLocalUnicast() && a.IP.Is6() && a.IP.Zone() == "":
		return faultf(fmt.Sprintf(`write as in "[%s%%eth0]:%d"`, a.IP, a.Port), "the link-local address %s needs a network interface", quote(a.IP.String()))
	case a.Host != "":
		return checkHost(a.Host)
	case path == "":
	case strings.HasPrefix(path, "//"):
		return faultf("write "+quote("unix:/"+strings.TrimLeft(path, "/")), "the path of %s begins with more than one slash", quote(a.String()))
	case strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return faultf("choose a printable path", "the path of %s contains a character that cannot be printed", quote(a.String()))
	case len(path) > maxUnixPath:
		return faultf("write a shorter path", "the path of %s has more than %d bytes, the kernel's limit", quote(a.String()), maxUnixPath)
	}
	return nil
}

// checkHost checks a host name.
func checkHost(host string) *Fault {
	if len(host) > maxHostLen {
		return faultf("write a shorter one", "the host name %s is longer than %d characters", quote(host), maxHostLen)
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, l := range labels {
		valid := l != "" && len(l) <= 63 && l[0] != '-' && l[len(l)-1] != '-'
		for i := 0; valid && i < len(l); i++ {
			c := l[i]
			valid = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
		}
		if !valid {
			return faultf("write an IP address or a host name", "%s is not a host", quote(host))
		}
	}
	// A name that ends in a number is a mistyped IPv4 address: no top-level domain is a number (RFC
	// 3696 section 2).
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return faultf("write four numbers from 0 to 255 with dots, without leading zeros", "%s is not an IP address", quote(host))
	}
	return nil
}
