package faults

import (
	"fmt"
	"io"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// TestFaultClientsThatNeverRead connects 9,000 clients to one loop that send to an echo server and
// read nothing. Their waiting bytes must leave room for other clients, and a client that starts to
// read gets all of its bytes.
func TestFaultClientsThatNeverRead(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	// Small socket buffers, so that few bytes fill them.
	setting(t, "net/ipv4/tcp_wmem", "4096 16384 16384")
	setting(t, "net/ipv4/tcp_rmem", "4096 16384 16384")
	many := rounds(9000)
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			p := make([]byte, 4096)
			for {
				n, err := c.Read(p)
				if _, failed := c.Write(p[:n]); failed != nil || err != nil {
					return
				}
			}
		})
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, backends: []string{b.Addr}, binds: []string{front}, workers: 1})
		stuck := make([]testnet.Conn, many)
		for i := range stuck {
			stuck[i] = testnet.Dial(t, "tcp", front)
		}
		sent := make([]int64, many)
		piece := func(i int, n int) []byte { return testnet.Stream(i).Piece(sent[i], n) }
		for quiet := 0; quiet < 2; {
			moved := 0
			for i, c := range stuck {
				n := writeNow(t, c, piece(i, 16<<10))
				sent[i] += int64(n)
				moved += n
			}
			if moved == 0 {
				quiet++
			}
		}
		var took []time.Duration
		for i := range 200 {
			c := testnet.Dial(t, "tcp", front)
			from := time.Now()
			if err := ask(c, fmt.Sprintf("client %d", i)); err != nil {
				t.Fatalf("with %d clients that do not read, another is not served: %v", many, err)
			}
			took = append(took, time.Since(from))
			c.Close()
		}
		slices.Sort(took)
		t.Logf("%s: beside %d clients that do not read, others are served in %v, one in a hundred in %v", engine, many,
			took[100], took[198])
		for i := 0; i < many; i += many / 4 {
			_ = stuck[i].SetDeadline(time.Now().Add(testnet.Patience))
			got := make([]byte, sent[i])
			want := testnet.Stream(i).Piece(0, int(sent[i]))
			if n, err := io.ReadFull(stuck[i], got); err != nil || string(got) != string(want) {
				t.Fatalf("a client that begins to read late got %d of %d bytes, or wrong bytes, %v", n, len(want), err)
			}
		}
		for _, c := range stuck {
			_ = testnet.Reset(c)
		}
		p.stop()
	})
}

// writeNow writes what the kernel accepts without waiting.
func writeNow(t *testing.T, c testnet.Conn, p []byte) (n int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	failed := raw.Write(func(fd uintptr) bool {
		if n, err = unix.Write(int(fd), p); err == unix.EAGAIN {
			n, err = 0, nil
		}
		return true
	})
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	return n
}
