package clienthello

import "encoding/binary"

// The heads of records and messages, RFC 8446 sections 5.1 and 4.
const (
	recordHead      = 5
	recordHandshake = 22
	recordMajor     = 3       // of the legacy version, the same from SSL 3.0 to TLS 1.3
	recordMax       = 1 << 14 // bytes of plaintext

	messageHead        = 4
	messageClientHello = 1
)

// Parse is like the function Parse. b starts with the bytes of the call before.
func (p *Parser) Parse(b []byte) (h Hello, done bool, err error) {
	if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != recordMajor {
		return Hello{}, true, nil
	}
	visible := b[:min(len(b), Max)]
	for p.next < len(visible) {
		rest := visible[p.next:]
		size, err := recordSize(rest)
		if err != nil {
			return Hello{}, false, err
		}
		if len(rest) < recordHead {
			break
		}
		fragment := rest[recordHead:min(len(rest), recordHead+size)]
		if p.have < messageHead {
			copy(p.head[p.have:], fragment)
		}
		have := p.have + len(fragment)
		if have >= 1 && p.head[0] != messageClientHello {
			return Hello{}, false, ErrNotHello
		}
		want, known := p.want(have)
		if known && want+recordHead > Max-p.records*recordHead {
			return Hello{}, false, ErrTooLong
		}
		if known && p.have+size > want { // "MUST send these messages in alignment with a record boundary"
			return Hello{}, false, ErrAfter
		}
		if known && have == want {
			body := p.message(visible, want)[messageHead:]
			h, err := parseHello(body)
			return h, err == nil, err
		}
		if len(fragment) < size {
			break
		}
		p.next += recordHead + size
		p.have = have
		p.records++
	}
	if len(b) >= Max {
		return Hello{}, false, ErrTooLong
	}
	return Hello{}, false, nil
}

// recordSize reads the head of a record, as far as it is there.
func recordSize(b []byte) (int, error) {
	if b[0] != recordHandshake || len(b) > 1 && b[1] != recordMajor {
		return 0, ErrRecord
	}
	if len(b) > 3 && int(b[3])<<8 > recordMax {
		return 0, ErrRecord
	}
	if len(b) < recordHead {
		return 0, nil
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	if size == 0 || size > recordMax { // "MUST NOT send zero-length fragments of Handshake types"
		return 0, ErrRecord
	}
	return size, nil
}

// want returns the size of the whole message, which is known once have covers its head.
func (p *Parser) want(have int) (size int, known bool) {
	if have < messageHead {
		return 0, false
	}
	return messageHead + int(p.head[1])<<16 + int(p.head[2])<<8 + int(p.head[3]), true
}

// message returns the first size bytes of the message: a part of b if one record holds them all.
func (p *Parser) message(b []byte, size int) []byte {
	if p.records == 0 {
		return b[recordHead : recordHead+size]
	}
	message := make([]byte, 0, size)
	for len(message) < size {
		length := int(binary.BigEndian.Uint16(b[3:]))
		end := min(recordHead+length, len(b))
		message = append(message, b[recordHead:end]...)
		b = b[end:]
	}
	return message[:size]
}
