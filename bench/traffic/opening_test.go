package traffic

import (
	"io"
	"strings"
	"testing"

	"l4proxy/internal/testnet"
)

func TestHeaderSize(t *testing.T) {
	v2 := signature + "\x21\x11\x00\x0c"
	for _, c := range []struct {
		b    string
		size int
		ok   bool
	}{
		{v2 + "payload", 28, true},
		{v2[:15], 0, true},
		{v2[:3], 0, true},
		{"PROXY UNKNOWN\r\npayload", 15, true},
		{"PROXY UNKNOWN\r", 0, true},
		{"PRO", 0, true},
		{"payload", 0, false},
		{"\r\n\r\nx", 0, false},
		{"PROXY " + strings.Repeat("x", 200), 0, false},
	} {
		if size, ok := headerSize([]byte(c.b)); size != c.size || ok != c.ok {
			t.Errorf("%q: %d, %v; want %d, %v", c.b, size, ok, c.size, c.ok)
		}
	}
}

// The origin takes a header off, however it is cut, and resets a connection without one.
func TestOriginTakesHeaderOff(t *testing.T) {
	address := startOrigin(t, OriginSpec{Work: Echo, ProxyHeader: true})
	conn := testnet.Dial(t, "tcp", address)
	for _, part := range []string{"PROXY UNKN", "OWN\r", "\nhel", "lo"} {
		if _, err := conn.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("%q came back, %v", got, err)
	}
	conn = testnet.Dial(t, "tcp", address)
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 9)); err == nil {
		t.Errorf("%d bytes came without a header", n)
	}
}

func TestOpeningIsSentAndExpected(t *testing.T) {
	opening := []byte("an opening")
	spec := OriginSpec{Work: Connection, RequestBytes: 40, ResponseBytes: 10, Opening: opening, Verify: true}
	address := startOrigin(t, spec)
	run := func(opening []byte) (ClientResult, error) {
		return RunClient(t.Context(), ClientSpec{
			Target: []string{address}, Work: Connection, Connections: 2, RequestBytes: 40, ResponseBytes: 10, Opening: opening, Limit: 9, Verify: true,
		})
	}
	if result, err := run(opening); err != nil || result.Operations != 9 || result.Failed > 0 {
		t.Errorf("%+v, %v", result, err)
	}
	if result, err := run(nil); err == nil && result.Failed == 0 {
		t.Errorf("without the opening: %+v", result)
	}
}
