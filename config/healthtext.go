package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const maxPathLen = 1024

// serverName is a name to ask for in a TLS handshake, or an IP address that a certificate may be
// for.
func serverName(dst *string) value {
	return text(dst, "a host name").where(func(name string) *Fault {
		if _, err := netip.ParseAddr(name); err != nil && checkHost(name) != nil {
			return faultf("write one such as db.example.com", "%s is not a host name", quote(name))
		}
		return nil
	})
}

// method is a method of HTTP. They are case-sensitive (RFC 9110 section 9.1).
func method(dst *string) value {
	return text(dst, "a method").where(func(method string) *Fault {
		upper := strings.ToUpper(method)
		switch {
		case method == "" || len(method) > 32 || strings.Trim(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "":
			return faultf("write one such as GET or HEAD", "%s is not a method", quote(method))
		case method != upper:
			return faultf("write "+upper, "the method %s is not in upper case", quote(method))
		case method == "CONNECT":
			return faultf("write one such as GET or HEAD", "CONNECT asks for a tunnel, not for a path")
		}
		return nil
	})
}

// urlPath is the target of a request.
func urlPath(dst *string) value {
	return text(dst, "a path").where(func(path string) *Fault {
		switch {
		case strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://"):
			return faultf("write the part from the third slash on, and the rest as host, port and tls", "%s is not a path", quote(path))
		case !strings.HasPrefix(path, "/"):
			return faultf("write "+quote("/"+path), "the path %s does not begin with /", quote(path))
		case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
			return faultf("encode such characters, as in %20", "the path %s contains a space or a character outside of ASCII", quote(path))
		case strings.Contains(path, "#"):
			return faultf("remove the part from # on", "the path %s contains a #, and the part after it is never sent", quote(path))
		case len(path) > maxPathLen:
			return faultf("write a shorter one", "the path is longer than %d bytes", maxPathLen)
		}
		if _, err := url.ParseRequestURI(path); err != nil {
			return faultf("write % itself as %25", "the path %s contains a %% without two hexadecimal digits after it", quote(path))
		}
		return nil
	})
}

// httpHost is a Host: a name or an IP address, perhaps with a port.
func httpHost(dst *string) value {
	return text(dst, "a host").where(func(host string) *Fault {
		bare, isIPv6 := host, strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
		if isIPv6 {
			bare = host[1 : len(host)-1]
		}
		if ip, err := netip.ParseAddr(bare); err == nil && ip.Is6() == isIPv6 {
			return nil
		}
		if host != "" && !strings.Contains(host, ":") && checkHost(host) == nil {
			return nil
		}
		a, f := parseBackend(host)
		if f != nil || a.IsUnix() || a.Host != "" && checkHost(a.Host) != nil || a.Host == "" && !a.IP.IsValid() {
			return faultf("write one such as www.example.com or www.example.com:8080", "%s is not a host", quote(host))
		}
		return nil
	})
}

// status is one status code, or a range of them.
func status(dst *StatusRange) value {
	return scalar[StatusRange]{
		dst: dst, as: asString | asNumber, what: `a status such as 200 or "200-399"`,
		typ: func() schema {
			return anyOf(schema{"type": "integer", "minimum": 100, "maximum": 599}, textLike(`^[1-5][0-9]{2}(-[1-5][0-9]{2})?$`)())
		},
		parse: func(text string) (r StatusRange, f *Fault) {
			low, high, isRange := strings.Cut(text, "-")
			if !isRange {
				high = low
			}
			from, err1 := strconv.ParseUint(low, 10, 16)
			to, err2 := strconv.ParseUint(high, 10, 16)
			if err1 != nil || err2 != nil {
				return r, unreadable("write codes from 100 to 599")
			}
			return StatusRange{int(from), int(to)}, nil
		},
		bounds: func(r StatusRange) *Fault {
			switch {
			case min(r.From, r.To) < 100 || max(r.From, r.To) > 599: // RFC 9110 section 15
				return unreadable("write codes from 100 to 599")
			case r.To < r.From:
				return faultf(fmt.Sprintf("write \"%d-%d\"", r.To, r.From), "the range %s ends before it begins", r)
			}
			return nil
		},
	}
}

const maxStepBytes = 1024

// payload is the bytes of a step: a text, or "hex:" and bytes in hexadecimal.
func payload(dst *[]byte) value {
	return scalar[[]byte]{
		dst: dst, as: asString, what: `a string or "hex:..."`, typ: anyText,
		show: func(data []byte) string { return strconv.Quote(string(data)) },
		parse: func(text string) ([]byte, *Fault) {
			if digits, isHex := strings.CutPrefix(text, "hex:"); isHex {
				data, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
				if err != nil {
					return nil, faultf(`write two digits for each byte, as in "hex:0d 0a"`, "%s is not hexadecimal", quote(text))
				}
				return data, nil
			}
			if strings.Contains(text, `\r`) || strings.Contains(text, `\n`) {
				// YAML knows escapes only inside of double quotes.
				return nil, faultf(`put it in double quotes, as in "PING\r\n", or write it as "hex:..."`,
					"%s contains a backslash and a letter, not a line break", quote(text))
			}
			return []byte(text), nil
		},
		bounds: func(data []byte) *Fault {
			switch {
			case len(data) == 0:
				return faultf(`write a string or "hex:..."`, "the string is empty")
			case len(data) > maxStepBytes:
				return faultf("split it into several steps", "more than %d bytes in one step", maxStepBytes)
			}
			return nil
		},
	}
}
