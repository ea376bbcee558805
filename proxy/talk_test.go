package proxy_test

import (
	"io"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// shortly is how long a test waits for something that should not happen.
const shortly = 30 * time.Millisecond

// ask sends a message to an echo and returns as many bytes of the answer.
func ask(c testnet.Conn, message string) (string, error) {
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, message)
		sent <- err
	}()
	p := make([]byte, len(message))
	n, err := io.ReadFull(c, p)
	if failed := <-sent; err == nil {
		err = failed
	}
	return string(p[:n]), err
}

// mustAsk is ask for an answer that has to come.
func mustAsk(t testing.TB, c testnet.Conn, message string) {
	t.Helper()
	if got, err := ask(c, message); err != nil || got != message {
		t.Fatalf("echo of %q = %q, %v", message, got, err)
	}
}

// readWithin reads once, within a limit.
func readWithin(c testnet.Conn, limit time.Duration, p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(limit))
	defer func() { _ = c.SetReadDeadline(time.Now().Add(testnet.Patience)) }()
	return c.Read(p)
}
