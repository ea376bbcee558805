package health

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"l4proxy/internal/testnet"
)

// says is a handler that writes each part on its own, and closes when the client has.
func says(parts ...string) func(testnet.Conn) {
	return func(c testnet.Conn) {
		for _, part := range parts {
			if _, err := io.WriteString(c, part); err != nil {
				return
			}
		}
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
}

func receive(patterns ...string) []Step {
	var script []Step
	for _, p := range patterns {
		script = append(script, Step{Receive: []byte(p)})
	}
	return script
}

func TestExpectAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		server func(testnet.Conn)
		script []Step
		want   string
	}{
		{"no step", says(), nil, ""},
		{"the whole answer", says("+PONG\r\n"), receive("+PONG\r\n"), ""},
		{"within the answer", says("220 mail.example.com ESMTP ready\r\n"), receive("ESMTP"), ""},
		{"in two pieces", says("+PO", "NG\r\n"), receive("+PONG"), ""},
		{"byte by byte", says(strings.Split("220 ready", "")...), receive("ready"), ""},
		{"MySQL's greeting", says("J\x00\x00\x00\x0a8.0.36\x00"), receive("\x00\x00\x00\x0a"), ""},
		{"two steps in one piece", says("one two"), receive("one", "two"), ""},
		{"the second step is before the first", says("two one"), receive("one", "two"), `received nothing before the end, expected "two"`},
		{"nothing is used twice", says("aba"), receive("ab", "ba"), `received "a" before the end, expected "ba"`},
		{"nothing comes", says(), receive("+PONG"), `received nothing before the end, expected "+PONG"`},
		{"something else comes", says("-ERR \x01\r\n"), receive("+PONG"), `received "-ERR \x01\r\n" before the end, expected "+PONG"`},
		{"half of it comes", says("+PO"), receive("+PONG"), `received "+PO" before the end, expected "+PONG"`},
		{
			"much else comes", says(strings.Repeat("x", 100)), receive(strings.Repeat("y", 65)),
			`received "` + strings.Repeat("x", 64) + `"… before the end, expected "` + strings.Repeat("y", 64) + `"…`,
		},
		{
			"too much comes", says(strings.Repeat("x", maxReceived), "+PONG"), receive("+PONG"),
			`received 65536 bytes that begin with "` + strings.Repeat("x", 64) + `"…, expected "+PONG"`,
		},
		{"just not too much", says(strings.Repeat("x", maxReceived-5), "+PONG"), receive("+PONG"), ""},
		{
			"much between two steps", says(strings.Repeat("x", maxReceived-3), "one", strings.Repeat("x", maxReceived-3), "two"),
			receive("one", "two"), "",
		},
		{
			"a reset", func(c testnet.Conn) { _, _ = c.Read(make([]byte, 4)); _ = testnet.Reset(c) },
			append([]Step{{Send: []byte("PING")}}, receive("+PONG")...),
			`received nothing, expected "+PONG": connection reset by peer`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, "expect", check(t, NewExpect(test.script), serve(t, test.server)), test.want)
		})
	}
}

func TestExpectTalks(t *testing.T) {
	// Each answer depends on the question before it, as in SMTP.
	talk := []string{"220 ready\r\n", "EHLO x\r\n", "250 hello\r\n", "QUIT\r\n", "221 bye\r\n"}
	handle := func(c testnet.Conn) {
		for i, line := range talk {
			if i%2 == 0 {
				_, _ = io.WriteString(c, line)
				continue
			}
			got := make([]byte, len(line))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, []byte(line)) {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c)
	}
	script := []Step{
		{Receive: []byte("220")}, {Send: []byte(talk[1])}, {Receive: []byte("250")},
		{Send: []byte(talk[3])}, {Receive: []byte("221")},
	}
	path := filepath.Join(t.TempDir(), "socket")
	testnet.Serve(t, "unix", path, handle)
	if err := check(t, NewExpect(script), addrOf(t, "unix", path)); err != nil {
		t.Error(err)
	}

	wrong := append([]Step(nil), script...)
	wrong[1].Send = []byte("HELO x\r\n")
	wantError(t, "a wrong question", check(t, NewExpect(wrong), serve(t, handle)), "received \" ready\\r\\n\"*")
}
