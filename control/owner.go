package control

import (
	"fmt"
	"os/user"
	"strconv"
)

func lookUpUser(name string) answer[int] {
	return id("user", name, func() (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

func lookUpGroup(name string) answer[int] {
	return id("group", name, func() (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
}

// id is the number of a user or a group, given by name or by number.
func id(kind, name string, lookup func() (string, error)) answer[int] {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return answer[int]{value: int(n)}
	}
	text, err := lookup()
	if err != nil {
		return answer[int]{-1, fmt.Errorf("owner: unknown %s %q: write an existing one, or a numeric ID", kind, name)}
	}
	n, err := strconv.Atoi(text)
	return answer[int]{n, err}
}
