package proxy_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestSocketAccess: unix sockets get their permissions and owner, whatever the umask is.
func TestSocketAccess(t *testing.T) {
	const other = 65534 // another user than this process's
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		for name, tt := range map[string]struct {
			umask       int
			access      *proxy.Access
			mode        os.FileMode
			user, group uint32
		}{
			"neither":     {0o027, nil, 0o750, uint32(os.Geteuid()), uint32(os.Getegid())},
			"wider":       {0o077, &proxy.Access{Mode: 0o666, User: -1, Group: -1}, 0o666, uint32(os.Geteuid()), uint32(os.Getegid())},
			"narrower":    {0, &proxy.Access{Mode: 0o600, User: -1, Group: -1}, 0o600, uint32(os.Geteuid()), uint32(os.Getegid())},
			"other group": {0o077, &proxy.Access{Mode: 0o660, User: -1, Group: other}, 0o660, uint32(os.Geteuid()), other},
			"other user":  {0o022, &proxy.Access{User: other, Group: -1}, 0o755, other, uint32(os.Getegid())},
		} {
			t.Run(name, func(t *testing.T) {
				if os.Geteuid() != 0 && (tt.user == other || tt.group == other) {
					t.Skip("needs root")
				}
				path := filepath.Join(t.TempDir(), "front")
				defer unix.Umask(unix.Umask(tt.umask))
				start(t, engine, addresses(b), func(s *setup) {
					s.listener.Binds[0] = proxy.Bind{Network: "unix", Address: path}
					s.listener.Access = tt.access
				})
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
				mustAsk(t, testnet.Dial(t, "unix", path), "hello")
			})
		}
	})
}

// TestSocketOwnerNotAllowed: an ordinary user cannot set another owner. Startup fails, and leaves no file.
func TestSocketOwnerNotAllowed(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		if os.Geteuid() == 0 {
			t.Skip("needs an ordinary user; as root, TestFaultSocketOwner runs one")
		}
		path := filepath.Join(t.TempDir(), "front")
		_, err := listen(t, engine, []string{"127.0.0.1:1"}, func(s *setup) {
			s.listener.Binds[0] = proxy.Bind{Network: "unix", Address: path}
			s.listener.Access = &proxy.Access{User: 0, Group: -1}
		})
		if err == nil || !strings.Contains(err.Error(), "cannot change the owner of the socket: operation not permitted: only root") {
			t.Errorf("error %v", err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
}
