package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// TestFaultDescriptorsRunOut sends 400 clients to a proxy that may open 256 files. It serves as
// many as it can, backs off without burning CPU, and accepts again within a second after others
// have left.
func TestFaultDescriptorsRunOut(t *testing.T) {
	const files, many = 256, 400
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		p := run(t, settings{engine: engine, backends: []string{b.Addr}}, fileLimit(t, files))
		// Each client reports when it was served, and holds its connection until release.
		served := make(chan time.Time, many)
		leave := make(chan struct{})
		var clients sync.WaitGroup
		for i := range many {
			c := p.dial()
			clients.Go(func() {
				defer c.Close()
				if err := ask(c, fmt.Sprintf("client %d", i)); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				served <- time.Now()
				<-leave
			})
		}
		testnet.Eventually(t, "as many are served as there are descriptors for", func() bool { return len(served) >= 80 })
		testnet.Eventually(t, "the shortage is logged", func() bool { return strings.Contains(p.log(), "max_connections reached") })
		before := p.cpu()
		<-time.After(measure)
		if used := p.cpu() - before; used > measure/20 {
			t.Errorf("while it backs off, the proxy uses %v of processor time in %v", used, measure)
		}
		if n := strings.Count(p.log(), "max_connections reached"); n > 3 {
			t.Errorf("the shortage was logged %d times", n)
		}
		first := len(served)
		free := time.Now()
		close(leave)
		next := time.Time{}
		for i := range many {
			select {
			case at := <-served:
				if i == first {
					next = at
				}
			case <-time.After(testnet.Patience):
				t.Fatalf("%d of %d clients were served", i, many)
			}
		}
		if took := next.Sub(free); took > time.Second {
			t.Errorf("the first client that had waited was served %v after descriptors were free", took)
		}
		clients.Wait()
		testnet.Eventually(t, "the descriptors are back", func() bool { return p.openFiles() < 64 })
		p.stop()
	})
}

// TestFaultMaxConnections has four times more clients than max_connections. None is refused, and
// all are served in turn.
func TestFaultMaxConnections(t *testing.T) {
	const most, many = 50, 200
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		p := run(t, settings{engine: engine, backends: []string{b.Addr}, top: fmt.Sprintf("max_connections: %d", most)})
		var all []testnet.Conn
		for range many {
			all = append(all, p.dial())
		}
		testnet.Eventually(t, "the limit is reached and logged", func() bool {
			return strings.Contains(p.log(), "max_connections reached")
		})
		if n := b.Accepted(); n > most+1 { // plus the connection from run
			t.Errorf("%d connections to the backend, want at most %d", n, most)
		}
		var clients sync.WaitGroup
		for i, c := range all {
			clients.Go(func() {
				if err := ask(c, fmt.Sprintf("client %d", i)); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				c.Close()
			})
		}
		clients.Wait()
		p.stop()
	})
}

// TestFaultSlowReadersInLittleMemory has 2,000 clients that do not read, and a proxy with 64 MiB of
// memory.
func TestFaultSlowReadersInLittleMemory(t *testing.T) {
	const limit, many, each = 64 << 20, 2000, 256 << 10
	engines(t, func(t *testing.T, engine string) {
		testenv.NeedRoot(t)
		group := newMemoryGroup(t, limit)
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = testnet.Stream(12).Send(c, each, 16384)
			_, _ = c.Read(make([]byte, 1)) // until the client is gone
		})
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, backends: []string{b.Addr}, binds: []string{front}})
		group.add(t, p.cmd.Process.Pid)
		var clients []testnet.Conn
		for range many {
			c := testnet.Dial(t, "tcp", front)
			_ = c.SetReadBuffer(32 << 10)
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		testnet.Eventually(t, "all are connected", func() bool { return b.Accepted() >= many })
		// One of them reads, and gets everything.
		for i := 0; i < many; i += 100 {
			c := clients[i]
			p := make([]byte, 64<<10)
			for got := int64(0); got < each; {
				n, err := c.Read(p)
				if string(p[:n]) != string(testnet.Stream(12).Piece(got, n)) || err != nil {
					t.Fatalf("client %d: wrong bytes at %d, or %v; %d processes were killed for want of memory", i, got, err, group.killed(t))
				}
				got += int64(n)
			}
		}
		peak, killed := group.peak(t), group.killed(t)
		t.Logf("%s: at most %.1f MiB of %d MiB used with %d slow readers", engine, float64(peak)/(1<<20), limit>>20, many)
		if killed > 0 || !p.alive() {
			t.Fatalf("the proxy was killed for want of memory\n%s", p.log())
		}
		if peak > limit {
			t.Errorf("%d bytes used", peak)
		}
		for _, c := range clients {
			c.Close()
		}
		testnet.Eventually(t, "the descriptors are back", func() bool { return p.openFiles() < 100 })
		p.stop()
	})
}

// memoryGroup is a control group with a memory limit: cgroups(7), version 1 or 2.
type memoryGroup struct {
	dir string
	v2  bool
}

func newMemoryGroup(t *testing.T, limit int) *memoryGroup {
	t.Helper()
	name := fmt.Sprintf("l4proxy-faults-%d", os.Getpid())
	var reasons []string
	for _, g := range []*memoryGroup{
		{filepath.Join("/sys/fs/cgroup/memory", name), false}, {filepath.Join("/sys/fs/cgroup", name), true},
	} {
		err := os.Mkdir(g.dir, 0o755)
		if err == nil {
			t.Cleanup(func() {
				if !testnet.Within(testnet.Patience, func() bool { return os.Remove(g.dir) == nil }) {
					t.Errorf("cannot remove %s", g.dir)
				}
			})
			file := "memory.limit_in_bytes"
			if g.v2 {
				file = "memory.max"
			}
			if err = os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.Itoa(limit)), 0); err == nil {
				return g
			}
		}
		reasons = append(reasons, err.Error())
	}
	t.Skipf("needs a memory control group of its own: %s", strings.Join(reasons, "; "))
	return nil
}

func (g *memoryGroup) add(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

// peak returns the maximum memory use in bytes.
func (g *memoryGroup) peak(t *testing.T) int {
	t.Helper()
	if g.v2 {
		return g.number(t, "memory.peak", "")
	}
	return g.number(t, "memory.max_usage_in_bytes", "")
}

// killed returns the number of processes that the kernel has killed because memory ran out.
func (g *memoryGroup) killed(t *testing.T) int {
	t.Helper()
	if g.v2 {
		return g.number(t, "memory.events", "oom_kill ")
	}
	return g.number(t, "memory.oom_control", "oom_kill ")
}

// number reads the number after a key at the start of a line.
func (g *memoryGroup) number(t *testing.T, file, key string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %q", file, key)
	return 0
}
