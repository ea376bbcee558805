package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"l4proxy/admin/client"
	"l4proxy/doctor"
)

// docs/operations.md has a row for each check, in order.
func TestDocumentedChecks(t *testing.T) {
	_, section, ok := strings.Cut(documents(t)["docs/operations.md"], "\n## Checking the machine\n")
	if !ok {
		t.Fatal("the section is missing")
	}
	var want strings.Builder
	for _, c := range doctor.Checks {
		fmt.Fprintf(&want, "| `%s` | %s |\n", c.Name, c.About)
	}
	if !strings.Contains(section, "| check | what it looks at |\n|---|---|\n"+want.String()) {
		t.Errorf("the table of checks should be:\n%s", want.String())
	}
}

func TestDoctorKnowsWhereAProxyIs(t *testing.T) {
	for address, want := range map[string]bool{
		"unix:/run/l4proxy.sock": true, "127.0.0.1:9901": true, "localhost:9901": true, "[::1]:9901": true, ":9901": true,
		"0.0.0.0:9901": true, "http://127.0.0.1:9901/": true, "10.0.0.5:9901": false, "proxy.example.com:9901": false,
	} {
		c, err := client.New(address, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := local(c); got != want {
			t.Errorf("%s is local: %t, want %t", address, got, want)
		}
	}
	if !isProxy(os.Getpid()) || isProxy(1<<30) {
		t.Error("isProxy does not know this process, or one that does not exist")
	}
}

// No color in files and pipes.
func TestDoctorColor(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if colored(file) || colored(new(strings.Builder)) {
		t.Error("a file is no terminal")
	}
}
