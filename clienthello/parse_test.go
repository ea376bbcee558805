package clienthello

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fill replaces words in args.
func fill(args []string, oldnew ...string) []string {
	replacer := strings.NewReplacer(oldnew...)
	filled := make([]string, len(args))
	for i, arg := range args {
		filled[i] = replacer.Replace(arg)
	}
	return filled
}

// realHellos are what real clients send first, from testdata.
func realHellos(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/*.hello")
	if err != nil || len(files) < len(captures) {
		t.Fatalf("%d files in testdata, %v", len(files), err)
	}
	hellos := map[string][]byte{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hellos[strings.TrimSuffix(filepath.Base(file), ".hello")] = b
	}
	return hellos
}

// wire is a connection on which a client has sent its bytes and closed.
type wire struct{ *bytes.Reader }

func (wire) Write(b []byte) (int, error)      { return len(b), nil }
func (wire) Close() error                     { return nil }
func (wire) LocalAddr() net.Addr              { return nil }
func (wire) RemoteAddr() net.Addr             { return nil }
func (wire) SetDeadline(time.Time) error      { return nil }
func (wire) SetReadDeadline(time.Time) error  { return nil }
func (wire) SetWriteDeadline(time.Time) error { return nil }

var errSeen = errors.New("hello seen")

// oracle is what crypto/tls reads from a client's first bytes; nil if it takes them for no hello.
func oracle(b []byte) (*tls.ClientHelloInfo, error) {
	var info *tls.ClientHelloInfo
	config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		info = hello
		return nil, errSeen
	}}
	err := tls.Server(wire{bytes.NewReader(b)}, config).Handshake()
	return info, err
}

func TestRealHellos(t *testing.T) {
	for name, b := range realHellos(t) {
		t.Run(name, func(t *testing.T) {
			h, done, err := Parse(b)
			info, oracleErr := oracle(b)
			if err != nil || !done || !h.TLS || info == nil {
				t.Fatalf("%+v, %v, %v; crypto/tls: %v", h, done, err, oracleErr)
			}
			if want := "www.example.com"; h.ServerName != want && name != "openssl-no-name" {
				t.Errorf("name %q", h.ServerName)
			}
			if h.ServerName != info.ServerName || !slices.Equal(h.ALPN, info.SupportedProtos) {
				t.Errorf("%+v; crypto/tls: %q, %q", h, info.ServerName, info.SupportedProtos)
			}
		})
	}
}

func TestCapturesHavePostQuantumKeys(t *testing.T) {
	hellos := realHellos(t)
	for _, name := range []string{"go", "go-mlkem1024", "chromium"} {
		if len(hellos[name]) < 1200 {
			t.Errorf("the hello of %s has %d bytes: capture it with a client that sends ML-KEM keys", name, len(hellos[name]))
		}
	}
}

// records cuts the message of a stream with one record into several: each record holds the bytes
// up to the next cut.
func records(b []byte, cuts ...int) []byte {
	size := int(binary.BigEndian.Uint16(b[3:]))
	message, after := b[recordHead:recordHead+size], b[recordHead+size:]
	var out []byte
	last := 0
	for _, cut := range append(cuts, size) {
		if cut <= last || cut > size {
			continue
		}
		out = append(out, b[0], b[1], b[2], byte((cut-last)>>8), byte(cut-last))
		out = append(out, message[last:cut]...)
		last = cut
	}
	return append(out, after...)
}

// sameAtEveryCut feeds the stream byte by byte. Before its last byte more is wanted, and then the
// result is that of the whole.
func sameAtEveryCut(t *testing.T, stream []byte, want Hello) {
	t.Helper()
	var p Parser
	for i := range len(stream) + 1 {
		h, done, err := p.Parse(stream[:i])
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", i, len(stream), err)
		}
		if !done {
			continue
		}
		if i < len(stream) && h.TLS && len(stream)-i > 6 { // Chromium and OpenSSL may send no more
			t.Fatalf("done after %d of %d bytes", i, len(stream))
		}
		if h.ServerName != want.ServerName || !slices.Equal(h.ALPN, want.ALPN) {
			t.Fatalf("after %d bytes: %+v, want %+v", i, h, want)
		}
		return
	}
	t.Fatalf("not done after %d bytes", len(stream))
}

func TestHelloInSegmentsAndRecordsOfAnySize(t *testing.T) {
	for name, b := range realHellos(t) {
		t.Run(name, func(t *testing.T) {
			b = b[:recordHead+int(binary.BigEndian.Uint16(b[3:]))]
			want, _, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			sameAtEveryCut(t, b, want)
			for cut := 1; cut < len(b)-recordHead; cut++ {
				stream := records(b, cut)
				if got, done, err := Parse(stream); err != nil || !done || got.ServerName != want.ServerName || !slices.Equal(got.ALPN, want.ALPN) {
					t.Fatalf("records cut at %d: %+v, %v, %v", cut, got, done, err)
				}
				if cut%97 == 1 {
					sameAtEveryCut(t, stream, want)
				}
				if info, err := oracle(stream); info == nil || info.ServerName != want.ServerName {
					t.Fatalf("records cut at %d: crypto/tls says %v", cut, err)
				}
			}
			var all []int
			for i := range b {
				all = append(all, i)
			}
			stream := records(b, all...) // a record per byte
			if len(stream) < Max {
				sameAtEveryCut(t, stream, want)
			}
		})
	}
}

// A hello whose lengths are wrong is an error, or it waits for bytes that do not come; it never
// gets another name.
func TestWrongLengthsAreNeverAnotherHello(t *testing.T) {
	for name, b := range realHellos(t) {
		want, _, _ := Parse(b)
		for i := 3; i < len(b); i++ {
			for _, change := range []byte{1, 0x80} {
				bad := slices.Clone(b)
				bad[i] ^= change
				h, done, err := Parse(bad)
				if err != nil || !done {
					continue
				}
				info, oracleErr := oracle(bad)
				if info == nil {
					// crypto/tls looks into extensions that are not read here.
					if h.ServerName != want.ServerName && h.ServerName != "" || oracleErr == nil {
						t.Fatalf("%s, byte %d ^ %#x: %+v; crypto/tls: %v", name, i, change, h, oracleErr)
					}
					continue
				}
				if h.ServerName != strings.ToLower(info.ServerName) || !slices.Equal(h.ALPN, info.SupportedProtos) {
					t.Fatalf("%s, byte %d ^ %#x: %+v; crypto/tls: %q, %q", name, i, change, h, info.ServerName, info.SupportedProtos)
				}
			}
		}
	}
}

// hello makes a hello with these extensions, each with type and length in front.
func hello(extensions ...[]byte) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)
	if extensions != nil {
		all := slices.Concat(extensions...)
		body = binary.BigEndian.AppendUint16(body, uint16(len(all)))
		body = append(body, all...)
	}
	message := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	record := append([]byte{22, 3, 1}, byte(len(message)>>8), byte(len(message)))
	return append(record, message...)
}

// extension puts type and length in front of data.
func extension(kind int, data []byte) []byte {
	return append([]byte{byte(kind >> 8), byte(kind), byte(len(data) >> 8), byte(len(data))}, data...)
}

func names(names ...string) []byte {
	var list []byte
	for _, name := range names {
		list = append(list, typeHostName, byte(len(name)>>8), byte(len(name)))
		list = append(list, name...)
	}
	return extension(extensionServerName, append([]byte{byte(len(list) >> 8), byte(len(list))}, list...))
}

func protocols(protocols ...string) []byte {
	var list []byte
	for _, protocol := range protocols {
		list = append(list, byte(len(protocol)))
		list = append(list, protocol...)
	}
	return extension(extensionALPN, append([]byte{byte(len(list) >> 8), byte(len(list))}, list...))
}

func TestNames(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 49)+".", 5) // 250 bytes
	for _, c := range []struct {
		name, want string
		err        error
	}{
		{"db.example.com", "db.example.com", nil},
		{"DB.Example.COM", "db.example.com", nil},
		{"db.example.com.", "db.example.com", nil},
		{"localhost", "localhost", nil},
		{"_acme.example.com", "_acme.example.com", nil},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", nil},
		{"1.2.3.example", "1.2.3.example", nil},
		{"10", "10", nil},
		{long + "abc", long + "abc", nil},
		{long + "abc.", long + "abc", nil},
		{long + "abcd", "", ErrName},
		{strings.Repeat("a", 63) + ".example", strings.Repeat("a", 63) + ".example", nil},
		{strings.Repeat("a", 64) + ".example", "", ErrName},
		{"db.example.com\x00.evil.example", "", ErrName},
		{"db.example.com\x00", "", ErrName},
		{"db..example.com", "", ErrName},
		{"db.example.com..", "", ErrName},
		{".example.com", "", ErrName},
		{".", "", ErrName},
		{"*.example.com", "", ErrName},
		{"db example.com", "", ErrName},
		{"db.example.com:443", "", ErrName},
		{"bücher.example", "", ErrName},
		{"192.0.2.1", "", ErrName},
		{"192.0.2.1.", "", ErrName},
		{"2001:db8::1", "", ErrName},
		{"[2001:db8::1]", "", ErrName},
		{"", "", ErrLength},
	} {
		h, done, err := Parse(hello(names(c.name)))
		if h.ServerName != c.want || !errors.Is(err, c.err) || done != (c.err == nil) {
			t.Errorf("%q: %+v, %v, %v; want %q, %v", c.name, h, done, err, c.want, c.err)
		}
	}
}

func TestBadHellos(t *testing.T) {
	many := make([]string, MaxProtocols+1)
	for i := range many {
		many[i] = "x"
	}
	for _, c := range []struct {
		what string
		b    []byte
		want error
	}{
		{"two names", hello(names("a.example", "b.example")), ErrRepeated},
		{"two extensions with names", hello(names("a.example"), names("a.example")), ErrRepeated},
		{"two extensions with protocols", hello(protocols("h2"), protocols("h2")), ErrRepeated},
		{"empty list of names", hello(names()), ErrLength},
		{"empty extension with names", hello(extension(extensionServerName, nil)), ErrLength},
		{"bytes after the names", hello(extension(extensionServerName, append(names("a.example")[4:], 0))), ErrLength},
		{"empty list of protocols", hello(protocols()), ErrALPN},
		{"empty protocol", hello(protocols("h2", "")), ErrALPN},
		{"too many protocols", hello(protocols(many...)), ErrALPN},
		{"half an extension", hello([]byte{0, 16, 0}), ErrLength},
		{"extension beyond the end", hello([]byte{0, 16, 0, 9, 1}), ErrLength},
		{"another message", []byte{22, 3, 1, 0, 4, 2}, ErrNotHello},
		{"empty record", []byte{22, 3, 1, 0, 0}, ErrRecord},
		{"record of more than 16 KiB", []byte{22, 3, 1, 0x41}, ErrRecord},
		{"hello of more than 16 KiB", []byte{22, 3, 1, 0x40, 0, 1, 0, 0x40, 0}, ErrTooLong},
		{"hello of 16 MiB", []byte{22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff}, ErrTooLong},

		{"bytes after the hello", []byte{22, 3, 1, 0, 6, 1, 0, 0, 1}, ErrAfter},
		{"another record within", slices.Concat([]byte{22, 3, 1, 0, 1, 1}, []byte{23}), ErrRecord},
		{"another version within", slices.Concat([]byte{22, 3, 1, 0, 1, 1}, []byte{22, 2}), ErrRecord},
	} {
		if h, done, err := Parse(c.b); done || !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, %v; want %v", c.what, h, done, err, c.want)
		}
	}
}

func TestHelloWithoutExtensions(t *testing.T) {
	for _, b := range [][]byte{hello(), hello([]byte{}), hello(extension(0xfafa, nil))} {
		if h, done, err := Parse(b); !done || err != nil || !h.TLS || h.ServerName != "" || h.ALPN != nil {
			t.Errorf("%+v, %v, %v", h, done, err)
		}
	}
}

func TestNoTLSShowsAtTheFirstByte(t *testing.T) {
	for _, s := range []string{"GET / HTTP/1.1\r\n", "SSH-2.0-x\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x80\x2e\x01\x03\x01", "\x15\x03\x03\x00\x02", "\x16\x04\x00"} {
		at := 1
		if s[0] == recordHandshake {
			at = 2
		}
		for i := range len(s) + 1 {
			if h, done, err := Parse([]byte(s[:i])); done != (i >= at) || err != nil || h.TLS {
				t.Errorf("%q after %d bytes: %+v, %v, %v", s, i, h, done, err)
			}
		}
	}
}

func TestStreamOf16KiBWithoutEndIsTooLong(t *testing.T) {
	var many []int
	for i := range 4000 {
		many = append(many, i)
	}
	b := records(hello(extension(21, make([]byte, 4000))), many...)
	if len(b) < Max {
		t.Fatalf("%d bytes", len(b))
	}
	var p Parser
	for i := range len(b) {
		_, done, err := p.Parse(b[:i])
		if done || err != nil {
			if !errors.Is(err, ErrTooLong) || i > Max {
				t.Errorf("after %d bytes: %v, %v", i, done, err)
			}
			return
		}
	}
	t.Error("no end")
}

// The work of a client that sends byte by byte, each in a record of its own, is counted by the
// records that are looked at.
func TestParserLooksAtEachRecordOnce(t *testing.T) {
	b := hello(names("a.example"), extension(21, make([]byte, 2000)))
	var cuts []int
	for i := range b {
		cuts = append(cuts, i)
	}
	stream := records(b, cuts...)
	var p Parser
	for i := range stream {
		before := p.records
		if _, _, err := p.Parse(stream[:i]); err != nil {
			t.Fatal(err)
		}
		if p.records > before+1 || p.next < i-recordHead-1 {
			t.Fatalf("after %d bytes: %d records before %d", i, p.records, p.next)
		}
	}
}

func FuzzParse(f *testing.F) {
	// Post-quantum hellos are left out: to make such an input small takes the fuzzer a minute.
	for _, name := range []string{"openssl-classic", "go-classic"} {
		b := realHellos(f)[name]
		f.Add(b, uint16(100))
		f.Add(records(b, 1, 5, 100), uint16(7))
	}
	f.Add(hello(names("a.Example.")), uint16(1))
	f.Add(hello(protocols("h2", "http/1.1"), names("a.example")), uint16(60))
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		h, done, err := Parse(b)
		checkSteps(t, b, int(step)%512+1, h, done, err)
		info, oracleErr := oracle(b)
		if err != nil || !done || !h.TLS {
			// Only Parse refuses names that are none in DNS, too many protocols, long hellos, those
			// with bytes after them, and later records of another version than 3.x.
			stricter := slices.ContainsFunc([]error{ErrName, ErrALPN, ErrTooLong, ErrAfter, ErrRecord}, func(e error) bool { return errors.Is(err, e) })
			if info != nil && !stricter {
				t.Fatalf("%x: %+v, %v, %v; crypto/tls reads %q", b, h, done, err, info.ServerName)
			}
			return
		}
		if info == nil {
			if errors.Is(oracleErr, io.EOF) || errors.Is(oracleErr, io.ErrUnexpectedEOF) {
				t.Fatalf("%x: %+v, and crypto/tls wants more", b, h)
			}
			return // crypto/tls looks into more extensions
		}
		if h.ServerName != strings.TrimSuffix(strings.ToLower(info.ServerName), ".") || !slices.Equal(h.ALPN, info.SupportedProtos) {
			t.Fatalf("%x: %+v; crypto/tls: %q %q", b, h, info.ServerName, info.SupportedProtos)
		}
	})
}

// checkSteps feeds b in steps: the first verdict is that of the whole.
func checkSteps(t *testing.T, b []byte, step int, h Hello, done bool, err error) {
	var p Parser
	for end := min(step, len(b)); ; end = min(end+step, len(b)) {
		got, ok, stepErr := p.Parse(b[:end])
		if ok || stepErr != nil || end == len(b) {
			if got.TLS != h.TLS || got.ServerName != h.ServerName || !slices.Equal(got.ALPN, h.ALPN) || ok != done || !errors.Is(stepErr, err) {
				t.Fatalf("in steps of %d: %+v, %v, %v; at once: %+v, %v, %v", step, got, ok, stepErr, h, done, err)
			}
			return
		}
	}
}
