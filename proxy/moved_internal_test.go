package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/balancer"
	"l4proxy/clienthello"
	"l4proxy/internal/testnet"
)

// decided says for each field of a type, and for each flag, what becomes of it when a connection
// moves to another process. A new one needs such a decision.
var decided = map[string]map[string]string{
	"conn": {
		"index":      "new",
		"state":      "new: relaying, or looking for a backend",
		"attempts":   "Attempts",
		"flags":      "Flags; see connFlags",
		"serial":     "new: a connection gets another name in each process",
		"outcome":    "Outcome",
		"listener":   "Listener, or Idle, HalfClose and CloseOnFIN for an orphan",
		"counts":     "new: those of the listener in this process",
		"pool":       "Pool",
		"backend":    "Server",
		"search":     "see search",
		"hello":      "see hello",
		"client":     "Peer",
		"rule":       "Shadow; that of a denied client stays",
		"accepted":   "Accepted",
		"dialled":    "Dialled",
		"connected":  "Connected",
		"lastActive": "LastActive",
		"failed":     "Failed",
		"flushing":   "only in stateFlushing, which stays",
		"taken":      "Taken",
		"flow":       "see flow",
		"pace":       "new: the limits of the other process apply, with full buckets",
	},
	"flow": {
		"bytes":   "Bytes",
		"pipe":    "Pending",
		"streak":  "new: a stream shows again whether it is worth a pipe",
		"spliced": "new",
		"ended":   "Ended",
	},
	"search": {
		"tried":     "Tried",
		"failed":    "FailedDials",
		"hedge":     "withdrawn",
		"ticket":    "new: a position in the queue of the other process, in the same order",
		"waitUntil": "WaitUntil",
		"waiting":   "follows from WaitUntil",
		"turn":      "new: they move in its order",
		"sources":   "new: a client that is being dialed for is dialed for again",
	},
	"hello": {
		"phase":       "Hello.Phase",
		"read":        "Pending",
		"deadline":    "Hello.Deadline",
		"viaProxy":    "Hello.ViaProxy",
		"peer":        "Hello.Peer",
		"destination": "Hello.Destination",
		"tlvs":        "Hello.TLVs",
		"startTLS":    "Hello.StartTLS",
		"plain":       "Hello.Plain",
		"parser":      "new: it reads what moves in Pending again",
		"routed":      "Hello.Routed",
		"hello":       "Hello.TLS, Hello.ServerName, Hello.ALPN",
		"own":         "Hello.Own",
		"uniqueID":    "Hello.UniqueID",
	},
	"connFlags": {
		"flagClient":         "Client",
		"flagBackend":        "Backend",
		"flagSlot":           "new: every connection that moves takes a slot",
		"flagCounted":        "moves",
		"flagHalfClosed":     "follows from Ended",
		"flagKeptAlive":      "moves",
		"flagPatient":        "moves",
		"flagPatientBackend": "moves",
		"flagResetOut":       "moves",
		"flagAnswered":       "moves",
		"flagMayHedge":       "set by the next dial",
		"flagQueued":         "moves",
		"flagPending":        "set: the next look at the peers finds out",
		"flagWatched":        "new: the watch starts again",
		"flagClientEnded":    "moves",
		"flagBlamed":         "moves",
		"flagAsking":         "moves",
		"flagDiscarding":     "moves",
		"flagShadow":         "follows from Shadow",
		"flagDrop":           "only of denied clients, which stay",
		"flagTarpit":         "only of denied clients, which stay",
		"flagTraced":         "Trace; the other process has the traces too",
		"flagLimited":        "new: the connection counts there, beyond the limit too",
	},
}

func TestEveryFieldMoves(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[conn](), reflect.TypeFor[flow](), reflect.TypeFor[search](), reflect.TypeFor[hello]()} {
		fields := make(map[string]bool)
		for i := range typ.NumField() {
			fields[typ.Field(i).Name] = true
		}
		decisions(t, typ.Name(), fields)
	}
	decisions(t, "connFlags", flagNames(t))
	moving := 0
	for _, decision := range decided["connFlags"] {
		if decision == "moves" {
			moving++
		}
	}
	if moving != len(movedFlags) {
		t.Errorf("%d flags move, and movedFlags has %d", moving, len(movedFlags))
	}
	moved := reflect.TypeFor[Moved]()
	for what, of := range decided {
		for name, decision := range of {
			first, _, _ := strings.Cut(decision, " ")
			if what == "hello" && strings.HasPrefix(first, "Hello.") {
				if _, ok := reflect.TypeFor[MovedHello]().FieldByName(strings.Trim(first[len("Hello."):], ",;")); !ok {
					t.Errorf("%s of %s moves as %s, which MovedHello does not have", name, what, first)
				}
				continue
			}
			if _, ok := moved.FieldByName(strings.Trim(first, ",;")); !ok && first[0] >= 'A' && first[0] <= 'Z' {
				t.Errorf("%s of %s moves as %s, which Moved does not have", name, what, first)
			}
		}
	}
}

