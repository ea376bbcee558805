package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// mostPrefixes is how long an access control list can be.
const mostPrefixes = 1<<20 + 1

// restrict writes the prefixes of s's access control list, if it has one, to a
// file of s.Dir, one a line with what the peer wants after it. The clients are
// in the last of them, which is found last by who looks through all.
func (s *setup) restrict(after string) error {
	if s.Prefixes == 0 {
		return nil
	}
	if s.Prefixes > mostPrefixes {
		return fmt.Errorf("%d prefixes, the most are %d", s.Prefixes, mostPrefixes)
	}
	s.AllowList = filepath.Join(s.Dir, "allow.list")
	file, err := os.Create(s.AllowList)
	if err != nil {
		return err
	}
	defer file.Close()
	// It keeps the first error and returns it from Flush.
	lines := bufio.NewWriterSize(file, 1<<16)
	for i := range s.Prefixes {
		prefix := s.Trusted
		if i < s.Prefixes-1 {
			prefix = nobody(i)
		}
		line := append(prefix.AppendTo(lines.AvailableBuffer()), after...)
		_, _ = lines.Write(append(line, '\n'))
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	return file.Close()
}

// nobody returns a prefix of 24 to 32 bits within 16.0.0.0/4 that holds no
// client and overlaps with no other below 1<<20. They are not in order: the
// odd factor makes a permutation.
func nobody(i int) netip.Prefix {
	const factor = 0x9E3B5
	n := uint32(i) * factor % (1 << 20)
	address := netip.AddrFrom4([4]byte{16 + byte(n>>16), byte(n >> 8), byte(n), 0})
	return netip.PrefixFrom(address, 24+i%9)
}
