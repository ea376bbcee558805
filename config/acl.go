package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
)

// acl decodes a listener's list of rules.
func (d *decoder) acl(n *node) *ACL {
	if n.kind != kindList {
		fix := ""
		if n.kind == kindMap {
			fix = "write it as a list, acl: [{allow: [...]}]"
		}
		d.expected(n, "a list of rules", fix)
		return nil
	}
	a := &ACL{Rules: make([]Rule, 0, len(n.items))}
	for i, item := range n.items {
		a.Rules = append(a.Rules, d.rule(item, i))
	}
	d.checkReached(a, n)
	return a
}

func (d *decoder) rule(n *node, index int) Rule {
	r := Rule{Pos: d.position(n)}
	f, ok := d.object(n, n, ruleSection)
	if !ok {
		return r
	}
	allow, deny := f["allow"], f["deny"]
	if (allow == nil) == (deny == nil) {
		d.faultf(n, "write {allow: [...]} or {deny: [...]}", "a rule has either allow or deny")
		return r
	}
	r.Allow = allow != nil
	r.Name = ruleName(r.Allow, index)
	if r.Allow {
		if with := f["with"]; with != nil {
			d.faultf(with, "remove it", "with is for deny rules")
		}
		r.Prefixes, r.Lists = d.prefixes(allow, true)
		if allow.kind == kindList && len(allow.items) == 0 {
			d.faultf(allow, `write {deny: [0.0.0.0/0, "::/0"]} to deny all clients, or remove the rule`, "allow is empty, so the rule can never match")
		}
		return r
	}
	r.With = defaultWith
	d.enum(f["with"], denyActions, &r.With)
	r.Prefixes, r.Lists = d.prefixes(deny, true)
	if deny.kind == kindList && len(deny.items) == 0 {
		d.faultf(deny, "write addresses, or remove the rule", "deny is empty, so the rule can never match")
	}
	return r
}

func ruleName(allow bool, index int) string {
	word := "deny"
	if allow {
		word = "allow"
	}
	return fmt.Sprintf("%s[%d]", word, index)
}

// prefixes decodes a list of addresses; files tells whether it may hold
// "file:PATH" entries (and be a single string).
func (d *decoder) prefixes(n *node, files bool) (prefixes []netip.Prefix, lists []*List) {
	const what = "a list of IP addresses or CIDR prefixes"
	if n.kind != kindList && !files {
		fix := ""
		if n.kind == kindString {
			fix = "write [" + quote(n.text) + "]"
		}
		d.expected(n, what, fix)
		return nil, nil
	}
	items, ok := d.stringList(n, what)
	if !ok {
		return nil, nil
	}
	prefixes = make([]netip.Prefix, 0, len(items))
	for _, item := range items {
		if item.kind == kindMap { // what YAML makes of [2001:db8::7]
			d.expected(item, "an IP address or a CIDR prefix", "put IPv6 addresses in quotes")
			continue
		}
		text, ok := d.str(item, "an IP address or a CIDR prefix")
		if !ok {
			continue
		}
		if name, isFile := strings.CutPrefix(text, "file:"); isFile && files {
			if l := d.list(item, name); l != nil {
				lists = append(lists, l)
			}
			continue
		}
		p, f := parsePrefix(text)
		if f != nil {
			d.fault(item, f)
			continue
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, lists
}

// list returns the addresses of a file, relative to the configuration file,
// reading it once however often it is named.
func (d *decoder) list(n *node, name string) *List {
	if name == "" {
		d.faultf(n, `write "file:trusted.txt"`, "file: names no file")
		return nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(d.file), name)
	}
	name = filepath.Clean(name)
	if l, ok := d.lists[name]; ok {
		return l
	}
	l := &List{Name: name}
	d.lists[name] = l
	data, err := d.readList(name)
	if err != nil {
		fix := "a path is relative to the configuration file"
		switch {
		case errors.Is(err, errNotRegular):
			fix = "name a text file with one address per line"
		case errors.Is(err, errTooLarge):
			fix = "split it into several files"
		case errors.Is(err, fs.ErrPermission):
			fix = "let the user of the proxy read it"
		}
		d.faultf(n, fix, "cannot read the list %s: %s", quote(name), reason(err))
		return nil
	}
	l.read(data, func(line, col int, f *fault) {
		d.add(Problem{File: name, Line: line, Col: col, Msg: f.msg, Fix: f.fix})
	})
	return l
}

// parsePrefix reads an address or a CIDR prefix. IPv4-mapped IPv6 becomes
// IPv4, because clients' addresses are unmapped before they are looked up.
func parsePrefix(s string) (netip.Prefix, *fault) {
	if !strings.Contains(s, "/") {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, badPrefix(s)
		}
		if ip.Zone() != "" {
			return netip.Prefix{}, faultf("write it without the part after %", "%s has a zone, which a client's address has not", quote(s))
		}
		ip = ip.Unmap()
		if ip.IsUnspecified() {
			return netip.Prefix{}, noClient(s, ip)
		}
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, badPrefix(s)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, faultf("write an IPv4 prefix such as 0.0.0.0/0", "%s covers more than the IPv4-mapped addresses", quote(s))
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.IsSingleIP() && p.Addr().IsUnspecified() {
		return netip.Prefix{}, noClient(s, p.Addr())
	}
	return p.Masked(), nil
}

// noClient explains that ip, written as s, is 0.0.0.0 or ::.
func noClient(s string, ip netip.Addr) *fault {
	family := "IPv6"
	if ip.Is4() {
		family = "IPv4"
	}
	return faultf("write "+quote(ip.String()+"/0")+" for all "+family+" clients, or the address of one host", "no client has the address %s", s)
}

// badPrefix explains an entry that is neither an address nor a prefix.
func badPrefix(s string) *fault {
	fix := "write 192.168.1.10, 10.0.0.0/8 or 2001:db8::/32"
	_, hostPortErr := netip.ParseAddrPort(s)
	host, bits, isPrefix := strings.Cut(s, "/")
	ip, hostErr := netip.ParseAddr(host)
	switch {
	case s == "":
		return faultf("remove it", "an empty address")
	case s == "*" || strings.EqualFold(s, "all") || strings.EqualFold(s, "any"):
		fix = "write 0.0.0.0/0 and ::/0 for everyone"
	case strings.HasPrefix(s, "file:"):
		return faultf("name files in an acl of the full form", "%s is not possible here", quote(s))
	case hostPortErr == nil:
		fix = "write it without the port"
	case isPrefix && hostErr == nil:
		return faultf(fmt.Sprintf("write a number from 0 to %d", ip.BitLen()), "%s is not the length of a prefix in %s", quote(bits), quote(s))
	case strings.TrimSpace(s) != s:
		fix = "write it without spaces"
	case strings.Contains(s, "*"):
		fix = "write a prefix such as 10.0.0.0/8"
	case strings.Contains(s, "-"):
		fix = "write the prefixes that make up the range"
	}
	return faultf(fix, "%s is not an IP address or a CIDR prefix", quote(s))
}
