package faults

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// backendEnv is set in a backend process: the address to listen on and the backlog.
const backendEnv = "L4PROXY_FAULTS_BACKEND"

// Backlogs of a backend process. With the short one, a stopped process soon accepts no more
// connections. With the long one, its kernel continues to accept them.
const (
	shortBacklog = 16
	longBacklog  = 4096
)

// backendProcess is an echo server in its own process, which can be killed and stopped.
type backendProcess struct {
	t       *testing.T
	address string
	backlog int
	cmd     *exec.Cmd
}

// startBackend runs an echo server until the end of the test.
func startBackend(t *testing.T, address string, backlog int) *backendProcess {
	t.Helper()
	b := &backendProcess{t: t, address: address, backlog: backlog}
	b.start()
	t.Cleanup(func() { b.kill() })
	return b
}

// start starts or restarts the process, and waits until it listens.
func (b *backendProcess) start() {
	b.t.Helper()
	b.cmd = exec.Command(os.Args[0])
	b.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", backendEnv, b.address, b.backlog))
	b.cmd.Stderr = os.Stderr
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	testnet.Eventually(b.t, "the backend listens", func() bool {
		c, err := net.Dial("tcp", b.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (b *backendProcess) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
}

// kill sends SIGKILL and waits until the process is gone.
func (b *backendProcess) kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

// serveBackend is the main function of a backend process: an echo server that never returns.
func serveBackend(where string) {
	var address string
	var backlog int
	_, err := fmt.Sscan(where, &address, &backlog)
	var l net.Listener
	if err == nil {
		l, err = listenWith(address, backlog)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "backend:", err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			testnet.Echo(c.(*net.TCPConn))
			c.Close()
		}()
	}
}

// listenWith listens with a given backlog, which package net does not support.
func listenWith(address string, backlog int) (net.Listener, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), address)
	defer file.Close()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, err
	}
	return net.FileListener(file)
}

// visit is one client of a crowd: it connects, asks once, and leaves.
type visit struct {
	began time.Time
	took  time.Duration // until its answer or failure
	err   error
}

// crowd sends clients at a fixed rate, whatever happens to earlier ones.
type crowd struct {
	stop   chan struct{}
	ended  sync.WaitGroup
	mu     sync.Mutex
	visits []visit
}

// startCrowd sends a client per tick, from several source addresses.
func startCrowd(address string, every time.Duration) *crowd {
	c := &crowd{stop: make(chan struct{})}
	c.ended.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for next, n := time.Now(), 0; ; {
			select {
			case <-c.stop:
				return
			case now := <-ticker.C:
				for ; next.Before(now); next = next.Add(every) { // late ticks are caught up at once
					from := n % 8
					c.ended.Go(func() { c.send(address, from) })
					n++
				}
			}
		}
	})
	return c
}

func (c *crowd) send(address string, from int) {
	v := visit{began: time.Now()}
	d := net.Dialer{Timeout: testnet.Patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(20+from))}}
	d.SetMultipathTCP(false)
	conn, err := d.Dial("tcp", address)
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(testnet.Patience))
		err = ask(conn.(*net.TCPConn), "hello")
		_ = testnet.Reset(conn.(*net.TCPConn)) // leaves no TIME_WAIT
	}
	v.took, v.err = time.Since(v.began), err
	c.mu.Lock()
	defer c.mu.Unlock()
	c.visits = append(c.visits, v)
}

// served returns the number of clients that got their answer.
func (c *crowd) served() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.visits {
		if v.err == nil {
			n++
		}
	}
	return n
}

// end stops the crowd and waits for clients in progress.
func (c *crowd) end() []visit {
	close(c.stop)
	c.ended.Wait()
	return c.visits
}
