package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

const operations = "docs/operations.md"

// incidents are played by the titles of their sections.
var incidents = map[string]func(*testing.T, []step) *walkthrough{
	"Incident 1: a backend hangs":     backendHangs,
	"Incident 2: a client is refused": clientIsRefused,
	"Incident 3: a deploy":            deploy,
	"Incident 4: a noisy client":      noisyClient,
	"Incident 5: descriptors run out": descriptorsRunOut,
	"Incident 6: an upgrade":          upgradeIncident,
}

var incidentHeading = regexp.MustCompile(`(?m)^### (Incident \d: .+)$`)

// TestIncidents plays the incidents of docs/operations.md.
func TestIncidents(t *testing.T) {
	file := filepath.Join(repository, operations)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	headings := incidentHeading.FindAllStringSubmatchIndex(document, -1)
	if len(headings) != len(incidents) {
		t.Fatalf("the document has %d incidents, the test %d", len(headings), len(incidents))
	}
	var all []step
	for _, h := range headings {
		title := document[h[2]:h[3]]
		end := len(document)
		if next := regexp.MustCompile(`(?m)^##`).FindStringIndex(document[h[1]:]); next != nil {
			end = h[1] + next[0]
		}
		play, ok := incidents[title]
		if !ok {
			t.Errorf("no test plays %q", title)
			continue
		}
		t.Run(title, func(t *testing.T) {
			w := play(t, documentedSteps(document, h[1], end))
			if w.next != len(w.steps) {
				t.Errorf("%d of %d commands of the document were run", w.next, len(w.steps))
			}
			w.stop()
			all = append(all, w.steps...)
		})
	}
	if *update && !t.Failed() {
		writeSteps(t, file, document, all)
	}
}

