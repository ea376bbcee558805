package testload

import (
	"encoding/binary"
	"io"

	"l4proxy/internal/testnet"
)

// kind is what a connection does. It is the first byte that a client sends.
type kind byte

const (
	visit        kind = 'v' // a request, its echo, the origin closes
	visitClosing kind = 'c' // the same, but the client sends its FIN with the request
	exchange     kind = 'x' // an echo of everything
	download     kind = 'd' // the origin sends after the client's FIN
	upload       kind = 'u' // the client sends after the origin's FIN
)

// header begins every connection. For the origin it is an order, for the proxy it is payload.
type header struct {
	kind   kind
	stream testnet.Stream
	length uint32 // of a visit's request
}

const headerBytes = 13

func (h header) bytes() []byte {
	p := append(make([]byte, 0, headerBytes), byte(h.kind))
	p = binary.BigEndian.AppendUint64(p, uint64(h.stream))
	return binary.BigEndian.AppendUint32(p, h.length)
}

func readHeader(r io.Reader) (header, error) {
	var p [headerBytes]byte
	if _, err := io.ReadFull(r, p[:]); err != nil {
		return header{}, err
	}
	return header{kind(p[0]), testnet.Stream(binary.BigEndian.Uint64(p[1:])), binary.BigEndian.Uint32(p[9:])}, nil
}
