package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestAllowList(t *testing.T) {
	s := setup{Dir: t.TempDir(), Prefixes: 4, Trusted: netip.MustParsePrefix("127.0.0.0/15")}
	if err := s.restrict(" origin;"); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(s.AllowList)
	if err != nil {
		t.Fatal(err)
	}
	want := "16.0.0.0/24 origin;\n25.227.181.0/25 origin;\n19.199.106.0/26 origin;\n127.0.0.0/15 origin;\n"
	if string(list) != want {
		t.Errorf("the list is\n%s, want\n%s", list, want)
	}

	none := setup{Dir: t.TempDir()}
	if err := none.restrict(""); err != nil || none.AllowList != "" {
		t.Errorf("list %q, error %v, want neither", none.AllowList, err)
	}
	s.Prefixes = mostPrefixes + 1
	if err := s.restrict(""); err == nil {
		t.Error("more prefixes than there are were written")
	}
	s.Prefixes, s.Dir = 1, s.AllowList
	if err := s.restrict(""); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("error %v", err)
	}
}

// The prefixes before the last are distinct, and contain neither clients nor
// strangers.
func TestUnusedPrefixes(t *testing.T) {
	within := netip.MustParsePrefix("16.0.0.0/4")
	seen := make(map[netip.Addr]bool, mostPrefixes)
	for i := range mostPrefixes - 1 {
		prefix := unused(i)
		if prefix != prefix.Masked() || prefix.Bits() < 24 || !within.Contains(prefix.Addr()) {
			t.Fatalf("prefix %d is %v", i, prefix)
		}
		if seen[prefix.Addr()] {
			t.Fatalf("prefix %d, %v, overlaps with another", i, prefix)
		}
		seen[prefix.Addr()] = true
	}
}
