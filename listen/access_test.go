package listen

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The permissions of an open socket change, and undo restores them.
func TestSetAccess(t *testing.T) {
	const other = 65534 // another user than this process's
	defer unix.Umask(unix.Umask(0o022))
	mode := func(m uint32) *Access { return &Access{Mode: m, User: -1, Group: -1} }
	for name, tt := range map[string]struct {
		from, to    *Access
		mode        os.FileMode
		user, group int
	}{
		"narrower":          {nil, mode(0o600), 0o600, os.Geteuid(), os.Getegid()},
		"wider":             {mode(0o600), mode(0o666), 0o666, os.Geteuid(), os.Getegid()},
		"as the umask says": {mode(0o600), nil, 0o755, os.Geteuid(), os.Getegid()},
		"other group":       {mode(0o660), &Access{Mode: 0o660, User: -1, Group: other}, 0o660, os.Geteuid(), other},
		"other user":        {nil, &Access{User: other, Group: -1}, 0o755, other, os.Getegid()},
		"own user again":    {&Access{User: other, Group: other}, nil, 0o755, os.Geteuid(), os.Getegid()},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && (tt.user == other || tt.group == other) {
				t.Skip("needs root")
			}
			path := filepath.Join(t.TempDir(), "front")
			s := open(t, &Opener{Shards: 1}, Bind{Path: path}, tt.from)
			is := func() (os.FileMode, int, int) {
				info, err := os.Lstat(path)
				if err != nil {
					t.Fatal(err)
				}
				owner := info.Sys().(*syscall.Stat_t)
				return info.Mode().Perm(), int(owner.Uid), int(owner.Gid)
			}
			wasMode, wasUser, wasGroup := is()
			undo, err := s.SetAccess(tt.from, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			if m, u, g := is(); m != tt.mode || u != tt.user || g != tt.group {
				t.Errorf("%v %d:%d, want %v %d:%d", m, u, g, tt.mode, tt.user, tt.group)
			}
			undo()
			if m, u, g := is(); m != wasMode || u != wasUser || g != wasGroup {
				t.Errorf("after undo %v %d:%d, want %v %d:%d", m, u, g, wasMode, wasUser, wasGroup)
			}
		})
	}
}

// A file that another process has put in the socket's place is not touched.
func TestSetAccessOfAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "front")
	s := open(t, &Opener{Shards: 1}, Bind{Path: path}, nil)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := s.SetAccess(nil, &Access{Mode: 0o666, User: -1, Group: -1})
	if err == nil || !strings.Contains(err.Error(), "another process has replaced the file") {
		t.Errorf("error = %v", err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode = %v, %v", info.Mode(), err)
	}
}

// A process may open an address that overlaps one of its own.
func TestOpenBesideOwn(t *testing.T) {
	first := open(t, &Opener{Shards: 1}, tcp("0.0.0.0:0"), nil)
	beside := tcp("127.0.0.1:0")
	beside.Addr = netip.AddrPortFrom(beside.Addr.Addr(), first.Bind.Addr.Port())
	if s, err := (&Opener{Shards: 1}).Open(beside, nil); err == nil {
		s.Close()
		t.Error("another process could have opened it too")
	}
	open(t, &Opener{Shards: 2, Own: []Bind{first.Bind}}, beside, nil)
}
