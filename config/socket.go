package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Socket says which processes may connect to a listener's unix sockets: connect(2) needs write
// permission on the socket's file.
type Socket struct {
	// Mode is the permissions of the file; 0 is 0777 minus the umask.
	Mode uint32
	Owner
}

// Owner is a user and a group, by name or number; "" is that of the process.
type Owner struct{ User, Group string }

// mode is the permissions of a file, in octal.
func mode(dst *uint32) value {
	const what = `permissions in octal such as "0660"`
	return modeValue{scalar[uint32]{
		dst: dst, as: asString | asNumber, what: what,
		show: func(v uint32) string { return fmt.Sprintf("%04o", v) },
		typ: func() schema {
			return anyOf(textLike(`^(0o)?0*[0-7]{1,3}$`)(), schema{"type": "integer", "minimum": 0})
		},
		parse: func(text string) (uint32, *Fault) {
			v, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
			if err != nil || strings.ContainsAny(text, "_+") {
				return 0, unreadable(`write three digits from 0 to 7, as in "0660"`)
			}
			return uint32(v), nil
		},
		bounds: func(v uint32) *Fault {
			switch {
			case v > 0o777:
				return faultf(`write at most "0777"`, "a socket has permissions up to 0777, got %04o", v)
			case v&0o222 == 0:
				return faultf(`write a mode such as "0660"`, "no client could connect with the mode %04o: connecting requires write permission", v)
			}
			return nil
		},
	}}
}

type modeValue struct{ scalar[uint32] }

func (v modeValue) decode(d *decoder, n *node, p *path) {
	if n.kind == kindNumber && !strings.HasPrefix(n.text, "0") {
		d.faultf(n, p, `write it in octal and in quotes, as in "0660"`, "the mode %s is ambiguous, decimal or octal", shorten(n.text))
		return
	}
	v.scalar.decode(d, n, p)
}

// owner is "user", "user:group" or ":group", by name or number. Whether they exist is checked at
// startup.
func owner(dst *Owner) value {
	return scalar[Owner]{
		dst: dst, as: asString | asNumber, what: `"user", "user:group" or ":group"`,
		show: func(o Owner) string { return strings.TrimSuffix(o.User+":"+o.Group, ":") },
		typ:  func() schema { return anyOf(anyText(), schema{"type": "integer", "minimum": 0}) },
		parse: func(text string) (Owner, *Fault) {
			user, group, both := strings.Cut(text, ":")
			if strings.ContainsAny(text, " \t\n/") || strings.Contains(group, ":") || text == "" || both && group == "" {
				return Owner{}, unreadable(`write names or numbers, as in "www-data" or "www-data:adm"`)
			}
			return Owner{user, group}, nil
		},
	}
}
