package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// prefixes decodes a list of addresses, or a single one; files says whether it may hold "file:PATH"
// entries.
func (d *decoder) prefixes(n *node, p *path, files bool) (prefixes []netip.Prefix, lists []*List) {
	const what = "an IP address or a CIDR prefix"
	items := n.items
	switch {
	case n.kind == kindList:
	case n.kind == kindString && files, files && isGeo(n):
		items = []*node{n}
	default:
		fix := "write it as a list, in [ ]"
		if n.kind == kindNull {
			fix = ""
		}
		d.expected(n, p, "a list of IP addresses or CIDR prefixes", fix)
		return nil, nil
	}
	prefixes = make([]netip.Prefix, 0, len(items))
	for i, item := range items {
		p := p.item(i)
		fix := ""
		if files && isGeo(item) {
			d.decodeGeo(item, p)
			continue
		}
		if item.kind == kindMap { // what YAML makes of [2001:db8::7]
			fix = "put IPv6 addresses in quotes"
		}
		if item.kind != kindString {
			d.expected(item, p, what, fix)
			continue
		}
		text, _, ok := d.scalar(item, p)
		if !ok {
			continue
		}
		if name, isFile := strings.CutPrefix(text, "file:"); isFile && files {
			if l := d.list(item, p, name); l != nil {
				lists = append(lists, l)
			}
			continue
		}
		prefix, f := parsePrefix(text)
		if f != nil {
			d.fault(item, p, f)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, lists
}

// list returns the addresses of a file, relative to the configuration file, reading it once however
// often it is named.
func (d *decoder) list(n *node, p *path, name string) *List {
	if name == "" {
		d.faultf(n, p, `write "file:trusted.txt"`, "file: is not followed by a path")
		return nil
	}
	name = d.beside(name)
	if l, ok := d.lists[name]; ok {
		return l
	}
	l := &List{Name: name}
	d.lists[name] = l
	data, err := d.readList(name)
	d.noteFile(name, data, err)
	if err != nil {
		fix := "check the path: it is relative to the configuration file"
		switch {
		case errors.Is(err, errNotRegular):
			fix = "name a text file with one address per line"
		case errors.Is(err, errTooLarge):
			fix = "split it into several files"
		case errors.Is(err, fs.ErrPermission):
			fix = "let the user of the proxy read it"
		}
		d.faultf(n, p, fix, "cannot read the list %s: %s", quote(name), reason(err))
		return nil
	}
	l.read(data, func(line, col int, f *Fault) {
		d.addProblem(Problem{Position{File: name, Line: line, Col: col}, *f})
	})
	return l
}

// read parses data and reports every bad line, up to maxProblems of them.
func (l *List) read(data []byte, report func(line, col int, f *Fault)) {
	data = bytes.TrimPrefix(data, utf8BOM)
	const shortest = len("1.2.3.4\n")
	l.Prefixes = make([]netip.Prefix, 0, min(bytes.Count(data, []byte("\n")), len(data)/shortest)+1)
	bad := 0
	for number := 1; len(data) > 0; number++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		text := line[:comment(line)]
		entry := bytes.TrimSpace(text)
		if len(entry) == 0 {
			continue
		}
		p, f := parsePrefix(string(entry))
		if f == nil {
			l.Prefixes = append(l.Prefixes, p)
			continue
		}
		if bytes.ContainsAny(entry, " \t,;") {
			f = faultf("write one per line, and put a blank before ; to begin a comment", "more than one entry on a line: %s", quote(string(entry)))
		}
		if bad++; bad > maxProblems {
			report(number, 1, faultf("is it a list of addresses?", "more than %d bad lines; the rest was not read", maxProblems))
			return
		}
		indent := text[:bytes.Index(text, entry)]
		report(number, 1+utf8.RuneCount(indent), f)
	}
}

// comment returns where the comment of a line begins: at a "#", or at a ";" after a blank, as in
// "192.0.2.0/24 ; SBL1234". A ";" right after an entry may be meant as a separator, so it starts no
// comment.
func comment(line []byte) int {
	for i, c := range line {
		if c == '#' || c == ';' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return i
		}
	}
	return len(line)
}

// parsePrefix reads an address or a CIDR prefix. IPv4-mapped IPv6 becomes IPv4, because clients'
// addresses are unmapped before they are looked up.
func parsePrefix(s string) (netip.Prefix, *Fault) {
	if !strings.Contains(s, "/") {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, badPrefix(s)
		}
		if ip.Zone() != "" {
			return netip.Prefix{}, faultf("write it without the part after %", "%s has a zone, but the address of a client does not", quote(s))
		}
		ip = ip.Unmap()
		p := netip.PrefixFrom(ip, ip.BitLen())
		return p, checkPrefix(p, s)
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
	return p.Masked(), checkPrefix(p.Masked(), s)
}

// checkPrefix refuses a prefix, written as s, that can match no client.
func checkPrefix(p netip.Prefix, s string) *Fault {
	switch ip := p.Addr(); {
	case !p.IsValid() || ip.Is4In6() || p != p.Masked():
		return faultf("write the first address of an IPv4 or IPv6 prefix", "%s is not a prefix of the addresses of clients", quote(s))
	case p.IsSingleIP() && ip.IsUnspecified():
		family := "IPv6"
		if ip.Is4() {
			family = "IPv4"
		}
		return faultf("write "+quote(ip.String()+"/0")+" for all "+family+" clients, or the address of one host", "no client has the address %s", s)
	}
	return nil
}

// badPrefix explains an entry that is neither an address nor a prefix.
func badPrefix(s string) *Fault {
	fix := "write 192.168.1.10, 10.0.0.0/8 or 2001:db8::/32"
	_, notHostPort := netip.ParseAddrPort(s)
	host, bits, isPrefix := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(host)
	switch {
	case s == "":
		return faultf("remove it", "an empty address")
	case s == "*" || s == "all" || s == "any":
		fix = "write 0.0.0.0/0 and ::/0 for all clients"
	case notHostPort == nil:
		fix = "write it without the port"
	case strings.HasPrefix(s, "file:"):
		return faultf("name files in an acl of the full form", "%s is not possible here", quote(s))
	case isPrefix && err == nil:
		return faultf(fmt.Sprintf("write a number from 0 to %d", ip.BitLen()), "%s is not the length of a prefix in %s", quote(bits), quote(s))
	}
	return faultf(fix, "%s is not an IP address or a CIDR prefix", quote(s))
}
