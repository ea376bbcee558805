package control

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A backend is the proxy itself, and two binds are one, however an interface or the path of a
// socket is written.
func TestSpellingsOfOneAddressAreKnown(t *testing.T) {
	nic, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	byNumber := fmt.Sprintf("[fe80::1%%%d]:7001", nic.Index)
	dir := t.TempDir()
	real, link, file, missing := dir+"/a/s", dir+"/b/s", dir+"/file", dir+"/other"
	for _, err := range []error{
		os.Mkdir(dir+"/a", 0o700), os.Symlink("a", dir+"/b"), os.Symlink("b/s", file), os.Symlink(dir+"/nowhere/x", missing),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ bind, other string }{
		{"[fe80::1%lo]:7001", byNumber}, {byNumber, "[fe80::1%lo]:7001"},
		{"unix:" + real, "unix:" + link}, {"unix:" + link, "unix:" + real}, {"unix:" + real, "unix:" + file},
		{"unix:" + real, ""}, {"unix:" + real, "unix:" + missing},
	} {
		other, same := tt.other, tt.other != "" && tt.other != "unix:"+missing
		if other == "" {
			other = "unix:" + filepath.Join(dir, "t")
		}
		loop := fmt.Sprintf("listeners: {web: {bind: %q}}\npools: {web: {backends: [%q]}}\n", tt.bind, other)
		overlap := fmt.Sprintf("listeners: {a: {bind: %q}, b: {bind: %q}}\npools: {web: {backends: [\"10.0.0.1:1\"]}}\n", tt.bind, other)
		for text, want := range map[string]string{loop: "is the proxy itself", overlap: "is already taken by the listener"} {
			cfg := parse(t, text)
			_, err := Build(cfg, Gather(t.Context(), cfg, (&names{}).lookup))
			if same != (err != nil && strings.Contains(err.Error(), want)) {
				t.Errorf("%s\nerror %v, want one with %q: %v", text, err, want, same)
			}
		}
	}
}
