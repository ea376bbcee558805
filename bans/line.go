package bans

import (
	"bytes"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
	"time"
	"unique"

	"l4proxy/acl"
)

// The file has one line per change, which people can read too:
//
//	l4proxy bans 1
//	8c736521 + 203.0.113.0/24 1767225600000 1767222000000 reset - "too many logins"
//	01f5e9c2 - 203.0.113.0/24
//
// A line begins with the CRC-32 of what follows the blank after it, in hexadecimal. "+" sets a ban:
// its prefix, its end and when it was set (milliseconds since 1970 of the wall clock; the end is 0
// without one), its action ("default" without one of its own), its source ("-" without one) and
// its reason. "-" removes one. A later line about a prefix replaces an earlier one. A damaged
// line is skipped; all others count.
const header = "l4proxy bans 1\n"

// maxLine bounds a line, in bytes. A quoted reason is at most four times as long as the reason.
const maxLine = 256 + 4*MaxReason

const (
	noSource      = "-"
	defaultAction = "default"
)

// addLine appends the line that sets a ban, with its times on the wall clock as it is now.
func (s *Store) addLine(out []byte, b *Ban) []byte {
	now, wall := s.now(), s.wall().UnixMilli()
	return appendAdd(out, b, now, wall)
}

func appendAdd(out []byte, b *Ban, now, wall int64) []byte {
	start, out := begin(out, '+')
	out = b.prefix.AppendTo(out)
	until := int64(0)
	if b.until != never {
		until = wall + (b.until-now)/1e6
	}
	out = strconv.AppendInt(append(out, ' '), until, 10)
	out = strconv.AppendInt(append(out, ' '), wall-(now-b.made)/1e6, 10)
	action := defaultAction
	if b.own {
		action = b.action.String()
	}
	out = append(append(out, ' '), action...)
	source := b.Source()
	if source == "" {
		source = noSource
	}
	out = strconv.AppendQuote(append(append(append(out, ' '), source...), ' '), b.Reason())
	return end(out, start)
}

func (s *Store) removeLine(out []byte, p netip.Prefix) []byte {
	start, out := begin(out, '-')
	return end(p.AppendTo(out), start)
}

// begin leaves room for the checksum.
func begin(out []byte, op byte) (start int, _ []byte) {
	return len(out), append(out, '0', '0', '0', '0', '0', '0', '0', '0', ' ', op, ' ')
}

func end(out []byte, start int) []byte {
	const digits = "0123456789abcdef"
	sum := crc32.ChecksumIEEE(out[start+9:])
	for i := range 8 {
		out[start+i] = digits[sum>>(28-4*i)&15]
	}
	return append(out, '\n')
}

var (
	errDamaged = errors.New("a damaged line")
	errUnknown = errors.New("a line of another version")
)

// parseLine reads a line without its line end. For "-", until is not set and ban has only a prefix.
// A ban whose time was over before now is nil.
func parseLine(line []byte, now, wall int64) (p netip.Prefix, b *Ban, err error) {
	if len(line) < 12 || len(line) > maxLine || line[8] != ' ' || line[10] != ' ' {
		return p, nil, errDamaged
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(line[9:]) {
		return p, nil, errDamaged
	}
	op, rest := line[9], line[11:]
	next := func() string {
		word, after, _ := bytes.Cut(rest, []byte(" "))
		rest = after
		return string(word)
	}
	p, err = netip.ParsePrefix(next())
	if err != nil || p != Canonical(p) {
		return p, nil, errUnknown
	}
	switch op {
	case '-':
		return p, nil, nil
	case '+':
	default:
		return p, nil, errUnknown
	}
	until, err1 := strconv.ParseInt(next(), 10, 64)
	made, err2 := strconv.ParseInt(next(), 10, 64)
	action, source := next(), next()
	reason, err3 := strconv.Unquote(string(rest))
	if err := errors.Join(err1, err2, err3); err != nil {
		return p, nil, errUnknown
	}
	if source == noSource {
		source = ""
	}
	entry := Entry{Prefix: p, Reason: reason, Source: source}
	if action != defaultAction {
		a, ok := ParseAction(action)
		if !ok {
			a = acl.Reset // of a newer version: banned nevertheless
		}
		entry.Action = &a
	}
	if entry.Check() != nil {
		return p, nil, errUnknown
	}
	return p, entry.restored(until, made, now, wall), nil
}

// restored is the ban of an entry with times of the wall clock; nil if its time is over. If the
// wall clock was set back since, the ban does not last longer than it was made for.
func (e *Entry) restored(until, made, now, wall int64) *Ban {
	const most = int64(Longest / time.Millisecond)
	b := &Ban{
		prefix: e.Prefix, reason: unique.Make(e.Reason), source: unique.Make(e.Source), until: never, heap: -1,
	}
	age := min(max(wall-made, 0), 10*most)
	b.made = now - age*1e6
	if e.Action != nil {
		b.action, b.own = *e.Action, true
	}
	if until != 0 {
		left := min(until-wall, until-made, most)
		if until < made || left <= 0 {
			return nil
		}
		b.until = now + left*1e6
	}
	return b
}

// ParseAction returns the action for a word of the configuration.
func ParseAction(word string) (a acl.Action, ok bool) {
	for a = 0; a.String() != acl.Action(255).String(); a++ {
		if a.String() == word {
			return a, true
		}
	}
	return 0, false
}
