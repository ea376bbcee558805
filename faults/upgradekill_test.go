package faults

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

const (
	killRounds  = 25
	killClients = 60
	// killWithin is a little longer than an upgrade takes.
	killWithin = 80 * time.Millisecond
	killDrain  = 300 * time.Millisecond
)

// groupOf are the running processes of a process group.
func groupOf(group int) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // proc_pid_stat(5), from the state on
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if string(fields[2]) == strconv.Itoa(group) && string(fields[0]) != "Z" && string(fields[0]) != "X" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestFaultKilledInUpgrades kills the old or the new process at any moment of an upgrade, or sends
// it another signal. If a process is left, it serves new clients and can be upgraded. No client
// hangs, and no process is left that does not serve.
func TestFaultKilledInUpgrades(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		front := freeAddress(t, "127.0.0.1")
		s := settings{engine: engine, backends: []string{b.Addr}, binds: []string{front}, top: fmt.Sprintf("drain: {timeout: %v}", killDrain)}
		s.file(t) // names the socket
		v := serve(t, s)
		var clients []testnet.Conn
		lost, starts := 0, 0
		for round := range rounds(killRounds) {
			for len(clients) < killClients {
				network, address := "unix", v.socket
				if len(clients)%2 == 0 {
					network, address = "tcp", front
				}
				c, err := testnet.TryDial(network, address)
				if err == nil {
					err = ask(c, "a new client")
				}
				if err != nil {
					t.Fatalf("round %d: a new client: %v\n%s", round, err, v.tail())
				}
				clients = append(clients, c)
			}
			old := v.pid()
			_ = syscall.Kill(old, syscall.SIGUSR2)
			time.Sleep(time.Duration(r.Int64N(int64(killWithin))))
			victim := old
			if r.IntN(2) == 0 {
				for _, pid := range groupOf(v.cmd.Process.Pid) {
					if pid != old {
						victim = pid
					}
				}
			}
			sig := []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR2}[r.IntN(7)]
			what := fmt.Sprintf("round %d: %v to the %s process", round, sig, map[bool]string{true: "old", false: "new"}[victim == old])
			const stopping = `"msg":"shutting down: waiting`
			stops := strings.Count(v.log(), stopping)
			_ = syscall.Kill(victim, sig)
			if sig == syscall.SIGTERM { // usually the end of the service, once it has drained
				time.Sleep(killDrain + 200*time.Millisecond)
			}
			var left []int
			if !testnet.Within(testnet.Patience, func() bool {
				left = groupOf(v.cmd.Process.Pid)
				return len(left) == 0 || len(left) == 1 && v.pid() == left[0] && strings.Count(v.log(), stopping) == stops
			}) {
				t.Fatalf("%s: the processes %v are left, and the pid file has %d\n%s", what, left, v.pid(), v.tail())
			}
			var still []testnet.Conn
			for _, c := range clients {
				_ = c.SetDeadline(time.Now().Add(testnet.Patience))
				switch err := ask(c, "still here"); {
				case err == nil:
					still = append(still, c)
				case errors.Is(err, os.ErrDeadlineExceeded):
					t.Fatalf("%s: a client hangs\n%s", what, v.tail())
				default:
					lost++
					c.Close()
				}
			}
			if sig == syscall.SIGHUP || sig == syscall.SIGUSR2 {
				if len(still) != len(clients) {
					t.Fatalf("%s: %d clients lost\n%s", what, len(clients)-len(still), v.tail())
				}
			}
			clients = still
			if len(left) == 0 {
				starts++
				v = serve(t, s)
				continue
			}
			c, err := testnet.TryDial("unix", v.socket)
			if err == nil {
				err = ask(c, "a new client")
				c.Close()
			}
			if err != nil {
				t.Fatalf("%s: a new client: %v\n%s", what, err, v.tail())
			}
			v.upgrade()
			mustAsk(t, testnet.Dial(t, "tcp", front), "a new client after an upgrade")
		}
		t.Logf("%d rounds, %d connections lost with the process that had them, %d starts", rounds(killRounds), lost, starts)
		for _, c := range clients {
			c.Close()
		}
	})
}