// echoBackend is a program: a server that echoes, on the address in its argument.
func echoBackend() {
	l, err := net.Listen("tcp4", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// Addresses of the document, and those of the test without a port.
var (
	backendIPs = [][2]string{{"10.0.0.5", "127.0.1.5"}, {"10.0.0.6", "127.0.1.6"}, {"10.0.0.7", "127.0.1.7"}}
	clientIPs  = [][2]string{{"10.1.20.3", "127.0.2.3"}, {"10.1.20.4", "127.0.2.4"}, {"10.1.20.0/24", "127.0.2.0/24"}}
)

// backends starts n backends, and returns their processes and the addresses.
func backends(t *testing.T, n int) (processes []*exec.Cmd, addresses [][2]string) {
	t.Helper()
	for _, ip := range backendIPs[:n] {
		at, process := startBackendProcess(t, ip[1]+":0")
		processes = append(processes, process)
		addresses = append(addresses, [2]string{ip[0] + ":5432", at})
	}
	return processes, append(addresses, clientIPs...)
}

// client connects, and has an answer of a backend.
func (w *walkthrough) client(from string) testnet.Conn {
	w.t.Helper()
	c := testnet.DialFrom(w.t, from, w.real("10.0.0.1:5432"))
	mustEcho(w.t, c, "hello")
	return c
}

// statusHas waits until the status has a line that matches.
func (w *walkthrough) statusHas(pattern string) {
	w.t.Helper()
	var out string
	matches := regexp.MustCompile("(?m)" + pattern)
	if !testnet.Within(testnet.Patience, func() bool { out = w.output("l4proxy status"); return matches.MatchString(out) }) {
		w.t.Fatalf("the status has no %s:\n%s", pattern, out)
	}
}

func signalTo(t *testing.T, process *exec.Cmd, sig unix.Signal) {
	t.Helper()
	if err := process.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

const checks = `health: {type: expect, interval: 100ms, timeout: 300ms, rise: 1, fall: 2, script: [{send: "ping"}, {receive: "ping"}]}`

// idleRows are rows of conns about clients of 10.1.20.3 that have been idle for longer than rates
// look back.
const idleRows = `([^\n]* 10\.1\.20\.3:[^\n]* 0 +0 +[^\n]*\n)`

func backendHangs(t *testing.T, steps []step) *walkthrough {
	processes, addresses := backends(t, 2)
	w := newWalkthrough(t, steps, addresses, `
listeners: {postgres: {bind: "127.0.0.1:0", pool: pg}}
pools: {pg: {policy: round_robin, backends: ["10.0.0.5:5432", "10.0.0.6:5432"], `+checks+`}}
`)
	w.statusHas(`10\.0\.0\.6:5432 +up`)
	for range 4 {
		w.client("127.0.2.3")
	}
	signalTo(t, processes[1], unix.SIGSTOP)
	w.await(`10\.0\.0\.6:5432 +down`)
	w.await(idleRows + "{2}") // conns
	w.run()                   // kill --dry-run
	w.run()                   // kill
	w.await(`0 connections`)  // drain
	signalTo(t, processes[1], unix.SIGCONT)
	w.run() // drain --undo
	w.await(`10\.0\.0\.6:5432 +up`)
	return w
}

func clientIsRefused(t *testing.T, steps []step) *walkthrough {
	_, addresses := backends(t, 2)
	config := `
listeners:
  postgres:
    bind: "127.0.0.1:0"
    pool: pg
    acl:
      - {deny: ["10.1.20.0/24"]}
      - {allow: ["127.0.0.0/8"]}
pools: {pg: {backends: ["10.0.0.5:5432", "10.0.0.6:5432"]}}
`
	w := newWalkthrough(t, steps, addresses, config)
	w.run() // explain
	w.edit(strings.Replace(config, "- {deny", `- {allow: ["10.1.20.3"]}`+"\n      - {deny", 1))
	w.run() // reload --dry-run
	w.run() // reload
	w.run() // explain
	w.run() // debug
	w.client("127.0.2.3")
	w.await(`(?s)first byte.*first byte`) // grep
	w.run()                               // debug --stop
	return w
}

func deploy(t *testing.T, steps []step) *walkthrough {
	_, addresses := backends(t, 2)
	third, absent := startBackendProcess(t, backendIPs[2][1]+":0")
	addresses = append(addresses, [2]string{"10.0.0.7:5432", third})
	signalTo(t, absent, unix.SIGKILL)
	_ = absent.Wait()
	config := `
listeners: {postgres: {bind: "127.0.0.1:0", pool: pg}}
pools: {pg: {policy: round_robin, backends: ["10.0.0.5:5432", "10.0.0.6:5432"], ` + checks + `}}
`
	w := newWalkthrough(t, steps, addresses, config)
	w.statusHas(`10\.0\.0\.6:5432 +up`)
	var held []testnet.Conn
	for range 2 {
		held = append(held, w.client("127.0.2.3"))
	}
	wait := w.begin() // drain --wait
	w.statusHas(`is draining: 1 connection of 1 left`)
	for _, c := range held {
		c.Close()
	}
	wait()
	w.run() // drain --undo
	w.edit(strings.Replace(config, `"10.0.0.6:5432"`, `"10.0.0.6:5432", "10.0.0.7:5432"`, 1))
	w.run()                    // reload --dry-run
	w.run()                    // reload --confirm --guard
	w.await(`was rolled back`) // status
	w.run()                    // events
	startBackendProcess(t, third)
	w.run() // reload --confirm --guard
	w.statusHas(`10\.0\.0\.7:5432 +up`)
	w.run() // reload --keep
	return w
}

func noisyClient(t *testing.T, steps []step) *walkthrough {
	_, addresses := backends(t, 1)
	config := `
listeners: {postgres: {bind: "127.0.0.1:0", pool: pg, acl: [{allow: ["127.0.0.0/8"]}]}}
pools: {pg: {backends: ["10.0.0.5:5432"]}}
`
	w := newWalkthrough(t, steps, addresses, config)
	w.client("127.0.2.4")
	for range 6 {
		go flood(w.client("127.0.2.3"))
	}
	w.await(`([^\n]* 10\.1\.20\.3:[^\n]*M +[0-9.]+M [^\n]*\n){3}`) // conns --sort rate
	w.run()                                                        // conns --from
	w.edit(strings.Replace(config, "acl: [", `acl: [{deny: ["10.1.20.3"]}, `, 1))
	w.run()                                             // reload
	w.run()                                             // kill --dry-run
	w.run()                                             // kill
	w.await(`the listener 1$`)                          // explain: the others have ended
	w.await(` 5 +5 +0 +0 [^\n]*\n\n?1 of 1 connection`) // conns: its rates are those of now
	return w
}

// flood sends and reads as fast as it can, until the connection ends.
func flood(c testnet.Conn) {
	go func() { _, _ = io.Copy(io.Discard, c) }()
	p := make([]byte, 64<<10)
	for {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

func descriptorsRunOut(t *testing.T, steps []step) *walkthrough {
	prlimit := testenv.NeedTool(t, "prlimit")
	_, addresses := backends(t, 1)
	// A test cannot wait for 10 minutes.
	addresses = append(addresses, [2]string{"--idle 10m", "--idle 100ms"}, [2]string{"sudo prlimit", prlimit})
	w := newWalkthrough(t, steps, addresses, `
listeners: {postgres: {bind: "127.0.0.1:0", pool: pg}}
pools: {pg: {backends: ["10.0.0.5:5432"]}}
`, func(cmd *exec.Cmd) {
		cmd.Args = append([]string{prlimit, "--nofile=160:160", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = prlimit
	})
	limit := regexp.MustCompile(`"max_connections":(\d+)`).FindStringSubmatch(w.logged())
	if limit == nil {
		t.Fatalf("no limit in the log:\n%s", w.logged())
	}
	slots, _ := strconv.Atoi(limit[1])
	for range slots {
		w.client("127.0.2.3")
	}
	late := testnet.DialFrom(t, "127.0.2.4", w.real("10.0.0.1:5432"))
	w.run()                   // status
	w.run()                   // doctor
	w.await(idleRows + "{3}") // conns --idle
	w.run()                   // kill --idle
	mustEcho(t, late, "hello")
	may := mayRaiseLimits(t)
	w.runIf(may) // prlimit
	w.runIf(may) // upgrade
	w.runIf(may) // status
	mustEcho(t, late, "hello again")
	return w
}

// mayRaiseLimits reports whether this process may raise the limits of others (CAP_SYS_RESOURCE).
func mayRaiseLimits(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	return sets[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func upgradeIncident(t *testing.T, steps []step) *walkthrough {
	_, addresses := backends(t, 2)
	w := newWalkthrough(t, steps, addresses, `
listeners: {postgres: {bind: "127.0.0.1:0", pool: pg}}
pools: {pg: {policy: round_robin, backends: ["10.0.0.5:5432", "10.0.0.6:5432"]}}
`)
	var held []testnet.Conn
	for range 2 {
		held = append(held, w.client("127.0.2.3"))
	}
	if err := os.WriteFile(filepath.Join(w.dir, "l4proxy.new"), []byte("#!/bin/sh\nexit 127\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.run() // upgrade --binary
	w.run() // upgrade
	w.run() // status
	w.run() // events
	for _, c := range held {
		mustEcho(t, c, "hello again")
	}
	return w
}
