package proxy

import (
	"context"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// deniesAll starts a server of one loop that denies all clients of 127.0.0.1 by an action.
func deniesAll(t *testing.T, engine string, with acl.Action, change func(*Listener)) *inside {
	b := testnet.Listen(t, "tcp", "")
	return startInside(t, engine, b, func(l *Listener, _ *Options) {
		all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		l.ACL = acl.Build([]acl.Rule{{Name: "all", Prefixes: all, Action: with}}, true)
		l.Tarpit = Tarpit{Time: 30 * time.Second, Max: 2}
		change(l)
	})
}

// open reports whether a client sees neither a FIN nor a reset: its socket is established.
func open(t *testing.T, c testnet.Conn) (is bool) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		is = err == nil && info.State == unix.BPF_TCP_ESTABLISHED
	}); err != nil {
		t.Fatal(err)
	}
	return is
}

func wantReset(t *testing.T, c testnet.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !testnet.IsReset(err) {
		t.Errorf("the client reads %d bytes, %v; want a reset", n, err)
	}
}

// tarpitted waits until a number of clients are held.
func (in *inside) tarpitted(n uint64) {
	in.t.Helper()
	testnet.Eventually(in.t, "clients are held", func() bool { return in.server.Counts().Listeners[0].Tarpitted == n })
}

func TestTarpit(t *testing.T) {
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		in := deniesAll(t, engine, acl.Tarpit, func(*Listener) {})
		first := testnet.Dial(t, "tcp", in.addr)
		in.tarpitted(1)
		in.pass(time.Second)
		second, third := testnet.Dial(t, "tcp", in.addr), testnet.Dial(t, "tcp", in.addr)
		wantReset(t, first) // made way for the third
		in.tarpitted(2)
		// Nothing reads from it: what it can send fits into buffers.
		if err := second.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(second, io.LimitReader(zeros{}, 64<<20)); err == nil {
			t.Errorf("%d bytes were taken", n)
		}
		third.Close()
		in.tarpitted(1) // a client that leaves is not held any longer
		in.pass(28 * time.Second)
		if !open(t, second) {
			t.Error("the client is not held for 30s")
		}
		in.pass(3 * time.Second)
		wantReset(t, second)
		in.tarpitted(0)
		in.noTasks()
		in.ended(3, SideProxy, ReasonDenied)
		for _, r := range in.records {
			if r.Rule != "all" || r.BytesIn != 0 {
				t.Errorf("record %+v", r)
			}
		}
		if n := in.server.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestHoldsEnd: whatever needs the sockets to be gone ends holds at once.
func TestHoldsEnd(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		for name, end := range map[string]func(*inside){
			"stop accepting": func(in *inside) { in.server.StopAccepting() },
			"drain":          func(in *inside) { in.server.DrainListener("front", true) },
			"pause":          func(in *inside) { _ = in.server.PauseAccepting(context.Background()) },
			"end all":        func(in *inside) { in.server.EndAll(ReasonStopped) },
			"resources":      func(in *inside) { in.on(in.server.workers[0], in.server.workers[0].endHeld) },
			"stop":           func(in *inside) { in.stop() },
		} {
			t.Run(name, func(t *testing.T) {
				in := deniesAll(t, engine, acl.Tarpit, func(*Listener) {})
				c := testnet.Dial(t, "tcp", in.addr)
				in.tarpitted(1)
				end(in)
				wantReset(t, c)
			})
		}
	})
}

// TestDrop: a dropped client sees nothing, neither while it is held nor afterwards. Only what it
// sends later is answered with a reset.
func TestDrop(t *testing.T) {
	testenv.NeedNetAdmin(t) // CAP_NET_ADMIN: client and proxy are on one machine
	insideEngines(t, func(t *testing.T, engine string) {
		for _, ip := range []string{"127.0.0.1", "::1"} {
			t.Run(ip, func(t *testing.T) {
				in := deniesAll(t, engine, acl.Drop, func(l *Listener) {
					l.Binds[0].Addr = netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
				})
				w := in.server.workers[0]
				c := testnet.Dial(t, "tcp", in.addr)
				if _, err := io.WriteString(c, "hello"); err != nil {
					t.Fatal(err)
				}
				in.ended(1, SideProxy, ReasonDenied)
				in.eventually(w, "the client is held", func() bool { return w.dropped.n.get() == 1 })
				in.pass(2 * time.Second)
				in.eventually(w, "the client is forgotten", func() bool { return w.dropped.n.get() == 0 })
				in.noTasks()
				if !open(t, c) {
					t.Error("the client has seen an end")
				}
				if _, err := io.WriteString(c, "more"); err != nil {
					t.Fatal(err)
				}
				wantReset(t, c)
			})
		}
	})
}

// TestDropMany: clients beyond those that may be held are forgotten at once, and nothing is left of
// them. A stop ends all.
func TestDropMany(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in := deniesAll(t, engine, acl.Drop, func(*Listener) {})
		in.server.slots.all.SetLimit(64) // few slots are free: 8 may be held
		w := in.server.workers[0]
		for range 100 {
			testnet.Dial(t, "tcp", in.addr)
		}
		in.ended(100, SideProxy, ReasonDenied)
		in.on(w, func() {
			if n := w.dropped.n.get(); n != 8 || w.holds != 8 || len(w.tasks) != 8+len(w.sockets) {
				t.Errorf("%d are held, %d holds, %d tasks", n, w.holds, len(w.tasks))
			}
		})
	})
}

// TestDenyConn denies clients that are connections already. A unix socket cannot end unseen: a
// dropped client is held as others are, and then sees the end.
func TestDenyConn(t *testing.T) {
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		in := startInside(t, engine, testnet.Listen(t, "tcp", ""), func(l *Listener, _ *Options) {
			l.DenyMessage = []byte("no")
			l.Tarpit = Tarpit{Time: time.Minute, Max: 1}
		})
		w := in.server.workers[0]
		for _, action := range []acl.Action{acl.Message, acl.Close, acl.Reset, acl.Drop, acl.Tarpit} {
			t.Run(action.String(), func(t *testing.T) {
				fd, peer := socketPair(t)
				in.on(w, func() {
					in.server.slots.take(in.listener().Slots)
					w.load.Add(1)
					w.listenerCounters(in.listener()).accepted.add(1)
					c := w.newConn(arrival{fd: fd, listener: in.listener()})
					c.flags |= flagSlot
					w.denyConn(c, action, ReasonBanned, "ban")
				})
				in.pass(2 * time.Second)
				want := ""
				if action == acl.Message {
					want = "no"
				}
				if action == acl.Tarpit {
					in.tarpitted(1)
					in.on(w, w.endHeld)
				}
				got, err := io.ReadAll(peer)
				if string(got) != want || err != nil {
					t.Errorf("the client reads %q, %v", got, err)
				}
				peer.Close()
				testnet.Eventually(t, "all is over", func() bool { return in.server.Connections() == 0 })
			})
		}
		in.ended(5, SideProxy, ReasonBanned)
		for _, r := range in.records {
			if r.Rule != "ban" {
				t.Errorf("rule %q", r.Rule)
			}
		}
		in.noTasks()
	})
}
