package control

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

	"l4proxy/config"
)

// Identity is the user that the process runs as once it is started.
type Identity struct {
	Name     string // as configured
	UID, GID int
	// Groups are the supplementary groups, without GID.
	Groups []int
	// Current says that the process is this user already.
	Current bool
}

// lookUpIdentity looks up the user of a configuration and its groups. A number need not be in the
// user database if group says the rest.
func lookUpIdentity(name, group string) answer[*Identity] {
	if name == "" {
		return answer[*Identity]{}
	}
	fail := func(format string, args ...any) answer[*Identity] {
		return answer[*Identity]{err: fmt.Errorf(format, args...)}
	}
	id := &Identity{Name: name, GID: -1}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err == nil {
		id.UID, _ = strconv.Atoi(u.Uid)
		id.GID, _ = strconv.Atoi(u.Gid)
	} else if n, notNumber := strconv.ParseUint(name, 10, 31); notNumber == nil {
		id.UID = int(n)
	} else {
		return fail("user: unknown user %q: write an existing one, or a numeric ID with group", name)
	}
	if group != "" {
		known := lookUpGroup(group)
		if known.err != nil {
			return fail("group: unknown group %q: write an existing one, or a numeric ID", group)
		}
		id.GID = known.value
	}
	switch {
	case id.UID == 0:
		return fail("user: %s is root, so nothing would be given up: name another user, or remove the key", name)
	case id.GID < 0:
		return fail("user: the system does not know the group of user %s: write group too", name)
	}
	if u != nil {
		// With a directory service that does not answer, the group of the user is all there is.
		listed, _ := u.GroupIds()
		for _, text := range listed {
			if gid, err := strconv.Atoi(text); err == nil && gid != id.GID {
				id.Groups = append(id.Groups, gid)
			}
		}
	}
	id.Current = os.Geteuid() == id.UID && os.Getegid() == id.GID
	return answer[*Identity]{value: id}
}

// LookUpIdentity looks up the user of a configuration; nil if none is configured.
func LookUpIdentity(cfg *config.Config) (*Identity, error) {
	known := lookUpIdentity(cfg.User, cfg.Group)
	return known.value, known.err
}

// buildIdentity returns the user to run as.
func buildIdentity(cfg *config.Config, facts *Facts) (*Identity, error) {
	known := facts.identity
	if known.err != nil {
		return nil, at(cfg.Where(config.Path("user")), known.err)
	}
	return known.value, nil
}
