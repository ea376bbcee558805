package clienthello

import "errors"

// Limits of what is read.
const (
	// Max is the most bytes from the start of the stream to the end of the hello, with the heads of
	// records. A hello with post-quantum keys has less than 2 KiB, or 4 KiB with a long ticket.
	Max = 16 << 10
	// MaxProtocols is the most protocols that a client may offer. Browsers offer two.
	MaxProtocols = 64
)

// Hello is what a client's first bytes say.
type Hello struct {
	// TLS is false if the client speaks something else. The other fields are empty then.
	TLS bool
	// ServerName is the name that the client asks for, in lower case and without a dot at its end;
	// empty if it asks for none.
	ServerName string
	// ALPN are the protocols that the client offers, in its order, as it wrote them.
	ALPN []string
}

// Errors of Parse. After each of them the client cannot be served by a TLS server either.
var (
	ErrTooLong  = errors.New("TLS ClientHello is longer than 16 KiB")
	ErrRecord   = errors.New("bad TLS record: not a part of a ClientHello")
	ErrAfter    = errors.New("bad TLS record: bytes after the ClientHello")
	ErrNotHello = errors.New("the first TLS message is not a ClientHello")
	ErrLength   = errors.New("bad TLS ClientHello: a length does not fit")
	ErrRepeated = errors.New("bad TLS ClientHello: repeated extension or server name")
	ErrName     = errors.New("bad TLS ClientHello: the server name is not a DNS name")
	ErrALPN     = errors.New("bad TLS ClientHello: bad list of protocols")
)

// Parse reads the hello at the start of b, which is everything that the client has sent so far.
// done is false with a nil error if more bytes are needed. Bytes that cannot be TLS are reported as
// a Hello without TLS, with done, at the first byte that shows it.
//
// Parse goes over the heads of all records at every call. To call it again and again as bytes come
// in, use a Parser.
func Parse(b []byte) (h Hello, done bool, err error) {
	var p Parser
	return p.Parse(b)
}

// Parser is the state between two calls for the same client, so that a client that sends byte by
// byte costs no more than one that sends all at once. The zero value is ready.
type Parser struct {
	next    int     // where the next record starts
	have    int     // bytes of the message in the records before next
	records int     // complete records before next
	head    [4]byte // type and length of the message, as far as known
}
