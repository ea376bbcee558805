package main

import (
	"math"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/procfs"

	"l4proxy/internal/testnet"
)

// CPU time includes that of children which have been waited for.
func TestProcessCPU(t *testing.T) {
	var u usage
	u.addCPU(procfs.ProcStat{UTime: 150, STime: 250, CUTime: 10, CSTime: 20})
	u.addCPU(procfs.ProcStat{UTime: 1})
	if u.user != 1.61 || u.system != 2.7 {
		t.Errorf("user %v, system %v, want 1.61 and 2.7", u.user, u.system)
	}
}

// A process counts together with its descendants, ended and running.
func TestUsageOfATree(t *testing.T) {
	p, err := start("forker", t.TempDir(), "sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done & wait; sleep 600 & exec sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	testnet.Eventually(t, "the loop has been waited for and the last child runs", func() bool {
		pids, err := tree(p.pid())
		if err != nil {
			t.Fatal(err)
		}
		cpu, err := cpuOf(p.pid())
		return err == nil && len(pids) == 2 && cpu.cpu() >= 0.02
	})
	if u, err := memoryOf(p.pid()); err != nil || u.fds < 6 || u.pss <= 0 || u.rss <= u.pss {
		t.Errorf("memory %+v, error %v, want that of two processes", u, err)
	}
}

func TestBusyMachine(t *testing.T) {
	c := procfs.CPUStat{User: 1, Nice: 0.1, System: 2, Idle: 99, Iowait: 88, IRQ: 0.3, SoftIRQ: 0.4, Steal: 77, Guest: 0.5, GuestNice: 0.05}
	if got := busy(c); math.Abs(got-3.8) > 1e-9 {
		t.Errorf("busy for %v, want 3.8", got)
	}
	if busy, err := machineCPU(); busy <= 0 || err != nil {
		t.Errorf("this machine: busy for %v, error %v", busy, err)
	}
}

func TestHasListener(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000
   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000
   2: 0100007F:4E21 0200007F:1234 01 00000000:00000000
   3: 0100007F:4E22 00000000:0000 0A 00000000:00000000
`
	// The search stops at the first socket that does not listen.
	for port, want := range map[int]bool{20000: true, 20001: false, 8080: true, 4660: false, 20002: false} {
		got, err := hasListener(strings.NewReader(table), port)
		if got != want || err != nil {
			t.Errorf("hasListener(%d) = %t, %v, want %t", port, got, err, want)
		}
	}
}

// The kernel lists listening sockets first.
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
	number, pages := uint64(1<<10), 348
	full := procfs.Meminfo{SlabBytes: &number, KernelStackBytes: &number, PageTablesBytes: &number}
	tcp := &procfs.NetSockstat{Protocols: []procfs.NetSockstatProtocol{{Protocol: "UDP", Mem: new(int)}, {Protocol: "TCP", Mem: &pages}}}
	want := float64(3<<10 + 348*os.Getpagesize())
	if bytes, err := kernelBytes(full, tcp); bytes != want || err != nil {
		t.Errorf("kernelBytes = %v, %v, want %v", bytes, err, want)
	}
	if _, err := kernelBytes(procfs.Meminfo{SlabBytes: &number}, tcp); err == nil {
		t.Error("a kernel without page tables was taken")
	}
	if _, err := kernelBytes(full, &procfs.NetSockstat{Protocols: []procfs.NetSockstatProtocol{{Protocol: "TCP"}}}); err == nil {
		t.Error("TCP without memory was taken")
	}
}
