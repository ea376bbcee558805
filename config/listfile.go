package config

import (
	"bytes"
	"net/netip"
	"unicode/utf8"
)

// read parses data and reports every bad line, up to maxProblems of them.
func (l *List) read(data []byte, report func(line, col int, f *fault)) {
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
			f = faultf("write one per line", "more than one entry on a line: %s", quote(string(entry)))
		}
		if before, after, ok := bytes.Cut(entry, []byte(";")); ok && isPrefix(before) && !isPrefix(bytes.TrimSpace(after)) {
			f = faultf("put a blank before ; to begin a comment", "%s is not an IP address or a CIDR prefix", quote(string(entry)))
		}
		if bad++; bad > maxProblems {
			report(number, 1, faultf("is it a list of addresses?", "more than %d bad lines; the rest was not read", maxProblems))
			return
		}
		indent := text[:bytes.Index(text, entry)]
		report(number, 1+utf8.RuneCount(indent), f)
	}
}

func isPrefix(text []byte) bool {
	_, f := parsePrefix(string(text))
	return f == nil
}

// comment returns where the comment of a line begins: at a "#", or at a ";"
// after a blank, as in "192.0.2.0/24 ; SBL1234". A ";" right after an entry may
// be meant as a separator, so it starts no comment.
func comment(line []byte) int {
	for i, c := range line {
		if c == '#' || c == ';' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return i
		}
	}
	return len(line)
}
