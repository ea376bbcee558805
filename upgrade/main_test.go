package upgrade

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"l4proxy/proxy"
)

// modeEnv makes the test binary a new process that behaves in a certain way.
const modeEnv = "L4PROXY_UPGRADE_TEST_MODE"

func TestMain(m *testing.M) {
	if mode, ok := os.LookupEnv(modeEnv); ok {
		os.Exit(newProcess(mode))
	}
	goleak.VerifyTestMain(m)
}

// report is what a new process writes to its standard output, in a line of JSON.
type report struct {
	Old     hello
	State   State
	Sockets []string // kind, name and bind
	Files   []string // descriptors that are open at the start
	Moved   int
	Final   State
	Error   string
}

// newProcess is the whole of a new process.
func newProcess(mode string) int {
	switch mode {
	case "crash":
		return 3
	case "hang":
		select {}
	case "deaf": // it speaks, but not of upgrades
		_, _ = unix.Write(firstExtra, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		select {}
	case "next":
		testFormats = "1-2"
	case "far":
		testFormats = "3-4"
	case "poor": // has no descriptor left for connections
		raise(40)
	case "limited":
		raise(20)
	}
	var r report
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			r.Files = append(r.Files, to)
		}
	}
	s, err := Join("test " + mode)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r.Old = s.old
	if mode == "crash-hello" {
		return 4
	}
	if mode == "refuse" {
		s.Refuse(errors.New("config.yaml:3:7: unknown key \"bakends\": did you mean backends?"))
		return 1
	}
	if mode == "crash-check" {
		return 5
	}
	sockets, state, err := s.Take()
	if err != nil {
		return 1
	}
	r.State = state
	for _, o := range sockets.Close() {
		r.Sockets = append(r.Sockets, o.Kind+" "+o.Name+" "+o.Bind)
	}
	switch mode {
	case "crash-sockets":
		return 6
	case "hang-sockets":
		select {}
	case "refuse-sockets":
		s.Refuse(errors.New("listener web: cannot listen"))
		return 1
	}
	if s.Ready() != nil {
		return 1
	}
	if mode == "crash-ready" {
		return 7
	}
	var final State
	r.Moved, final, err = s.Receive(&taker{mode: mode})
	r.Final = final
	if err != nil {
		r.Error = err.Error()
	}
	line, _ := json.Marshal(r)
	fmt.Println(string(line))
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends it
	return 0
}

func raise(limit uint64) {
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit})
}

// taker takes over connections. It writes what it knows of each to the client, and then echoes.
type taker struct{ mode string }

func (t *taker) Check(m *proxy.Moved) error {
	switch t.mode {
	case "crash-batch":
		os.Exit(8)
	case "hang-batch":
		select {}
	case "picky":
		if m.Accepted%2 == 1 {
			return errors.New("no listener " + m.Listener)
		}
	}
	return nil
}

func (t *taker) Adopt(all []proxy.Moved) {
	if t.mode == "crash-adopt" {
		os.Exit(9)
	}
	for i := range all {
		m := &all[i]
		line := lineOf(m)
		_, _ = unix.Write(m.Client, []byte(line))
		if m.Backend >= 0 {
			_, _ = unix.Write(m.Backend, []byte(line))
		}
	}
}

// lineOf is what a new process writes to a connection: all that it knows of it.
func lineOf(m *proxy.Moved) string {
	sum := func(p []byte) []byte {
		h := sha256.Sum256(p)
		return h[:4]
	}
	return fmt.Sprintf("%s %s %d %d:%x %d:%x\n", m.Listener, m.Pool, m.Accepted,
		len(m.Pending[0]), sum(m.Pending[0]), len(m.Pending[1]), sum(m.Pending[1]))
}
