package listen

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/sockopt"
	"l4proxy/internal/testnet"
)

// someOptions need no capability.
var someOptions = Options{
	Interface: "lo", Backlog: 3,
	TCP: sockopt.TCP{Congestion: "reno", NotSentLowat: 4096, Nagle: true, TOS: 0x10,
		KeepAlive: sockopt.KeepAlive{Idle: 9 * time.Second, Interval: 3 * time.Second, Timeout: 18 * time.Second, Count: 3}},
}

func option(t *testing.T, fd, level, name int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		t.Error(err)
	}
	return v
}

func hasSomeOptions(t *testing.T, what string, fd int) {
	t.Helper()
	congestion, _ := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	got := []any{device(fd), congestion, option(t, fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT), option(t, fd, unix.IPPROTO_IP, unix.IP_TOS),
		option(t, fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), option(t, fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT), option(t, fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)}
	want := []any{"lo", "reno", 4096, 0x10, 9, 18_000, 0}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: option %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// Sockets have their options, also those that another process has opened without them, and clients'
// sockets inherit them. A listening socket can have the port of another one on another interface.
func TestOptions(t *testing.T) {
	testnet.SameFiles(t)
	prepare := func(fd int) { rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		plain := open(t, &Opener{Shards: 1, Prepare: prepare}, tcp(address), nil)
		bind := plain.Bind
		bind.Options = someOptions
		taken := open(t, &Opener{Shards: 2, Flags: unix.SOCK_NONBLOCK, Prepare: prepare}, bind, nil, plain.Take(0)...)
		for shard, what := range []string{"inherited", "opened beside it"} {
			for _, fd := range taken.Take(shard) {
				hasSomeOptions(t, address+": "+what, fd)
				rawsys.Close(fd)
			}
		}
		fresh := tcp(address)
		fresh.Options = someOptions
		s := open(t, &Opener{Shards: 1, Prepare: prepare}, fresh, nil)
		_, port, _ := net.SplitHostPort(s.Bind.String())
		testnet.Dial(t, "tcp", "127.0.0.1:"+port)
		fd := s.Take(0)[0]
		client, _, errno := rawsys.Accept(fd, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		hasSomeOptions(t, address+": accepted", client)
		rawsys.Close(client)
		rawsys.Close(fd)
	}
}

// [::] is for both families or for one, as v6only says.
func TestV6Only(t *testing.T) {
	testnet.SameFiles(t)
	for v, both := range map[V6Only]bool{V6Auto: true, V6Yes: false, V6No: true} {
		bind := tcp("[::]:0")
		bind.Options.V6Only = v
		s := open(t, &Opener{Shards: 1}, bind, nil)
		_, port, _ := net.SplitHostPort(s.Bind.String())
		testnet.Dial(t, "tcp", "[::1]:"+port)
		c, err := testnet.TryDial("tcp", "127.0.0.1:"+port)
		if (err == nil) != both {
			t.Errorf("v6only %d: an IPv4 client: %v", v, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// What an open socket cannot change is an error that says what to do.
func TestFixedOptions(t *testing.T) {
	testnet.SameFiles(t)
	plain := open(t, &Opener{Shards: 1}, tcp("[::]:0"), nil)
	fd := plain.Take(0)[0]
	defer rawsys.Close(fd)
	for want, change := range map[string]func(*Options){
		"has v6only: false":                     func(o *Options) { o.V6Only = V6Yes },
		"is not one of MPTCP":                   func(o *Options) { o.TCP.Multipath = true },
		`network interface "nope0": no such de`: func(o *Options) { o.Interface = "nope0" },
	} {
		bind := plain.Bind
		change(&bind.Options)
		if bind.Options.TCP.Multipath && sockopt.CheckMultipath() != nil {
			continue
		}
		if s, err := (&Opener{Shards: 1}).Open(bind, nil, fd); err == nil || !strings.Contains(err.Error(), want) {
			s.Close()
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// An abstract socket has no file, and a file of its name is left alone. Its name is free when it is
// closed.
func TestAbstract(t *testing.T) {
	testnet.SameFiles(t)
	t.Chdir(t.TempDir())
	name := "@l4proxy-test-" + strings.ReplaceAll(t.TempDir(), "/", "-")
	name = name[:min(len(name), 100)]
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first := open(t, &Opener{}, Bind{Path: name}, &Access{Mode: 0o600, User: -1, Group: -1})
	testnet.Dial(t, "unix", name)
	if s, err := new(Opener).Open(Bind{Path: name}, nil); err == nil {
		s.Close()
		t.Error("two processes could listen there")
	}
	if first.Lost() {
		t.Error("it looks lost")
	}
	first.Unlink()
	first.Close()
	open(t, &Opener{}, Bind{Path: name}, nil).Close()
	if _, err := os.Stat(name); err != nil {
		t.Error(err)
	}
}
