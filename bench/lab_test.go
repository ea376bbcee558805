package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testLab returns a lab on loopback.
func testLab(t *testing.T) *lab {
	t.Helper()
	l, err := newLab(t.TempDir(), testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSetup(t *testing.T) {
	l := testLab(t)
	first, err := l.setup("dir", size{})
	if err != nil {
		t.Fatal(err)
	}
	l.runs++
	second, err := l.setup("dir", size{backends: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Backends) != usualBackends || len(second.Backends) != 10_000 {
		t.Errorf("%d and %d backends, want %d and 10000", len(first.Backends), len(second.Backends), usualBackends)
	}
	all := slices.Concat(first.Backends, second.Backends)
	slices.Sort(all)
	if distinct := slices.Compact(all); len(distinct) != usualBackends+10_000 {
		t.Errorf("only %d of the addresses are distinct", len(distinct))
	}
}

func TestConfigureRefusesWhatIsNoAddress(t *testing.T) {
	_, err := configure("peers/dnat.nft.tmpl", setup{Dir: t.TempDir(), Listen: "port 80", Backends: []string{"127.0.0.1:1"}})
	if err == nil || !strings.Contains(err.Error(), "missing port in address") {
		t.Errorf("error %v", err)
	}
	if _, err := configure("peers/none.tmpl", setup{Dir: t.TempDir()}); err == nil {
		t.Error("a template that is not there was filled")
	}
	if _, err := configure("peers/dnat.nft.tmpl", setup{Dir: filepath.Join(t.TempDir(), "none")}); !os.IsNotExist(err) {
		t.Errorf("error %v, want that the directory does not exist", err)
	}
}
