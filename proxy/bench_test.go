package proxy_test

import (
	"fmt"
	"io"
	"testing"

	"l4proxy/eventloop"
	"l4proxy/internal/testnet"
)

// benchEngines runs a benchmark with each engine that works on this machine.
func benchEngines(b *testing.B, benchmark func(b *testing.B, engine string)) {
	b.Helper()
	for _, engine := range []string{eventloop.IOUring, eventloop.Epoll} {
		b.Run(engine, func(b *testing.B) {
			if _, _, err := eventloop.Probe(engine); err != nil {
				b.Skip(err)
			}
			benchmark(b, engine)
		})
	}
}

// BenchmarkRelay times one message to a backend and back on one persistent connection. That
// includes both ends, which are goroutines. B/s counts both directions.
func BenchmarkRelay(b *testing.B) {
	benchEngines(b, func(b *testing.B, engine string) {
		for _, size := range []int{1, 1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
				r := start(b, engine, addresses(testnet.Serve(b, "tcp", "127.0.0.1:0", testnet.Echo)))
				c := r.dial()
				defer c.Close()
				message, answer := make([]byte, size), make([]byte, size)
				b.SetBytes(2 * int64(size))
				b.ReportAllocs()
				for b.Loop() {
					exchange(b, c, message, answer)
				}
			})
		}
	})
}

// BenchmarkConnection times a connection: accept, pick, dial, a byte each way, both FINs, record.
func BenchmarkConnection(b *testing.B) {
	benchEngines(b, func(b *testing.B, engine string) {
		r := start(b, engine, addresses(testnet.Serve(b, "tcp", "127.0.0.1:0", testnet.Echo)))
		message, answer := make([]byte, 1), make([]byte, 1)
		b.ReportAllocs()
		for b.Loop() {
			c, err := testnet.TryDial("tcp", r.addr)
			if err != nil {
				b.Fatal(err)
			}
			exchange(b, c, message, answer)
			if err := c.CloseWrite(); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Read(answer); err != io.EOF {
				b.Fatalf("after the echo: %v, want EOF", err)
			}
			c.Close()
		}
	})
}

// exchange sends a message that fits into a socket's buffers, and reads as many bytes back.
func exchange(b testing.TB, c io.ReadWriter, message, answer []byte) {
	b.Helper()
	if _, err := c.Write(message); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, answer); err != nil {
		b.Fatal(err)
	}
}
