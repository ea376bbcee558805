package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// healthHTTP decodes the keys of a request and of its answer.
func (d *decoder) healthHTTP(f fields, h *Health) {
	if n := f["method"]; n != nil {
		if text, ok := d.text(n, "a method"); ok {
			h.Method = text
			d.method(n, text)
		}
	}
	if n := f["path"]; n != nil {
		if text, ok := d.text(n, "a path"); ok {
			h.Path = text
			if f := checkPath(text); f != nil {
				d.fault(n, f)
			}
		}
	}
	if n := f["host"]; n != nil {
		if text, ok := d.text(n, "a host"); ok {
			h.Host = text
			if f := checkHTTPHost(text); f != nil {
				d.fault(n, f)
			}
		}
	}
	if n := f["status"]; n != nil {
		h.Status = d.statuses(n)
	}
	if n := f["body"]; n != nil {
		if text, ok := d.text(n, "a text"); ok {
			h.Body = text
			switch {
			case text == "":
				d.faultf(n, "write what the answer must contain, or remove it", "the body is empty, which every answer contains")
			case len(text) > maxBody:
				d.faultf(n, "write a shorter one", "the body is longer than %d bytes", maxBody)
			case h.Method == "HEAD":
				d.faultf(n, "remove it, or write method: GET", "an answer to HEAD has no body")
			}
		}
	}
}

// method checks a method. They are case-sensitive (RFC 9110 section 9.1).
func (d *decoder) method(n *node, text string) {
	upper := strings.ToUpper(text)
	switch {
	case text == "" || len(text) > maxMethodLen || strings.Trim(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "":
		d.faultf(n, "write one such as GET or HEAD", "%s is not a method", quote(text))
	case text != upper:
		d.faultf(n, "write "+upper, "methods are in upper case: %s", quote(text))
	case text == "CONNECT":
		d.faultf(n, "write one such as GET or HEAD", "CONNECT asks for a tunnel, not for a path")
	}
}

// checkPath checks the target of a request.
func checkPath(path string) *fault {
	if scheme, rest, ok := strings.Cut(path, "://"); ok && (scheme == "http" || scheme == "https") {
		_, after, _ := strings.Cut(rest, "/")
		return faultf("write "+quote("/"+after)+", and the rest as host, port and tls", "%s is not a path", quote(path))
	}
	switch {
	case !strings.HasPrefix(path, "/"):
		return faultf("write "+quote("/"+path), "the path %s does not begin with /", quote(path))
	case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return faultf("write such characters as in %20", "the path %s holds a space, or a character outside of ASCII", quote(path))
	case strings.Contains(path, "#"):
		return faultf("remove the part from # on", "the path %s holds a #, and what follows is never sent", quote(path))
	case len(path) > maxPathLen:
		return faultf("write a shorter one", "the path is longer than %d bytes", maxPathLen)
	}
	if _, err := url.ParseRequestURI(path); err != nil {
		return faultf("write % itself as %25", "the path %s holds a %% that two hexadecimal digits do not follow", quote(path))
	}
	return nil
}

// checkHTTPHost checks a Host: a name or an IP address, perhaps with a port.
func checkHTTPHost(text string) *fault {
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil && (ip.Is4() || "["+ip.String()+"]" == text) {
		return nil
	}
	if !strings.Contains(text, ":") {
		if host, f := parseHost(text, ""); host == "" || f != nil {
			return faultf("write one such as www.example.com", "%s is not a host", quote(text))
		}
		return nil
	}
	host, port, f := splitHostPort(text, "localhost:")
	if f != nil {
		return f
	}
	if _, ok := parsePort(port); !ok || host == "" {
		return faultf("write one such as www.example.com or www.example.com:8080", "%s is not a host", quote(text))
	}
	return nil
}

// statuses decodes the status codes that pass: one, or a list of them.
func (d *decoder) statuses(n *node) []StatusRange {
	items := []*node{n}
	if n.kind == kindList {
		items = n.items
		if len(items) == 0 {
			d.faultf(n, "write [200]", "there is no status")
		}
	}
	ranges := make([]StatusRange, 0, len(items))
	for _, item := range items {
		if r, ok := d.statusRange(item); ok {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

func (d *decoder) statusRange(n *node) (r StatusRange, ok bool) {
	const what = `a status such as 200 or "200-399"`
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return r, false
	}
	text, _, ok := d.scalar(n)
	if !ok {
		return r, false
	}
	low, high, isRange := strings.Cut(text, "-")
	from, ok1 := parseStatus(low)
	to, ok2 := from, true
	if isRange {
		to, ok2 = parseStatus(high)
	}
	switch {
	case !ok1 || !ok2:
		d.faultf(n, statusFix(text), "expected %s, got %s", what, got(n, text))
		return r, false
	case to < from:
		d.faultf(n, fmt.Sprintf("write \"%d-%d\"", to, from), "the range %s ends before it begins", got(n, text))
		return r, false
	}
	return StatusRange{from, to}, true
}

func parseStatus(s string) (int, bool) {
	v, err := strconv.Atoi(s)
	return v, err == nil && len(s) == 3 && minStatus <= v && v <= maxStatus
}

// statusFix proposes what was meant by a class of codes such as "2xx".
func statusFix(text string) string {
	class, isClass := strings.CutSuffix(strings.ToLower(text), "xx")
	if isClass && len(class) == 1 && "1" <= class && class <= "5" {
		return fmt.Sprintf("write \"%s00-%s99\"", class, class)
	}
	return fmt.Sprintf("write codes from %d to %d", minStatus, maxStatus)
}
