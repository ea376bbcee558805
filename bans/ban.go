package bans

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
	"unique"

	"l4proxy/acl"
)

const (
	// Max is the most bans that a Store holds: about 450 MB.
	Max = 2_000_000
	// MaxReason and MaxSource bound the texts of a ban, in bytes.
	MaxReason = 256
	MaxSource = 32
	// Longest is the longest time to live. A ban without one lasts until it is removed.
	Longest = 10 * 365 * 24 * time.Hour
	// never is the expiry of a ban without a time to live.
	never = math.MaxInt64
)

// A Ban is one banned prefix. It never changes, except for its position in the heap, which belongs
// to the Store.
type Ban struct {
	prefix netip.Prefix
	reason unique.Handle[string] // feeds use few different ones
	source unique.Handle[string]
	made   int64 // on the clock of the loops
	until  int64 // the same; never
	heap   int32 // position among those that expire; -1 if it is not there
	action acl.Action
	own    bool // action is its own, not the default
}

// Prefix is masked; an IPv4-mapped one is IPv4.
func (b *Ban) Prefix() netip.Prefix { return b.prefix }

// Reason is what the operator or the feed has given; it may be "".
func (b *Ban) Reason() string { return b.reason.Value() }

// Source is who keeps the ban, such as the name of a feed; "" for an operator.
func (b *Ban) Source() string { return b.source.Value() }

// Action is what the banned client sees; own is false if that is the default.
func (b *Ban) Action() (a acl.Action, own bool) { return b.action, b.own }

// Left is how long the ban lasts from now on, a time of the loops' clock; 0 means without an end.
func (b *Ban) Left(now int64) time.Duration {
	if b.until == never {
		return 0
	}
	return max(time.Duration(b.until-now), 1)
}

// Age is how long ago it was set.
func (b *Ban) Age(now int64) time.Duration { return max(time.Duration(now-b.made), 0) }

func (b *Ban) expired(now int64) bool { return b.until <= now }

// Entry asks for a ban.
type Entry struct {
	// Prefix may have host bits, and may be IPv4-mapped.
	Prefix netip.Prefix
	// For is how long the ban lasts; 0 means until it is removed.
	For time.Duration
	// Reason is one line of text for people.
	Reason string
	// Source is who keeps the ban. A ban of another source is not shortened, and not removed by
	// Remove with a source.
	Source string
	// Action is what the client sees; nil means the default.
	Action *acl.Action
}

// Canonical masks a prefix and turns an IPv4-mapped one into IPv4, as addresses are looked up.
func Canonical(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// Check reports what is wrong with an entry.
func (e *Entry) Check() error {
	switch p := Canonical(e.Prefix); {
	case !p.IsValid():
		return errors.New("no valid prefix")
	case e.Prefix.Addr().Is4In6() && e.Prefix.Bits() < 96:
		return fmt.Errorf("%s covers more than the IPv4-mapped addresses: write an IPv4 prefix", e.Prefix)
	case p.IsSingleIP() && p.Addr().IsUnspecified():
		return fmt.Errorf("no client has the address %s: write %s/0 for all clients", p.Addr(), p.Addr())
	case e.For < 0 || e.For > 0 && e.For < time.Millisecond:
		return fmt.Errorf("%s is no time to live: write a duration of 1ms or more", e.For)
	case e.For > Longest:
		return fmt.Errorf("%s is longer than ten years: leave the duration out for a ban without an end", e.For)
	}
	if err := CheckText("reason", e.Reason, MaxReason); err != nil {
		return err
	}
	return CheckText("source", e.Source, MaxSource)
}

// CheckText reports what is wrong with a text of a ban.
func CheckText(name, text string, most int) error {
	switch {
	case len(text) > most:
		return fmt.Errorf("the %s is longer than %d bytes", name, most)
	case !utf8.ValidString(text):
		return fmt.Errorf("the %s is not UTF-8", name)
	case strings.ContainsFunc(text, unprintable):
		return fmt.Errorf("the %s has a control character: write one line of text", name)
	}
	return nil
}

func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

// CleanText makes a text from elsewhere fit for a ban.
func CleanText(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	for len(text) > most {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return strings.TrimSpace(text)
}

// ban is the ban for a checked entry.
func (e *Entry) ban(now int64) *Ban {
	b := &Ban{
		prefix: Canonical(e.Prefix), reason: unique.Make(e.Reason), source: unique.Make(e.Source),
		made: now, until: never, heap: -1,
	}
	if e.For > 0 {
		b.until = now + int64(e.For)
	}
	if e.Action != nil {
		b.action, b.own = *e.Action, true
	}
	return b
}
