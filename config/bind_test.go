package config

import (
	"bytes"
	"testing"
)

// The options of binds survive GET config, and a reload sees that they have changed.
func TestBindOptions(t *testing.T) {
	c, err := Load("testdata/good/socket-options.yaml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	eth0 := BindOptions{Transparent: true, Interface: "eth0", Backlog: 4096}
	file := BindOptions{Socket: Socket{Mode: 0o600, Owner: Owner{Group: "adm"}}}
	for i, want := range []BindOptions{{}, eth0, {Interface: "eth1"}, {V6Only: V6Yes}, {}, file, {}} {
		if got := c.Listeners[0].Binds[i].BindOptions; got != want {
			t.Errorf("bind %d: %+v, want %+v", i, got, want)
		}
	}
	text, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("again.json", text, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := Differences(c, again); len(d) != 0 {
		t.Errorf("differences after GET config: %v\n%s", d, text)
	}
	if !bytes.Contains(text, []byte(`"bind":[":8080",{"address":"10.0.0.1:80","transparent":true,"interface":"eth0","backlog":4096},`)) {
		t.Errorf("GET config: %s", text)
	}
	again.Listeners[0].Binds[1].Transparent = false
	d := Differences(c, again)
	if len(d) != 1 || d[0].Key != "bind" {
		t.Errorf("differences: %v", d)
	}
}

// A listener on one network interface is not what a dial to this machine reaches, and one for IPv6
// only is not reached by IPv4.
func TestLoopsByOptions(t *testing.T) {
	for text, loop := range map[string]bool{
		`{address: ":8080"}`:                                                       true,
		`{address: ":8080", interface: eth0}`:                                      false,
		`{address: ":8080", interface: lo}`:                                        true,
		`{address: "[::]:8080"}`:                                                   true,
		`{address: "[::]:8080", v6only: true}`:                                     false,
		`[{address: "127.0.0.1:8080", interface: eth0}]`:                           false,
		`[{address: ":8080", interface: eth0}, {address: ":8080", interface: lo}]`: true,
	} {
		_, err := Parse("c.yaml", []byte("listeners: {a: {bind: "+text+"}}\npools: {p: {backends: [\"127.0.0.1:8080\"]}}\n"), nil)
		if (err != nil) != loop {
			t.Errorf("%s: %v, want an error: %v", text, err, loop)
		}
	}
}
