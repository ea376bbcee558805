package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Socket says which processes may connect to a listener's unix sockets:
// connect(2) needs write permission on the socket's file.
type Socket struct {
	// Mode is the permissions of the file; 0 means 0777 minus the umask.
	Mode uint32
	// User and Group are names or numbers; "" means those of the process.
	User, Group string
}

// socket decodes the keys for unix sockets of the listener at n.
func (d *decoder) socket(n *node, f fields, l *Listener) {
	if mode := f["mode"]; mode != nil {
		d.mode(mode, &l.Socket.Mode)
	}
	if owner := f["owner"]; owner != nil {
		d.owner(owner, &l.Socket)
	}
	unix := firstUnix(l.Binds)
	if unix == nil && len(l.Binds) > 0 {
		for _, key := range []string{"mode", "owner"} {
			if f[key] != nil {
				d.faultf(n.find(key), "remove it, or write bind: unix:/path", "%s requires a unix socket in bind", key)
			}
		}
	}
	if unix == nil || l.ACL == nil {
		return
	}
	at := unix.Pos
	switch {
	case l.ACL.DefaultAllow() && onlyUnix(l.Binds) && l.ACL.deniesAll():
		d.warn(Problem{File: at.File, Line: at.Line, Col: at.Col,
			Msg: fmt.Sprintf("the acl admits every client of %s: clients of a unix socket have no address that a rule could match, and a list without an allow rule allows by default", unix),
			Fix: "limit access with mode and owner, and remove the acl"})
	case !l.ACL.DefaultAllow():
		d.warn(Problem{File: at.File, Line: at.Line, Col: at.Col,
			Msg: fmt.Sprintf("the acl denies every client of %s: clients of a unix socket have no address that a rule could match, and a list with an allow rule denies by default", unix),
			Fix: "move the socket to a listener of its own, without acl"})
	}
}

// deniesAll reports whether the deny rules match all clients that have an address.
func (a *ACL) deniesAll() bool {
	has := func(p netip.Prefix) bool {
		return slices.ContainsFunc(a.Rules, func(r Rule) bool { return !r.Allow && slices.Contains(r.Prefixes, p) })
	}
	return has(all4) && has(all6)
}

func onlyUnix(binds []Bind) bool {
	return !slices.ContainsFunc(binds, func(b Bind) bool { return b.Network != "unix" })
}

func firstUnix(binds []Bind) *Bind {
	for i := range binds {
		if binds[i].Network == "unix" {
			return &binds[i]
		}
	}
	return nil
}

// mode sets dst to the permissions of a file, in octal.
func (d *decoder) mode(n *node, dst *uint32) {
	const what = `permissions in octal such as "0660"`
	if n.kind != kindNumber && n.kind != kindString {
		d.expected(n, what, "")
		return
	}
	text, _, ok := d.scalar(n)
	if !ok {
		return
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	switch {
	case n.kind == kindNumber && !strings.HasPrefix(text, "0"):
		d.faultf(n, `write it in octal and in quotes, as in "0660"`, "the mode %s is ambiguous, decimal or octal", text)
	case err != nil || strings.ContainsAny(text, "_+"):
		d.faultf(n, `write three digits from 0 to 7, as in "0660"`, "expected %s, got %s", what, got(n, text))
	case v > 0o777:
		d.faultf(n, `write at most "0777"`, "a socket has permissions up to 0777, got %s", got(n, text))
	case v&0o222 == 0:
		d.faultf(n, `write a mode such as "0660"`, "no client could connect with the mode %s: connecting needs write permission", got(n, text))
	default:
		*dst = uint32(v)
	}
}

// owner sets the user and the group from "user", "user:group" or ":group".
// Whether they exist is checked at startup.
func (d *decoder) owner(n *node, s *Socket) {
	const what = `"user", "user:group" or ":group"`
	if n.kind == kindNumber {
		n = &node{kind: kindString, line: n.line, col: n.col, text: n.text} // a user by number
	}
	text, ok := d.text(n, what)
	if !ok {
		return
	}
	user, group, both := strings.Cut(text, ":")
	if strings.ContainsAny(text, " \t\n/") || strings.Contains(group, ":") || user == "" && group == "" || both && group == "" {
		fix := `write names or numbers, as in "www-data" or "www-data:adm"`
		if user != "" && group == "" && both {
			fix = "write " + quote(user) + ", or a group after the colon"
		}
		d.faultf(n, fix, "expected %s, got %s", what, quote(text))
		return
	}
	s.User, s.Group = user, group
}
