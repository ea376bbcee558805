package listen

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Unix sockets get their permissions and owner, whatever the umask is.
func TestAccess(t *testing.T) {
	const other = 65534 // another user than this process's
	for name, tt := range map[string]struct {
		umask       int
		access      *Access
		mode        os.FileMode
		user, group uint32
	}{
		"neither":     {0o027, nil, 0o750, uint32(os.Geteuid()), uint32(os.Getegid())},
		"wider":       {0o077, &Access{Mode: 0o666, User: -1, Group: -1}, 0o666, uint32(os.Geteuid()), uint32(os.Getegid())},
		"narrower":    {0, &Access{Mode: 0o600, User: -1, Group: -1}, 0o600, uint32(os.Geteuid()), uint32(os.Getegid())},
		"other group": {0o077, &Access{Mode: 0o660, User: -1, Group: other}, 0o660, uint32(os.Geteuid()), other},
		"other user":  {0o022, &Access{User: other, Group: -1}, 0o755, other, uint32(os.Getegid())},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && (tt.user == other || tt.group == other) {
				t.Skip("needs root")
			}
			path := filepath.Join(t.TempDir(), "front")
			defer unix.Umask(unix.Umask(tt.umask))
			open(t, &Opener{Shards: 1}, Bind{Path: path}, tt.access)
			if now := unix.Umask(tt.umask); now != tt.umask {
				t.Errorf("the umask is %03o, want %03o as before", now, tt.umask)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			owner := info.Sys().(*syscall.Stat_t)
			if info.Mode().Perm() != tt.mode || owner.Uid != tt.user || owner.Gid != tt.group {
				t.Errorf("%v %d:%d, want %v %d:%d", info.Mode().Perm(), owner.Uid, owner.Gid, tt.mode, tt.user, tt.group)
			}
			if c, err := net.Dial("unix", path); err != nil {
				t.Error(err)
			} else {
				c.Close()
			}
		})
	}
}

// An ordinary user cannot set another owner. Opening fails, and leaves no file.
func TestOwnerNotAllowed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs an ordinary user; as root, TestFaultSocketOwner runs one")
	}
	path := filepath.Join(t.TempDir(), "front")
	_, err := new(Opener).Open(Bind{Path: path}, &Access{User: 0, Group: -1})
	if err == nil || !strings.Contains(err.Error(), "cannot change the owner of the socket: operation not permitted: only root") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestStaleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "front")
	bind := Bind{Path: path}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if _, err := new(Opener).Open(bind, nil); err == nil {
		t.Error("a socket on which a process listens was replaced")
	}
	l.Close()
	s := open(t, &Opener{Shards: 1}, bind, nil)
	s.Unlink()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Unlink()
	if _, err := new(Opener).Open(bind, nil); err == nil {
		t.Error("a file that is no socket was replaced")
	}
	if got, err := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file holds %q, %v", got, err)
	}
}
