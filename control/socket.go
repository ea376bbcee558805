package control

import (
	"fmt"
	"os/user"
	"strconv"

	"l4proxy/config"
	"l4proxy/listen"
)

// access looks up the owner of a listener's unix sockets; nil if neither mode nor owner is configured.
func access(s *config.Socket) (*listen.Access, error) {
	if *s == (config.Socket{}) {
		return nil, nil
	}
	a := &listen.Access{Mode: s.Mode, User: -1, Group: -1}
	var err error
	if s.User != "" {
		if a.User, err = id("user", s.User, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		}); err != nil {
			return nil, err
		}
	}
	if s.Group != "" {
		if a.Group, err = id("group", s.Group, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		}); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// id returns the number of a user or a group, given by name or by number.
func id(what, name string, lookup func(name string) (string, error)) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	text, err := lookup(name)
	if err != nil {
		return -1, fmt.Errorf("owner: this machine has no %s %q: write an existing one, or a number", what, name)
	}
	return strconv.Atoi(text)
}
