package config

import "strings"

// Confine says how much the process gives up after startup.
type Confine int

// Levels of confinement. The zero value is ConfineAuto, the default.
const (
	// ConfineAuto gives up what costs nothing per system call.
	ConfineAuto Confine = iota
	// ConfineStrict adds a filter of system calls.
	ConfineStrict
	ConfineOff
)

var confines = &words[Confine]{what: "confine", list: []word[Confine]{
	{"auto", ConfineAuto}, {"strict", ConfineStrict}, {"off", ConfineOff},
}, instead: map[string]string{"on": "write auto", "true": "write auto", "false": "write off"}}

func (c Confine) String() string { return confines.text(c) }

// account is the name or the number of a user or a group. Whether it exists is checked at startup.
func account(dst *string, what, example string) value {
	return scalar[string]{
		dst: dst, as: asString | asNumber, what: what,
		show: func(v string) string { return v },
		typ:  func() schema { return anyOf(anyText(), schema{"type": "integer", "minimum": 0}) },
		parse: func(text string) (string, *Fault) {
			if strings.ContainsAny(text, " \t\n/:") || text == "" {
				return "", unreadable("write a name or a number, as in " + quote(example))
			}
			return text, nil
		},
	}
}

// identity checks the user and the group of the process.
func (c *checker) identity() {
	switch {
	case c.c.Group != "" && c.c.User == "" && c.clear(nil, "user"):
		c.faultf(newPath("group"), "add user: NAME, or remove group", "group requires user")
	case c.c.User == "root" || c.c.User == "0":
		c.faultf(newPath("user"), "name another user, or remove the key", "user %s would give up nothing", c.c.User)
	}
}
