package balancer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// seed makes hashes that are the same on all proxies with the same text, and that cannot be
// predicted without the text: otherwise a client that chooses its addresses could send all its
// connections to one backend. It is used under the pool's lock.
type seed struct {
	key    [sha256.Size]byte
	client cipher.Block
	block  [aes.BlockSize]byte // otherwise each call of Encrypt would allocate it
}

// hashSeed returns the seed of a text. An empty text is valid, but its hashes can be predicted.
func hashSeed(text string) *seed {
	s := &seed{key: sha256.Sum256([]byte(text))}
	key := s.sum("") // no backend has this name
	client, err := aes.NewCipher(key[:16])
	if err != nil {
		panic(err) // the key has a length of AES
	}
	s.client = client
	return s
}

func (s *seed) sum(name string) [sha256.Size]byte {
	return sha256.Sum256(append(s.key[:len(s.key):len(s.key)], name...))
}

// backend returns three independent hashes of a backend's name.
func (s *seed) backend(name string) (h [3]uint64) {
	sum := s.sum(name)
	for i := range h {
		h[i] = binary.LittleEndian.Uint64(sum[8*i:])
	}
	return h
}

// clientKey returns the hash of a client. An address is just one block of AES, a keyed function
// that processors compute in nanoseconds.
//
// An IPv6 client is known by its /64, which is one subnet (RFC 4291, section 2.5.4): hosts change
// their addresses within it every day (RFC 8981), and many may choose them. Link-local hosts share
// one /64, so their whole addresses count.
func clientKey(addr netip.Addr, s *seed) uint64 {
	addr = addr.Unmap()
	s.block = addr.As16()
	if addr.Is6() && !addr.IsLinkLocalUnicast() {
		clear(s.block[8:])
	}
	s.client.Encrypt(s.block[:], s.block[:])
	return binary.LittleEndian.Uint64(s.block[:])
}

// golden is 2^64 divided by the golden ratio, an odd number. Its multiples modulo 2^64 are all
// different.
const golden = 0x9e3779b97f4a7c15

// mix returns a number whose every bit depends on every bit of x. Different x give different
// numbers. It is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
// number generators", 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
