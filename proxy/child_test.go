package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// childEnv makes this test binary run a proxy with few descriptors instead of tests: the limit
// applies to a whole process. Its value is the engine, the limit and the backend's address.
const childEnv = "L4PROXY_TEST_CHILD"

// runChild runs a proxy until its standard input ends, and returns its exit code. It prints the
// proxy's address, and a line for each connection with an outcome other than closed.
func runChild(work string) int {
	if err := serveWithFewFiles(work); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveWithFewFiles(work string) error {
	var engine, address string
	var files uint64
	if _, err := fmt.Sscan(work, &engine, &files, &address); err != nil {
		return err
	}
	addr, err := sockaddr(address)
	if err != nil {
		return err
	}
	members := []balancer.Member{{Backend: &backend.Backend{Address: address, Sockaddr: addr}, Weight: 1}}
	picks, err := balancer.New(members, balancer.Options{Policy: "least_conn"})
	if err != nil {
		return err
	}
	pool := &proxy.Pool{
		Name: "back", Balancer: picks,
		ConnectTimeout: testnet.Patience, Attempts: 1,
	}
	server, err := proxy.Listen(&proxy.State{Listeners: []*proxy.Listener{{
		Name: "front", Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}, Pool: pool,
	}}}, proxy.Options{Engine: engine, Workers: 2, Finished: func(r *proxy.Record) {
		if r.Reason != proxy.ReasonClosed {
			fmt.Printf("ended: %v %v\n", r.Side, r.Reason)
		}
	}})
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
		return err
	}
	fmt.Println(server.Addrs()[0].Bind.Addr.String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Drain(context.Background(), testnet.Patience)
		server.Stop()
	}()
	return server.Run(context.Background())
}

// TestFilesRunOut: there are more clients than the proxy has descriptors for, and no
// max_connections to limit them. Clients beyond the descriptors wait, no client fails, and they are
// served when others leave.
func TestFilesRunOut(t *testing.T) {
	const files, many = 64, 60
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", childEnv, engine, files, b.Addr))
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(2*testnet.Patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		lines := bufio.NewScanner(stdout)
		if !lines.Scan() {
			t.Fatalf("no address: %v %s", lines.Err(), log.String())
		}
		addr := lines.Text()

		// As many as fit come one by one, the rest at once.
		var served, waiting []testnet.Conn
		for range 15 {
			c := testnet.Dial(t, "tcp", addr)
			mustAsk(t, c, "early")
			served = append(served, c)
		}
		for range many - 15 {
			c := testnet.Dial(t, "tcp", addr)
			if _, err := io.WriteString(c, "late"); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, c)
		}
		mustAsk(t, served[0], "served clients are not disturbed")
		for _, c := range served {
			c.Close()
		}
		var wg sync.WaitGroup
		for i, c := range waiting {
			wg.Go(func() {
				p := make([]byte, 4)
				if n, err := io.ReadFull(c, p); err != nil || string(p) != "late" {
					t.Errorf("client %d, which waited, reads %q, %v", i, p[:n], err)
				}
				c.Close()
			})
		}
		wg.Wait()
		stdin.Close()
		for lines.Scan() {
			t.Error(lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy: %v\n%s", err, log.String())
		}
		if n := strings.Count(log.String(), "out of file descriptors"); n < 1 || n > 10 {
			t.Errorf("the shortage was logged %d times, want a few:\n%s", n, log.String())
		}
	})
}
