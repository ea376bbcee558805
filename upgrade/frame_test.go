package upgrade

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

func TestHeadersThatAreRefused(t *testing.T) {
	header := func(fds uint16, json, raw uint32) []byte {
		h := append([]byte(magic), 0, 7)
		h = binary.BigEndian.AppendUint16(h, fds)
		h = binary.BigEndian.AppendUint32(h, json)
		return binary.BigEndian.AppendUint32(h, raw)
	}
	if _, err := parseHeader(header(maxDescriptors, maxJSON, maxRaw)); err != nil {
		t.Errorf("the largest message: %v", err)
	}
	for _, h := range [][]byte{
		header(maxDescriptors+1, 0, 0), header(0, maxJSON+1, 0), header(0, 0, maxRaw+1), header(0, 1<<32-1, 1<<32-1),
		[]byte("GET / HTTP/1.1\r\n"), []byte("L4UP"), nil,
	} {
		if _, err := parseHeader(h); err == nil {
			t.Errorf("%q is taken for a header", h)
		}
	}
}

// TestBatchesThatAreRefused: numbers in a batch that do not fit what came with it.
func TestBatchesThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		text string
		fds  []int
		raw  string
	}{
		{`[{"has_client": true}]`, nil, ""},
		{`[{"has_client": true}]`, []int{101, 102}, ""},
		{`[{}]`, []int{101}, ""},
		{`[{"pending": [4, 0]}]`, nil, "abc"},
		{`[{"pending": [2, 0]}]`, nil, "abc"},
		{`[{"pending": [-1, 4]}]`, nil, "abc"},
		{`[{"pending": [9223372036854775807, 9223372036854775807]}]`, nil, "abc"},
	} {
		var message batch
		if err := json.Unmarshal([]byte(`{"connections":`+c.text+`}`), &message); err != nil {
			t.Fatal(err)
		}
		if all, err := unpack(&message, &frame{fds: c.fds, raw: []byte(c.raw)}); err == nil {
			t.Errorf("%s with %d descriptors and %q is taken for %+v", c.text, len(c.fds), c.raw, all)
		}
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	var message batch
	err := json.Unmarshal([]byte(`{"seq": 1, "later": {}, "connections": [{"has_client": true, "later": 1,
		"connection": {"listener": "web", "later": [1]}}]}`), &message)
	if err != nil {
		t.Fatal(err)
	}
	all, err := unpack(&message, &frame{fds: []int{101}})
	if err != nil || len(all) != 1 || all[0].Client != 101 || all[0].Backend != -1 || all[0].Listener != "web" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestPackedConnectionsFit(t *testing.T) {
	big := func(n int) proxy.Moved { return proxy.Moved{Pending: [2][]byte{make([]byte, n), nil}} }
	many := make([]proxy.Moved, 1000)
	for _, c := range []struct {
		all  []proxy.Moved
		want int
	}{
		{many, batchConnections},
		{many[:3], 3},
		{[]proxy.Moved{big(batchBytes), big(1)}, 1},
		{[]proxy.Moved{big(batchBytes + 1), big(1)}, 1},
		{[]proxy.Moved{big(batchBytes - 1), big(1), big(1)}, 2},
		{[]proxy.Moved{big(maxRaw + 1)}, 0},
	} {
		if got := fitting(c.all); got != c.want {
			t.Errorf("%d of %d connections fit, want %d", got, len(c.all), c.want)
		}
	}
}

// FuzzReceive gives a receiver any bytes.
func FuzzReceive(f *testing.F) {
	message := frame{kind: kindBatch, json: []byte(`{"seq":1,"connections":[{"has_client":true,"pending":[1,2]}]}`), raw: []byte("abc")}
	f.Add(append(append(message.header(), message.json...), message.raw...))
	f.Add((&frame{kind: optional | 7}).header())
	f.Add([]byte("L4UP"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 1<<16 { // more than the socket takes without a reader
			return
		}
		l, theirs, err := pair()
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		if _, err := unix.Write(int(theirs.Fd()), p); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		l.until(time.Now().Add(testnet.Patience))
		for {
			m, err := l.receive()
			if err != nil {
				return
			}
			var b batch
			if m.as(kindBatch, &b) == nil {
				if all, err := unpack(&b, m); err == nil && len(all) != len(b.Connections) {
					t.Errorf("%d connections of %d", len(all), len(b.Connections))
				}
			}
		}
	})
}

// TestLongMessageOfAShortPeer: a length that is announced is not believed before the bytes come.
func TestLongMessageOfAShortPeer(t *testing.T) {
	l, theirs, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	message := frame{kind: kindState, json: bytes.Repeat([]byte("x"), 100)}
	if _, err := theirs.Write(append(message.header(), message.json[:50]...)); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if _, err := l.receive(); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("error %v, want an unexpected EOF", err)
	}
}
