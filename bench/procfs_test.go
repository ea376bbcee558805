package main

import (
	"net"
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	user, system, err := parseStat([]byte("42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 250 10 20 20 0 3 0 7000 1 2"))
	if user != 1.6 || system != 2.7 || err != nil {
		t.Errorf("parseStat = %v, %v, %v, want 1.6, 2.7", user, system, err)
	}
	if _, _, err := parseStat([]byte("42 (a) S 1")); err == nil {
		t.Error("a short line was taken")
	}
}

func TestParseRollup(t *testing.T) {
	pss, rss, err := parseRollup([]byte("5581-7ffe ---p 00000000 00:00 0 [rollup]\nRss:    20 kB\nPss:    12 kB\nPss_Dirty: 4 kB\n"))
	if pss != 12<<10 || rss != 20<<10 || err != nil {
		t.Errorf("parseRollup = %v, %v, %v, want 12 and 20 KiB", pss, rss, err)
	}
	if _, _, err := parseRollup([]byte("Rss: 20 kB\n")); err == nil {
		t.Error("a rollup without Pss was taken")
	}
}

func TestParseMachineCPU(t *testing.T) {
	busy, err := parseMachineCPU("cpu  100 10 200 9999 8888 30 40 0 0 0")
	if busy != 3.8 || err != nil {
		t.Errorf("parseMachineCPU = %v, %v, want 3.8", busy, err)
	}
	if _, err := parseMachineCPU("cpu0 1 2 3 4 5 6 7"); err == nil {
		t.Error("one CPU's line was taken")
	}
}

func TestHasListener(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000
   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000
   2: 0100007F:4E21 0200007F:1234 01 00000000:00000000
   3: 0100007F:4E22 00000000:0000 0A 00000000:00000000
`
	// What comes after the first that does not listen is not read.
	for port, want := range map[int]bool{20000: true, 20001: false, 8080: true, 4660: false, 20002: false} {
		got, err := hasListener(strings.NewReader(table), port)
		if got != want || err != nil {
			t.Errorf("hasListener(%d) = %t, %v, want %t", port, got, err, want)
		}
	}
}

// TestListening holds the kernel to listing listening sockets first.
func TestListening(t *testing.T) {
	// Connections are in the table too, more than one page of it.
	for range 100 {
		address := serveOnce(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if up, err := listening(os.Getpid(), port); !up || err != nil {
		t.Errorf("listening = %t, %v, want true", up, err)
	}
	listener.Close()
	if up, err := listening(os.Getpid(), port); up || err != nil {
		t.Errorf("after close: listening = %t, %v, want false", up, err)
	}
}

func TestRunning(t *testing.T) {
	p, err := start("sleeper", t.TempDir(), "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	if !running(p.pid()) {
		t.Error("a process does not run")
	}
	p.stop()
	if running(p.pid()) {
		t.Error("a process that has ended runs")
	}
	if up, err := listening(p.pid(), 1); up || err != nil {
		t.Errorf("a process that has ended: listening = %t, %v, want false", up, err)
	}
}

func TestKernelMemory(t *testing.T) {
	bytes, err := kernelMemory()
	if err != nil || bytes < 1<<20 {
		t.Errorf("kernelMemory = %v, %v", bytes, err)
	}
	const meminfo = "MemTotal: 100 kB\nSlab:  20 kB\nSReclaimable: 15 kB\nKernelStack:  2 kB\nPageTables:   3 kB\n"
	if bytes, err := parseKernelObjects(meminfo); bytes != 25<<10 || err != nil {
		t.Errorf("parseKernelObjects = %v, %v, want 25 KiB", bytes, err)
	}
	const sockstat = "sockets: used 22\nTCP: inuse 4 orphan 0 tw 1 alloc 7 mem 348\nUDP: inuse 0 mem 2\n"
	if pages, err := parseTCPPages(sockstat); pages != 348 || err != nil {
		t.Errorf("parseTCPPages = %v, %v, want 348", pages, err)
	}
	for _, broken := range []string{"", "Slab: 20 kB\n", "Slab: many kB\n"} {
		if _, err := parseKernelObjects(broken); err == nil {
			t.Errorf("meminfo %q was taken", broken)
		}
	}
	for _, broken := range []string{"", "\n", "TCP: inuse 4", "TCP: mem", "TCP: mem x"} {
		if _, err := parseTCPPages(broken); err == nil {
			t.Errorf("sockstat %q was taken", broken)
		}
	}
}
