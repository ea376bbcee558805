package faults

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// TestFaultStopDuringCheck stops the proxy with SIGSTOP while a check waits for its answer, for
// longer than the timeout of the check. One failure would take the backend down. Neither an answer
// that arrives during the stop nor one that is still on its way may count as a failure, and the
// next check starts at once.
func TestFaultStopDuringCheck(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	b := testnet.Listen(t, "tcp", "")
	p := run(t, settings{engine: "epoll", backends: []string{b.Addr},
		pool: "    health: {type: http, interval: 400ms, timeout: 400ms, jitter: 0%, rise: 1, fall: 1}\n"})
	asked := func() net.Conn {
		for {
			c := b.Accept(t)
			if _, err := c.Read(make([]byte, 1000)); err == nil {
				return c
			}
			c.Close() // the client that checked that the proxy listens
		}
	}
	answer := func(c net.Conn) {
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		c.Close()
	}
	answer(asked())
	p.logged("backend up", b.Addr)
	for _, meanwhile := range []bool{true, false} {
		c := asked()
		p.pause()
		if meanwhile {
			answer(c)
		}
		<-time.After(600 * time.Millisecond)
		p.resume()
		answer(asked()) // starts at once, or was due
		c.Close()
	}
	answer(asked())
	p.stop()
	if strings.Contains(p.log(), "backend down") {
		t.Errorf("a stop of the proxy took the backend down:\n%s", p.log())
	}
}

// pause stops the process, and returns once it has stopped.
func (p *process) pause() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	testnet.Eventually(p.t, "the process stands still", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		_, state, _ := bytes.Cut(stat, []byte(") "))
		return err == nil && bytes.HasPrefix(state, []byte("T"))
	})
}

// resume continues the process.
func (p *process) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }
