package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// mostPrefixes is the longest access control list.
const mostPrefixes = 1<<20 + 1

// restrict writes the prefixes of s's access control list, if it has one, to a
// file in s.Dir, one per line, each followed by after. The clients are in the
// last one: a peer that compares one by one finds it last.
func (s *setup) restrict(after string) error {
	if s.Prefixes == 0 {
		return nil
	}
	if s.Prefixes > mostPrefixes {
		return fmt.Errorf("%d prefixes, but at most %d are possible", s.Prefixes, mostPrefixes)
	}
	s.AllowList = filepath.Join(s.Dir, "allow.list")
	file, err := os.Create(s.AllowList)
	if err != nil {
		return err
	}
	defer file.Close()
	// It keeps the first error, and Flush returns it.
	lines := bufio.NewWriterSize(file, 1<<16)
	for i := range s.Prefixes {
		prefix := s.Trusted
		if i < s.Prefixes-1 {
			prefix = unused(i)
		}
		line := append(prefix.AppendTo(lines.AvailableBuffer()), after...)
		_, _ = lines.Write(append(line, '\n'))
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	return file.Close()
}

// unused returns prefix i, below 1<<20, of 24 to 32 bits within 16.0.0.0/4. No
// two overlap, and no client is in any of them. They are not in order: the odd
// factor makes a permutation.
func unused(i int) netip.Prefix {
	const factor = 0x9E3B5
	n := uint32(i) * factor % (1 << 20)
	address := netip.AddrFrom4([4]byte{16 + byte(n>>16), byte(n >> 8), byte(n), 0})
	return netip.PrefixFrom(address, 24+i%9)
}