func decisions(t *testing.T, what string, names map[string]bool) {
	t.Helper()
	for name := range names {
		if decided[what][name] == "" {
			t.Errorf("%s.%s: decide what becomes of it when a connection moves to another process", what, name)
		}
	}
	for name := range decided[what] {
		if !names[name] {
			t.Errorf("%s.%s does not exist", what, name)
		}
	}
}

// flagNames are the constants of type connFlags, as the source has them.
func flagNames(t *testing.T) map[string]bool {
	file, err := parser.ParseFile(token.NewFileSet(), "conn.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, d := range file.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		if typ, ok := group.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident); !ok || typ.Name != "connFlags" {
			continue
		}
		for _, spec := range group.Specs {
			names[spec.(*ast.ValueSpec).Names[0].Name] = true
		}
	}
	return names
}

// TestMovedReadsTheSame writes a connection down and reads it again.
func TestMovedReadsTheSame(t *testing.T) {
	p := insidePool(t, balancer.Options{Policy: "least_conn"}, "192.0.2.1:1", "192.0.2.2:1")
	l := &Listener{Name: "front", Pool: p}
	flags := connFlags(0)
	for _, f := range movedFlags {
		flags |= f.flag
	}
	c := &conn{
		attempts: 3, flags: flags | flagBackend | flagShadow, rule: "lab", outcome: Outcome{SideBackend, ReasonReset, unix.ECONNRESET}, listener: l, pool: p,
		backend: p.Balancer.Members()[1].Backend, accepted: 1, dialled: 2, connected: 3, lastActive: 4, failed: 5, taken: 6,
		flow: [2]flow{{bytes: 7, ended: flowDead}, {bytes: 8}},
		hello: &hello{
			phase: helloClient, deadline: 9, viaProxy: true, peer: netip.MustParseAddrPort("192.0.2.8:1"),
			destination: netip.MustParseAddrPort("192.0.2.9:1"), tlvs: []byte{4, 0, 0}, startTLS: true, plain: true,
			routed: true, hello: clienthello.Hello{TLS: true, ServerName: "a", ALPN: []string{"h2"}}, own: 2, uniqueID: "1-2",
		},
		search: &search{failed: []FailedDial{{p.Balancer.Members()[0].Backend, ReasonConnectRefused}}},
	}
	text, err := json.Marshal(c.pack())
	if err != nil {
		t.Fatal(err)
	}
	var m Moved
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	m.Backend, m.Pending[clientEnd] = 1, []byte("123")
	read := new(conn)
	read.unpack(&m, 100)
	s := new(Server)
	s.ledger.Store(newLedger(&State{Listeners: []*Listener{l}}, 1, nil))
	a := adoption{moved: m, listener: s.listenerOf(&m)}
	if !a.find(s) {
		t.Error("the backend was not found")
	}
	read.listener, read.pool, read.backend = a.listener, a.pool, a.backend
	read.search = &search{tried: a.tried, failed: a.failed}
	read.flags |= flagBackend
	c.flags |= flagHalfClosed | flagPending | flagWatched
	if !reflect.DeepEqual(read, c) {
		t.Errorf("read %+v\nwant %+v", read, c)
	}
}

// TestHandOverParked: clients that were accepted beyond a limit move in their order, and are served
// beyond no limit.
func TestHandOverParked(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		one := startInside(t, engine, b, func(*Listener, *Options) {})
		two := startInside(t, engine, b, func(l *Listener, _ *Options) { l.Slots = NewSlots(1) })
		var clients []net.Conn
		w := one.server.workers[0]
		for i := range 3 {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			c := connOf(t, fds[1])
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
			one.on(w, func() {
				l := one.listener()
				w.listenerCounters(l).accepted.add(1)
				w.sockets[0].park(arrival{fd: fds[0], listener: l, at: w.loop.Now() + int64(i)})
			})
		}
		deliver := func(batch []Moved) error {
			for i := range batch {
				fd, err := unix.FcntlInt(uintptr(batch[i].Client), unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					return err
				}
				batch[i].Client = fd
			}
			two.server.Adopt(batch)
			return nil
		}
		fails := func([]Moved) error { return unix.EPIPE }
		if report, err := one.server.HandOver(context.Background(), fails); !errors.Is(err, unix.EPIPE) || report.Moved != 0 {
			t.Errorf("%+v, %v", report, err)
		}
		if report, err := one.server.HandOver(context.Background(), deliver); err != nil || report.Moved != 3 {
			t.Errorf("%+v, %v", report, err)
		}
		for i, c := range clients {
			peer := b.Accept(t)
			got := make([]byte, 1)
			if _, err := peer.Read(got); err != nil || got[0] != byte(i) {
				t.Errorf("turn %d is that of client %d, %v", i, got[0], err)
			}
			if n := two.server.Connections(); n != 1 {
				t.Errorf("%d connections with a limit of 1", n)
			}
			c.Close()
			_, _ = peer.Read(got) // its end
			peer.Close()
		}
		two.ended(3, SideClient, ReasonClosed)
		if counts := one.server.Counts().Listeners[0]; counts.Accepted != 3 || counts.Moved != 3 {
			t.Errorf("counted %+v", counts)
		}
	})
}

// connOf is the connection of a descriptor.
func connOf(t *testing.T, fd int) net.Conn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "client")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
