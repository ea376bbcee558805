package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
)

var update = flag.Bool("update", false, "write the expected files in testdata/script from what the program says")

// The scripts in testdata/script run l4proxy as a user does. Beside testscript's own commands they
// have those of child_test.go, json_test.go, names_test.go and terminal_test.go, and these:
// backend, refuses, ask, hold, release, subst.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		UpdateScripts:      *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": startChild, "waitfor": waitfor, "signal": signalChild, "exited": exited,
			"jsonfields": checkJSONFields, "terminal": startTerminal, "type": typeKeys,
			"nameserver": startNameServer, "backend": startBackend, "refuses": refuses, "ask": ask, "hold": hold, "release": release, "subst": subst,
		},
		Setup: func(env *testscript.Env) error {
			// Under the race detector a program sleeps for a second at its end, unless this
			// prevents it.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Values[stateKey{}] = &scriptState{
				variables: map[string]bool{"GORACE": true}, children: make(map[string]*child), held: make(map[string]net.Conn),
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "root":
				return os.Geteuid() == 0, nil
			case "io_uring":
				_, why, err := eventloop.Probe(eventloop.Auto)
				return why == nil, err
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
	})
}

// scriptState is what the commands of one script share.
type scriptState struct {
	variables map[string]bool // set by commands
	children  map[string]*child
	held      map[string]net.Conn
}

type stateKey struct{}

func stateOf(ts *testscript.TestScript) *scriptState { return ts.Value(stateKey{}).(*scriptState) }

func (s *scriptState) set(ts *testscript.TestScript, name, value string) {
	s.variables[name] = true
	ts.Setenv(name, value)
}

// startBackend is the command backend NAME: a server that sends its name in a line and then echoes;
// $NAME is its address, and $NAME_port its port.
func startBackend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: backend NAME")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(deadline))
				fmt.Fprintln(conn, args[0])
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	ts.Defer(func() {
		l.Close()
		<-ended
	})
	stateOf(ts).set(ts, args[0], l.Addr().String())
	stateOf(ts).set(ts, args[0]+"_port", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// refuses is the command refuses NAME. $NAME is an address on which no process listens, and none
// can: a socket is bound to it.
func refuses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: refuses NAME")
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ts.Check(err)
	ts.Defer(func() { unix.Close(fd) })
	ts.Check(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa, err := unix.Getsockname(fd)
	ts.Check(err)
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	stateOf(ts).set(ts, args[0], at.String())
}

// ask is the command ask [-from IP] ADDRESS [TEXT]. It connects, sends the text (with \r and \n for
// the line's end) and a FIN, and prints all that comes back.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	var from string
	if len(args) > 2 && args[0] == "-from" {
		from, args = args[1], args[2:]
	}
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: ask [-from IP] ADDRESS [TEXT]")
	}
	conn := dial(ts, args[0], from)
	defer conn.Close()
	if len(args) == 2 {
		_, err := io.WriteString(conn, strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(args[1]))
		ts.Check(err)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		ts.Check(half.CloseWrite())
	}
	answer, err := io.ReadAll(conn)
	ts.Check(err)
	_, err = ts.Stdout().Write(answer)
	ts.Check(err)
}

func dial(ts *testscript.TestScript, address, from string) net.Conn {
	dialer := net.Dialer{Timeout: deadline}
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial(network, address)
	ts.Check(err)
	ts.Check(conn.SetDeadline(time.Now().Add(deadline)))
	return conn
}

// hold is the command hold NAME ADDRESS. It connects, waits for the first byte from the backend,
// and keeps the connection.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hold NAME ADDRESS")
	}
	conn := dial(ts, args[1], "")
	ts.Defer(func() { conn.Close() })
	_, err := io.ReadFull(conn, make([]byte, 1))
	ts.Check(err)
	stateOf(ts).held[args[0]] = conn
}

// release is the command release NAME. It closes what hold has kept.
func release(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || stateOf(ts).held[args[0]] == nil {
		ts.Fatalf("usage: release NAME")
	}
	ts.Check(stateOf(ts).held[args[0]].Close())
}

// subst is the command subst FILE... It replaces $NAME in files by the script's variables.
func subst(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		writeFile(ts, name, os.Expand(ts.ReadFile(name), ts.Getenv))
	}
}

func writeFile(ts *testscript.TestScript, name, text string) {
	ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
}
