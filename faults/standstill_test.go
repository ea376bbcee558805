package faults

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// signal sends a signal to the process.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stopped waits until a SIGSTOP has taken effect.
func (p *process) stopped() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	testnet.Eventually(p.t, "the process stands still", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		return err == nil && bytes.Contains(stat, []byte(") T "))
	})
}

// TestFaultStandstill pauses a proxy for twice as long as any of its timers. What arrives during
// the pause must count: on a quiet connection, on one that waits for an answer, in the queue, and
// on one that a graceful shutdown waits for.
func TestFaultStandstill(t *testing.T) {
	const limit = time.Second
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		echo := testnet.Serve(t, "tcp", "", testnet.Echo)
		answer := make(chan struct{})
		mayAnswer := sync.OnceFunc(func() { close(answer) })
		answers := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			_, _ = io.Copy(io.Discard, c)
			<-answer
			_, _ = c.Write([]byte("answer"))
			_ = c.CloseWrite()
		})
		leave := make(chan struct{})
		mayLeave := sync.OnceFunc(func() { close(leave) })
		once := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { // echoes one message
			p := make([]byte, 64)
			n, _ := c.Read(p)
			_, _ = c.Write(p[:n])
			<-leave
		})
		t.Cleanup(func() { mayAnswer(); mayLeave() }) // before the backends wait for their connections
		dir := t.TempDir()
		p := run(t, settings{
			engine: engine, backends: []string{echo.Addr}, top: "drain: {timeout: 1s}",
			listener: fmt.Sprintf("    timeouts: {idle: %v}\n"+
				"  asks: {bind: 'unix:%s/asks', pool: asks, timeouts: {half_close: %v}}\n"+
				"  waits: {bind: 'unix:%s/waits', pool: waits}", limit, dir, limit, dir),
			pool: fmt.Sprintf("  asks: {backends: ['%s']}\n"+
				"  waits: {backends: [{address: '%s', max_connections: 1}], queue: {size: 5, timeout: %v}}",
				answers.Addr, once.Addr, limit),
		})
		stopping := run(t, settings{engine: engine, backends: []string{answers.Addr}, top: fmt.Sprintf("drain: {timeout: %v}", limit)})

		served := testnet.Dial(t, "unix", dir+"/waits")
		mustAsk(t, served, "has the only place")
		quiet := p.dial()
		mustAsk(t, quiet, "early")
		asking := testnet.Dial(t, "unix", dir+"/asks")
		last := stopping.dial()
		for _, c := range []testnet.Conn{asking, last} {
			_, _ = c.Write([]byte("question"))
			_ = c.CloseWrite()
		}
		testnet.Eventually(t, "the backend is asked", func() bool { return answers.Accepted() >= 2 })
		queued := testnet.Dial(t, "unix", dir+"/waits")
		_, _ = queued.Write([]byte("queued"))
		stopping.signal(syscall.SIGTERM)
		testnet.Eventually(t, "it is stopping", func() bool { return strings.Contains(stopping.log(), "shutting down") })

		p.stopped()
		stopping.stopped()
		<-time.After(limit)
		_, _ = quiet.Write([]byte("late"))
		served.Close()
		mayLeave()
		mayAnswer()
		<-time.After(limit)
		p.signal(syscall.SIGCONT)
		stopping.signal(syscall.SIGCONT)

		for name, test := range map[string]struct {
			conn testnet.Conn
			want string
		}{
			"a request on a quiet connection":  {quiet, "late"},
			"an answer to a half-closed one":   {asking, "answer"},
			"a client in the queue":            {queued, "queued"},
			"an answer during a graceful stop": {last, "answer"},
		} {
			got := make([]byte, len(test.want))
			if n, err := io.ReadFull(test.conn, got); err != nil || string(got) != test.want {
				t.Errorf("%s: read %q, %v, want %q", name, got[:n], err, test.want)
			}
			test.conn.Close()
		}
		p.stop()
		if t.Failed() {
			t.Log(p.log())
		}
		<-stopping.exited
		if stopping.err != nil || !strings.Contains(stopping.log(), `"closed":0`) {
			t.Errorf("the graceful stop: %v\n%s", stopping.err, stopping.log())
		}
	})
}
