package proxy

import (
	"net"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// TestDropSYNs: the kernel takes no new clients, but serves those that are connected, until that is
// undone.
func TestDropSYNs(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			var config net.ListenConfig
			config.SetMultipathTCP(false) // MPTCP has no filters
			l, err := config.Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Skip(err)
			}
			defer l.Close()
			before := testnet.Dial(t, "tcp", l.Addr().String())
			conn, err := l.(*net.TCPListener).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			on := func(f func(*listenSocket)) {
				if err := conn.Control(func(fd uintptr) { f(&listenSocket{fd: int(fd)}) }); err != nil {
					t.Fatal(err)
				}
			}
			on((*listenSocket).dropSYNs)
			if c, err := net.DialTimeout("tcp", l.Addr().String(), 50*time.Millisecond); err == nil {
				c.Close()
				t.Error("a new client connects")
			}
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			if _, err := before.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if n, err := accepted.Read(make([]byte, 1)); n != 1 {
				t.Errorf("the client in the queue: %v", err)
			}
			on((*listenSocket).takeSYNs)
			testnet.Dial(t, "tcp", l.Addr().String())
		})
	}
}
