package clienthello

import "encoding/binary"

// Extensions that are read; IANA's TLS ExtensionType Values.
const (
	extensionServerName = 0
	extensionALPN       = 16
)

// fields cuts length-prefixed fields from the start of a message. After the first that does not
// fit, bad is set and every field is empty.
type fields struct {
	b   []byte
	bad bool
}

// bytes cuts n bytes.
func (f *fields) bytes(n int) []byte {
	if f.bad || n > len(f.b) {
		f.bad = true
		return nil
	}
	cut := f.b[:n]
	f.b = f.b[n:]
	return cut
}

// number cuts a number of 1 or 2 bytes.
func (f *fields) number(size int) int {
	b := f.bytes(size)
	switch {
	case f.bad:
		return 0
	case size == 1:
		return int(b[0])
	}
	return int(binary.BigEndian.Uint16(b))
}

// vector cuts a vector whose length stands in front of it, in a number of the given size. It has to
// hold between least and most bytes, as RFC 8446 writes <least..most>.
func (f *fields) vector(size, least, most int) []byte {
	n := f.number(size)
	if n < least || n > most {
		f.bad = true
	}
	return f.bytes(n)
}

func (f *fields) more() bool { return !f.bad && len(f.b) > 0 }

// parseHello reads the body of a ClientHello: RFC 8446 section 4.1.2, and RFC 5246 section 7.4.1.2,
// where the extensions may be missing. Bounds of fields that have no part in the route are left to
// the server.
func parseHello(body []byte) (Hello, error) {
	f := fields{b: body}
	f.bytes(2)           // legacy_version
	f.bytes(32)          // random
	f.vector(1, 0, 0xff) // legacy_session_id
	if suites := f.vector(2, 0, 0xfffe); len(suites)%2 != 0 {
		f.bad = true
	}
	f.vector(1, 0, 0xff) // compression methods
	h := Hello{TLS: true}
	if !f.more() {
		return h.orLength(&f)
	}
	extensions := fields{b: f.vector(2, 0, 0xffff)}
	if f.bad || len(f.b) > 0 {
		return Hello{}, ErrLength
	}
	var named, offered bool
	for extensions.more() {
		kind := extensions.number(2)
		data := extensions.vector(2, 0, 0xffff)
		if extensions.bad {
			break
		}
		var err error
		switch kind {
		case extensionServerName:
			if named {
				return Hello{}, ErrRepeated
			}
			named = true
			h.ServerName, err = parseNames(data)
		case extensionALPN:
			if offered {
				return Hello{}, ErrRepeated
			}
			offered = true
			h.ALPN, err = parseProtocols(data)
		}
		if err != nil {
			return Hello{}, err
		}
	}
	return h.orLength(&extensions)
}

// orLength returns h, or an error if a field did not fit.
func (h Hello) orLength(f *fields) (Hello, error) {
	if f.bad {
		return Hello{}, ErrLength
	}
	return h, nil
}

// parseProtocols reads the ALPN extension, RFC 7301 section 3.1: "empty strings MUST NOT be
// included".
func parseProtocols(data []byte) ([]string, error) {
	f := fields{b: data}
	list := fields{b: f.vector(2, 2, 0xffff)}
	if f.bad || len(f.b) > 0 {
		return nil, ErrALPN
	}
	count := 0
	for counting := list; counting.more(); count++ {
		counting.vector(1, 1, 0xff)
		if counting.bad || count == MaxProtocols {
			return nil, ErrALPN
		}
	}
	all := string(list.b) // one allocation for all names
	protocols := make([]string, 0, count)
	for at := 0; at < len(all); {
		end := at + 1 + int(all[at])
		protocols = append(protocols, all[at+1:end])
		at = end
	}
	return protocols, nil
}
