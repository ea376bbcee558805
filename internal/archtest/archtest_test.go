// Package archtest holds the table that says which package may import which.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "l4proxy"

// modules are the folders with a go.mod, seen from here: ./... stops at each.
var modules = []string{"../..", "../../bench", "../../browser"}

// dataPlane are the packages that the event loops are built from.
var dataPlane = []string{
	"acl", "backend", "balancer", "bandwidth", "bans", "clienthello", "clientlimit", "eventloop",
	"internal/histogram", "internal/iheap", "internal/mailbox", "internal/rawsys",
	"internal/sockopt", "listen", "proxyproto", "route",
}

// anything marks a package that may import all others.
var anything = []string{"*"}

// table says what each package, and the packages in folders below it, may import. A folder below
// may have a row of its own. A new package needs a row here, and a reason.
var table = map[string][]string{
	// Values and mechanisms.
	"acl":         {},
	"admin":       {}, // its client, and the dashboard
	"backend":     {"internal/rawsys"},
	"bandwidth":   {"internal/iheap"}, // the sharing of limits, without sockets
	"config":      {"geo"},            // opens databases, as it reads lists
	"confine":     {},
	"discovery":   {},
	"events":      {},
	"eventloop":   {"internal/mailbox", "internal/rawsys"},
	"filewatch":   {},
	"listen":      {"internal/rawsys", "internal/sockopt"},
	"logs":        {},
	"metrics":     {"internal/histogram"}, // declares what it shows; cmd adapts
	"systemd":     {"internal/rawsys", "listen"},
	"clienthello": {},
	"proxyproto":  {},
	"route":       {"clienthello"},
	"bans":        {"acl", "internal/rawsys"},
	"geo":         {},

	// Choosing backends, and checking them.
	"balancer": {"backend", "internal/iheap"},
	"health":   {"backend", "internal/iheap", "internal/mailbox", "internal/rawsys", "internal/sockopt"},

	// Counts the connections of clients.
	"clientlimit": {},

	// The data plane gets its State from the control plane, and never sees the configuration.
	"proxy": dataPlane,

	// The control plane builds the State.
	"control": append([]string{"config", "discovery", "filewatch", "geo", "health", "proxy"}, dataPlane...),

	// Carries connections and sockets to the next process.
	"upgrade": {"internal/rawsys", "listen", "proxy"},

	// Looks at a machine and a configuration, and reads what a running proxy says of itself.
	"doctor": {"admin", "config", "control", "discovery", "eventloop", "proxy"},
	// The live view of a running proxy.
	"top": {"admin", "internal/term"},

	"cmd": anything,

	// Drives the program from outside, and its peers.
	"bench": {"internal/rawsys"},
	// Drives the dashboard in a browser: of the program, and of a fake of its API.
	"browser": {"admin"},
	// Runs the program, and the health checks, against real servers.
	"peers": {"backend", "discovery", "health"},

	// Only tests, of the rules, the dashboard and what else is for other programs.
	"packaging": {},

	// Breaks things around the program, and around a proxy with options that the configuration does
	// not offer.
	"faults": anything,

	"internal/archtest":  {},
	"internal/doctest":   {},
	"internal/histogram": {},                  // counts durations in classic and native buckets
	"internal/iheap":     {},                  // the heap in which items can be found and moved
	"internal/mailbox":   {},                  // values from many goroutines to one
	"internal/rawsys":    {},                  // system calls that cannot block, addresses in the kernel's form, the clock
	"internal/sockopt":   {"internal/rawsys"}, // options of TCP sockets, and whether this kernel has them
	"internal/testenv":   {},
	"internal/testload":  {}, // a load generator that notices every failure
	"internal/testnet":   {},
	"internal/term":      {}, // tables, colors and units for people
}

// testHelpers are imported by tests, and by each other, only.
var testHelpers = []string{"internal/testenv", "internal/testload", "internal/testnet"}

// pkg is the part of what "go list -json" prints that matters here.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImports(t *testing.T) {
	unused := maps.Clone(table)
	for _, dir := range modules {
		for _, p := range list(t, dir) {
			name := strings.TrimPrefix(p.ImportPath, module+"/")
			for _, fault := range faults(p) {
				t.Errorf("%s: %s", name, fault)
			}
			if row, ok := rowOf(p.ImportPath); ok {
				delete(unused, row)
			}
		}
	}
	for row := range unused {
		t.Errorf("the table has a row for %s, which is no package", row)
	}
}

// faults names every import of p that the table does not allow.
func faults(p pkg) []string {
	row, known := rowOf(p.ImportPath)
	if !known {
		return []string{"has no row in the import table: add one to internal/archtest"}
	}
	var found []string
	check := func(imports []string, allowed []string, what string) {
		for _, path := range imports {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			target, known := rowOf(path)
			ok := known && (target == row || slices.Contains(allowed, target) ||
				slices.Contains(allowed, "*") && !slices.Contains(testHelpers, target))
			if !ok {
				found = append(found, what+" may not import "+strings.TrimPrefix(path, module+"/"))
			}
		}
	}
	code := table[row]
	if slices.Contains(testHelpers, row) {
		code = testHelpers
	}
	check(p.Imports, code, "its code")
	check(p.TestImports, slices.Concat(code, testHelpers), "its tests")
	check(p.XTestImports, slices.Concat(code, testHelpers), "its external tests")
	return found
}

// rowOf returns the row for a package of this module: the longest one that is the package or a
// folder above it.
func rowOf(importPath string) (row string, known bool) {
	name := strings.TrimPrefix(importPath, module+"/")
	for {
		if _, ok := table[name]; ok {
			return name, true
		}
		cut := strings.LastIndexByte(name, '/')
		if cut < 0 {
			return "", false
		}
		name = name[:cut]
	}
}

// list returns the packages of the module in dir.
func list(t *testing.T, dir string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-C", dir, "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var packages []pkg
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatalf("go list found no package in %s", dir)
	}
	return packages
}

func TestForbiddenImportsAreFound(t *testing.T) {
	for _, test := range []struct {
		name string
		pkg  pkg
		want []string
	}{
		{
			"allowed",
			pkg{ImportPath: "l4proxy/proxy", Imports: []string{"net/netip", "l4proxy/acl", "l4proxy/proxy/internal/relay"}},
			nil,
		},
		{
			"forbidden",
			pkg{ImportPath: "l4proxy/proxy", Imports: []string{"l4proxy/config"}},
			[]string{"its code may not import config"},
		},
		{
			"forbidden in a folder below",
			pkg{ImportPath: "l4proxy/acl/internal/scan", Imports: []string{"l4proxy/backend"}},
			[]string{"its code may not import backend"},
		},
		{
			"test helper in a test",
			pkg{ImportPath: "l4proxy/acl", TestImports: []string{"l4proxy/internal/testnet"}},
			nil,
		},
		{
			"test helper in code",
			pkg{ImportPath: "l4proxy/cmd/l4proxy", Imports: []string{"l4proxy/internal/testnet"}},
			[]string{"its code may not import internal/testnet"},
		},
		{
			"forbidden in a test",
			pkg{ImportPath: "l4proxy/bench", XTestImports: []string{"l4proxy/balancer"}},
			[]string{"its external tests may not import balancer"},
		},
		{
			"no row",
			pkg{ImportPath: "l4proxy/attic"},
			[]string{"has no row in the import table: add one to internal/archtest"},
		},
	} {
		if got := faults(test.pkg); !slices.Equal(got, test.want) {
			t.Errorf("%s: faults = %q, want %q", test.name, got, test.want)
		}
	}
}
